//! What is so at the moment, and not counted.

use prometheus::proto::MetricFamily;
use prometheus::{Gauge, Opts, Registry};
use reachability_domain::metrics::{Backlog, Counter};

use super::PrometheusMetrics;

/// What is so at the moment.
#[derive(Debug, Clone, Copy)]
pub struct Gauges<'a> {
    /// The version of the program.
    pub version: &'a str,
    /// How many breakers are open, by the kind of requests that they hold back.
    pub open_breakers: &'a [(&'a str, usize)],
    /// What waits and how much is stored; `None` if the database did not say.
    pub backlog: Option<&'a Backlog>,
}

impl Gauges<'_> {
    /// As metrics of Prometheus.
    pub(super) fn families(&self, counted: &PrometheusMetrics) -> Result<Vec<MetricFamily>, prometheus::Error> {
        let now = Now(Registry::new());
        now.set("reachability_build_info", "The version of the program.", Some(("version", self.version)), 1.0)?;
        // An end may be counted between the two looks, but not before its beginning.
        let open = |ended, begun| {
            let ended = counted.counted(ended);
            number(counted.counted(begun).saturating_sub(ended))
        };
        let sockets = open(Counter::SocketsClosed, Counter::SocketsOpened);
        now.set("reachability_sockets_open", "Sockets that are open.", None, sockets)?;
        let watches = open(Counter::WatchesEnded, Counter::WatchesBegun);
        now.set("reachability_watches_open", "Watches that sockets have.", None, watches)?;
        let breakers = "Providers and receivers of webhooks to which only trials are sent, since they failed.";
        for (kind, open) in self.open_breakers {
            now.set("reachability_open_breakers", breakers, Some(("kind", kind)), number(*open as u64))?;
        }
        if let Some(backlog) = self.backlog {
            set_backlog(&now, backlog)?;
        }
        Ok(now.0.gather())
    }
}

fn set_backlog(now: &Now, backlog: &Backlog) -> Result<(), prometheus::Error> {
    let Backlog { events, timers, pushes, webhooks, dead_letters, database_bytes, log_bytes } = backlog;
    let messages = "Messages that are stored and not handled yet.";
    let oldest = "For how long the oldest message waits. For timers and pushes, since it was due.";
    for (queue, waiting) in [("events", events), ("timers", timers), ("pushes", pushes), ("webhooks", webhooks)] {
        let queue = Some(("queue", queue));
        now.set("reachability_queue_messages", messages, queue, number(waiting.messages))?;
        now.set("reachability_queue_oldest_seconds", oldest, queue, waiting.oldest.as_secs_f64())?;
    }
    for (queue, letters) in
        [("events", dead_letters.events), ("pushes", dead_letters.pushes), ("webhooks", dead_letters.webhooks)]
    {
        let dead = "Messages that could not be handled.";
        now.set("reachability_dead_letters", dead, Some(("queue", queue)), number(letters))?;
    }
    now.set("reachability_database_bytes", "Size of the database's file.", None, number(*database_bytes))?;
    now.set("reachability_database_log_bytes", "Size of the database's log.", None, number(*log_bytes))
}

/// The gauges of a moment.
struct Now(Registry);

impl Now {
    fn set(&self, name: &str, help: &str, label: Option<(&str, &str)>, value: f64) -> Result<(), prometheus::Error> {
        let labels = label.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned()));
        let gauge = Gauge::with_opts(Opts::new(name, help).const_labels(labels.collect()))?;
        gauge.set(value);
        self.0.register(Box::new(gauge))
    }
}

/// Gauges have fractions, which are exact for all numbers that occur.
#[expect(clippy::cast_precision_loss, reason = "as Prometheus has them")]
fn number(number: u64) -> f64 {
    number as f64
}
