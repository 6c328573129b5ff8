//! Requests that are not answered yet.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::answers::Reply;
use crate::error::Error;
use crate::request::Target;
use crate::user::User;

/// What a request is for.
pub(crate) enum Purpose {
    /// Somebody waits for the answer.
    Asked { reply: oneshot::Sender<Result<Reply, Error>>, is_unwatch: bool },
    /// To restore the watches.
    Restore,
    /// To give a new token.
    Token,
    /// To hear whether the server is there.
    Alive,
}

/// A request that was sent, and what came of its answer.
pub(crate) struct Pending {
    pub(crate) purpose: Purpose,
    /// What it watches.
    pub(crate) target: Option<Target>,
    /// Whether it is one of the few that the server takes at a time.
    pub(crate) is_limited: bool,
    pub(crate) users: Vec<Arc<User>>,
    pub(crate) members: HashMap<Arc<str>, Vec<Arc<str>>>,
}

impl Pending {
    pub(crate) fn new(purpose: Purpose) -> Self {
        Self { purpose, target: None, is_limited: false, users: Vec::new(), members: HashMap::new() }
    }

    /// Tells who waits.
    pub(crate) fn refused(self, error: Error) {
        if let Purpose::Asked { reply, .. } = self.purpose {
            // Who does not wait any more does not miss it.
            let _ = reply.send(Err(error));
        }
    }

    /// Tells who waits. A watch that was being stopped has ended, since it is not restored.
    pub(crate) fn connection_lost(self) {
        match self.purpose {
            Purpose::Asked { reply, is_unwatch: true } => {
                let _ = reply.send(Ok(Reply::default()));
            }
            _ => self.refused(Error::ConnectionLost),
        }
    }
}
