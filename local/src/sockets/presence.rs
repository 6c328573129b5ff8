//! Makes the users of open sockets online: what the sockets say goes to the worker directly, without the queue.
//!
//! A row says that a socket is open. It is written with the socket's connection, and removed after its end is. So whatever was lost with the process or the machine, the next run knows every connection that nobody else would end.

mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::identity::ConnectionId;
use reachability_domain::ids::Ids;
use reachability_domain::presence::connections::{LeasePolicy, Rules};
use reachability_domain::presence::event::EndReason;
use reachability_domain::presence::sockets::{Socket, Sockets};
use reachability_infra::clock;
use reachability_infra::ids::Uuids;
use reachability_worker::{Failure, Received, Worker};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::warn;

pub(crate) use self::task::Hello;
use self::task::{BATCH, Pending, Said, Task, unavailable};

/// The rules for sockets of our own: the listener is there as long as they are, so nobody has to renew a lease. The worker of
/// [`Presence`] has these, and that of [`end_earlier`] has them with the grace period of a restart.
pub(crate) fn rules(rules: Rules, grace: Duration) -> Rules {
    Rules { grace, lease: LeasePolicy::Unlimited, ..rules }
}

/// Says what happens to sockets. Clones share it.
#[derive(Clone)]
pub(crate) struct Presence {
    said: mpsc::UnboundedSender<Said>,
    /// A random number that names this run of the server.
    run: u64,
    sockets: Arc<AtomicU64>,
}

impl Presence {
    /// Starts the task that stores what is said. It runs until [`Presence::finish`].
    pub(crate) fn start(sockets: Arc<dyn Sockets>, worker: Worker) -> (Self, JoinHandle<()>) {
        let (said, waiting) = mpsc::unbounded_channel();
        // The lower half of a random UUID: of the upper one, more bits are fixed.
        let presence = Self { said, run: Uuids.random() as u64, sockets: Arc::default() };
        (presence, tokio::spawn(Task::new(sockets, worker).run(waiting)))
    }

    /// An id for the connection of a new socket.
    pub(crate) fn new_connection(&self) -> ConnectionId {
        ConnectionId::numbered(self.run, self.sockets.fetch_add(1, Ordering::Relaxed))
    }

    /// A socket is open: its user is online, and shows what it wants to show. Returns when that is committed, with a flush only
    /// if there is such a wish. Watchers were told by then, in one change. If the caller does not wait for that, the socket counts
    /// as lost.
    ///
    /// # Errors
    /// If it was not stored, or may not have been. The socket is to be closed, and nothing more to be said of it.
    pub(crate) async fn connect(&self, hello: Hello) -> Result<(), Failure> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = Waiting { presence: self, socket: Some(hello.socket.clone()) };
        self.say(Said::Connected(hello, clock::now(), answer));
        let answered = answered.await;
        waiting.socket = None;
        answered.unwrap_or_else(|_| Err(unavailable("the server stops")))
    }

    /// The socket is closed. Does not wait: it is tried until it is stored.
    pub(crate) fn disconnect(&self, socket: Socket, reason: EndReason) {
        self.say(Said::Disconnected(socket, reason));
    }

    /// Reachability was switched on for a service: the users of its open sockets are online in the new generation. Does not
    /// wait. `open` tells those sockets when their turn comes. It must not tell one of which a disconnect was said before, or
    /// its user would be online for ever.
    pub(crate) fn renew(&self, open: impl FnOnce() -> Vec<Socket> + Send + 'static) {
        self.say(Said::Renewed(Box::new(open)));
    }

    /// Ends the task, once it has handled what was said before. What comes later is not stored: the next start ends the
    /// sockets that are open.
    pub(crate) fn finish(&self) {
        self.say(Said::Finish);
    }

    fn say(&self, said: Said) {
        // The task has ended with the server.
        let _ = self.said.send(said);
    }
}

/// Waits for the answer to a connect. If it is dropped before, the socket is lost.
struct Waiting<'a> {
    presence: &'a Presence,
    socket: Option<Socket>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            self.presence.disconnect(socket, EndReason::ConnectionLost);
        }
    }
}

/// Ends the sockets that earlier runs of the server left behind, as lost ones, whose users have the worker's grace period to
/// come back. Returns how many there were. To be called before any socket of this run is opened.
///
/// # Errors
/// If the store does not work. What is done is done, and the rest is left for the next start.
pub(crate) async fn end_earlier(sockets: &dyn Sockets, worker: &Worker) -> Result<usize, Failure> {
    let mut ended = 0;
    loop {
        let open = sockets.open(BATCH).await?;
        if open.is_empty() {
            return Ok(ended);
        }
        let now = clock::now();
        let end = |socket: &Socket| {
            let ended = Pending::ended(socket.clone(), now, EndReason::ServerClosed);
            // An earlier run may have stored its end, and not its timer.
            Received::new(ended.message(), true)
        };
        for (index, failure) in worker.process_received(open.iter().map(end).collect(), now).await {
            if !failure.is_permanent() {
                return Err(failure);
            }
            // There is no such service any more, or its user's record cannot be read.
            warn!(user = ?open[index].user, error = %ErrorChain(&failure), "a socket of an earlier run could not be ended");
        }
        sockets.closed(&open).await?;
        ended += open.len();
    }
}
