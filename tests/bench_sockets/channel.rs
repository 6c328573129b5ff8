//! A channel of ten thousand members, of whom a hundred watch it with our own client: what a watch costs, and how soon they see
//! what becomes of a member.

use std::fmt::Write;
use std::time::{Duration, Instant};

use reachability_client::{Client, Event, Watch};
use reachability_tests::client::Client as Owner;
use reachability_tests::measure::{Durations, Used, resident_memory};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

use crate::clients::{Told, connect, frames, listen};
use crate::ours::Ours;
use crate::peer::{PATIENCE, Peer};

/// How many members the channel has when all are there.
const MEMBERS: usize = 10_000;

/// How many of them watch it.
const WATCHERS: usize = 100;

/// How many are connected as well, and watch nobody.
const OTHERS: usize = 100;

/// The members who have never been there, but for one that comes and goes.
const USERS: usize = MEMBERS - WATCHERS - OTHERS - 1;

/// The member that is added and removed.
const GUEST: &str = "guest";

/// How many members a request adds.
const ADDED_AT_ONCE: usize = 100;

const TURNS: usize = 20;

pub(crate) async fn measure() {
    let ours = Ours::start("ours", &["--max-users-per-watch", &MEMBERS.to_string()], USERS).await;
    let (owner, service) = ours.owner();
    let channel = create(&owner, service).await;
    let (tell, mut told) = unbounded_channel();
    let mut watchers = Vec::new();
    for number in 0..WATCHERS + OTHERS {
        watchers.push(connect(&ours, &format!("watcher-{number}")).await);
    }
    let others = watchers.split_off(WATCHERS);
    let watches = watch_all(&watchers, ours.pid()).await;
    for (number, client) in watchers.iter().enumerate() {
        listen(client, number, &tell);
    }

    let [mut came, mut said, mut left, mut added, mut removed] = [const { Durations(Vec::new()) }; 5];
    let before = (Used::by(ours.pid()), frames(&watchers), frames(&others));
    let (members, guest) = (format!("{channel}/Members"), [("Identity", GUEST)]);
    for turn in 0..TURNS {
        let of_member = |event: &Event| matches!(event, Event::PresenceChanged { user, .. } if &*user.id == "user-0");
        let started = Instant::now();
        let member = connect(&ours, "user-0").await;
        all(&mut told, started, &mut came, of_member).await;

        let status = reachability_client::UserChange { status: Some(format!("Turn {turn}")), invisible: None };
        let started = Instant::now();
        member.set_user(status).await.unwrap();
        all(&mut told, started, &mut said, of_member).await;

        let started = Instant::now();
        member.goodbye().await;
        all(&mut told, started, &mut left, of_member).await;

        let started = Instant::now();
        let (status, answer) = owner.send(Method::POST, &members, &guest).await;
        assert_eq!((status, &answer["member_count"]), (200, &json!(MEMBERS)), "{answer}");
        let is_guest = |event: &Event| matches!(event, Event::MemberAdded { user, .. } if &*user.id == GUEST);
        all(&mut told, started, &mut added, is_guest).await;

        let started = Instant::now();
        owner.delete(&format!("{members}/{GUEST}")).await;
        let is_guest = |event: &Event| matches!(event, Event::MemberRemoved { id, .. } if &**id == GUEST);
        all(&mut told, started, &mut removed, is_guest).await;
    }
    let changes = TURNS * 5;
    let cpu = Used::by(ours.pid()).since(before.0).cpu.as_secs_f64() * 1e3 / changes as f64;
    // What comes to somebody whom it does not concern may come later.
    sleep(Duration::from_secs(1)).await;
    let heard = frames(&watchers).events - before.1.events;
    let elsewhere = frames(&others).events - before.2.events;
    println!(
        "\n| {WATCHERS} members watch the channel, p50 / max | connect → seen by the last | status | goodbye | member added | member removed | CPU a change | messages to watchers | to {OTHERS} other members |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let took = [came, said, left, added, removed]
        .map(|took| format!("{:.1} / {:.1} ms", took.quantile(0.5), took.quantile(1.0)))
        .join(" | ");
    println!("| ours | {took} | {cpu:.1} ms | {heard} of {} | {elsewhere} |", changes * WATCHERS);
    drop(watches);
}

/// Creates a channel of all members but the guest. Returns its path.
async fn create(owner: &Owner, service: &str) -> String {
    let channels = format!("/v1/Services/{service}/Channels");
    let (status, answer) = owner.send(Method::POST, &channels, &[("Type", "messaging"), ("Id", "all")]).await;
    assert_eq!(status, 201, "{answer}");
    let users = (0..USERS).map(|user| format!("user-{user}"));
    let members: Vec<String> = users.chain((0..WATCHERS + OTHERS).map(|number| format!("watcher-{number}"))).collect();
    let channel = format!("{channels}/messaging/all");
    for some in members.chunks(ADDED_AT_ONCE) {
        let mut form = String::new();
        for member in some {
            write!(form, "Identity={member}&").unwrap();
        }
        owner.post(&format!("{channel}/Members"), form).await;
    }
    channel
}

/// Begins the watches, one after the other.
async fn watch_all(watchers: &[Client], server: u32) -> Vec<Watch> {
    sleep(Duration::from_secs(1)).await;
    let (mut watches, mut took, mut memory) = (Vec::new(), Vec::new(), vec![resident_memory(server)]);
    let (bytes, cpu) = (frames(watchers).bytes_received, Used::by(server));
    for client in watchers {
        let started = Instant::now();
        let watched = client.channel("messaging", "all", Value::Null).watch(true).await.unwrap();
        took.push(started.elapsed());
        assert_eq!((watched.channel.members.len(), watched.users.len()), (MEMBERS - 1, MEMBERS - 1));
        watches.push(watched.watch.unwrap());
        if watches.len() == 1 {
            sleep(Duration::from_secs(1)).await;
            memory.push(resident_memory(server));
        }
    }
    sleep(Duration::from_secs(1)).await;
    memory.push(resident_memory(server));
    let cpu = Used::by(server).since(cpu).cpu.as_secs_f64() * 1e3 / WATCHERS as f64;
    let bytes = (frames(watchers).bytes_received - bytes) / WATCHERS as u64 / 1_024;
    let (first, more) = (took.remove(0), Durations(took));
    let each = memory[2].saturating_sub(memory[1]) as f64 / (WATCHERS - 1) as f64;
    let memory: Vec<String> = memory.iter().map(|memory| format!("{}", memory / 1_024)).collect();
    println!(
        "\n| a channel of {} members | the first watch is answered after | the others: p50 / p99 / max | an answer has | CPU an answer | memory before, with one, with {WATCHERS} | memory a watch |",
        MEMBERS - 1
    );
    println!("|---|---|---|---|---|---|---|");
    println!(
        "| ours | {:.0} ms | {more} | {bytes} KiB | {cpu:.0} ms | {} MiB | {each:.1} KiB |",
        first.as_secs_f64() * 1e3,
        memory.join(", ")
    );
    watches
}

/// Waits until each watcher has told of this, and says after how long the last did.
async fn all(told: &mut UnboundedReceiver<Told>, since: Instant, took: &mut Durations, is_it: impl Fn(&Event) -> bool) {
    let (mut seen, mut last) = ([false; WATCHERS], since);
    while seen.contains(&false) {
        let Told { client, at, event } = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        if is_it(&event) && !seen[client] {
            seen[client] = true;
            last = last.max(at);
        }
    }
    took.0.push(last - since);
}
