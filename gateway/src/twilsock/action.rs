//! What a session tells its shell to do.

use bytes::Bytes;
use reachability_domain::directory::access_token::Grant;
use reachability_domain::secret::Secret;

use crate::twilsock::input::RequestNumber;

/// Something to do. Actions are done in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send one WebSocket message: of type text if the client's last one was, else binary.
    Send(Bytes),
    /// Verify the token, count the socket against the limits, register it, and let its connection begin: when the client
    /// hears that it is open, it reads itself as online. Then give [`Input::Opened`](super::Input::Opened).
    Open {
        /// The access token.
        token: Secret,
        /// The continuation token of an earlier socket of the same client.
        continuation_token: Option<String>,
        /// What the client runs on.
        device: Option<String>,
    },
    /// Verify the token. Then give [`Input::Verified`](super::Input::Verified).
    Verify {
        /// The access token.
        token: Secret,
    },
    /// The client has a new token, of the same user: from now on the socket is one of this grant's key.
    Renewed(Grant),
    /// Handle a request of the client. Then give [`Input::Answered`](super::Input::Answered).
    Request {
        /// Names the request.
        request: RequestNumber,
        /// The request.
        http: UpstreamRequest,
    },
    /// Register watches, before anything else is done for the session. Then read the maps, so that no change is missed
    /// between, and give [`Input::Subscribed`](super::Input::Subscribed).
    Subscribe {
        /// Names the request.
        request: RequestNumber,
        /// The maps.
        maps: Vec<Asked>,
    },
    /// Remove watches.
    Unsubscribe {
        /// The maps, as the client names them.
        maps: Vec<String>,
    },
    /// The client said goodbye: its connection ends now, without a grace period.
    Goodbye,
    /// Close the WebSocket, after what was sent. Nothing follows: further inputs lead to nothing. Without a
    /// [`Action::Goodbye`] before it, the connection of the session ends as a lost one.
    Close {
        /// The code of the close frame.
        code: u16,
        /// The reason in the close frame.
        reason: &'static str,
    },
}

/// A request of a client, as it would come over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// Upper-case letters.
    pub method: String,
    /// Begins with a slash; percent-encoded.
    pub path: String,
    /// Percent-encoded; empty if there is none.
    pub query: String,
    /// The media type of the body.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// A map that a client wants to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The map, as the client names it: by sid or by unique name.
    pub object_sid: String,
    /// The sequence that the client has seen of it; `None`: nothing.
    pub last_event_id: Option<u64>,
}
