//! The clients alone.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::device::Address;
use reachability_domain::push::outcome::PushOutcome;
use reachability_domain::push::payload::{Content, Push, PushKind};
use reachability_domain::secret::Secret;
use reachability_infra::clock;
use reachability_infra::push::apns::{Apns, Identity};
use reachability_infra::push::fcm::{Fcm, ServiceAccount};
use reachability_infra::push::http::Roots;
use reachability_tests::measure::Used;
use reachability_tests::providers::{Apple, Google};

use crate::path::{BODY, TITLE};
use crate::stand_ins::StandIns;

const MANY: usize = 10_000;
const DEVICES: [usize; 3] = [1, 100, MANY];

/// How many pushes are under way at a time.
const AT_ONCE: usize = 500;

/// For how long the same devices are sent to repeatedly, so that a run with few devices also takes a while.
const AT_LEAST: Duration = Duration::from_secs(2);

pub(crate) async fn bench() {
    let mut stand_ins = StandIns::start();
    let roots = Roots::from_pem(stand_ins.about("roots")).unwrap();
    let (apns_key, fcm_key) = (Secret::new(stand_ins.about("apns_key")), Secret::new(stand_ins.about("fcm_key")));
    println!("| the client alone | devices | pushes/s | CPU per push | connections |\n|---|---|---|---|---|");
    for devices in DEVICES {
        let identity = Identity::Key { pem: &apns_key, key_id: Apple::KEY_ID, team_id: Apple::TEAM_ID };
        let apns = Apns::new(identity, Apple::TOPIC, stand_ins.about("apns"), &roots, clock::now).unwrap();
        let apns = &apns;
        let check = move |number| async move {
            let device = Address::new(Channel::Apn, &format!("{number:064x}")).unwrap();
            apns.push(&device, &push(number, PushKind::Silent)).await
        };
        run("APNs, silent push", "apns", devices, check, &mut stand_ins).await;
        if devices == MANY {
            let alert = move |number| async move {
                let device = Address::new(Channel::Apn, &format!("{number:064x}")).unwrap();
                apns.push(&device, &push(number, PushKind::Alert(content()))).await
            };
            run("APNs, alert", "apns", devices, alert, &mut stand_ins).await;
        }
    }
    for devices in DEVICES {
        let account = ServiceAccount {
            project_id: Google::PROJECT_ID,
            client_email: Google::CLIENT_EMAIL,
            private_key_id: Google::KEY_ID,
            private_key: &fcm_key,
        };
        let (url, token_url) = (stand_ins.about("fcm"), stand_ins.about("fcm_token"));
        let fcm = Fcm::new(account, url, token_url, &roots, clock::now).unwrap();
        let fcm = &fcm;
        let check = move |number| async move {
            let device = Address::new(Channel::Fcm, &format!("token:{number}")).unwrap();
            fcm.push(&device, &push(number, PushKind::DryRun)).await
        };
        run("FCM, dry run, with its access token", "fcm", devices, check, &mut stand_ins).await;
        if devices == MANY {
            let alert = move |number| async move {
                let device = Address::new(Channel::Fcm, &format!("token:{number}")).unwrap();
                fcm.push(&device, &push(number, PushKind::Alert(content()))).await
            };
            run("FCM, alert", "fcm", devices, alert, &mut stand_ins).await;
        }
    }
}

/// The alert that the whole path sends too.
fn content() -> Content {
    Content { title: Some(TITLE.to_owned()), body: Some(BODY.to_owned()), ..Content::default() }
}

fn push(number: usize, kind: PushKind) -> Push {
    Push { id: number as u128, collapse_id: format!("check-{number}"), expires_at: None, kind }
}

/// Checks all devices, repeatedly until [`AT_LEAST`] has passed.
async fn run<F>(what: &str, of: &str, devices: usize, check: impl Fn(usize) -> F, stand_ins: &mut StandIns)
where
    F: Future<Output = PushOutcome>,
{
    let connections = stand_ins.connections(of);
    let (started, before) = (Instant::now(), Used::by(std::process::id()));
    let mut checks = 0;
    while checks == 0 || started.elapsed() < AT_LEAST {
        let mut outcomes = stream::iter((0..devices).map(&check)).buffer_unordered(AT_ONCE);
        while let Some(outcome) = outcomes.next().await {
            assert!(matches!(outcome, PushOutcome::Accepted { .. }), "{outcome:?}");
            checks += 1;
        }
    }
    let rate = checks as f64 / started.elapsed().as_secs_f64();
    let cpu = Used::by(std::process::id()).since(before).cpu.as_secs_f64() * 1e6 / checks as f64;
    let connections = stand_ins.connections(of) - connections;
    println!("| {what} | {devices} | {rate:.0} | {cpu:.0} µs | {connections} |");
}
