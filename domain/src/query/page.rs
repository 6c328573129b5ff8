//! Choosing the rows of a page.

use std::cmp::Ordering;

use crate::query::Query;
use crate::query::cursor::Position;
use crate::query::fields::Fields;

/// After how many rows over the limit those that are not on the page are dropped.
const SPARE: usize = 1_024;

/// With how many values a row is compared for what it counts.
pub const WEIGHT: usize = 50;

/// The rows that a query asks for, among those that it is offered. It keeps not many more than the page has.
#[derive(Debug)]
pub struct Selection<'a, R> {
    query: &'a Query,
    chosen: Vec<(Position, R)>,
    /// Whether a row was dropped that is after all chosen ones.
    more: bool,
    offered: usize,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<R> {
    /// The rows, in the order that was asked for.
    pub rows: Vec<R>,
    /// The cursor of the rows after them; `None` if there are none.
    pub cursor: Option<String>,
    /// How many rows were looked at. With a filter of more than [`WEIGHT`] values each counts as several.
    pub looked_at: usize,
}

impl<'a, R: Fields> Selection<'a, R> {
    /// Of this query.
    pub fn of(query: &'a Query) -> Self {
        Self { query, chosen: Vec::new(), more: false, offered: 0 }
    }

    /// Takes a row, if the query asks for it. Each row must be offered once.
    pub fn offer(&mut self, row: R) {
        self.offered += 1;
        if !self.query.filter.matches(&row) {
            return;
        }
        let position = self.query.sort.position(&row);
        let is_after = |after: &Position| self.query.sort.compare(&position, after) == Ordering::Greater;
        if self.query.after.as_ref().is_none_or(is_after) {
            self.chosen.push((position, row));
            if self.chosen.len() >= self.query.limit.saturating_add(SPARE) {
                self.cut();
            }
        }
    }

    /// Whether there are rows beyond the page. If rows are offered in the order of the sort, no others need be offered then.
    pub fn is_full(&self) -> bool {
        self.chosen.len() > self.query.limit || self.more
    }

    /// The page, if all rows were offered.
    pub fn page(mut self) -> Found<R> {
        self.cut();
        let last = self.chosen.last().filter(|_| self.more);
        let cursor = last.map(|(position, _)| position.cursor(&self.query.sort));
        Found {
            rows: self.chosen.into_iter().map(|(_, row)| row).collect(),
            cursor,
            looked_at: self.offered * self.query.filter.weight().div_ceil(WEIGHT),
        }
    }

    /// The page, if all rows up to `last` were offered, in the order of the sort, and others may follow.
    pub fn page_so_far(self, last: &Position) -> Found<R> {
        let sort = &self.query.sort;
        let page = self.page();
        Found { cursor: page.cursor.or_else(|| Some(last.cursor(sort))), ..page }
    }

    fn cut(&mut self) {
        self.chosen.sort_by(|(one, _), (other, _)| self.query.sort.compare(one, other));
        self.more |= self.chosen.len() > self.query.limit;
        self.chosen.truncate(self.query.limit);
    }
}
