//! What Prometheus is told.

use std::sync::Arc;
use std::time::Duration;

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::metrics::Backlog;
use reachability_infra::clock;
use reachability_infra::prometheus::{Gauges, MetricsError, PrometheusMetrics};
use reachability_infra::push::providers::Providers;
use reachability_infra::sqlite::{Database, EventQueue, PushQueue, WebhookQueue};
use reachability_worker::Webhooks;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::warn;

/// How long the database may take. Prometheus waits ten seconds for everything by default.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// For how long what was read is told again, so that those who ask cannot make the server read more often.
const REUSED_FOR: Duration = Duration::from_secs(1);

/// What is told of the server.
pub(crate) struct Scrape {
    pub(crate) metrics: Arc<PrometheusMetrics>,
    pub(crate) database: Database,
    pub(crate) events: EventQueue,
    pub(crate) pushes: PushQueue,
    pub(crate) hooks: WebhookQueue,
    pub(crate) webhooks: Webhooks,
    pub(crate) providers: Arc<Providers>,
    /// What the database said last, and when it was asked. Held while it is asked, so that it is asked once for all.
    pub(crate) last: Mutex<Option<(Instant, Option<Backlog>)>>,
}

impl Scrape {
    /// All metrics, as text. Nothing is written. If the database does not answer, what it would say is missing: the rest may
    /// tell why.
    pub(crate) async fn text(&self) -> Result<String, MetricsError> {
        let backlog = self.backlog().await;
        let open_breakers = [("pushes", self.providers.open_breakers()), ("webhooks", self.webhooks.open_breakers())];
        let gauges =
            Gauges { version: env!("CARGO_PKG_VERSION"), open_breakers: &open_breakers, backlog: backlog.as_ref() };
        self.metrics.text(&gauges)
    }

    async fn backlog(&self) -> Option<Backlog> {
        let mut last = self.last.lock().await;
        if let Some((at, backlog)) = *last
            && at.elapsed() < REUSED_FOR
        {
            return backlog;
        }
        let queues = (&self.events, &self.pushes, &self.hooks);
        let backlog = match timeout(READ_WITHIN, self.database.backlog(queues, clock::now())).await {
            Ok(Ok(backlog)) => Some(backlog),
            Ok(Err(error)) => {
                warn!(error = %ErrorChain(&error), "the metrics of the database cannot be read");
                None
            }
            Err(_) => {
                warn!("the metrics of the database could not be read in time");
                None
            }
        };
        *last = Some((Instant::now(), backlog));
        backlog
    }
}
