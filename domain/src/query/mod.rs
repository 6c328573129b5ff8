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

use crate::query::cursor::{InvalidCursor, Position};
use crate::query::fields::Kind;
use crate::query::filter::{Filter, InvalidFilter};
use crate::query::sort::{InvalidSort, Sort};

/// Which rows are wanted, in which order, and how many.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Which rows.
    pub filter: Filter,
    /// Their order.
    pub sort: Sort,
    /// How many at most; at least one.
    pub limit: usize,
    /// Only those after this position; `None` from the beginning.
    pub after: Option<Position>,
}

/// Why a query cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    /// The filter.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// The sort.
    #[error(transparent)]
    Sort(#[from] InvalidSort),
    /// The cursor.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
}

impl Query {
    /// Reads a query. `null` is the filter that every row matches, and the sort by the rows' key.
    ///
    /// # Errors
    /// If a part of it is not valid.
    pub fn parse(
        kind: Kind,
        filter: &serde_json::Value,
        sort: &serde_json::Value,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Self, InvalidQuery> {
        let filter = if filter.is_null() { Filter::everything(kind) } else { Filter::parse(filter, kind)? };
        let sort = Sort::parse(sort, kind)?;
        let after = cursor.map(|cursor| Position::parse(cursor, &sort)).transpose()?;
        Ok(Self { filter, sort, limit: limit.max(1), after })
    }
}
