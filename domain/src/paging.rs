//! Pages of lists that are ordered by sid: a cursor, how many items, and what was found.

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

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// Where it begins.
    pub position: Cursor<K>,
    /// How many items at most.
    pub limit: usize,
}

/// What was found in a [`PageRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In ascending order of sid, whichever way the window was given.
    pub items: Vec<T>,
    /// Whether there are more in the direction of the window: behind, or (for [`Cursor::Before`]) before these.
    pub more: bool,
}

impl<K: Copy + Ord> PageRequest<K> {
    /// What it shows of a whole list.
    pub fn show<T>(self, mut items: Vec<T>, sid: impl Fn(&T) -> K) -> Page<T> {
        items.sort_by_key(&sid);
        let (mut start, mut end) = (0, items.len());
        match self.position {
            Cursor::Start => {}
            Cursor::After(bound) => start = items.partition_point(|item| sid(item) <= bound),
            Cursor::Before(bound) => end = items.partition_point(|item| sid(item) < bound),
        }
        let more = end - start > self.limit;
        match self.position {
            Cursor::Before(_) => start = start.max(end.saturating_sub(self.limit)),
            _ => end = end.min(start.saturating_add(self.limit)),
        }
        Page { items: items.drain(start..end).collect(), more }
    }
}
