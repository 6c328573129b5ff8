//! What a protocol has to say to the task of a socket ([`Driver`]).

use reachability_domain::time::Timestamp;
use reachability_gateway::session::Cause;

use super::Sockets;
use super::driver::Driver;
use super::frames::Violation;

/// The session of a protocol that sockets speak. Whatever is done for it, the task does.
pub(super) trait Protocol: Sized + Send + 'static {
    /// What there is of an open session besides its place among the sockets.
    type Open: Send;
    /// What came of something that takes time.
    type Done: Send;

    /// A new socket.
    fn new(now: Timestamp) -> Self;

    /// When [`Event::Tick`] is wanted. It changes with each event.
    fn due_at(&self, sockets: &Sockets) -> Timestamp;

    /// When the session ends whatever the client does.
    fn expires_at(&self) -> Timestamp;

    /// Whether there are as many requests under way as there may be.
    fn is_busy(&self) -> bool;

    /// The longest message that the client may send now, in bytes.
    fn max_message(&self) -> usize;

    /// A part of a message came: the client is alive.
    fn hear(&mut self, now: Timestamp);

    /// Gives the session what happened, and does what it says.
    fn take(driver: &mut Driver<Self>, event: Event<'_>);

    /// The same for what came of something that took time.
    fn done(driver: &mut Driver<Self>, done: Self::Done);

    /// Ends what the session watches.
    fn unwatch_all(driver: &Driver<Self>, open: Self::Open);
}

/// What happens to every socket.
pub(super) enum Event<'a> {
    /// The client sent a message.
    Message {
        /// Whether it is text, or else bytes.
        is_text: bool,
        /// What it says.
        payload: &'a [u8],
    },
    /// The client sent a ping, a pong, or a part of a message.
    NoMessage,
    /// The client broke a rule of WebSocket. The socket is to be closed.
    Violation(Violation),
    /// The time of [`Protocol::due_at`] has come.
    Tick,
    /// The server wants the session to end.
    End(Cause),
}
