//! Reading rows for a query, within a limit.

use std::future::Future;

use reachability_domain::query::Query;
use reachability_domain::query::cursor::{InvalidCursor, Position};
use reachability_domain::query::fields::Fields;
use reachability_domain::query::page::{Found, Selection};
use reachability_domain::store::StoreError;
use tokio::task::yield_now;

/// How many rows a query may look at. In the order of their keys it can go on from there; in any other order, all rows must
/// be within it.
pub const MAX_SCANNED: usize = 10_000;

/// How many rows are read at once.
const AT_ONCE: usize = 1_000;

/// With about how many values rows are compared before others go on.
const COMPARED_AT_ONCE: usize = 5_000;

/// Why a query is not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No index answers it, and there are more rows than [`MAX_SCANNED`].
    #[error("no index answers this filter and sort, and there are more than {MAX_SCANNED} to look at")]
    TooBroad,
    /// The cursor names nothing that could exist.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The store failed. [`StoreError::NotSupported`]: this deployment's store cannot answer such a query.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where rows are read, in the order of their keys.
pub(super) trait Source: Sync {
    type Row: Fields + Send;

    /// Reads rows after this key, at most so many. Fewer only if there are no more.
    fn read(
        &self,
        after: Option<&str>,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<Self::Row>, QueryError>> + Send;
}

/// Answers a query from rows that are read until the page is complete.
pub(super) async fn scan<S: Source>(source: &S, query: &Query) -> Result<Found<S::Row>, QueryError> {
    let in_order = query.sort.is_by_key();
    // One more shows that there are too many.
    let most = if in_order { MAX_SCANNED } else { MAX_SCANNED + 1 };
    let mut selection = Selection::of(query);
    let mut last = query.after.clone().filter(|_| in_order);
    let (mut read, mut at_once) = (0, query.limit.saturating_add(1).min(AT_ONCE));
    loop {
        let asked = at_once.min(most - read);
        let rows = source.read(last.as_ref().map(Position::key), asked).await?;
        read += rows.len();
        let is_end = rows.len() < asked;
        last = rows.last().map(|row| query.sort.position(row)).or(last);
        offer(&mut selection, rows, query).await;
        if is_end || (in_order && selection.is_full()) {
            return Ok(selection.page());
        }
        if read == most {
            let last = last.filter(|_| in_order).ok_or(QueryError::TooBroad)?;
            return Ok(selection.page_so_far(&last));
        }
        at_once = (2 * at_once).min(AT_ONCE);
    }
}

/// Answers a query from these rows, which were found under so many keys.
pub(super) async fn select<R: Fields>(rows: Vec<R>, keys: usize, query: &Query) -> Found<R> {
    let mut selection = Selection::of(query);
    offer(&mut selection, rows, query).await;
    let found = selection.page();
    // What is not there was looked for as well.
    Found { looked_at: found.looked_at.max(keys), ..found }
}

/// Offers rows, and lets others go on now and then: to compare many takes long.
async fn offer<R: Fields>(selection: &mut Selection<'_, R>, rows: Vec<R>, query: &Query) {
    let at_once = (COMPARED_AT_ONCE / query.filter.weight()).max(1);
    for (number, row) in rows.into_iter().enumerate() {
        if number % at_once == at_once - 1 {
            yield_now().await;
        }
        selection.offer(row);
    }
}
