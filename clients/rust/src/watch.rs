//! Watches: who a client hears of.

use std::sync::Arc;

use tokio::sync::mpsc::WeakUnboundedSender;

use crate::error::Error;
use crate::request::Request;
use crate::shared::{Command, Shared, ask};

/// A watch: while it is there, changes of its users are events of the client. It stays over reconnects. Dropping it stops it, without
/// waiting. It does not keep the client.
#[derive(Debug)]
#[must_use = "dropping a watch stops it"]
pub struct Watch {
    id: u64,
    commands: WeakUnboundedSender<Command>,
    shared: Arc<Shared>,
    is_stopped: bool,
}

impl Watch {
    pub(crate) fn new(id: u64, commands: WeakUnboundedSender<Command>, shared: Arc<Shared>) -> Self {
        Self { id, commands, shared, is_stopped: false }
    }

    /// The number of the request that began it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Stops it, and waits until the server has: after that, no event is of this watch alone.
    ///
    /// # Errors
    /// [`Error::Timeout`], and what the server refuses with. It is stopped for this client all the same.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.is_stopped = true;
        // Without the client there is no watch.
        let Some(commands) = self.commands.upgrade() else { return Ok(()) };
        match ask(&commands, &self.shared, Request::Unwatch { watch: self.id }).await {
            Ok(_) | Err(Error::Closed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_stopped
            && let Some(commands) = self.commands.upgrade()
        {
            // If nobody receives it, the client has ended, and the watch with it.
            let _ = commands.send(Command::ask(Request::Unwatch { watch: self.id }).0);
        }
    }
}
