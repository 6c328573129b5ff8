//! Webhooks: [`WebhookOutbox`] queues what the feed says, and [`Webhooks`] delivers what is in the queue.

mod breakers;
mod deliver;
mod outbox;
mod targets;

pub use self::deliver::{WebhookOutcome, WebhookPorts, Webhooks};
pub use self::outbox::WebhookOutbox;
