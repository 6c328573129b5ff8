//! Pages of lists that are ordered by sid: a cursor, how many items, and what was found.

use std::ops::{Bound, RangeBounds};

/// Where in a list, ordered by sid, to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor<K> {
    /// At its beginning.
    Start,
    /// Right behind this sid, whether or not it is still there.
    After(K),
    /// With what comes right before this sid.
    Before(K),
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// Where it begins.
    pub position: Cursor<K>,
    /// How many items at most.
    pub limit: usize,
}

/// What was found for a [`PageRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In ascending order of sid, whichever way the list was read.
    pub items: Vec<T>,
    /// Whether there are more in the direction of the request: behind, or (for [`Cursor::Before`]) before these.
    pub more: bool,
}

impl<T> Page<T> {
    /// Nothing, and nothing more.
    pub const EMPTY: Self = Self { items: Vec::new(), more: false };
}

impl<K> PageRequest<K> {
    /// Whether the list is read from its end: then a store gives the items in descending order.
    pub fn is_backward(&self) -> bool {
        matches!(self.position, Cursor::Before(_))
    }

    /// How many items a store reads: one more than the page has, which tells whether there are more.
    pub fn read_limit(&self) -> usize {
        self.limit.saturating_add(1)
    }

    /// The page, from the items that a store has read: from the cursor on, in the direction of the request, up to
    /// [`PageRequest::read_limit`].
    pub fn page_of_read<T>(&self, mut read: Vec<T>) -> Page<T> {
        let more = read.len() > self.limit;
        read.truncate(self.limit);
        if self.is_backward() {
            read.reverse();
        }
        Page { items: read, more }
    }
}

impl<K: Copy + Ord> PageRequest<K> {
    /// The sids that the page can have.
    pub fn bounds(&self) -> (Bound<K>, Bound<K>) {
        match self.position {
            Cursor::Start => (Bound::Unbounded, Bound::Unbounded),
            Cursor::After(sid) => (Bound::Excluded(sid), Bound::Unbounded),
            Cursor::Before(sid) => (Bound::Unbounded, Bound::Excluded(sid)),
        }
    }

    /// The page, from items that were read in any order: the whole list, or the first [`PageRequest::read_limit`] of each
    /// of its parts.
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
            assert_eq!(page, Page { items: items.to_vec(), more }, "{position:?}");
        }
        let request = PageRequest { position: Cursor::Start, limit: 0 };
        assert_eq!(request.page_of_all(vec![1], |item| *item), Page { items: vec![], more: true });
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
            assert_eq!(request.page_of_read(read), Page { items: items.to_vec(), more }, "{position:?}");
        }
    }
}
