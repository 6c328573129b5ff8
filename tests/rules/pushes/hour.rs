//! An hour in which everything goes wrong at the providers, one after the other, in simulated time.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Once;
use std::sync::atomic::{AtomicI64, Ordering};

use reachability_domain::push::channel::Channel;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::notification::{Delivery, DeliveryStatus};
use reachability_domain::queue::Message;
use reachability_domain::sid::NotificationSid;
use reachability_domain::time::Timestamp;
use reachability_tests::providers::{Answer, Request};
use reachability_tests::push_harness::PushHarness;
use tracing_subscriber::filter::LevelFilter;

use super::content;

const START: i64 = 1_795_132_800_000;
const MINUTE: i64 = 60_000;

static NOW: AtomicI64 = AtomicI64::new(START);

const APPLE: [&str; 6] = ["0a", "0b", "0c", "0d", "0e", "0f"];
const GOOGLE: [&str; 6] = ["token-a", "token-b", "token-c", "token-d", "token-e", "token-f"];

/// How many devices there are.
const DEVICES: usize = 12;

/// What is wrong with both providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    /// Nothing can be reached.
    Down,
    /// A push is carried out, and its answer does not come in time.
    Slow,
    /// One device of each gets too many pushes.
    OneThrottled,
    /// All do.
    AllThrottled,
    /// The credentials are not accepted.
    Refused,
}

impl Weather {
    /// In this minute.
    fn at(minute: i64) -> Self {
        match minute {
            5..12 => Self::Down,
            15..22 => Self::Slow,
            25..32 => Self::OneThrottled,
            35..42 => Self::AllThrottled,
            45..52 => Self::Refused,
            _ => Self::Fine,
        }
    }

