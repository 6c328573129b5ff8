//! Metrics for Prometheus: counted since the process started, and written as text whenever somebody asks for them.
//!
//! To count is one atomic addition, and to measure a few: no lock is taken, and nothing is allocated. Only an answer over HTTP
//! is found in a map by its labels, behind a lock that is held for reading; the map grows with the first answer of its kind.

mod gauges;

use std::fmt;
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};
use reachability_domain::metrics::{Answer, Counter, Metrics, Series, Timing};

pub use self::gauges::Gauges;

/// Why metrics cannot be named or told.
pub use prometheus::Error as MetricsError;

/// The content type of the text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The upper bounds of the buckets of requests, in seconds.
const REQUEST_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// The metrics of the process.
pub struct PrometheusMetrics {
    registry: Registry,
    counters: Vec<IntCounter>,
    timings: Vec<Histogram>,
    requests: IntCounterVec,
    request_times: HistogramVec,
}

impl PrometheusMetrics {
    /// All metrics, at zero.
    ///
    /// # Errors
    /// If two of them have the same name and labels.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let (mut counters, mut timings) = (Vec::new(), Vec::new());
        for counter in Counter::ALL {
            let of_counter = IntCounter::with_opts(options(counter.prometheus()))?;
            registry.register(Box::new(of_counter.clone()))?;
            counters.push(of_counter);
        }
        for timing in Timing::ALL {
            let buckets = timing.buckets().to_vec();
            let of_timing = Histogram::with_opts(HistogramOpts::from(options(timing.prometheus())).buckets(buckets))?;
            registry.register(Box::new(of_timing.clone()))?;
            timings.push(of_timing);
        }
        let requests = Opts::new("reachability_http_requests_total", "Requests over HTTP that were answered.");
        let requests = IntCounterVec::new(requests, &["method", "route", "status"])?;
        let times = "Time from the head of a request over HTTP to that of its answer.";
        let times = HistogramOpts::new("reachability_http_request_seconds", times).buckets(REQUEST_BUCKETS.to_vec());
        let request_times = HistogramVec::new(times, &["method", "route"])?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(request_times.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self { registry, counters, timings, requests, request_times })
    }

    /// The count since the start of the process.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].get()
    }

    /// All metrics as text, with these gauges.
    ///
    /// # Errors
    /// If a gauge is one of the other metrics.
    pub fn text(&self, gauges: &Gauges<'_>) -> Result<String, MetricsError> {
        let mut families = self.registry.gather();
        families.extend(gauges.families(self)?);
        TextEncoder::new().encode_to_string(&families)
    }
}

/// The options of a series. The registry puts series of the same metric together.
fn options(Series { family, values }: Series) -> Opts {
    let labels = family.labels.iter().zip(values).map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
    Opts::new(family.name, family.help).const_labels(labels.collect())
}

impl Metrics for PrometheusMetrics {
    fn add_many(&self, counter: Counter, count: u64) {
        self.counters[counter as usize].inc_by(count);
    }

    fn measure(&self, timing: Timing, took: Duration) {
        self.timings[timing as usize].observe(took.as_secs_f64());
    }

    fn answered(&self, Answer { method, route, status, took }: &Answer<'_>) {
        self.requests.with_label_values(&[method, route, status]).inc();
        self.request_times.with_label_values(&[method, route]).observe(took.as_secs_f64());
    }
}

