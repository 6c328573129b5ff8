//! What a session tells its shell to do.

use bytes::Bytes;
use reachability_domain::directory::access_token::Grant;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::secret::Secret;

use crate::json::command::Command;
use crate::json::input::RequestNumber;

/// Something to do. Actions are done in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send one WebSocket message, of type text.
    Send(Bytes),
    /// Verify the token, count the socket against the limits, register it, and let its connection begin, with what its user
    /// wants to show: nobody sees anything else in between. Then give [`Input::Opened`](super::Input::Opened).
    Open {
        /// The access token.
        token: Secret,
        /// The continuation token of an earlier socket of the same client.
        continuation_token: Option<String>,
        /// What the user wants to show.
        disclose: Disclose,
        /// What the client calls its device: not empty, at most [`MAX_DEVICE`](super::settings::MAX_DEVICE) bytes.
        device: Option<String>,
    },
    /// Verify the token. Then give [`Input::Verified`](super::Input::Verified).
    Verify {
        /// The access token.
        token: Secret,
    },
    /// The client has a new token, of the same user: from now on the socket is one of this grant's key.
    Renewed(Grant),
    /// Do what the client asks for. Then give [`Input::Done`](super::Input::Done).
    Do {
        /// Names the request, and the watch if it begins one.
        request: RequestNumber,
        /// What the client asks for.
        command: Command,
    },
    /// The client said goodbye: its connection ends now, without a grace period.
    Goodbye,
    /// Close the WebSocket, after what was sent ([`Closing`](super::Closing)). Nothing follows: further inputs lead to nothing.
    /// Without a [`Action::Goodbye`] before it, the connection of the session ends as a lost one.
    Close {
        /// The code of the close frame.
        code: u16,
        /// The reason in the close frame.
        reason: &'static str,
    },
}
