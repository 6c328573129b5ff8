//! For how long a registration counts after the app last registered: the setting of its credential, and its changes.

use reachability_domain::metrics::Counter;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::{Credential, RegistrationCheck};
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::message::{PushMessage, ScanBindings, Span};
use reachability_domain::push::reason::Reason;
use reachability_tests::push_harness::PushHarness;

use super::{before, day};

/// The owner lets registrations of this channel count for so many days; `None`: for as long as the channel allows. No provider
/// is asked.
async fn set(harness: &PushHarness, channel: Channel, days: Option<u16>) {
    let lifetime = days.map(|days| Lifetime::new(channel, days).unwrap());
    let stored = harness.stored(channel).await;
    let changed = Credential { lifetime, check: RegistrationCheck::None, ..stored };
    harness.store.replace_credential(&changed).await.unwrap();
}

async fn scan(harness: &PushHarness) {
    let all = ScanBindings { service: harness.service, span: Span::default() };
    assert!(harness.handle(vec![PushMessage::ScanBindings(all)]).await.is_empty(), "nobody is asked");
}

/// Whether a user is notifiable, and the status and the reason of the only binding.
async fn seen(harness: &PushHarness, binding: &Binding) -> (Option<bool>, &'static str, Option<String>) {
    let now = harness.binding(binding.sid).await.unwrap();
    let notifiable = harness.notifiable(binding.identity.as_str()).await;
    (notifiable, now.status(), now.death.map(|death| death.reason.to_string()))
}

#[tokio::test]
async fn a_registration_counts_for_as_long_as_its_credential_says() {
    let harness = PushHarness::new().await;
    let alive = (Some(true), "unconfirmed", None);
    let dead = (Some(false), "dead", Some(Reason::EXPIRED.to_owned()));
    // The setting, the age of the registration in days, and whether it still counts after a scan.
    let table = [
        (Channel::Apn, None, 364, true),
        (Channel::Apn, None, 365, false),
        (Channel::Fcm, None, 269, true),
        (Channel::Fcm, None, 270, false),
        (Channel::Gcm, None, 270, false),
        (Channel::Apn, Some(90), 89, true),
        (Channel::Apn, Some(90), 90, false),
        (Channel::Fcm, Some(1), 0, true),
        (Channel::Fcm, Some(1), 1, false),
        (Channel::Fcm, Some(270), 269, true),
    ];
    for (n, (channel, days, age, counts)) in table.into_iter().enumerate() {
        set(&harness, channel, days).await;
        let (user, token) = (format!("user {n}"), format!("{n:04x}"));
        let phone = harness.register_at(&user, channel, &token, before(day(age))).await;
        scan(&harness).await;
        let expected = if counts { &alive } else { &dead };
        assert_eq!(seen(&harness, &phone).await, *expected, "{channel:?}, {days:?} days, {age} days old");
        // Whatever the setting was, it counts again once the app registers.
        let again = harness.register(&user, channel, &token).await;
        assert_eq!(seen(&harness, &again).await, alive);
        harness
            .store
            .apply(harness.service, again.device(), &super::unregister(&again), None, again.registered_at)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_changed_setting_holds_for_registrations_from_the_next_scan_on() {
    let harness = PushHarness::new().await;
    set(&harness, Channel::Apn, None).await;
    let old = harness.register_at("old", Channel::Apn, "01", before(day(100))).await;
    let new = harness.register_at("new", Channel::Apn, "02", before(day(10))).await;
    set(&harness, Channel::Apn, Some(30)).await;
    assert_eq!(seen(&harness, &old).await.0, Some(true), "not before the scan");
    scan(&harness).await;
    assert_eq!(seen(&harness, &old).await, (Some(false), "dead", Some("Expired".to_owned())));
    assert_eq!(seen(&harness, &new).await, (Some(true), "unconfirmed", None));
    assert_eq!(harness.metrics.counted(Counter::DeathsExpired), 1);
    // The owner can see for a month why it died, however old it is.
    scan(&harness).await;
    assert_eq!(seen(&harness, &old).await.1, "dead");
    // A longer setting holds for what has not ended, and brings nobody back.
    set(&harness, Channel::Apn, Some(200)).await;
    scan(&harness).await;
    assert_eq!(harness.binding(new.sid).await.unwrap().lifetime.days(), 200);
    assert_eq!(seen(&harness, &old).await, (Some(false), "dead", Some("Expired".to_owned())));
    assert_eq!(harness.metrics.counted(Counter::DeathsExpired), 1);
    // A scan that finds nothing new writes nothing.
    let before = harness.binding(new.sid).await.unwrap();
    scan(&harness).await;
    assert_eq!(harness.binding(new.sid).await.unwrap(), before);
    // Without its credential a registration keeps what it has.
    harness.store.delete_credential(PushHarness::credential_sid(Channel::Apn)).await.unwrap();
    scan(&harness).await;
    assert_eq!(harness.binding(new.sid).await.unwrap(), before);
}
