//! The port of the sockets that a server holds itself.

use async_trait::async_trait;

use crate::identity::{ConnectionId, UserKey};
use crate::store::StoreError;

/// A socket of a client on this server. It is one of the user's connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Socket {
    /// The user.
    pub user: UserKey,
    /// The connection; its id is never used again, in no run of the server.
    pub connection: ConnectionId,
}

/// Remembers which sockets are open, for the next run of the server: they end with the process, however it ends.
///
/// Such a store remembers each connection that is said to have no end ([`News::unending`]) in the write that joins it
/// ([`States::join`]). So whatever it keeps after a power cut, it knows all of them.
///
/// [`News::unending`]: crate::presence::news::News::unending
/// [`States::join`]: crate::presence::ports::States::join
#[async_trait]
pub trait Sockets: Send + Sync {
    /// Forgets sockets. One that is not known is no error.
    async fn closed(&self, sockets: &[Socket]) -> Result<(), StoreError>;

    /// Some of the sockets that are remembered, at most so many; none if there is none.
    async fn open(&self, at_most: usize) -> Result<Vec<Socket>, StoreError>;
}
