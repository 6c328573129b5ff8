//! Settings and limits of a session.

use reachability_domain::allowance::Rate;

use crate::session::timing::Timing;
pub use crate::session::timing::{EXPIRES_SOON, OPEN_WITHIN, REQUEST_WITHIN, RETRY_AFTER, UPDATE_WITHIN};

/// The largest message of a client other than `restore`, in bytes. Nothing larger is taken before the session is open.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// The largest `restore`, in bytes.
pub const MAX_RESTORE: usize = 1024 * 1024;
/// Numbers in messages are below this: a client may read them as floating-point numbers.
pub const MAX_NUMBER: u64 = 1 << 53;

/// How many requests of a session may be under way at a time. Those over it are refused. A shell that stops reading from the
/// socket while there are as many spares its clients that.
pub const MAX_REQUESTS: usize = 4;
/// How many requests a session may make at once, after a while without any. A new token counts as one, a ping does not.
pub const REQUESTS_AT_ONCE: u32 = 1_000;
/// How many requests a second a session may make in the long run. Those over it are refused.
pub const REQUESTS_PER_SECOND: u32 = 50;
/// Both together.
pub(crate) const REQUESTS: Rate = Rate::per_second(REQUESTS_AT_ONCE, REQUESTS_PER_SECOND);
/// For how many users, channels and members that are looked at a request counts as one more. That is known when it is answered, so
/// those under way may use up more than there is.
pub const LOOKED_AT_PER_REQUEST: usize = 100;
/// How many messages a client may send at once, after a while without any. WebSocket's own pings, pongs and parts of messages
/// count as well.
pub const MESSAGES_AT_ONCE: u32 = 2_000;
/// How many messages a second a client may send in the long run. One that sends more is cut.
pub const MESSAGES_PER_SECOND: u32 = 200;
/// Both together.
pub(crate) const MESSAGES: Rate = Rate::per_second(MESSAGES_AT_ONCE, MESSAGES_PER_SECOND);

/// The longest name of a device, in bytes.
pub const MAX_DEVICE: usize = 64;
/// The most users that a request without `presence` is answered with.
pub const MAX_USERS: u64 = 100;
/// How many users a query is answered with that does not say how many.
pub const DEFAULT_USERS: u64 = 30;
/// The most channels that a query is answered with, and that one watch can have.
pub const MAX_CHANNELS: u64 = 30;
/// How many channels a query is answered with that does not say how many.
pub const DEFAULT_CHANNELS: u64 = 10;
/// The most members that one request adds or removes.
pub const MAX_MEMBERS: u64 = 100;
/// The most watches of a socket. A shell counts those that requests begin; one `restore` has no more.
pub const MAX_WATCHES: u64 = 1_000;

/// The most users in one part of an answer.
pub const USERS_IN_PART: usize = 200;
/// The most members in one part of an answer.
pub const MEMBERS_IN_PART: usize = 1_000;
/// The most members that a channel in an answer has itself. Longer lists come in parts, or are cut off in answers to
/// `query_channels` without `presence`.
pub const MEMBERS_IN_CHANNEL: usize = 100;
/// A part of an answer ends when it is so long, in bytes, however few users or members it has.
pub const PART_SIZE: usize = 32 * 1024;

/// Settings of all sessions of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// When a client counts as gone. `connect` says who a client is.
    pub timing: Timing,
    /// The most users that one watch can have. At most 10,000.
    pub users_per_watch: u32,
    /// The most users that a socket can watch.
    pub watched_users: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timing: Timing::default(), users_per_watch: 1_000, watched_users: 10_000 }
    }
}
