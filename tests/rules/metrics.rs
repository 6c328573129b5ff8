//! The document of the metrics: each counter and measurement is in it, by the names that it has in CloudWatch and Prometheus.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeSet;

use reachability_domain::metrics::{Counter, Series, Timing};

const DOCUMENT: &str = include_str!("../../docs/metrics.md");

#[test]
fn each_counter_and_measurement_is_documented_with_both_names() {
    let row = |cloudwatch: &str, Series { family, values }: Series| {
        let labels = family.labels.iter().zip(values).map(|(label, value)| format!("{label}=\"{value}\""));
        let labels = labels.collect::<Vec<_>>().join(",");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        format!("| `{cloudwatch}` | `{}{labels}` |", family.name)
    };
    let counters = Counter::ALL.iter().map(|counter| row(counter.cloudwatch(), counter.prometheus()));
    let timings = Timing::ALL.iter().map(|timing| row(timing.cloudwatch(), timing.prometheus()));
    let table = DOCUMENT.split_once("| CloudWatch | Prometheus |\n|---|---|\n").unwrap().1;
    let found: BTreeSet<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    let expected: Vec<String> = counters.chain(timings).collect();
    assert_eq!(found, expected.iter().map(String::as_str).collect(), "the rows of docs/metrics.md");
}

#[test]
fn each_limit_is_explained() {
    let limits = DOCUMENT.split_once("| limit | what was refused |").unwrap().1.split_once("\n## ").unwrap().0;
    for counter in Counter::ALL {
        let Series { family, values } = counter.prometheus();
        if family.name == "reachability_refusals_total" {
            assert!(limits.contains(&format!("`{}`", values[0])), "{counter:?}");
        }
    }
}
