//! Bindings: the devices that are registered.

use std::sync::Arc;

use reachability_domain::directory::configuration::{Configuration, Generation};
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::change::Change;
use reachability_domain::presence::event::{Event, EventKind};
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::binding::{Binding, BindingFilter, Death};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::CredentialUse;
use reachability_domain::push::device::{Address, Device};
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::ports::{Applied, Bindings};
use reachability_domain::push::reason::Reason;
use reachability_domain::push::registration::{KEEP_DEAD, MAX_DEVICES, Registration};
use reachability_domain::push::tag::Tag;
use reachability_domain::push::verdict::{TokenState, Verdict};
use reachability_domain::sid::{BindingSid, CredentialSid, ServiceSid, Sid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use crate::harness::{SETTINGS, new_service, rules};
use crate::store::Leftovers;

use super::{NOW, later, state, user};

async fn service(store: &dyn Services, n: u128) -> ServiceSid {
    super::service(store, n).await.sid
}

/// A binding as it is when it is registered.
pub fn binding(user: &User, channel: Channel, token: &str, at: Timestamp) -> Binding {
    let address = Address::new(channel, token).unwrap();
    let device = Device::new(user.service_sid, channel, &address);
    Binding {
        sid: device.binding_sid(&user.identity),
        service_sid: user.service_sid,
        identity: user.identity.clone(),
        channel,
        address,
        credential_sid: Some(CredentialSid::from_bits(1)),
        endpoint: Some("a phone".to_owned()),
        tags: vec![],
        date_created: at,
        date_updated: at,
        registered_at: at,
        lifetime: Lifetime::longest(channel),
        confirmed_at: None,
        asked_at: None,
        learnt_with: Timestamp::default(),
        environment: None,
        death: None,
        version: 0,
    }
}

fn tags(words: &[&str]) -> Vec<Tag> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

async fn register(store: &dyn Bindings, user: &User, token: &str, at: Timestamp) -> Binding {
    let binding = binding(user, Channel::Fcm, token, at);
    let action = BindingCommand::Register { binding: binding.clone(), generation: Generation(1) };
    let bound = store.apply(user.service_sid, binding.device(), &action, Some(user), at).await.unwrap();
    bound.after.unwrap()
}

/// An answer to a request with the credential of [`binding`] as it was made.
pub fn verdict(registered_at: Timestamp, asked_at: Timestamp, token: TokenState) -> Verdict {
    let credential = CredentialUse { sid: CredentialSid::from_bits(1), since: Timestamp::default() };
    Verdict { registered_at, asked_at, credential, environment: None, token }
}

async fn settle(store: &dyn Bindings, binding: &Binding, asked_at: Timestamp, word: TokenState) -> Option<Binding> {
    let action = BindingCommand::ApplyVerdict(binding.sid, verdict(binding.registered_at, asked_at, word));
    store.apply(binding.service_sid, binding.device(), &action, None, asked_at).await.unwrap().after
}

fn dead(since: Option<Timestamp>) -> TokenState {
    TokenState::Dead { reason: Reason::new("Unregistered"), since }
}

async fn notifiable(store: &dyn States, user: &User, now: Timestamp) -> Option<bool> {
    let mut configuration = new_service(user.service_sid).configuration;
    configuration.set_reachability_enabled(true, NOW);
    Appearance::of(&configuration, &state(store, user).await, now, Viewer::Other).reachability.notifiable
}

/// A user's stored bindings, after a check that the user's state has the same.
async fn devices(store: &(impl States + Bindings), user: &User) -> Vec<Binding> {
    let filter = BindingFilter { identities: vec![user.identity.clone()], ..BindingFilter::default() };
    let page = PageRequest { position: Cursor::Start, limit: 1_000 };
    let stored = store.bindings(user.service_sid, &filter, page).await.unwrap().items;
    let state = state(store, user).await;
    let in_state: Vec<(BindingSid, Registration)> =
        state.registrations.devices().map(|(sid, it)| (sid, it.clone())).collect();
    let expected: Vec<(BindingSid, Registration)> =
        stored.iter().map(|binding| (binding.sid, Registration::of(binding))).collect();
    assert_eq!(in_state, expected, "{}", user.identity);
    stored
}

/// The first device of an unknown user.
pub async fn a_device_registers(store: Arc<impl Services + Users + States + Bindings>) {
    let service = service(&*store, 1).await;
    let alice = user(service, 1, "alice \u{1F600}");
    assert_eq!(notifiable(&*store, &alice, NOW).await, None);
    let binding = register(&*store, &alice, "token", NOW).await;
    assert_eq!(store.binding(service, binding.sid).await.unwrap(), Some(binding.clone()));
    assert_eq!(store.binding(ServiceSid::from_bits(2), binding.sid).await.unwrap(), None);
    assert_eq!(notifiable(&*store, &alice, NOW).await, Some(true));
    let found = store.user(service, &UserRef::Identity(alice.identity.clone())).await.unwrap();
    assert_eq!(found, Some(alice.clone()), "who registers is made");
    assert!(state(&*store, &alice).await.revision > 0);
    // Without a service a registration is refused.
    let nobody = user(ServiceSid::from_bits(9), 2, "nobody");
    let stray = self::binding(&nobody, Channel::Apn, "00ff", NOW);
    let action = BindingCommand::Register { binding: stray.clone(), generation: Generation(1) };
    let refused = store.apply(nobody.service_sid, stray.device(), &action, Some(&nobody), NOW).await;
    assert!(matches!(refused, Err(StoreError::Missing)), "{refused:?}");
    assert_eq!(store.binding(nobody.service_sid, stray.sid).await.unwrap(), None);
}

/// The tags are those of the last registration. What a provider says about the device leaves them alone.
pub async fn registering_again_replaces_the_tags(store: Arc<impl Services + States + Bindings>) {
    let service = service(&*store, 1).await;
    let alice = user(service, 1, "alice");
    let mut at = 0;
    for words in [&["vip", "berlin"] as &[&str], &["paris", "vip", "beta"], &["vip"], &[]] {
        at += 10;
        let binding = Binding { tags: tags(words), ..binding(&alice, Channel::Fcm, "token", later(at)) };
        let action = BindingCommand::Register { binding: binding.clone(), generation: Generation(1) };
        let after = store.apply(service, binding.device(), &action, Some(&alice), later(at)).await.unwrap().after;
        assert_eq!(after.unwrap().tags, tags(words));
        let stored = store.binding(service, binding.sid).await.unwrap().unwrap();
        assert_eq!(stored.tags, tags(words));
        settle(&*store, &stored, later(at + 1), TokenState::Alive).await;
        settle(&*store, &stored, later(at + 2), dead(None)).await;
        let settled = &devices(&*store, &alice).await[0];
        assert_eq!((settled.status(), &settled.tags), ("dead", &tags(words)));
    }
    // A device that changes hands does not take its tags along.
    let given = Binding { tags: tags(&["vip"]), ..binding(&alice, Channel::Fcm, "token", later(90)) };
    let action = BindingCommand::Register { binding: given.clone(), generation: Generation(1) };
    store.apply(service, given.device(), &action, Some(&alice), later(90)).await.unwrap();
    let bob = user(service, 2, "bob");
    assert_eq!(register(&*store, &bob, "token", later(91)).await.tags, []);
}

/// As apps do every time they start.
pub async fn registering_again_is_the_same_binding(store: Arc<impl Services + States + Bindings>) {
    let service = service(&*store, 1).await;
    let alice = user(service, 1, "alice");
    let first = register(&*store, &alice, "token", NOW).await;
    settle(&*store, &first, later(1), TokenState::Alive).await;
    let before = state(&*store, &alice).await.revision;
    let again = register(&*store, &alice, "token", later(2)).await;
    assert_eq!(again.sid, first.sid);
    assert_eq!(again.date_created, NOW);
    assert_eq!(again.registered_at, later(2));
    assert_eq!(again.confirmed_at, Some(later(1)));
    assert_eq!(devices(&*store, &alice).await, [again]);
    assert!(before < state(&*store, &alice).await.revision);
    // The same token under the channel's other name is the same device.
    let action = BindingCommand::Register {
        binding: binding(&alice, Channel::Gcm, "token", later(3)),
        generation: Generation(1),
    };
    store.apply(service, first.device(), &action, Some(&alice), later(3)).await.unwrap();
    assert_eq!(devices(&*store, &alice).await.len(), 1);
}

/// Two users of one phone.
pub async fn a_device_changes_hands(store: Arc<impl Services + States + Bindings>) {
    let service = service(&*store, 1).await;
    let (alice, bob) = (user(service, 1, "alice"), user(service, 2, "bob"));
    let hers = register(&*store, &alice, "token", NOW).await;
    let his = register(&*store, &bob, "token", later(1)).await;
    assert_ne!(hers.sid, his.sid);
    assert_eq!(store.binding(service, hers.sid).await.unwrap(), None);
    assert_eq!(store.binding(service, his.sid).await.unwrap(), Some(his.clone()));
    assert_eq!(notifiable(&*store, &alice, later(1)).await, Some(false));
    assert_eq!(notifiable(&*store, &bob, later(1)).await, Some(true));
    assert!(devices(&*store, &alice).await.is_empty());
    // Her unregistration and a verdict about her registration come too late: he keeps the device.
    for action in [
        BindingCommand::Unregister(hers.sid),
        BindingCommand::ApplyVerdict(hers.sid, verdict(NOW, later(2), dead(None))),
        BindingCommand::RemoveDead(hers.sid),
        BindingCommand::Expire(hers.sid),
    ] {
        let bound = store.apply(service, hers.device(), &action, None, later(2)).await.unwrap();
        assert_eq!(bound.before, bound.after, "{action:?}");
    }
    assert_eq!(notifiable(&*store, &bob, later(2)).await, Some(true));
    // She registers it again.
    assert_eq!(register(&*store, &alice, "token", later(3)).await.sid, hers.sid);
    assert_eq!(devices(&*store, &bob).await, []);
    assert_eq!(devices(&*store, &alice).await.len(), 1);
}

/// A user unregisters devices, one after the other.
pub async fn a_device_is_unregistered(store: Arc<impl Services + States + Bindings>) {
    let service = service(&*store, 1).await;
    let alice = user(service, 1, "alice");
    let (phone, tablet) =
        (register(&*store, &alice, "phone", NOW).await, register(&*store, &alice, "tablet", NOW).await);
    for (device, left) in [(&phone, Some(true)), (&tablet, Some(false))] {
        let action = BindingCommand::Unregister(device.sid);
        let bound = store.apply(service, device.device(), &action, None, later(1)).await.unwrap();
        assert_eq!((bound.before.as_ref(), bound.after), (Some(device), None));
        assert_eq!(notifiable(&*store, &alice, later(1)).await, left);
        let again = store.apply(service, device.device(), &action, None, later(1)).await.unwrap();
        assert_eq!((again.before, again.after), (None, None));
    }
    assert!(devices(&*store, &alice).await.is_empty());
    register(&*store, &alice, "phone", later(2)).await;
    assert_eq!(notifiable(&*store, &alice, later(2)).await, Some(true));
}

/// The dead-token rule, through the store.
pub async fn a_dead_token_ends_its_registration(store: Arc<impl Services + States + Bindings>) {
    let service = service(&*store, 1).await;
    let alice = user(service, 1, "alice");
    let phone = register(&*store, &alice, "phone", later(10)).await;
    // Verdicts about other registrations, and about a death before this registration, are ignored.
    for registered_at in [later(9), later(11)] {
        settle(&*store, &Binding { registered_at, ..phone.clone() }, later(20), dead(None)).await;
    }
    settle(&*store, &phone, later(20), dead(Some(later(10)))).await;
    assert_eq!(notifiable(&*store, &alice, later(20)).await, Some(true));
    let revision = state(&*store, &alice).await.revision;
    let after = settle(&*store, &phone, later(21), dead(Some(later(11)))).await.unwrap();
    assert_eq!(after.death, Some(Death { reason: Reason::new("Unregistered"), at: later(21), is_mismatch: false }));
    assert_eq!(notifiable(&*store, &alice, later(21)).await, Some(false));
    assert_eq!(devices(&*store, &alice).await, [after]);
    let written = state(&*store, &alice).await.revision;
    assert!(revision < written);
    // The same verdict again changes nothing.
    settle(&*store, &phone, later(21), dead(Some(later(11)))).await;
    assert_eq!(state(&*store, &alice).await.revision, written);
    // The device may register again; a verdict from before does not count.
    register(&*store, &alice, "phone", later(30)).await;
    settle(&*store, &phone, later(25), dead(None)).await;
    assert_eq!(notifiable(&*store, &alice, later(30)).await, Some(true));
    assert_eq!(devices(&*store, &alice).await[0].status(), "unconfirmed");
}

/// What is known of several devices comes together, some of one user: each is as if it had come alone.
pub async fn devices_are_changed_together(store: Arc<impl Services + States + Bindings>) {
    let service = service(&*store, 1).await;
    let (alice, bob) = (user(service, 1, "alice"), user(service, 2, "bob"));
    let phone = register(&*store, &alice, "phone", NOW).await;
    let tablet = register(&*store, &alice, "tablet", NOW).await;
    let watch = register(&*store, &bob, "watch", NOW).await;
    let gone = register(&*store, &bob, "gone", NOW).await;
    store.apply(service, gone.device(), &BindingCommand::Unregister(gone.sid), None, NOW).await.unwrap();
    let about = |binding: &Binding, word: TokenState| {
        let verdict = verdict(binding.registered_at, later(1), word);
        (binding.device(), BindingCommand::ApplyVerdict(binding.sid, verdict))
    };
    let commands = [
        about(&phone, TokenState::Alive),
        about(&gone, TokenState::Alive),
        about(&tablet, dead(None)),
        about(&watch, dead(None)),
    ];
    let applied = store.apply_all(service, &commands, later(1)).await;
    let applied: Vec<Applied> = applied.into_iter().map(|applied| applied.unwrap()).collect();
    let before: Vec<Option<&Binding>> = applied.iter().map(|applied| applied.before.as_ref()).collect();
    assert_eq!(before, [Some(&phone), None, Some(&tablet), Some(&watch)], "in their order");
    let status = |applied: &Applied| applied.after.as_ref().map(Binding::status);
    assert_eq!(applied.iter().map(status).collect::<Vec<_>>(), [Some("confirmed"), None, Some("dead"), Some("dead")]);
    assert_eq!(notifiable(&*store, &alice, later(1)).await, Some(true));
    assert_eq!(notifiable(&*store, &bob, later(1)).await, Some(false));
    let mut stored: Vec<Binding> = applied.into_iter().filter_map(|applied| applied.after).collect();
    assert_eq!(devices(&*store, &bob).await, stored.split_off(2));
    stored.sort_unstable_by_key(|binding| binding.sid);
    assert_eq!(devices(&*store, &alice).await, stored);
    assert!(store.apply_all(service, &[], later(1)).await.is_empty());

    // One sid is that of a device that has changed its user.
    let other_sid = watch.device().binding_sid(&alice.identity);
    let sids = [phone.sid, gone.sid, other_sid, tablet.sid];
    let mut found = store.bindings_with(service, &sids).await.unwrap();
    found.sort_unstable_by_key(|binding| binding.sid);
    assert_eq!(found, stored);
    assert_eq!(store.bindings_with(service, &[]).await.unwrap(), []);
    assert_eq!(store.bindings_with(ServiceSid::from_bits(2), &sids).await.unwrap(), []);
}

/// It ends unless the device registers again in time.
pub async fn a_registration_ends_unless_it_is_repeated(store: Arc<impl Services + States + Bindings>) {
    let service = service(&*store, 1).await;
    let alice = user(service, 1, "alice");
    let phone = register(&*store, &alice, "phone", NOW).await;
    let end = phone.ends_at();
    let expire = async |at: Timestamp| {
        store.apply(service, phone.device(), &BindingCommand::Expire(phone.sid), None, at).await.unwrap();
        devices(&*store, &alice).await[0].status()
    };
    assert_eq!(expire(Timestamp::from_millis(end.as_millis() - 1)).await, "unconfirmed");
    // What readers see depends on the time, not on a write.
    assert_eq!(notifiable(&*store, &alice, Timestamp::from_millis(end.as_millis() - 1)).await, Some(true));
    assert_eq!(notifiable(&*store, &alice, end).await, Some(false));
    assert_eq!(expire(end).await, "dead");
    assert_eq!(notifiable(&*store, &alice, end).await, Some(false));
    // A dead registration is kept for a while. If the device registers again in that time, it stays.
    let forget = async |at: Timestamp| {
        store.apply(service, phone.device(), &BindingCommand::RemoveDead(phone.sid), None, at).await.unwrap();
        devices(&*store, &alice).await.len()
    };
    let over = end.plus(KEEP_DEAD);
    assert_eq!(forget(Timestamp::from_millis(over.as_millis() - 1)).await, 1);
    let end = register(&*store, &alice, "phone", over).await.ends_at();
    assert_eq!(forget(over).await, 1);
    assert_eq!(notifiable(&*store, &alice, over).await, Some(true));
    let again = expire(end).await;
    assert_eq!((again, forget(end.plus(KEEP_DEAD)).await), ("dead", 0));
}

/// Switching reachability off and on again starts a generation in which nothing has been announced yet.
pub async fn a_registration_is_announced_in_every_generation(store: Arc<impl Services + States + Bindings>) {
    let service = service(&*store, 1).await;
    let alice = user(service, 1, "alice");
    let mut configuration = new_service(service).configuration;
    let seen = |configuration: &Configuration, before: &UserState, after: &UserState| {
        let change = Change::between(&alice.key(), configuration, before, after);
        change.map(|change| (change.before.reachability.notifiable, change.after.reachability.notifiable))
    };
    let nothing = state(&*store, &alice).await;
    configuration.set_reachability_enabled(true, NOW);
    let phone = register(&*store, &alice, "phone", NOW).await;
    let registered = state(&*store, &alice).await;
    assert_eq!(seen(&configuration, &nothing, &registered), Some((None, Some(true))));
    configuration.set_reachability_enabled(false, NOW);
    settle(&*store, &phone, later(1), TokenState::Alive).await;
    let off = state(&*store, &alice).await;
    assert_eq!(seen(&configuration, &registered, &off), None);
    configuration.set_reachability_enabled(true, NOW);
    // A change before the announcement is published with the announcement.
    settle(&*store, &phone, later(2), dead(None)).await;
    let died = state(&*store, &alice).await;
    assert_eq!(seen(&configuration, &off, &died), None);
    store.announce(&alice.key(), Generation(2), later(3)).await.unwrap();
    let announced = state(&*store, &alice).await;
    assert_eq!(seen(&configuration, &died, &announced), Some((None, Some(false))));
    assert!(died.revision < announced.revision);
    assert_eq!(devices(&*store, &alice).await.len(), 1);
    // A repeated announcement is no change, nor is one of an older generation.
    for generation in [2, 1] {
        store.announce(&alice.key(), Generation(generation), later(4)).await.unwrap();
        let again = state(&*store, &alice).await;
        assert_eq!(seen(&configuration, &announced, &again), None, "{generation}");
    }
    // A user whose last device is gone is announced too, one who never had any is not.
    store.apply(service, phone.device(), &BindingCommand::Unregister(phone.sid), None, later(5)).await.unwrap();
    let gone = state(&*store, &alice).await;
    configuration.set_reachability_enabled(false, NOW);
    configuration.set_reachability_enabled(true, NOW);
    store.announce(&alice.key(), Generation(3), later(6)).await.unwrap();
    assert_eq!(seen(&configuration, &gone, &state(&*store, &alice).await), Some((None, Some(false))));
    let bob = user(service, 2, "bob");
    store.announce(&bob.key(), Generation(3), later(6)).await.unwrap();
    assert_eq!(state(&*store, &bob).await, UserState::default());
}

/// One user registers more devices than the limit; dead ones are removed first.
pub async fn the_oldest_of_too_many_devices_is_removed(store: Arc<impl Services + States + Bindings>) {
    let service = service(&*store, 1).await;
    let alice = user(service, 1, "alice");
    let mut registered = Vec::new();
    for n in 0..MAX_DEVICES as u64 {
        registered.push(register(&*store, &alice, &format!("token-{n}"), later(n)).await);
    }
    settle(&*store, &registered[7], later(100), dead(None)).await;
    for (n, gone) in [(100, 7), (101, 0), (102, 1)] {
        register(&*store, &alice, &format!("token-{n}"), later(n)).await;
        assert_eq!(devices(&*store, &alice).await.len(), MAX_DEVICES);
        assert_eq!(store.binding(service, registered[gone].sid).await.unwrap(), None, "{gone}");
    }
}

/// Many users register one device at the same time.
pub async fn one_of_concurrent_registrations_has_the_device(store: Arc<impl Services + States + Bindings + 'static>) {
    let service = service(&*store, 1).await;
    let users: Vec<User> = (1..=6).map(|n| user(service, n, &format!("user {n}"))).collect();
    let writers = users.iter().cloned().map(|user| {
        let store = store.clone();
        tokio::spawn(async move { register(&*store, &user, "token", NOW).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let mut having = 0;
    for user in &users {
        let devices = devices(&*store, user).await;
        having += devices.len();
        assert_eq!(notifiable(&*store, user, NOW).await, Some(!devices.is_empty()));
    }
    assert_eq!(having, 1);
}

/// They are in one record, and are written at the same time.
pub async fn registrations_and_connections_do_not_interfere(store: Arc<impl Services + States + Bindings + 'static>) {
    let service = service(&*store, 1).await;
    let alice = user(service, 1, "alice");
    let joins = (0..10).map(|n| {
        let (store, alice) = (store.clone(), alice.clone());
        tokio::spawn(async move {
            let event = Event {
                user: alice.key(),
                connection: format!("c-{n}").parse().unwrap(),
                occurred_at: NOW,
                kind: EventKind::Connect { lease: None, device: None },
            };
            let mut news = News::new(rules(SETTINGS));
            news.add(&event, Acceptance::In(Generation(1)), NOW);
            store.join(&alice, &news, &[], NOW).await.unwrap();
        })
    });
    let registrations = (0..5).map(|n| {
        let (store, alice) = (store.clone(), alice.clone());
        tokio::spawn(async move { drop(register(&*store, &alice, &format!("token-{n}"), NOW).await) })
    });
    for writer in joins.chain(registrations).collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let state = state(&*store, &alice).await;
    assert_eq!(state.presence.connections.len(), 10);
    assert_eq!(devices(&*store, &alice).await.len(), 5);
    // The end of a lease is visible to the feed with the next write of any kind.
    let binding = register(&*store, &alice, "token-0", later(200)).await;
    assert_eq!(self::state(&*store, &alice).await.as_of, later(200));
    assert_eq!(binding.registered_at, later(200));
}

/// A deleted user has no bindings.
pub async fn bindings_are_deleted_with_their_user(store: Arc<impl Services + Users + States + Bindings>) {
    let service = service(&*store, 1).await;
    let alice = user(service, 1, "alice");
    let mut bindings = Vec::new();
    for n in 0..3 {
        bindings.push(register(&*store, &alice, &format!("token-{n}"), NOW).await);
    }
    assert!(store.delete_user(service, alice.sid, later(1)).await.unwrap());
    for binding in &bindings {
        assert_eq!(store.binding(service, binding.sid).await.unwrap(), None);
        assert_eq!(settle(&*store, binding, later(2), TokenState::Alive).await, None);
    }
    assert!(devices(&*store, &alice).await.is_empty());
    assert_eq!(notifiable(&*store, &alice, later(2)).await, None, "somebody new by that name never had one");
    register(&*store, &user(service, 2, "alice"), "token-0", later(3)).await;
    assert_eq!(devices(&*store, &alice).await.len(), 1);
}

/// A deleted service has no bindings.
pub async fn bindings_are_deleted_with_their_service(store: Arc<impl Services + States + Bindings + Leftovers>) {
    let (gone, stays) = (service(&*store, 1).await, service(&*store, 2).await);
    let (alice, bob) = (user(gone, 1, "alice"), user(stays, 2, "alice"));
    let mut hers = Vec::new();
    for n in 0..5 {
        hers.push(register(&*store, &alice, &format!("token-{n}"), NOW).await);
    }
    let his = register(&*store, &bob, "token-0", NOW).await;
    assert!(store.delete_service(gone).await.unwrap());
    while store.purge(gone, 2).await.unwrap() {}
    for binding in hers {
        assert_eq!(store.binding(gone, binding.sid).await.unwrap(), None);
    }
    assert_eq!(devices(&*store, &bob).await, [his]);
}

/// They are listed by user, by channel, by tags, and page by page in both directions.
pub async fn bindings_are_listed(store: Arc<impl Services + Bindings>) {
    let service = service(&*store, 1).await;
    let users: Vec<User> = (1..=3).map(|n| user(service, n, &format!("user {n}"))).collect();
    let mut all = Vec::new();
    for (n, user) in users.iter().enumerate() {
        for m in 0..4 {
            let (channel, token) =
                [(Channel::Apn, format!("{n:02x}{m:02x}")), (Channel::Gcm, format!("t-{n}-{m}"))][m % 2].clone();
            // The first of each user's devices has no tags, like those that earlier versions have stored.
            let tags = tags(&["vip", "it's \"\u{1F600}\"", "x"][..m]);
            let binding = Binding { tags, ..binding(user, channel, &token, NOW) };
            let action = BindingCommand::Register { binding: binding.clone(), generation: Generation(1) };
            all.push(store.apply(service, binding.device(), &action, Some(user), NOW).await.unwrap().after.unwrap());
        }
    }
    all.sort_by_key(|binding| binding.sid);
    let of = |users: &[&User], channels: &[Channel], words: &[&str]| BindingFilter {
        identities: users.iter().map(|user| user.identity.clone()).collect(),
        channels: channels.to_vec(),
        tags: tags(words),
    };
    let [first, second, third] = [&users[0], &users[1], &users[2]];
    let nobody = user(service, 9, "nobody");
    for (filter, count) in [
        (BindingFilter::default(), 12),
        (of(&[], &[Channel::Apn], &[]), 6),
        (of(&[], &[Channel::Fcm], &[]), 6),
        (of(&[], &[Channel::Fcm, Channel::Apn], &[]), 12),
        (of(&[first], &[], &[]), 4),
        (of(&[third, second], &[Channel::Gcm], &[]), 4),
        (of(&[&nobody], &[], &[]), 0),
        (of(&[], &[], &["all"]), 12),
        (of(&[], &[], &["vip"]), 9),
        (of(&[], &[], &["x"]), 3),
        (of(&[], &[], &["it's \"\u{1F600}\"", "vip"]), 6),
        (of(&[], &[], &["vip", "x", "it's \"\u{1F600}\"", "all"]), 3),
        (of(&[], &[], &["vip", "nothing"]), 0),
        (of(&[], &[], &["VIP"]), 0),
        (of(&[], &[], &["apn"]), 6),
        (of(&[], &[], &["gcm", "fcm", "all"]), 6),
        (of(&[], &[], &["apn", "fcm"]), 0),
        (of(&[], &[], &["apn", "vip"]), 3),
        (of(&[], &[Channel::Fcm], &["apn"]), 0),
        (of(&[], &[Channel::Fcm, Channel::Apn], &["fcm", "x"]), 3),
        (of(&[first, third], &[], &["vip"]), 6),
        (of(&[second], &[Channel::Apn], &["vip", "apn"]), 1),
        (of(&[first], &[], &["apn", "x"]), 0),
    ] {
        let expected: Vec<&Binding> = all.iter().filter(|binding| filter.matches(binding)).collect();
        assert_eq!(expected.len(), count, "{filter:?}");
        let (mut forwards, mut position) = (Vec::new(), Cursor::Start);
        loop {
            let slice = store.bindings(service, &filter, PageRequest { position, limit: 2 }).await.unwrap();
            forwards.extend(slice.items);
            match forwards.last() {
                Some(last) if slice.more => position = Cursor::After(last.sid),
                _ => break,
            }
        }
        assert_eq!(forwards.iter().collect::<Vec<_>>(), expected, "{filter:?}");
        let Some(last) = expected.last() else { continue };
        let (mut backwards, mut position) = (vec![(*last).clone()], Cursor::Before(last.sid));
        loop {
            let slice = store.bindings(service, &filter, PageRequest { position, limit: 2 }).await.unwrap();
            backwards.splice(0..0, slice.items);
            if !slice.more {
                break;
            }
            position = Cursor::Before(backwards[0].sid);
        }
        assert_eq!(backwards.iter().collect::<Vec<_>>(), expected, "{filter:?}, backwards");
    }
}
