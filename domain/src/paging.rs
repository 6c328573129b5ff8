//! Pagination of lists that are ordered by sid.

use std::ops::{Bound, RangeBounds};

/// The position in a list at which a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor<K> {
    /// The beginning of the list.
    Start,
    /// Directly after this sid, whether or not the item still exists.
    After(K),
    /// Directly before this sid, reading backward.
    Before(K),
}

/// A request for one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// The position at which the page begins.
    pub position: Cursor<K>,
    /// Maximum number of items.
    pub limit: usize,
}

/// The page that answers a [`PageRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In ascending order of sid, whatever the direction of the request.
    pub items: Vec<T>,
    /// Whether more items exist in the direction of the request: after this page, or before it for [`Cursor::Before`]. They may
    /// exist if [`Page::looked_up_to`] says how far the store has come.
    pub more: bool,
    /// The bits of the sid at which the store stopped looking for items, before the page was full; `None` if it did not. The
    /// next page goes on from there instead of the last item.
    pub looked_up_to: Option<u128>,
}

impl<T> Page<T> {
    /// A page without items.
    pub const EMPTY: Self = Self { items: Vec::new(), more: false, looked_up_to: None };
}

impl<K> PageRequest<K> {
    /// Whether the request reads backward. A store must then read the items in descending order.
    pub fn is_backward(&self) -> bool {
        matches!(self.position, Cursor::Before(_))
    }

    /// How many items a store must read: one more than the page holds, to find out whether more exist.
    pub fn read_limit(&self) -> usize {
        self.limit.saturating_add(1)
    }

    /// Builds the page from the items that a store has read: starting at the cursor, in the direction of the request,
    /// up to [`PageRequest::read_limit`] items.
    pub fn page_of_read<T>(&self, mut read: Vec<T>) -> Page<T> {
        let more = read.len() > self.limit;
        read.truncate(self.limit);
        if self.is_backward() {
            read.reverse();
        }
        Page { items: read, more, looked_up_to: None }
    }
}

impl<K: Copy + Ord> PageRequest<K> {
    /// The range of sids that the page can contain.
    pub fn bounds(&self) -> (Bound<K>, Bound<K>) {
        match self.position {
            Cursor::Start => (Bound::Unbounded, Bound::Unbounded),
            Cursor::After(sid) => (Bound::Excluded(sid), Bound::Unbounded),
            Cursor::Before(sid) => (Bound::Unbounded, Bound::Excluded(sid)),
        }
    }

    /// Builds the page from items in any order: the whole list, or the first [`PageRequest::read_limit`] items of each
    /// of its shards.
    pub fn page_of_all<T>(&self, mut items: Vec<T>, sid: impl Fn(&T) -> K) -> Page<T> {
        let bounds = self.bounds();
        items.retain(|item| bounds.contains(&sid(item)));
        items.sort_by_key(&sid);
        if self.is_backward() {
            items.reverse();
        }
        self.page_of_read(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITIONS: [(Cursor<u8>, [u8; 2], bool); 6] = [
        (Cursor::Start, [1, 3], true),
        (Cursor::After(3), [5, 7], true),
        (Cursor::After(4), [5, 7], true),
        (Cursor::After(5), [7, 9], false),
        (Cursor::Before(9), [5, 7], true),
        (Cursor::Before(4), [1, 3], false),
    ];

    #[test]
    fn a_page_of_a_whole_list() {
        for (position, items, more) in POSITIONS {
            let request = PageRequest { position, limit: 2 };
            let page = request.page_of_all(vec![7, 3, 9, 1, 5], |item| *item);
            assert_eq!(page, Page { items: items.to_vec(), more, looked_up_to: None }, "{position:?}");
        }
        let request = PageRequest { position: Cursor::Start, limit: 0 };
        assert_eq!(request.page_of_all(vec![1], |item| *item), Page { items: vec![], more: true, looked_up_to: None });
    }

    #[test]
    fn a_page_of_what_a_store_read() {
        let list = [1, 3, 5, 7, 9];
        for (position, items, more) in POSITIONS {
            let request = PageRequest { position, limit: 2 };
            let bounds = request.bounds();
            let mut read: Vec<u8> = list.into_iter().filter(|item| bounds.contains(item)).collect();
            if request.is_backward() {
                read.reverse();
            }
            read.truncate(request.read_limit());
            assert_eq!(
                request.page_of_read(read),
                Page { items: items.to_vec(), more, looked_up_to: None },
                "{position:?}"
            );
        }
    }
}
