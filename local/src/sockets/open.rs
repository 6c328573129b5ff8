//! How a session opens: the token is verified, the socket is counted and registered, and its user is online.

use std::sync::Arc;

use reachability_domain::directory::access_token::Grant;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::network::Network;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::EndReason;
use reachability_domain::presence::sockets::Socket;
use reachability_domain::secret::Secret;
use reachability_functions::access_token::{self, VerifyError};
use reachability_gateway::session::{Cause, Opened, Refusal};
use reachability_infra::clock;
use tracing::{debug, warn};

use super::Sockets;
use super::presence::Hello;
use super::registry::{Deletions, Known, NotAdded};
use super::wire::Wire;

/// How continuation tokens begin.
const CONTINUATION: &str = "CT-";

/// What a client opens its session with.
pub(super) struct Opening {
    pub(super) token: Secret,
    /// The continuation token of an earlier socket of the same client.
    pub(super) continues: Option<String>,
    /// What the user wants to show from now on.
    pub(super) disclose: Disclose,
    /// What the client calls its device.
    pub(super) device: Option<String>,
}

/// An open session's place among the sockets, and its user's connection. Dropping it ends both.
pub(super) struct Joined {
    sockets: Arc<Sockets>,
    pub(super) known: Known,
    /// Why the connection ends; `None` if it did not begin.
    pub(super) reason: Option<EndReason>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.sockets.registry.remove(&self.known);
        // Those that the server closes when it stops end with its next start: their clients may be back by then.
        if let Some(reason) = self.reason
            && !(reason == EndReason::ServerClosed && self.sockets.registry.is_draining())
        {
            self.sockets.presence.disconnect(self.known.socket.clone(), reason);
        }
    }
}

/// The older socket of a client that opens a new one. It is no longer among the sockets, so it ends with this, whatever becomes
/// of the new one.
struct Superseded {
    known: Known,
    /// Whether the new connection has begun. Otherwise the older one is lost: the client comes back.
    is_replaced: bool,
}

impl Drop for Superseded {
    fn drop(&mut self) {
        if self.is_replaced {
            self.known.wire.end(Cause::Superseded);
        } else {
            self.known.wire.cut();
        }
    }
}

/// Opens the session of a client in this network.
pub(super) async fn open(
    sockets: Arc<Sockets>,
    wire: Arc<Wire>,
    from: Network,
    Opening { token, continues, disclose, device }: Opening,
) -> Result<(Opened, Joined), Refusal> {
    let continues = continues.and_then(|token| u128::from_str_radix(token.strip_prefix(CONTINUATION)?, 16).ok());
    let (grant, mut joined, mut superseded) = loop {
        let (grant, deletions) = verify(&sockets, from, &token).await?;
        let socket = Socket { user: grant.user.clone(), connection: sockets.presence.new_connection() };
        let token = sockets.ids.random();
        let known = Known { wire: wire.clone(), socket, key: grant.key, token, since: clock::now() };
        match sockets.registry.add(known.clone(), continues, deletions) {
            Ok(superseded) => {
                let superseded = superseded.map(|known| Superseded { known, is_replaced: false });
                break (grant, Joined { sockets: sockets.clone(), known, reason: None }, superseded);
            }
            Err(NotAdded::Outdated) => {}
            Err(NotAdded::TooMany(too_many)) => {
                debug!(reason = %too_many, "a client is refused");
                sockets.metrics.add(too_many.1);
                return Err(Refusal::Limit);
            }
            Err(NotAdded::Draining) => return Err(Refusal::Unavailable),
        }
    };
    let hello = Hello { socket: joined.known.socket.clone(), device, wish: disclose };
    if let Err(error) = sockets.presence.connect(hello).await {
        warn!(error = %ErrorChain(&error), "a connection could not be stored");
        return Err(Refusal::Unavailable);
    }
    joined.reason = Some(EndReason::ConnectionLost);
    // After the new connection has begun, so that nobody sees the user offline in between.
    if let Some(older) = &mut superseded {
        older.is_replaced = true;
    }
    let continuation_token = format!("{CONTINUATION}{:032x}", joined.known.token);
    Ok((Opened { grant, continuation_token, reissued: superseded.is_none() }, joined))
}

/// Verifies another token of an open socket, and counts the socket among those of the token's key.
pub(super) async fn renew(sockets: &Sockets, known: &Known, from: Network, token: &Secret) -> Result<Grant, Refusal> {
    loop {
        let (grant, deletions) = verify(sockets, from, token).await?;
        // The session refuses the token of another user.
        if grant.user != known.socket.user || sockets.registry.renew(known, grant.key, deletions) {
            return Ok(grant);
        }
    }
}

/// What a token grants, as of what was deleted until then.
async fn verify(sockets: &Sockets, from: Network, token: &Secret) -> Result<(Grant, Deletions), Refusal> {
    let deletions = sockets.registry.deletions();
    match access_token::verify(&sockets.app, from, token.expose()).await {
        Ok(grant) => Ok((Grant { expires_at: sockets.by_own_clock(grant.expires_at), ..grant }, deletions)),
        Err(VerifyError::Token(error)) => Err(Refusal::Token(error)),
        Err(VerifyError::TooMany) => Err(Refusal::WrongTokens),
        Err(VerifyError::Store(error)) => {
            warn!(error = %ErrorChain(&error), "a token could not be verified");
            Err(Refusal::Unavailable)
        }
    }
}
