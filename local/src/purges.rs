//! Removes the records of deleted services, beside everything else that the server does.

use std::sync::Arc;
use std::time::Instant;

use reachability_infra::sqlite::SqliteStore;
use tokio::time::sleep;
use tracing::info;

use crate::consumer::pause;

/// Removes what deleted services leave behind, also what earlier runs did not come to. It never ends.
pub(crate) async fn run(store: Arc<SqliteStore>) {
    let mut removed = 0;
    loop {
        let started = Instant::now();
        match store.purge_some().await {
            Ok(Some(rows)) => {
                removed += rows;
                // The writer has at least half of its time for others.
                sleep(started.elapsed()).await;
            }
            Ok(None) => {
                if removed > 0 {
                    info!(rows = removed, "the records of deleted services were removed");
                    removed = 0;
                }
                store.service_deleted().await;
            }
            Err(error) => pause(&error).await,
        }
    }
}
