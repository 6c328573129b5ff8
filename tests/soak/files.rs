//! How large the server's files and its memory become.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reachability_tests::measure::resident_memory;
use tokio::time::sleep;

use crate::world::{LOG_ROWS, WAITING_EVENTS, World};

/// The log of the database is moved from 64 MiB on, and writes wait from 128 MiB on. One more commit may be on its way.
const WRITE_AHEAD_LOG: u64 = (128 + 16) << 20;

/// What a row of each kind takes at most in this soak, with its entries in indices.
const USER: u64 = 8 << 10;
const CHANGE: u64 = 2 << 10;
const WAITING_EVENT: u64 = 1 << 10;
const WEBHOOK: u64 = 4 << 10;

/// What a database takes that has nothing.
const EMPTY: u64 = 4 << 20;

/// The most that each file has had, and the memory of the processes.
pub(crate) struct Sizes {
    pub(crate) files: RefCell<BTreeMap<String, u64>>,
    /// In KiB: at the beginning, at most, and at the end.
    pub(crate) memory: [Cell<u64>; 3],
}

/// The size of a file; 0 if it is not there.
pub(crate) fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

impl Sizes {
    pub(crate) fn begin(world: &World) -> Self {
        let memory = resident_memory(world.pid().unwrap());
        Self { files: RefCell::default(), memory: [memory; 3].map(Cell::new) }
    }

    /// Looks again and again until everything is judged.
    pub(crate) async fn watch(&self, world: &World) {
        while !world.is_done.get() {
            self.look(world);
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn look(&self, world: &World) {
        let mut files = self.files.borrow_mut();
        for file in std::fs::read_dir(world.data()).unwrap() {
            let file = file.unwrap();
            let most = files.entry(file.file_name().to_string_lossy().into_owned()).or_default();
            *most = size(&file.path()).max(*most);
        }
        if let Some(pid) = world.pid() {
            let memory = resident_memory(pid);
            self.memory[1].set(self.memory[1].get().max(memory));
            self.memory[2].set(memory);
        }
    }

    /// The most that a file may have; `None` if nobody knows of it.
    pub(crate) fn limit(world: &World, file: &str) -> Option<u64> {
        match file {
            "reachability.db" => {
                let users = world.ledger.people().len() as u64;
                let changes: usize = world.changes.iter().map(|changes| changes.borrow().len()).sum();
                // All webhooks may wait while the receiver is away.
                let waiting = WAITING_EVENT * WAITING_EVENTS as u64 + WEBHOOK * changes as u64;
                Some(EMPTY + USER * users + CHANGE * (2 * LOG_ROWS) as u64 + waiting)
            }
            "reachability.db-wal" => Some(WRITE_AHEAD_LOG),
            // 32 KiB for 4,096 pages of the log.
            "reachability.db-shm" => Some(WRITE_AHEAD_LOG / 4_096 / 4_096 * (32 << 10) + (64 << 10)),
            "account.json" | "credentials.key" | "lock" => Some(4 << 10),
            _ => None,
        }
    }
}
