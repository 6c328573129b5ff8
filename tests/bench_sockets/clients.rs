//! Our own clients for Rust.

use std::time::Instant;

use reachability_client::{Backoff, Client, Event, Frames, Options};
use tokio::sync::mpsc::UnboundedSender;

use crate::json::PATH;
use crate::ours::Ours;
use crate::peer::Peer;

/// Connects as this user. The client comes back if it loses its connection.
pub(crate) async fn connect(ours: &Ours, identity: &str) -> Client {
    let options = Options {
        reconnect: Some(Backoff::default()),
        event_capacity: 16,
        ..Options::new(format!("ws://{}{PATH}", ours.address()), ours.token(identity))
    };
    Client::connect(options).await.unwrap()
}

/// What a client told, and when.
#[derive(Debug)]
pub(crate) struct Told {
    /// The number of the client.
    pub(crate) client: usize,
    pub(crate) at: Instant,
    pub(crate) event: Event,
}

/// Passes on what a client tells from now on.
pub(crate) fn listen(client: &Client, number: usize, told: &UnboundedSender<Told>) {
    let (mut events, told) = (client.events(), told.clone());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if told.send(Told { client: number, at: Instant::now(), event }).is_err() {
                return;
            }
        }
    });
}

/// What these clients have sent and received together.
pub(crate) fn frames(clients: &[Client]) -> Frames {
    clients.iter().map(Client::frames).fold(Frames::default(), |sum, one| Frames {
        sent: sum.sent + one.sent,
        received: sum.received + one.received,
        events: sum.events + one.events,
        bytes_received: sum.bytes_received + one.bytes_received,
    })
}
