//! The task of a client: connection after connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::answers::Reply;
use crate::disconnect::{CloseCode, Disconnect};
use crate::error::Error;
use crate::event::Connection;
use crate::incoming::Connected;
use crate::open::Opener;
use crate::options::Backoff;
use crate::request::Request;
use crate::session::{End, Session};
use crate::shared::{Ask, Command, Shared};
use crate::socket::Socket;

pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) opener: Opener,
    reconnect: Option<Backoff>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    /// For the watches that are handed out.
    pub(crate) handle: mpsc::WeakUnboundedSender<Command>,
    /// What was asked while there was no connection.
    pub(crate) waiting: VecDeque<Box<Ask>>,
    /// Who is told when what ends the connection is done.
    pub(crate) done: Option<oneshot::Sender<()>>,
    failed: u32,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        opener: Opener,
        reconnect: Option<Backoff>,
        commands: mpsc::UnboundedReceiver<Command>,
        handle: mpsc::WeakUnboundedSender<Command>,
    ) -> Self {
        Self { shared, opener, reconnect, commands, handle, waiting: VecDeque::new(), done: None, failed: 0 }
    }

    /// Runs until the client ends.
    pub(crate) async fn run(mut self, mut socket: Socket, mut connected: Connected) {
        let why = loop {
            let (end, lasted) = Session::begin(&mut self, socket, connected).run().await;
            let (why, retry_after) = match end {
                End::Lost { why, retry_after } => (why, retry_after),
                End::Ended(why) => break why,
            };
            self.count(&why, lasted);
            (socket, connected) = match self.come_back(why, retry_after).await {
                Ok(opened) => opened,
                Err(why) => break why,
            };
        };
        self.shared.lock().connection_changed(Connection::Closed { why: why.clone() });
        for ask in self.waiting {
            // Who does not wait any more does not miss it.
            let _ = ask.reply.send(Err(Error::Closed(why.clone())));
        }
    }

    /// Counts a connection that was lost after it lasted so long.
    fn count(&mut self, why: &Disconnect, lasted: Duration) {
        let is_healthy = self.reconnect.is_some_and(|backoff| lasted >= backoff.most);
        let is_planned = why.code == Some(CloseCode::ServerStops);
        self.failed = if is_healthy || is_planned { 0 } else { self.failed.saturating_add(1) };
    }

    /// Opens a connection again. Returns how the client ended, if it does not come back.
    async fn come_back(
        &mut self,
        mut why: Disconnect,
        mut retry_after: Duration,
    ) -> Result<(Socket, Connected), Disconnect> {
        let Some(backoff) = self.reconnect else { return Err(why) };
        if why.code == Some(CloseCode::TokenRefused) {
            self.opener.token = None;
        }
        if !self.may_come_back(&why) {
            return Err(why);
        }
        loop {
            let retry_in = retry_after.saturating_add(backoff.delay(self.failed));
            self.shared.lock().connection_changed(Connection::Offline { why: why.clone(), retry_in });
            self.is_done();
            match self.attempt(retry_in).await? {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    self.failed = self.failed.saturating_add(1);
                    (why, retry_after) = (error.to_disconnect(), error.retry_after());
                    if error.is_final() {
                        return Err(why);
                    }
                }
            }
        }
    }

    fn may_come_back(&self, why: &Disconnect) -> bool {
        match why.code {
            Some(CloseCode::TokenRefused) => self.opener.is_renewable(),
            Some(code) => !code.is_final(),
            None => true,
        }
    }

    /// Tries once, after this time. Returns how the client ended, if it is ended meanwhile.
    async fn attempt(&mut self, retry_in: Duration) -> Result<Result<(Socket, Connected), Error>, Disconnect> {
        let Self { opener, commands, shared, waiting, done, .. } = self;
        // It needs memory only now and then.
        let mut attempt = Box::pin(async {
            sleep(retry_in).await;
            opener.open().await
        });
        loop {
            select! {
                result = &mut attempt => return Ok(result),
                command = commands.recv() => match command {
                    Some(Command::Ask(ask)) => wait(shared, waiting, ask),
                    Some(Command::Goodbye(end) | Command::Disconnect(end)) => {
                        *done = Some(end);
                        return Err(Disconnect::told("the client ended while it was not connected"));
                    }
                    // There is nothing to cut.
                    Some(Command::Abort(end)) => drop(end),
                    None => return Err(Disconnect::told("the client was dropped while it was not connected")),
                },
            }
        }
    }

    /// Tells who ended the connection that it is done.
    fn is_done(&mut self) {
        if let Some(done) = self.done.take() {
            // Who does not wait any more does not miss it.
            let _ = done.send(());
        }
    }
}

/// Keeps what is asked until there is a connection.
fn wait(shared: &Shared, waiting: &mut VecDeque<Box<Ask>>, ask: Box<Ask>) {
    if let Request::Unwatch { watch } = ask.request {
        // It is not restored, and so it has ended.
        shared.lock().book.unwatch(watch);
        let _ = ask.reply.send(Ok(Reply::default()));
        return;
    }
    waiting.retain(|ask| ask.is_wanted());
    waiting.push_back(ask);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_clients_fit_into_one_process() {
        fn size<F>(_: fn(Driver, Socket, Connected) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(Driver::run);
        assert!(size <= 4_096, "{size} bytes of a task");
    }
}