    async fn begin(self, before: Self, harness: &PushHarness) {
        let (apple, google) = (&harness.apple, &harness.google);
        if before == Self::Down {
            apple.up().await;
            google.up().await;
        }
        apple.answer_all(Answer::usual());
        google.answer_all(Answer::usual());
        apple.answer(APPLE[0], Answer::usual());
        google.answer(GOOGLE[0], Answer::usual());
        let quota = || Answer::fcm(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"));
        // An answer of its own would precede the one for all.
        for (for_apple, for_google) in match self {
            Self::Fine => vec![],
            Self::Down => {
                apple.down().await;
                google.down().await;
                vec![]
            }
            Self::Slow => vec![(Answer::reset(), Answer::reset())],
            Self::OneThrottled => {
                apple.answer(APPLE[0], Answer::apns(429, "TooManyRequests"));
                google.answer(GOOGLE[0], quota());
                vec![]
            }
            Self::AllThrottled => vec![(Answer::apns(429, "TooManyRequests"), quota())],
            Self::Refused => {
                vec![(Answer::apns(403, "InvalidProviderToken"), Answer::fcm(403, "PERMISSION_DENIED", None))]
            }
        } {
            apple.answer_all(for_apple.clone());
            google.answer_all(for_google.clone());
            apple.answer(APPLE[0], for_apple);
            google.answer(GOOGLE[0], for_google);
        }
    }
}

thread_local! {
    /// What was logged in this thread, which is that of one test.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(vec![]) };
}

/// Adds to the thread's log.
struct Log;

impl Log {
    /// One for the whole process: what a subscriber of one thread hears depends on what other threads log at the same time,
    /// since tracing remembers for each line whether anybody wants it.
    fn start() {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| {
            let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(LevelFilter::INFO);
            tracing::subscriber::set_global_default(subscriber.with_writer(|| Self).finish()).unwrap();
        });
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How many requests there were for each device and notification, by what identifies the notification on a device.
fn sent(requests: &[Request], of: impl Fn(&Request) -> (String, String)) -> HashMap<(String, String), usize> {
    let mut sent = HashMap::new();
    requests.iter().for_each(|request| *sent.entry(of(request)).or_default() += 1);
    sent
}

/// An alert every minute to all devices. Each device shows each alert once, each delivery is accepted or says why not, and a
/// person can read the log.
#[tokio::test]
async fn an_hour_of_faults_loses_nothing_and_repeats_nothing() {
    Log::start();
    let harness = PushHarness::with_clock(|| Timestamp::from_millis(NOW.load(Ordering::SeqCst))).await;
    for (n, (of_apple, of_google)) in APPLE.into_iter().zip(GOOGLE).enumerate() {
        harness.register(&format!("user-{n}"), Channel::Apn, of_apple).await;
        harness.register(&format!("user-{n}"), Channel::Fcm, of_google).await;
    }
    let mut waiting: BTreeMap<(Timestamp, usize), PushMessage> = BTreeMap::new();
    let mut count = 0;
    let mut add = |waiting: &mut BTreeMap<_, _>, messages: Vec<PushMessage>| {
        for message in messages {
            count += 1;
            waiting.insert((message.due_at().unwrap_or(harness.now()), count), message);
        }
    };
    let mut notifications: Vec<NotificationSid> = Vec::new();
    let (mut weather, mut minute) = (Weather::Fine, 0);
    loop {
        // The next thing that happens: another minute of the hour, or a message that is due.
        let next_minute = (minute < 60).then(|| Timestamp::from_millis(START + minute * MINUTE));
        let next_message = waiting.keys().next().map(|(due, _)| *due);
        let Some(next) = next_minute.into_iter().chain(next_message).min() else { break };
        NOW.fetch_max(next.as_millis(), Ordering::SeqCst);
        if next_minute == Some(next) {
            let now = Weather::at(minute);
            if now != weather {
                now.begin(weather, &harness).await;
                weather = now;
            }
            minute += 1;
            let deliver = harness
                .notification(&["user-0", "user-1", "user-2", "user-3", "user-4", "user-5"], content(), None)
                .await;
            notifications.push(deliver.notification);
            add(&mut waiting, vec![PushMessage::Deliver(deliver)]);
            continue;
        }
        let later = waiting.split_off(&(Timestamp::from_millis(harness.now().as_millis() + 1), 0));
        let due: Vec<PushMessage> = std::mem::replace(&mut waiting, later).into_values().collect();
        let follow_ups = harness.handle(due).await;
        add(&mut waiting, follow_ups);
        assert!(harness.now().as_millis() < START + 180 * MINUTE, "it does not end");
    }
    let log = String::from_utf8(LOG.take()).unwrap();

    // Each alert at each device, once.
    for (token, shown) in APPLE.map(|token| (token, harness.apple.shown(token))) {
        assert_eq!(shown.len(), notifications.len(), "{token}");
    }
    for (token, shown) in GOOGLE.map(|token| (token, harness.google.shown(token))) {
        assert_eq!(shown.len(), notifications.len(), "{token}");
    }
    let of_apple = |it: &Request| (it.path.clone(), it.header("apns-collapse-id").to_owned());
    let of_google = |it: &Request| {
        let message = &it.json()["message"];
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        (text(&message["token"]), text(&message["android"]["notification"]["tag"]))
    };
    let sent = [sent(&harness.apple.requests(), of_apple), sent(&harness.google.requests(), of_google)];
    let (all, many) = sent.iter().flat_map(HashMap::values).fold((0, 0), |(all, many), n| (all + n, many.max(*n)));
    println!("{all} requests for {} alerts, at most {many} for one", notifications.len() * DEVICES);
    assert!(many <= 6 && all <= 2 * notifications.len() * DEVICES, "{all}, {many}");

    // Each delivery is accepted, or says that nobody knows.
    let (mut accepted, mut unknown) = (0, 0);
    for notification in &notifications {
        let deliveries: Vec<Delivery> = harness.deliveries(*notification).await;
        assert_eq!(deliveries.len(), DEVICES);
        for delivery in deliveries {
            match &delivery.status {
                DeliveryStatus::Accepted { .. } => accepted += 1,
                DeliveryStatus::Failed { reason } if reason.as_str() == "ConnectionLost" => unknown += 1,
                status => panic!("{status:?}"),
            }
            assert!(delivery.attempts > 0 && delivery.next_attempt_at.is_none());
        }
    }
    println!("{accepted} accepted, {unknown} without an answer");
    assert!(unknown <= 7 * DEVICES, "only from the slow minutes: {unknown}");

    let lines = log.lines().count();
    println!("{lines} lines\n{log}");
    assert!((10..=60).contains(&lines), "{lines} lines:\n{log}");
    for said in [
        "a push provider is unavailable",
        "a push provider is available again",
        "reason=QUOTA_EXCEEDED seconds",
        "a credential is rejected",
    ] {
        assert!(log.contains(said), "{said}\n{log}");
    }
    for token in GOOGLE {
        assert!(!log.contains(token), "{log}");
    }
}
