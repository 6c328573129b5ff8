//! The upkeep of the database while the server runs: its log is moved into it when nothing is written, and what no request can
//! repair ends the process.

use std::convert::Infallible;
use std::time::Duration;

use reachability_domain::error_chain::ErrorChain;
use reachability_infra::sqlite::{Database, FileLost, WriterPanicked};
use tokio::time::sleep;
use tracing::warn;

/// How often the files are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// For how long nothing must have been written before the log is moved.
const IDLE: Duration = Duration::from_secs(5);

/// How long after a failure the log is not moved.
const PAUSE: Duration = Duration::from_secs(60);

/// Why the database cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseLost {
    #[error(transparent)]
    Panicked(#[from] WriterPanicked),
    #[error(transparent)]
    File(#[from] FileLost),
}

/// Looks after the database until it cannot be used any more. Returns why.
pub(crate) async fn run(database: &Database) -> DatabaseLost {
    tokio::select! {
        panicked = database.panicked() => panicked.into(),
        lost = look(database) => lost.into(),
        never = move_logs(database) => match never {},
    }
}

/// Returns once a file is lost.
async fn look(database: &Database) -> FileLost {
    loop {
        sleep(LOOK_EVERY).await;
        if let Err(lost) = database.check_files().await {
            return lost;
        }
    }
}

/// Moves the log once nothing was written for a while, and again after later writes. What an earlier run has left is moved,
/// too. A check whether the server is ready is no write: it has nothing to move.
async fn move_logs(database: &Database) -> Infallible {
    let (mut before, mut moved) = (database.writes(), None);
    loop {
        sleep(IDLE).await;
        let writes = database.writes();
        if writes == before && moved != Some(writes) {
            match database.move_log().await {
                Ok(is_all) => moved = is_all.then_some(writes),
                Err(error) => {
                    warn!(error = %ErrorChain(&error), "the log of the database could not be moved to it");
                    sleep(PAUSE).await;
                }
            }
        }
        before = writes;
    }
}

#[cfg(test)]
mod tests;
