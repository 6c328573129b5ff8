//! Notifications for those who are offline, to users with real sockets: some say goodbye, some are killed or cut off, and some
//! stay.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use reachability_tests::client::Client;
use reachability_tests::providers::Ca;
use reachability_tests::relay::Relay;
use reachability_tests::socket::JsonSocket;
use reachability_tests::tokens::Signer;
use reachability_tests::wait::wait;
use serde_json::{Value, json};

use crate::push_server::Scene;

/// A ping after 3 s, its answer within 2 s, and a grace period of 3 s: who is lost is offline within 8 s. After a restart, this
/// takes 10 s.
const QUICK: [&str; 6] = ["--ping-seconds", "3", "--grace-seconds", "3", "--restart-grace-seconds", "10"];

/// The members of a list by identity.
fn by_identity(list: &Value, key: &str) -> BTreeMap<String, Vec<Value>> {
    let mut by_identity = BTreeMap::<String, Vec<Value>>::new();
    for item in list[key].as_array().unwrap() {
        by_identity.entry(item["identity"].as_str().unwrap().to_owned()).or_default().push(item.clone());
    }
    by_identity
}

/// A socket that answers pings until the task is aborted, which closes the connection without a word.
fn stays(mut socket: JsonSocket) -> tokio::task::AbortHandle {
    tokio::spawn(async move { while socket.listen().await.is_some() {} }).abort_handle()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_who_are_offline_get_it() {
    let ca = Arc::new(Ca::new());
    let mut scene = Scene::with(ca.clone(), &ca, &QUICK).await;
    let client = Client::of(&scene.server);
    let service = client.enabled_service().await;
    let at = |path: &str| format!("/v1/Services/{service}/{path}");
    let credential = scene.apn_credential().await;
    let devices = [
        ("never", &["01"] as &[&str]),
        ("left", &["02"]),
        ("leaves", &["03"]),
        ("killed", &["04", "14"]),
        ("frozen", &["05"]),
        ("stays", &["06", "16"]),
        ("second", &["07"]),
        ("comes", &["08"]),
        ("here, and no device", &[]),
        ("not here, and no device", &[]),
    ];
    for (user, tokens) in devices {
        for token in tokens {
            let form = [
                ("Identity", user),
                ("BindingType", "apn"),
                ("Address", token),
                ("CredentialSid", credential.as_str()),
            ];
            scene.made(&at("Bindings"), &form).await;
        }
    }
    // Their checks do not count as notifications.
    let alerts = |scene: &Scene, token: &str| scene.apple.shown(token).len();

    let (address, signer) = (scene.server.address().to_owned(), Signer::new(&client, &scene.server.account).await);
    let relay = Relay::start(&scene.server.url).await;
    let open = async |user: &str| JsonSocket::open(&address, &signer.token(&service, user), json!({})).await;
    open("left").await.goodbye().await;
    let (leaves, killed, comes) = (open("leaves").await, stays(open("killed").await), open("comes").await);
    let through = relay.url().strip_prefix("http://").unwrap().to_owned();
    let frozen = JsonSocket::open(&through, &signer.token(&service, "frozen"), json!({})).await;
    let (one, two) = (stays(open("second").await), stays(open("second").await));
    let (here, alone) = (stays(open("stays").await), stays(open("here, and no device").await));

    relay.freeze();
    comes.goodbye().await;
    let mut form = vec![("Body", "Hello"), ("When", "offline")];
    form.extend(devices.iter().map(|(user, _)| ("Identity", *user)));
    // Of several that are accepted one after the other, each finds somebody who comes back at another moment of its way.
    let mut races = vec![];
    for _ in 0..5 {
        let (_, raced) = client.send(reqwest::Method::POST, &at("Notifications"), &form[..]).await;
        races.push(raced["sid"].as_str().unwrap().to_owned());
    }
    let comes = stays(open("comes").await);
    let made = scene.made(&at("Notifications"), &form).await;
    assert_eq!(made["when"], "offline");
    killed.abort();
    one.abort();
    leaves.goodbye().await;

    let sent = at(&format!("Notifications/{}", made["sid"].as_str().unwrap()));
    let recipients = format!("{sent}/Recipients");
    assert_eq!(made["links"]["recipients"].as_str().unwrap(), format!("{}{recipients}", scene.server.url));
    let first = client.get(&recipients).await;
    let first = by_identity(&first, "recipients");
    assert_eq!(first["stays"][0]["status"], "held", "{first:?}");
    assert!(first["stays"][0]["held_until"].is_string(), "{first:?}");
    let is_decided = |list: &Value| {
        list["recipients"].as_array().unwrap().iter().all(|it| it["status"] != "held" && it["status"] != "queued")
    };
    let decided = by_identity(&scene.until(&recipients, is_decided).await, "recipients");
    let is_over = |list: &Value| list["deliveries"].as_array().unwrap().iter().all(|it| it["status"] != "queued");
    let deliveries = by_identity(&scene.until(&format!("{sent}/Deliveries"), is_over).await, "deliveries");
    for (user, tokens) in devices {
        let (status, of_devices) = match user {
            "never" | "left" | "leaves" | "killed" | "frozen" => ("sent", "accepted"),
            "not here, and no device" => ("no_device", ""),
            _ => ("skipped", "skipped"),
        };
        assert_eq!(decided[user].len(), 1, "{decided:?}");
        assert_eq!(decided[user][0]["status"], status, "{user}: {decided:?}");
        assert!(decided[user][0]["date_updated"].is_string() && decided[user][0]["held_until"].is_null());
        let deliveries = deliveries.get(user).map_or(&[][..], Vec::as_slice);
        assert_eq!(deliveries.len(), tokens.len(), "{user}");
        for delivery in deliveries {
            assert_eq!(delivery["status"], of_devices, "{delivery}");
            assert_eq!(delivery["reason"] == "online", status == "skipped", "{delivery}");
        }
    }
    // As with the others, what was shown is what is told.
    for sid in &races {
        scene.until(&at(&format!("Notifications/{sid}/Recipients")), is_decided).await;
        scene.until(&at(&format!("Notifications/{sid}/Deliveries")), is_over).await;
    }
    let mut accepted = BTreeMap::<String, usize>::new();
    for sid in races.iter().map(String::as_str).chain(made["sid"].as_str()) {
        let recipients = by_identity(&scene.get(&at(&format!("Notifications/{sid}/Recipients"))).await, "recipients");
        let deliveries = by_identity(&scene.get(&at(&format!("Notifications/{sid}/Deliveries"))).await, "deliveries");
        for (user, deliveries) in deliveries {
            let many = deliveries.iter().filter(|it| it["status"] == "accepted").count();
            assert_eq!(many > 0, recipients[&user][0]["status"] == "sent", "{user}: {recipients:?} {deliveries:?}");
            *accepted.entry(user).or_default() += many;
        }
    }
    for (user, tokens) in devices.iter().filter(|(_, tokens)| !tokens.is_empty()) {
        let shown: usize = tokens.iter().map(|token| alerts(&scene, token)).sum();
        assert_eq!(shown, accepted[*user], "{user}");
    }
    assert_eq!((accepted["stays"], accepted["second"], accepted["never"]), (0, 0, 6));

    // In pages; and there are none of a notification for everybody.
    let page = client.get(&format!("{recipients}?PageSize=4")).await;
    let next = page["meta"]["next_page_url"].as_str().unwrap().to_owned();
    assert_eq!(client.get(&next).await["recipients"][0]["identity"], devices[4].0);
    let (status, _) = client.send(reqwest::Method::GET, &format!("{recipients}?PageToken=nobody"), &[]).await;
    assert_eq!(status, 400);
    let everybody = scene.made(&at("Notifications"), &[("Identity", "stays"), ("Body", "x")]).await;
    assert_eq!(everybody["when"], "always");
    let everybody = at(&format!("Notifications/{}", everybody["sid"].as_str().unwrap()));
    assert_eq!(client.get(&format!("{everybody}/Recipients")).await["recipients"], json!([]));
    wait("it is sent", async || (scene.apple.shown("06").len() == 1).then_some(())).await;
    for socket in [here, alone, two, comes] {
        socket.abort();
    }
    drop(frozen);
}

/// The server is killed while a notification waits. Some of its users come back after that, and the others are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_decided_after_a_kill() {
    let ca = Arc::new(Ca::new());
    let mut scene = Scene::with(ca.clone(), &ca, &QUICK).await;
    let client = Client::of(&scene.server);
    let service = client.enabled_service().await;
    let at = |path: &str| format!("/v1/Services/{service}/{path}");
    let credential = scene.apn_credential().await;
    let signer = Signer::new(&client, &scene.server.account).await;
    let users = [("comes back", "01"), ("does not", "02"), ("left before", "03")];
    let mut form = vec![("Body", "Hello"), ("When", "offline")];
    let mut sockets = vec![];
    for (user, token) in users {
        let device =
            [("Identity", user), ("BindingType", "apn"), ("Address", token), ("CredentialSid", credential.as_str())];
        scene.made(&at("Bindings"), &device).await;
        form.push(("Identity", user));
        let socket = JsonSocket::open(scene.server.address(), &signer.token(&service, user), json!({})).await;
        match user {
            "left before" => socket.goodbye().await,
            _ => sockets.push(stays(socket)),
        }
    }
    let made = scene.made(&at("Notifications"), &form).await;
    let sent = at(&format!("Notifications/{}", made["sid"].as_str().unwrap()));
    let delivered = |list: &Value| {
        let deliveries = by_identity(list, "deliveries");
        deliveries.get("left before").is_some_and(|deliveries| deliveries[0]["status"] == "accepted")
    };
    scene.until(&format!("{sent}/Deliveries"), delivered).await;
    let mut scene = scene.kill(&ca);
    let token = signer.token(&service, "comes back");
    sockets.push(stays(JsonSocket::open(scene.server.address(), &token, json!({})).await));
    let is_over = |list: &Value| list["deliveries"].as_array().unwrap().iter().all(|it| it["status"] != "queued");
    let deliveries = by_identity(&scene.until(&format!("{sent}/Deliveries"), is_over).await, "deliveries");
    let recipients = by_identity(&scene.get(&format!("{sent}/Recipients")).await, "recipients");
    for ((user, token), (status, of_device, shown)) in
        users.into_iter().zip([("skipped", "skipped", 0), ("sent", "accepted", 1), ("sent", "accepted", 1)])
    {
        assert_eq!(recipients[user][0]["status"], status, "{user}: {recipients:?}");
        assert_eq!(deliveries[user][0]["status"], of_device, "{user}: {deliveries:?}");
        assert_eq!(scene.apple.shown(token).len(), shown, "{user}");
    }
    sockets.into_iter().for_each(|socket| socket.abort());
}
