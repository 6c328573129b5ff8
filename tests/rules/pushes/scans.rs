//! Messages about all registrations of a service: the daily scan, and the announcements after switching on.

use reachability_domain::directory::configuration::Generation;
use reachability_domain::metrics::Counter;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::{Credential, RegistrationCheck};
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::message::{Announce, PushMessage, ScanBindings, ScanServices, Span};
use reachability_domain::push::registration::{KEEP_DEAD, MAX_DEVICES};
use reachability_infra::clock;
use reachability_tests::providers::Answer;
use reachability_tests::push_harness::PushHarness;

use super::{before, day};

/// A scan runs once a day. It expires registrations, removes long dead ones, and checks those that were not confirmed for long.
#[tokio::test]
async fn a_scan_finds_what_is_due() {
    let harness = PushHarness::new().await;
    let fcm = harness.stored(Channel::Fcm).await;
    harness.store.replace_credential(&Credential { check: RegistrationCheck::None, ..fcm }).await.unwrap();
    let year = Lifetime::YEAR.duration().as_secs();
    let over = harness.register_at("over", Channel::Apn, "01", before(year)).await;
    let ending = harness.register_at("ending", Channel::Apn, "02", before(year - day(29))).await;
    let fine = harness.register_at("fine", Channel::Apn, "03", before(year - day(31))).await;
    let dead = harness.register_at("dead", Channel::Apn, "04", before(day(100))).await;
    let long_dead = harness.register_at("long dead", Channel::Apn, "05", before(year + KEEP_DEAD.as_secs())).await;
    harness.apple.answer("04", Answer::apns(410, "Unregistered"));
    harness.check(&dead).await;
    harness.check(&fine).await;
    for n in 0..1_100 {
        harness.register("somebody", Channel::Fcm, &format!("token-{n}")).await;
        harness.register(&format!("user {n}"), Channel::Fcm, &format!("t-{n}")).await;
    }
    let mut messages = vec![PushMessage::ScanServices(ScanServices { after: None })];
    let (mut probes, mut sweeps) = (Vec::new(), 0);
    while !messages.is_empty() {
        sweeps += messages.len();
        let later = harness.handle(messages).await;
        let (asked, more): (Vec<PushMessage>, Vec<PushMessage>) =
            later.into_iter().partition(|message| matches!(message, PushMessage::Probe(_)));
        probes.extend(asked);
        messages = more;
    }
    assert!((1 + 1 + 30..=1 + 1 + 64).contains(&sweeps), "a page, and what is behind it in parts: {sweeps}");
    assert_eq!(harness.metrics.counted(Counter::Sweeps), 1);
    assert!(matches!(&probes[..], [PushMessage::Probe(probe)] if probe.binding == ending.sid), "{}", probes.len());
    let status = async |binding: &Binding| harness.binding(binding.sid).await.map(|it| it.status());
    assert_eq!(status(&over).await, Some("dead"));
    assert_eq!(status(&fine).await, Some("confirmed"));
    assert_eq!(status(&dead).await, Some("dead"));
    assert_eq!(harness.metrics.counted(Counter::DeathsExpired), 2);
    // A registration that has expired is kept for a while after its end.
    assert_eq!(status(&long_dead).await, Some("dead"));
    harness
        .handle(vec![PushMessage::ScanBindings(ScanBindings { service: harness.service, span: Span::default() })])
        .await;
    assert_eq!(status(&long_dead).await, None);
    for (identity, notifiable) in
        [("over", false), ("ending", true), ("fine", true), ("dead", false), ("long dead", false), ("user 7", true)]
    {
        assert_eq!(harness.notifiable(identity).await, Some(notifiable), "{identity}");
    }
    assert_eq!(MAX_DEVICES, 50, "somebody has no more");
}

/// Switching reachability on announces all registrations, one page of users after the other, and also that the last one
/// of a user is gone.
#[tokio::test]
async fn switching_on_announces_all_registrations() {
    let harness = PushHarness::new().await;
    let mut users = Vec::new();
    for n in 0..1_200 {
        users.push(harness.register(&format!("user {n}"), Channel::Fcm, &format!("token-{n}")).await.user());
    }
    let gone = harness.register("user 7", Channel::Fcm, "token-7").await;
    let unregister = BindingCommand::Unregister(gone.sid);
    harness.store.apply(harness.service, gone.device(), &unregister, None, clock::now()).await.unwrap();
    let mut service = harness.store.service(harness.service).await.unwrap().unwrap();
    for on in [false, true] {
        service.configuration.set_reachability_enabled(on, clock::now());
    }
    harness.store.replace_service(&service).await.unwrap();
    let told = async || {
        let states = harness.store.states(&users).await.unwrap();
        states.iter().filter(|state| state.registrations.announced_in() == Some(Generation(2))).count()
    };
    let announce = |generation| {
        PushMessage::Announce(Announce {
            service: harness.service,
            generation: Generation(generation),
            after_user: None,
        })
    };
    // Messages of an earlier generation, and of one that is not known here yet, are ignored.
    for generation in [1, 3] {
        assert!(harness.handle(vec![announce(generation)]).await.is_empty());
    }
    assert_eq!(told().await, 0);
    let more = harness.handle(vec![announce(2)]).await;
    assert_eq!(told().await, 1_000);
    assert!(harness.handle(more.clone()).await.is_empty());
    assert_eq!(told().await, 1_200);
    // A redelivery has nothing left to announce.
    let before = harness.store.states(&users).await.unwrap();
    harness.handle([more, vec![announce(2)]].concat()).await;
    assert_eq!(harness.store.states(&users).await.unwrap(), before);
    service.version += 1;
    service.configuration.set_reachability_enabled(false, clock::now());
    harness.store.replace_service(&service).await.unwrap();
    assert!(harness.handle(vec![announce(2)]).await.is_empty(), "off again");
}
