//! Settings and limits of a session.

use std::time::Duration;

use reachability_domain::allowance::Rate;

use crate::session::timing::Timing;
pub use crate::session::timing::{EXPIRES_SOON, OPEN_WITHIN, REQUEST_WITHIN, RETRY_AFTER, UPDATE_WITHIN};

/// The longest header of a packet from a client, in bytes.
pub const MAX_HEADER: usize = 16 * 1024;
/// The largest payload of a packet from a client, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// The largest WebSocket message that a client may send, in bytes: a first line, a header, a payload.
pub const MAX_FRAME: usize = 64 + MAX_HEADER + MAX_PAYLOAD + 4;
/// The longest id of a packet from a client, in bytes. The vendor's clients have 38.
pub const MAX_ID: usize = 64;
/// The most maps in one request for subscriptions. As many fit into [`MAX_PAYLOAD`].
pub const MAX_BATCH: usize = 500;
/// The longest name of a map in a request for subscriptions, in bytes. A sid has 34, a unique name 43.
pub const MAX_OBJECT_SID: usize = 64;
/// The events of one notification, in bytes: those of a large batch are sent in several, each about as long.
pub const NOTIFICATION_SIZE: usize = 24 * 1024;

/// How many requests of a session may be under way at a time. Those over it are refused with 429. A shell that stops reading
/// from the socket while there are as many spares its clients that.
pub const MAX_REQUESTS: usize = 8;
/// How many requests a session may make at once, after a while without any. A new token counts as one.
pub const REQUESTS_AT_ONCE: u32 = 3_000;
/// How many requests a second a session may make in the long run. Those over it are refused with 429.
pub const REQUESTS_PER_SECOND: u32 = 100;
/// Both together.
pub(crate) const REQUESTS: Rate = Rate::per_second(REQUESTS_AT_ONCE, REQUESTS_PER_SECOND);
/// How many frames a client may send at once, after a while without any: packets, and WebSocket's own pings, pongs and parts
/// of messages. It acknowledges each packet that it is sent.
pub const FRAMES_AT_ONCE: u32 = 10_000;
/// How many frames a second a client may send in the long run. One that sends more is cut.
pub const FRAMES_PER_SECOND: u32 = 2_000;
/// Both together.
pub(crate) const FRAMES: Rate = Rate::per_second(FRAMES_AT_ONCE, FRAMES_PER_SECOND);

/// How long a client that was refused has to close its socket.
pub const LINGER: Duration = Duration::from_secs(3);
/// By when a client should have heard of what it subscribed to. If it hears nothing, it asks again.
pub const DELIVERY: Duration = Duration::from_secs(10);

/// What a client is told when its token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expiry {
    /// A `close` packet with status 410, as the vendor's service does. A client that is given a new token within three
    /// seconds after it hangs, because of a fault of its own.
    #[default]
    Packet,
    /// The socket is closed. The client comes back with the expired token, hears that it is expired, and can be given a new
    /// one at once.
    Socket,
}

/// Settings of all sessions of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// When a client counts as gone. A ping is a packet here, and `init` says who a client is.
    pub timing: Timing,
    /// What a client is told when its token expires.
    pub expiry: Expiry,
    /// After how long clients ask for their subscriptions again, which heals what was lost; `None`: never.
    pub subscription_ttl: Option<Duration>,
}
