//! Queries for users and for channels: which rows ([`filter`]), in which order ([`sort`]), and where a page begins
//! ([`cursor`]). REST and the socket read them from the same JSON.
//!
//! All of it is pure. A store reads rows by an index that the filter allows ([`plan`]), and [`page`] chooses those that
//! the query asks for.

pub mod cursor;
pub mod fields;
pub mod filter;
pub mod page;
pub mod plan;
pub mod sort;

use crate::query::cursor::Position;
use crate::query::filter::Filter;
use crate::query::sort::Sort;

/// Which rows are wanted, in which order, and how many.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Which rows.
    pub filter: Filter,
    /// Their order.
    pub sort: Sort,
    /// How many at most.
    pub limit: usize,
    /// Only those after this position; `None` from the beginning.
    pub after: Option<Position>,
}
