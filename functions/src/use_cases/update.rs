//! Changing a stored record with optimistic concurrency.

use std::future::Future;
use std::time::Duration;

use reachability_domain::ids::Ids;
use reachability_domain::store::StoreError;
use tokio::time::sleep;

/// How often a change is tried when others change the same record, after waiting for a random time that grows.
const ATTEMPTS: u32 = 32;

/// How long it waits at most.
const MAX_WAIT: Duration = Duration::from_millis(128);

/// Where a record is that has a version.
pub(crate) trait Versioned: Send + Sync {
    /// The record.
    type Record: Clone + PartialEq + Send + Sync;

    /// Reads it; `None` if it is not there.
    fn read(&self) -> impl Future<Output = Result<Option<Self::Record>, StoreError>> + Send;

    /// Writes it back, unless somebody else has since it was read: that is [`StoreError::Conflict`].
    fn replace(&mut self, record: &mut Self::Record) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Changes a record as it was read and writes it back. If somebody else has changed it in between, it is read and changed
/// again, so that of two changes at the same time none is lost. What changes nothing writes nothing. Returns the record as
/// it is now; `None` if it is gone.
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
            // If it is gone, reading it again tells.
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
