//! The sockets of clients: WebSockets on the listener's port, at [`PATH`] and at [`json::PATH`].

mod budget;
mod deletions;
mod driver;
mod fan_out;
mod frames;
mod hub;
pub(crate) mod json;
mod lanes;
mod open;
pub(crate) mod presence;
mod protocol;
mod registry;
mod requests;
mod twilsock;
mod upgrade;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use reachability_domain::ids::Ids;
use reachability_domain::metrics::Metrics;
use reachability_domain::time::Timestamp;
use reachability_functions::app::{App, Ports};
use reachability_functions::client;
use reachability_gateway::session::Cause;
use reachability_infra::clock;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

pub(crate) use self::deletions::EndingSockets;
pub(crate) use self::hub::Hub;
use self::presence::Presence;
pub(crate) use self::registry::{Limits, Registry};
pub(crate) use self::upgrade::{Doors, Io, Lent};

/// Where the vendor's clients open their sockets.
pub(crate) const PATH: &str = "/v3/wsconnect";

/// Over how long the closes of all sockets are spread when the server stops: their clients come back as spread out.
const DRAIN_FOR: Duration = Duration::from_secs(3);

/// The longest pause between two of them.
const DRAIN_PAUSE: Duration = Duration::from_millis(1);

/// How long that may take then.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// How much less than this the two clocks differ unless the time of day was set.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(1);

/// Settings of the protocols.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) twilsock: reachability_gateway::twilsock::Settings,
    pub(crate) json: reachability_gateway::json::Settings,
}

/// What sockets need.
pub(crate) struct Sockets {
    settings: Settings,
    registry: Arc<Registry>,
    hub: Arc<Hub>,
    json_hub: Arc<json::Hub>,
    presence: Presence,
    app: App,
    ports: Ports,
    router: Router,
    ids: Arc<dyn Ids>,
    metrics: Arc<dyn Metrics>,
    numbers: AtomicU64,
    started: Instant,
    started_at: Timestamp,
}

impl Sockets {
    pub(crate) fn new(
        settings: Settings,
        registry: Arc<Registry>,
        hub: Arc<Hub>,
        presence: Presence,
        (app, ports): (App, Ports),
        metrics: Arc<dyn Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            registry,
            json_hub: hub.json.clone(),
            hub,
            presence,
            router: client::router(app.clone()),
            app,
            ids: ports.ids.clone(),
            ports,
            metrics,
            numbers: AtomicU64::default(),
            started: Instant::now(),
            started_at: clock::now(),
        })
    }

    /// Closes all sockets. The listener must be closed: otherwise their clients come back at once.
    pub(crate) async fn drain(&self) {
        let mut open = self.registry.drain();
        if open.is_empty() {
            return;
        }
        info!(sockets = open.len(), "closing the sockets of clients");
        let started = Instant::now();
        let pause = (DRAIN_FOR / u32::try_from(open.len()).unwrap_or(u32::MAX)).min(DRAIN_PAUSE);
        for (wire, number) in open.iter().zip(0..) {
            wire.end(Cause::Draining);
            // A pause is at least as long as a tick of the timer, so there is not one for each.
            if let Some(early) = (pause * number).checked_sub(started.elapsed())
                && early > Duration::from_millis(2)
            {
                sleep(early).await;
            }
        }
        let deadline = Instant::now() + DRAIN_WITHIN;
        loop {
            open.retain(|wire| !wire.is_finished());
            if open.is_empty() {
                return;
            }
            if deadline < Instant::now() {
                warn!(sockets = open.len(), "some sockets were not closed in time");
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The time, by a clock that never goes back.
    fn now(&self) -> Timestamp {
        self.started_at.plus(self.started.elapsed())
    }

    /// A time of day by that clock. They differ after the time of day was set: what lasts for an hour does so by either.
    fn by_own_clock(&self, at: Timestamp) -> Timestamp {
        let (own, time_of_day) = (self.now(), clock::now());
        match (own.since(time_of_day), time_of_day.since(own)) {
            (ahead, _) if ahead >= CLOCKS_DIFFER_BY => at.plus(ahead),
            (_, behind) if behind >= CLOCKS_DIFFER_BY => at.minus(behind),
            // They are read one after the other.
            _ => at,
        }
    }

    /// When it is that time.
    fn instant(&self, at: Timestamp) -> Instant {
        self.started.checked_add(at.since(self.started_at)).unwrap_or_else(|| self.far())
    }

    /// So late that it never comes.
    fn far(&self) -> Instant {
        self.started + Duration::from_secs(86_400 * 365 * 30)
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}
