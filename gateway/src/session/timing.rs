//! Times that all protocols have.

use std::time::Duration;

/// How long it is waited for what came of a client's first message: it gives up by then.
pub const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// How long a session with as many requests under way as may be is not ended for silence: a client gives a request up by then.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// How long before its token expires a client is told: the vendor documents three minutes.
pub const EXPIRES_SOON: Duration = Duration::from_secs(180);
/// How much longer a session may live than its token, while a new one is verified.
pub const UPDATE_WITHIN: Duration = Duration::from_secs(5);
/// How long a client that is over a limit of sockets waits before it tries again, at least.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// When a client counts as gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long after the last message from a client it is sent a ping.
    pub ping: Duration,
    /// How long it is waited for an answer to a ping, or for anything else from the client.
    pub answer: Duration,
    /// How long a new socket may take to say who it is.
    pub init_within: Duration,
}

impl Timing {
    /// A ping after so long. The answer has 3/7 of it, and at most 10 s.
    pub fn with_ping(ping: Duration) -> Self {
        Self { ping, answer: (ping * 3 / 7).min(Duration::from_secs(10)), init_within: Duration::from_secs(10) }
    }

    /// How long after the last message from a client its session ends, if nothing comes any more.
    pub fn silence(&self) -> Duration {
        self.ping.saturating_add(self.answer)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::with_ping(Duration::from_secs(14))
    }
}
