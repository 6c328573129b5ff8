//! Moves the feed from the database to the fanout, as Lambda does with the table's stream.

use std::time::Duration;

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::store::StoreError;
use reachability_functions::event_stream::EventStream;
use reachability_infra::clock;
use reachability_infra::sqlite::SqliteFeed;
use reachability_worker::Fanout;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, sleep_until};
use tracing::{error, warn};

/// Maximum number of rows per batch.
const BATCH: usize = 1_000;

/// Delay before the next attempt after an error.
const PAUSE: Duration = Duration::from_secs(1);

/// How long changes are gathered before they are read: several share the cost of a read, and nobody outside waits for so
/// short a time.
const GATHER: Duration = Duration::from_millis(10);

/// How often changes are looked for that are too old for the log.
const DELETE_EVERY: Duration = Duration::from_secs(600);

/// How long after its delivery a row is acknowledged.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_secs(1);

/// Delivers the feed to the fanout and the event stream until `stop`. The current batch is finished first; the rest is
/// delivered after the next start.
pub(crate) async fn run(feed: SqliteFeed, fanout: Fanout, stream: EventStream, mut stop: watch::Receiver<bool>) {
    let mut delivered = Unacknowledged::default();
    let mut deletion = interval(DELETE_EVERY);
    while !*stop.borrow() {
        match deliver(&feed, &fanout, &stream, &mut delivered).await {
            Ok(Turn::Rest) => {
                let due = tokio::select! {
                    () = feed.written() => Some(Due::Delivery),
                    () = delivered.is_old() => Some(Due::Acknowledgement),
                    _ = deletion.tick() => Some(Due::Deletion),
                    _ = stop.wait_for(|stop| *stop) => None,
                };
                let done = match due {
                    None => Ok(()),
                    Some(Due::Delivery) => {
                        sleep(GATHER).await;
                        Ok(())
                    }
                    Some(Due::Acknowledgement) => delivered.acknowledge(&feed).await,
                    Some(Due::Deletion) => feed.delete_old(clock::now()).await,
                };
                if let Err(error) = done {
                    pause(&error).await;
                }
            }
            Ok(Turn::More) => {}
            // The fanout has logged it.
            Ok(Turn::Failed) => sleep(PAUSE).await,
            Err(error) => pause(&error).await,
        }
    }
    stream.close();
    if let Err(error) = delivered.acknowledge(&feed).await {
        warn!(error = %ErrorChain(&error), "some changes will be delivered again");
    }
}

/// What is due after everything was delivered.
enum Due {
    Delivery,
    Acknowledgement,
    Deletion,
}

/// How a turn ended.
enum Turn {
    /// Everything is delivered.
    Rest,
    /// There may be more.
    More,
    /// Something could not be delivered.
    Failed,
}

async fn deliver(
    feed: &SqliteFeed,
    fanout: &Fanout,
    stream: &EventStream,
    delivered: &mut Unacknowledged,
) -> Result<Turn, StoreError> {
    let rows = feed.undelivered(delivered.position, BATCH).await?;
    // What is written after this read wakes the loop again.
    let is_all = rows.len() < BATCH;
    if !rows.is_empty() {
        feed.flushed().await?;
    }
    let (ids, entries): (Vec<i64>, Vec<FeedEntry>) = rows.into_iter().map(|row| (row.id, row.entry)).unzip();
    let failed = fanout.handle(&entries).await;
    let count = failed.unwrap_or(ids.len());
    let rows = ids.iter().zip(&entries).take(count);
    stream.publish(rows.map(|(id, entry)| (id.cast_unsigned(), entry.notice.as_ref())));
    delivered.add(&ids[..count]);
    if delivered.rows >= BATCH {
        delivered.acknowledge(feed).await?;
    }
    Ok(match failed {
        Some(_) => Turn::Failed,
        None if is_all => Turn::Rest,
        None => Turn::More,
    })
}

/// Rows that were delivered and are not acknowledged yet. They are acknowledged together, since that is a write, and are
/// delivered again if the process is killed before.
#[derive(Default)]
struct Unacknowledged {
    /// The position of the last row that was delivered; `None` before the first.
    position: Option<i64>,
    rows: usize,
    since: Option<Instant>,
}

impl Unacknowledged {
    fn add(&mut self, ids: &[i64]) {
        if let Some(last) = ids.last() {
            self.position = Some(*last);
            self.rows += ids.len();
            self.since = self.since.or_else(|| Some(Instant::now()));
        }
    }

    /// Waits until it is time to acknowledge.
    async fn is_old(&self) {
        match self.since {
            Some(since) => sleep_until(since + ACKNOWLEDGE_AFTER).await,
            None => std::future::pending().await,
        }
    }

    async fn acknowledge(&mut self, feed: &SqliteFeed) -> Result<(), StoreError> {
        if let Some(position) = self.position.filter(|_| self.rows > 0) {
            feed.acknowledge(position, self.rows, clock::now()).await?;
            (self.rows, self.since) = (0, None);
        }
        Ok(())
    }
}

async fn pause(error: &StoreError) {
    error!(error = %ErrorChain(error), "the feed does not work");
    sleep(PAUSE).await;
}
