//! What a client's handles and its task share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{broadcast, oneshot};
use tokio::time::timeout;

use crate::answers::Reply;
use crate::book::Book;
use crate::disconnect::Disconnect;
use crate::error::Error;
use crate::event::{Connection, Event};
use crate::request::Request;

/// What a handle tells the task. There are as many as there are callers that wait, and watches.
pub(crate) enum Command {
    Ask(Box<Ask>),
    /// Says goodbye, and ends.
    Goodbye(oneshot::Sender<()>),
    /// Ends, without goodbye.
    Disconnect(oneshot::Sender<()>),
    /// Cuts the connection.
    Abort(oneshot::Sender<()>),
}

/// A request that somebody waits for.
pub(crate) struct Ask {
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Result<Reply, Error>>,
}

impl Ask {
    /// Whether it is still to be sent: a watch that was dropped is stopped though nobody waits for it.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(self.request, Request::Unwatch { .. }) || !self.reply.is_closed()
    }
}

impl Command {
    /// One that asks, and where its answer comes.
    pub(crate) fn ask(request: Request) -> (Self, oneshot::Receiver<Result<Reply, Error>>) {
        let (reply, answer) = oneshot::channel();
        (Self::Ask(Box::new(Ask { request, reply })), answer)
    }
}

/// Asks the server, through the task.
pub(crate) async fn ask(
    commands: &UnboundedSender<Command>,
    shared: &Shared,
    request: Request,
) -> Result<Reply, Error> {
    let (command, answer) = Command::ask(request);
    commands.send(command).map_err(|_| shared.closed())?;
    match timeout(shared.request_timeout, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(shared.closed()),
        Err(_) => Err(Error::Timeout),
    }
}

/// How many messages a client sent and received since it was made, over all its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frames {
    /// Messages sent.
    pub sent: u64,
    /// Messages received, of any kind.
    pub received: u64,
    /// Those of them that were neither answers nor about the connection: what a watch leads to.
    pub events: u64,
    /// The bytes of all received.
    pub bytes_received: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> Frames {
        Frames {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
        }
    }
}

/// What is shared.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) request_timeout: Duration,
    pub(crate) counters: Arc<Counters>,
    state: Mutex<State>,
}

/// What changes. Only the task changes it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) connection: Connection,
    pub(crate) book: Book,
    /// `None` once the client has ended, so that its readers end.
    events: Option<broadcast::Sender<Event>>,
}

impl Shared {
    pub(crate) fn new(
        request_timeout: Duration,
        counters: Arc<Counters>,
        event_capacity: usize,
        connection: Connection,
        book: Book,
    ) -> Self {
        let events = Some(broadcast::Sender::new(event_capacity.max(1)));
        Self { request_timeout, counters, state: Mutex::new(State { connection, book, events }) }
    }

    /// Locks it. No panic can leave it half changed, so a poisoned lock is as good.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing can be asked any more.
    pub(crate) fn closed(&self) -> Error {
        match &self.lock().connection {
            Connection::Closed { why } => Error::Closed(why.clone()),
            // The runtime ended the task.
            _ => Error::Closed(Disconnect::told("the client's task was ended")),
        }
    }
}

impl State {
    /// Tells all readers.
    pub(crate) fn tell(&self, events: impl IntoIterator<Item = Event>) {
        if let Some(sender) = &self.events {
            for event in events {
                // Without a reader nobody misses it.
                let _ = sender.send(event);
            }
        }
    }

    /// Tells all readers of the connection; if it is closed, it was the last that they hear.
    pub(crate) fn connection_changed(&mut self, connection: Connection) {
        self.connection = connection.clone();
        let is_closed = matches!(connection, Connection::Closed { .. });
        self.tell([Event::ConnectionChanged(connection)]);
        if is_closed {
            self.events = None;
        }
    }

    /// A reader of the events from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        match &self.events {
            Some(sender) => sender.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        }
    }
}
