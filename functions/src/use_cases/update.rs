//! Changing a stored record with optimistic concurrency.

use std::future::Future;
use std::time::Duration;

use reachability_domain::ids::Ids;
use reachability_domain::store::StoreError;
use tokio::time::sleep;

/// How often a change is tried when others change the same record. It waits between two attempts, for a random time
/// that grows.
const ATTEMPTS: u32 = 32;

/// The longest wait between two attempts.
const MAX_WAIT: Duration = Duration::from_millis(128);

/// The place of a record that has a version.
pub(crate) trait Versioned: Send + Sync {
    type Record: Clone + PartialEq + Send + Sync;

    /// Reads the record; `None` if it does not exist.
    fn read(&self) -> impl Future<Output = Result<Option<Self::Record>, StoreError>> + Send;

    /// Writes the record back. [`StoreError::Conflict`] if it was written since it was read.
    fn replace(&mut self, record: &mut Self::Record) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Changes a record that was read and writes it back. If somebody else has changed the record in between, reads it and
/// changes it again, so that neither change is lost. Writes nothing if the change makes no difference. Returns the
/// changed record, or `None` if it was deleted.
pub(crate) async fn update<V, E>(
    mut place: V,
    ids: &dyn Ids,
    read: V::Record,
    change: impl Fn(&mut V::Record) -> Result<(), E> + Send + Sync,
) -> Result<Option<V::Record>, E>
where
    V: Versioned,
    E: From<StoreError>,
{
    let mut stored = read;
    for attempt in 1..=ATTEMPTS {
        let mut changed = stored.clone();
        change(&mut changed)?;
        if changed == stored {
            return Ok(Some(stored));
        }
        match place.replace(&mut changed).await {
            Ok(()) => return Ok(Some(changed)),
            // If it was deleted, the next read finds nothing.
            Err(StoreError::Conflict | StoreError::Missing) => {}
            Err(error) => return Err(error.into()),
        }
        if attempt < ATTEMPTS {
            sleep(ids.jitter(MAX_WAIT.min(Duration::from_millis(1 << attempt.min(16))))).await;
            match place.read().await? {
                Some(record) => stored = record,
                None => return Ok(None),
            }
        }
    }
    Err(StoreError::Conflict.into())
}
