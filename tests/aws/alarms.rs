//! The queues in the template: what fails is kept for long enough, and somebody is told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reachability_domain::metrics::Counter;
use reachability_domain::queue::backoff::backoff;
use reachability_tests::external::sam;
use reachability_tests::stack;
use serde_json::Value;

/// The resources of the template, by name.
fn resources() -> BTreeMap<String, Value> {
    let template = sam::read_template(&stack::root().join("template.yaml"));
    serde_json::from_value(template["Resources"].clone()).unwrap()
}

/// The properties of the resources of a type.
fn of_type<'a>(resources: &'a BTreeMap<String, Value>, kind: &str) -> BTreeMap<&'a str, &'a Value> {
    let of_type = resources.iter().filter(|(_, it)| it["Type"] == kind);
    of_type.map(|(name, it)| (name.as_str(), &it["Properties"])).collect()
}

/// The resource to which a value refers.
fn referred(value: &Value) -> &str {
    value["Fn::GetAtt"][0].as_str().or(value["Ref"].as_str()).unwrap_or_else(|| panic!("no reference: {value}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// The metrics of SQS that an alarm uses, with their queues.
fn metrics_of_queues(alarm: &Value) -> BTreeSet<(&str, &str)> {
    let parts = alarm["Metrics"].as_array().into_iter().flatten().map(|part| &part["MetricStat"]["Metric"]);
    let of_sqs = parts.chain([alarm]).filter(|metric| metric["Namespace"] == "AWS/SQS");
    of_sqs.map(|it| (it["MetricName"].as_str().unwrap(), referred(&it["Dimensions"][0]["Value"]))).collect()
}

const VISIBLE: &str = "ApproximateNumberOfMessagesVisible";
const INVISIBLE: &str = "ApproximateNumberOfMessagesNotVisible";
const HANDLED: &str = "NumberOfMessagesDeleted";
const AGE: &str = "ApproximateAgeOfOldestMessage";

#[test]
fn every_queue_has_an_alarm_for_its_backlog_or_for_its_dead_letters() {
    let resources = resources();
    let alarms = of_type(&resources, "AWS::CloudWatch::Alarm");
    let mut watched: BTreeMap<&str, Vec<BTreeSet<&str>>> = BTreeMap::new();
    for alarm in alarms.values() {
        assert_eq!(alarm["AlarmActions"]["Fn::If"][0], "HasAlarmTopic", "{alarm}");
        let metrics = metrics_of_queues(alarm);
        let Some((_, queue)) = metrics.first() else { continue };
        assert!(metrics.iter().all(|(_, other)| other == queue), "{alarm}");
        let names: BTreeSet<&str> = metrics.iter().map(|(name, _)| *name).collect();
        if names.contains(VISIBLE) && names.len() == 1 {
            assert_eq!((number(&alarm["Threshold"]), number(&alarm["EvaluationPeriods"])), (0, 1), "{alarm}");
        }
        watched.entry(queue).or_default().push(names);
    }
    for (queue, properties) in of_type(&resources, "AWS::SQS::Queue") {
        let has = |names: &[&str]| watched[queue].contains(&names.iter().copied().collect());
        if properties["RedrivePolicy"].is_null() {
            assert!(has(&[VISIBLE]), "{queue}");
            continue;
        }
        assert!(has(&[AGE]), "{queue}");
        // The age leaves out what was received three times. Webhooks wait on purpose, and for other people's servers.
        assert_eq!(has(&[VISIBLE, INVISIBLE, HANDLED]), queue != "WebhookQueue", "{queue}");
        let dead = referred(&properties["RedrivePolicy"]["deadLetterTargetArn"]);
        assert!(watched[dead].contains(&BTreeSet::from([VISIBLE])), "{dead}");
    }
}

#[test]
fn what_fails_for_a_passing_cause_is_delivered_for_as_long_as_the_queue_keeps_it() {
    let resources = resources();
    let functions = of_type(&resources, "AWS::Serverless::Function");
    let mut consumed = BTreeSet::new();
    for (name, function) in functions {
        let Some(events) = function["Events"].as_object() else { continue };
        for source in events.values().filter(|source| source["Type"] == "SQS") {
            assert_eq!(source["Properties"]["FunctionResponseTypes"][0], "ReportBatchItemFailures", "{name}");
            let queue = referred(&source["Properties"]["Queue"]);
            consumed.insert(queue);
            let properties = &resources[queue]["Properties"];
            let redrive = &properties["RedrivePolicy"];
            let max_receives = u32::try_from(number(&redrive["maxReceiveCount"])).unwrap();
            let variables = &function["Environment"]["Variables"];
            assert_eq!(variables["REACHABILITY_MAX_RECEIVES"], max_receives.to_string(), "{name}");
            let dead = referred(&redrive["deadLetterTargetArn"]);
            assert_eq!(referred(&variables["REACHABILITY_DEAD_LETTER_QUEUE_URL"]), dead, "{name}");
            let timeout = function["Timeout"].as_u64().unwrap_or(20);
            assert!(6 * timeout <= number(&properties["VisibilityTimeout"]), "{name}");
            let kept = Duration::from_secs(number(&properties["MessageRetentionPeriod"]));
            let delivered: Duration = (0..max_receives - 1).map(backoff).sum();
            assert!(queue == "WebhookQueue" || kept < delivered, "{queue}: {delivered:?} of {kept:?}");
        }
    }
    assert_eq!(consumed, BTreeSet::from(["EventQueue", "PushQueue", "WebhookQueue"]));
}

/// Whether a service may send to a queue for this resource.
fn may_send(resources: &BTreeMap<String, Value>, queue: &str, service: &str, source: &str) -> bool {
    let policies = of_type(resources, "AWS::SQS::QueuePolicy").into_values();
    let of_queue = policies.filter(|policy| referred(&policy["Queues"][0]) == queue);
    let mut statements = of_queue.flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap());
    statements.any(|statement| {
        statement["Principal"]["Service"] == service
            && statement["Action"] == "sqs:SendMessage"
            && referred(&statement["Resource"]) == queue
            && referred(&statement["Condition"]["ArnEquals"]["aws:SourceArn"]) == source
    })
}

#[test]
fn what_others_cannot_put_into_a_queue_becomes_a_dead_letter_of_that_queue() {
    let resources = resources();
    let mut ways = vec![];
    for (name, rule) in of_type(&resources, "AWS::Events::Rule") {
        for target in rule["Targets"].as_array().unwrap() {
            let dead = referred(&target["DeadLetterConfig"]["Arn"]);
            ways.push(("events.amazonaws.com", name, referred(&target["Arn"]), dead));
        }
    }
    for subscription in of_type(&resources, "AWS::SNS::Subscription").into_values() {
        let (topic, queue) = (referred(&subscription["TopicArn"]), referred(&subscription["Endpoint"]));
        let dead = referred(&subscription["RedrivePolicy"]["deadLetterTargetArn"]);
        ways.push(("sns.amazonaws.com", topic, queue, dead));
    }
    assert_eq!(ways.len(), 2, "{ways:?}");
    for (service, source, queue, dead) in ways {
        // So the same command puts it back.
        assert_eq!(referred(&resources[queue]["Properties"]["RedrivePolicy"]["deadLetterTargetArn"]), dead);
        for queue in [queue, dead] {
            assert!(may_send(&resources, queue, service, source), "{service} to {queue} for {source}");
        }
    }
}

/// The alarms of the service's own metrics name metrics that it writes.
#[test]
fn alarms_watch_counters_that_there_are() {
    let resources = resources();
    let alarms = of_type(&resources, "AWS::CloudWatch::Alarm").into_iter();
    let own: BTreeMap<&str, &Value> = alarms
        .filter(|(_, alarm)| alarm["Namespace"] == "Reachability")
        .map(|(_, alarm)| (alarm["MetricName"].as_str().unwrap(), alarm))
        .collect();
    let counters = Counter::ALL.map(|counter| format!("{counter:?}"));
    for (metric, alarm) in &own {
        assert!(counters.contains(&(*metric).to_owned()), "{metric}");
        assert_eq!(alarm["Dimensions"][0]["Value"]["Ref"], "AWS::StackName", "{metric}");
        let is_missed = *metric == "Sweeps";
        assert_eq!(alarm["TreatMissingData"], if is_missed { "breaching" } else { "notBreaching" }, "{metric}");
    }
    for metric in ["MessagesRetried", "CertificatesExpiring"] {
        assert!(own.contains_key(metric), "{metric}: {own:?}");
    }
    // A sweep a day, and CloudWatch looks back for seven days at most.
    assert_eq!(resources["SweepRule"]["Properties"]["ScheduleExpression"], "rate(1 day)");
    let looks_back = number(&own["Sweeps"]["Period"]) * number(&own["Sweeps"]["EvaluationPeriods"]);
    assert!((86_400 + 1..=7 * 86_400).contains(&looks_back), "{looks_back}");
}
