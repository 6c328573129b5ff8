//! A message as delivered by a queue.

use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::queue::InvalidMessage;
use reachability_domain::time::Timestamp;

use crate::Failure;

/// A message as delivered by a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The queue's id for the message.
    pub id: String,
    /// The message's body.
    pub body: String,
    /// Number of earlier deliveries.
    pub attempts: u32,
    /// When the queue accepted it; `None` if unknown.
    pub accepted_at: Option<Timestamp>,
}

/// A parsed message, as its queue delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// [`Envelope::accepted_at`].
    pub accepted_at: Option<Timestamp>,
    /// Whether it may have been delivered before, and handled in part.
    pub is_repeated: bool,
}

impl<M> Received<M> {
    /// A message that is delivered for the first time, or again; when it was accepted is not known.
    pub fn new(message: M, is_repeated: bool) -> Self {
        Self { message, accepted_at: None, is_repeated }
    }
}

/// Parses messages and passes them to `handle`. Returns the indices of messages that failed, with the reason.
pub(crate) async fn open<M>(
    envelopes: &[Envelope],
    metrics: &dyn Metrics,
    parse: impl Fn(&[u8]) -> Result<M, InvalidMessage>,
    handle: impl AsyncFnOnce(Vec<Received<M>>) -> Vec<(usize, Failure)>,
) -> Vec<(usize, Failure)> {
    let mut failures = Vec::new();
    let mut places = Vec::with_capacity(envelopes.len());
    let mut messages = Vec::with_capacity(envelopes.len());
    for (place, envelope) in envelopes.iter().enumerate() {
        match parse(envelope.body.as_bytes()) {
            Ok(message) => {
                places.push(place);
                let Envelope { accepted_at, attempts, .. } = *envelope;
                messages.push(Received { message, accepted_at, is_repeated: attempts > 0 });
            }
            Err(error) => {
                metrics.count(Counter::EventsRefused);
                failures.push((place, error.into()));
            }
        }
    }
    let failed = handle(messages).await;
    failures.extend(failed.into_iter().map(|(index, failure)| (places[index], failure)));
    failures
}