impl fmt::Debug for PrometheusMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusMetrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::metrics::{Backlog, DeadLetters, Queued};

    use super::*;

    fn text(metrics: &PrometheusMetrics, backlog: Option<&Backlog>) -> String {
        metrics.text(&Gauges { version: "1.2.3", open_breakers: &[("webhooks", 1)], backlog }).unwrap()
    }

    #[test]
    fn each_counter_and_timing_has_its_own_series() {
        let metrics = PrometheusMetrics::new().unwrap();
        for (counter, n) in Counter::ALL.into_iter().zip(1..) {
            metrics.add_many(counter, n);
        }
        for (timing, n) in Timing::ALL.into_iter().zip(1..) {
            metrics.measure(timing, Duration::from_secs(n));
        }
        let text = text(&metrics, None);
        let series = |Series { family, values }: Series, suffix: &str| {
            let labels: Vec<String> = family.labels.iter().zip(values).map(|(l, v)| format!("{l}=\"{v}\"")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            format!("\n{}{suffix}{labels} ", family.name)
        };
        for (counter, n) in Counter::ALL.into_iter().zip(1..) {
            assert!(text.contains(&format!("{}{n}\n", series(counter.prometheus(), ""))), "{counter:?}: {text}");
            assert_eq!(metrics.counted(counter), n);
        }
        for (timing, n) in Timing::ALL.into_iter().zip(1..) {
            assert!(text.contains(&format!("{}{n}\n", series(timing.prometheus(), "_sum"))), "{timing:?}: {text}");
        }
    }

    #[test]
    fn what_is_open_follows_from_the_counters() {
        let metrics = PrometheusMetrics::new().unwrap();
        metrics.add_many(Counter::SocketsOpened, 5);
        metrics.add_many(Counter::SocketsClosed, 3);
        metrics.add_many(Counter::WatchesBegun, 2);
        let text = text(&metrics, None);
        assert!(text.contains("\nreachability_sockets_open 2\n"), "{text}");
        assert!(text.contains("\nreachability_watches_open 2\n"), "{text}");
        assert!(text.contains("reachability_build_info{version=\"1.2.3\"} 1\n"), "{text}");
        assert!(text.contains("reachability_open_breakers{kind=\"webhooks\"} 1\n"), "{text}");
        assert!(!text.contains("reachability_queue_messages"), "there is none without a backlog");
    }

    #[test]
    fn requests_are_counted_by_their_route_and_status() {
        let metrics = PrometheusMetrics::new().unwrap();
        let took = Duration::from_millis(3);
        let answer = Answer { method: "GET", route: "/v1/Services/{service}", status: "200", took };
        metrics.answered(&answer);
        metrics.answered(&Answer { status: "404", ..answer });
        metrics.answered(&answer);
        let text = text(&metrics, None);
        let labels = "method=\"GET\",route=\"/v1/Services/{service}\"";
        for line in [
            format!("reachability_http_requests_total{{{labels},status=\"200\"}} 2"),
            format!("reachability_http_requests_total{{{labels},status=\"404\"}} 1"),
            format!("reachability_http_request_seconds_count{{{labels}}} 3"),
            format!("reachability_http_request_seconds_bucket{{{labels},le=\"0.0025\"}} 0"),
            format!("reachability_http_request_seconds_bucket{{{labels},le=\"0.005\"}} 3"),
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
        }
    }

    #[test]
    fn the_backlog_is_told_by_queue() {
        let waits = |messages, oldest| Queued { messages, oldest: Duration::from_millis(oldest) };
        let backlog = Backlog {
            events: waits(1, 1_500),
            timers: waits(2, 0),
            pushes: waits(3, 250),
            webhooks: waits(4, 4_000),
            dead_letters: DeadLetters { events: 5, pushes: 6, webhooks: 7 },
            database_bytes: 8,
            log_bytes: 9,
        };
        let text = text(&PrometheusMetrics::new().unwrap(), Some(&backlog));
        for line in [
            "reachability_queue_messages{queue=\"events\"} 1",
            "reachability_queue_messages{queue=\"timers\"} 2",
            "reachability_queue_messages{queue=\"pushes\"} 3",
            "reachability_queue_messages{queue=\"webhooks\"} 4",
            "reachability_queue_oldest_seconds{queue=\"events\"} 1.5",
            "reachability_queue_oldest_seconds{queue=\"pushes\"} 0.25",
            "reachability_dead_letters{queue=\"events\"} 5",
            "reachability_dead_letters{queue=\"pushes\"} 6",
            "reachability_dead_letters{queue=\"webhooks\"} 7",
            "reachability_database_bytes 8",
            "reachability_database_log_bytes 9",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
        }
    }
}
