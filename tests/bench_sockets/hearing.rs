//! What watchers hear, while somebody waits for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout_at;

use crate::peer::{Change, Heard, PATIENCE};

/// Everything that the watchers of a benchmark hear.
pub(crate) struct Hearing {
    changes: UnboundedReceiver<Change>,
    /// Who is online, as was heard last.
    online: BTreeMap<usize, bool>,
    /// How often somebody was heard to go offline.
    pub(crate) offline: usize,
}

impl Hearing {
    /// With where the watchers tell it.
    pub(crate) fn new() -> (Heard, Self) {
        let (heard, changes) = Heard::new();
        (heard, Self { changes, online: BTreeMap::new(), offline: 0 })
    }

    /// The next change; `None` if there is none until then.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Option<Change> {
        let change = timeout_at(deadline.into(), self.changes.recv()).await.ok()??;
        self.online.insert(change.user, change.online);
        self.offline += usize::from(!change.online);
        Some(change)
    }

    /// Waits until this change is heard. `None` if it is not.
    pub(crate) async fn wait(&mut self, user: usize, online: bool) -> Option<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let change = self.next(deadline).await?;
            if (change.user, change.online) == (user, online) {
                return Some(change.at);
            }
        }
    }

    /// Listens until nothing was heard for so long.
    pub(crate) async fn settle(&mut self, quiet: Duration) {
        while self.next(Instant::now() + quiet).await.is_some() {}
    }

    /// How many are online, as was heard last.
    pub(crate) fn count_online(&self) -> usize {
        self.online.values().filter(|online| **online).count()
    }
}
