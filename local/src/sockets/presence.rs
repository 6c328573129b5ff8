//! Makes the users of open sockets online: what the sockets say goes to the worker directly, without the queue.

use std::sync::Arc;
use std::time::Duration;

use reachability_domain::identity::ConnectionId;
use reachability_domain::presence::connections::{LeasePolicy, Rules};
use reachability_domain::presence::event::EndReason;
use reachability_domain::presence::sockets::{Socket, Sockets};
use reachability_domain::store::StoreError;
use reachability_worker::{Failure, Worker};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// The rules for sockets of our own: the listener is there as long as they are, so nobody has to renew a lease. The worker of
/// [`Presence`] has these, and that of [`end_earlier`] has them with the grace period of a restart.
pub(crate) fn rules(rules: Rules, grace: Duration) -> Rules {
    Rules { grace, lease: LeasePolicy::Unlimited, ..rules }
}

/// Says what happens to sockets. Clones share it.
#[derive(Clone)]
pub(crate) struct Presence {
    said: mpsc::UnboundedSender<Said>,
}

enum Said {
    Connected(Socket, oneshot::Sender<Result<(), Failure>>),
    Disconnected(Socket, EndReason),
    Renewed(Vec<Socket>),
    Finish,
}

impl Presence {
    /// Starts the task that stores what is said. It runs until [`Presence::finish`].
    pub(crate) fn start(sockets: Arc<dyn Sockets>, worker: Worker) -> (Self, JoinHandle<()>) {
        let _ = (sockets, worker);
        todo!()
    }

    /// An id for the connection of a new socket.
    pub(crate) fn new_connection(&self) -> ConnectionId {
        todo!()
    }

    /// The socket is open: its user is online. Returns when that is committed, without a flush. Watchers have been told by
    /// then.
    ///
    /// # Errors
    /// If it was not stored, or may not have been. The socket must be closed, and nothing more be said of it.
    pub(crate) async fn connect(&self, socket: Socket) -> Result<(), Failure> {
        let _ = socket;
        todo!()
    }

    /// The socket is closed. Does not wait: it is retried until it is stored.
    pub(crate) fn disconnect(&self, socket: Socket, reason: EndReason) {
        let _ = (socket, reason);
        todo!()
    }

    /// Reachability was switched on for the service of these open sockets: their users are online in its new generation. Does
    /// not wait.
    pub(crate) fn renew(&self, sockets: Vec<Socket>) {
        let _ = sockets;
        todo!()
    }

    /// Stops the task, once it has handled everything that was said before.
    pub(crate) fn finish(&self) {
        todo!()
    }
}

/// Ends the sockets that earlier runs of the server left behind, as lost ones, whose users have the worker's grace period to
/// come back. Returns how many there were. Before any socket of this run is opened.
///
/// # Errors
/// If the store does not work. What is done is done, and the rest is left for the next call.
pub(crate) async fn end_earlier(sockets: &dyn Sockets, worker: &Worker) -> Result<usize, StoreError> {
    let _ = (sockets, worker);
    todo!()
}
