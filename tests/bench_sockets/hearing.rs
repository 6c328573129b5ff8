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

/// Counts what is heard of changes that each of some watchers is to hear once.
pub(crate) struct Tally {
    hearing: Hearing,
    heard: usize,
    unseen: usize,
    /// Changes that were heard twice, or by somebody else.
    strays: usize,
}

impl Tally {
    pub(crate) fn of(hearing: Hearing) -> Self {
        Self { hearing, heard: 0, unseen: 0, strays: 0 }
    }

    /// Waits until a change was heard so often as is wanted, by those of whom `is_wanted` says so.
    pub(crate) async fn hear(&mut self, wanted: usize, mut is_wanted: impl FnMut(&Change) -> bool) {
        let mut count = 0;
        while count < wanted {
            let Some(change) = self.hearing.next(Instant::now() + Duration::from_secs(5)).await else {
                self.unseen += wanted - count;
                break;
            };
            if is_wanted(&change) {
                count += 1;
            } else {
                self.strays += 1;
            }
        }
        self.heard += count;
    }

    /// The last cells of a table's row: what was heard of so much, and what was not, or not wanted, also if that comes late.
    pub(crate) async fn end(mut self, wanted: usize) -> String {
        while self.hearing.next(Instant::now() + Duration::from_secs(2)).await.is_some() {
            self.strays += 1;
        }
        format!("{} of {wanted} | {}, {}", self.heard, self.unseen, self.strays)
    }
}
