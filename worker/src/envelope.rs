//! A message as a queue delivers it.

use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::queue::InvalidMessage;
use reachability_domain::time::Timestamp;

use crate::Failure;

/// A message as a queue delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The queue's name for it.
    pub id: String,
    /// What was sent.
    pub body: String,
    /// How often it was delivered before.
    pub attempts: u32,
    /// When the queue accepted it; `None` if that is not known.
    pub accepted_at: Option<Timestamp>,
}

/// Reads messages and has them handled. Returns the indices of those that were not, with the reason, as `handle` does.
pub(crate) async fn open<M>(
    envelopes: &[Envelope],
    metrics: &dyn Metrics,
    parse: impl Fn(&[u8]) -> Result<M, InvalidMessage>,
    handle: impl AsyncFnOnce(Vec<M>) -> Vec<(usize, Failure)>,
) -> Vec<(usize, Failure)> {
    let mut failures = Vec::new();
    let mut places = Vec::with_capacity(envelopes.len());
    let mut messages = Vec::with_capacity(envelopes.len());
    for (place, envelope) in envelopes.iter().enumerate() {
        match parse(envelope.body.as_bytes()) {
            Ok(message) => {
                places.push(place);
                messages.push(message);
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
