//! The port of those who hear of a change when it is stored, before it survives a power cut.

use crate::channel::ports::MembersChange;
use crate::presence::feed::FeedEntry;

/// Hears what writes lead to, once each is committed: for watchers on sockets of this machine, which end with it. Everybody
/// else is told from the feed.
pub trait AtCommit: Send + Sync {
    /// The entries of one write, in their order; at least one. The writes come in the order of their commits. The next write
    /// waits until this returns, so it must be quick, and must not panic: without the writer's thread nothing is stored.
    ///
    /// It is not called for what was committed before the process was started.
    fn committed(&self, entries: Vec<FeedEntry>);

    /// A write changed who is a member of a channel. It is called like [`AtCommit::committed`], and in one order with it. That
    /// a service was deleted, with its channels, is not told here.
    fn members_changed(&self, change: &MembersChange) {
        let _ = change;
    }
}
