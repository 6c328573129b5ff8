//! The contracts of the ports of a store, one file for each port: what every store must do.
//!
//! The signature of a check names the ports that the check uses. [`crate::store_contract`],
//! [`crate::push_store_contract`] and [`crate::local_store_contract`] make a test of each check, for one kind of store.

pub mod accounts;
pub mod api_keys;
pub mod bindings;
pub mod channels;
pub mod credentials;
pub mod disclosures;
pub mod notifications;
pub mod older_documents;
pub mod search;
pub mod services;
pub mod snapshots;
pub mod sockets;
pub mod states;
pub mod timers;
pub mod users;

use std::time::Duration;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::UserState;
use reachability_domain::sid::{ServiceSid, Sid, UserSid};
use reachability_domain::time::Timestamp;

use crate::harness::{SETTINGS, new_service, rules};

/// Makes a test of each check of the ports that are not about pushes. The argument is an async expression that returns
/// a new store and something that has to live as long as the test.
#[macro_export]
macro_rules! store_contract {
    ($fresh:expr) => {
        $crate::contract_tests!($fresh;
            accounts: account_settings_are_replaced_by_version;
            services:
                services_are_kept,
                services_are_replaced_by_version,
                one_of_concurrent_replacements_wins,
                deleting_a_service_deletes_everything_in_it;
            users:
                users_are_kept,
                an_identity_belongs_to_one_user,
                identities_are_told_apart,
                users_are_replaced_by_version,
                a_request_for_webhooks_is_remembered,
                the_same_identity_in_two_services_is_two_users,
                lists_go_both_ways;
            api_keys: keys_are_kept;
            snapshots:
                a_snapshot_has_the_configuration_the_user_and_the_state,
                there_is_no_snapshot_of_what_does_not_exist;
            states:
                unknown_users_have_an_empty_state,
                an_opening_creates_the_user,
                an_end_alone_creates_nobody,
                joining_again_changes_nothing,
                joining_survives_every_order,
                openings_survive_every_order,
                concurrent_joins_lose_nothing,
                the_end_of_a_lease_is_written_once,
                revisions_grow,
                a_deleted_user_does_not_come_back,
                the_deletion_of_a_user_without_events_is_remembered,
                every_write_of_a_user_has_a_revision,
                a_connect_while_reachability_is_off_creates_the_user,
                states_are_in_the_order_of_the_keys;
            timers:
                one_timer_follows_another,
                a_repeated_message_sends_the_stored_timer_again,
                a_lost_timer_is_set_again,
                a_timer_is_never_too_late,
                concurrent_timers_leave_one;
            disclosures:
                a_wish_comes_with_its_user,
                a_wish_brings_nobody_back,
                wishes_are_kept_beside_all_else,
                concurrent_wishes_lose_nothing;
        );
    };
}

/// Like [`crate::store_contract`], for the ports that are about pushes.
#[macro_export]
macro_rules! push_store_contract {
    ($fresh:expr) => {
        $crate::contract_tests!($fresh;
            bindings:
                a_device_registers,
                registering_again_is_the_same_binding,
                registering_again_replaces_the_tags,
                a_device_changes_hands,
                a_device_is_unregistered,
                a_dead_token_ends_its_registration,
                a_registration_ends_unless_it_is_repeated,
                devices_are_changed_together,
                a_registration_is_announced_in_every_generation,
                the_oldest_of_too_many_devices_is_removed,
                one_of_concurrent_registrations_has_the_device,
                registrations_and_connections_do_not_interfere,
                bindings_are_deleted_with_their_user,
                bindings_are_deleted_with_their_service,
                bindings_are_listed;
            credentials: credentials_are_kept;
            notifications:
                notifications_are_kept,
                notifications_with_a_key_are_made_once,
                a_delivery_is_decided_on_once,
                the_first_decision_about_a_user_stays;
        );
    };
}

/// Like [`crate::store_contract`], for what only the stores of one process have: channels, and finding users.
#[macro_export]
macro_rules! local_store_contract {
    ($fresh:expr) => {
        $crate::contract_tests!($fresh;
            channels:
                channels_are_kept,
                members_come_and_go,
                channels_are_limited,
                channels_are_listed,
                channels_belong_to_their_service,
                concurrent_members_are_counted;
            search:
                users_are_found_by_identity,
                users_are_listed_by_identity,
                those_online_are_found;
        );
    };
}

/// The common part of these macros.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_tests {
    ($fresh:expr; $($port:ident: $($check:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let (store, _alive) = $fresh.await;
                $crate::contract::$port::$check(store).await;
            }
        )+)+
    };
}

const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

async fn service(store: &dyn Services, n: u128) -> Service {
    let service = new_service(ServiceSid::from_bits(n));
    store.create_service(&service).await.unwrap();
    service
}

fn user(service: ServiceSid, n: u128, identity: &str) -> User {
    let key = UserKey { service, identity: identity.parse().unwrap() };
    User::new(UserSid::from_bits(n), key, Some(Sid::from_bits(3)), NOW)
}

fn event(user: &User, connection: &str, at: Timestamp, kind: EventKind) -> Event {
    Event { user: user.key(), connection: connection.parse().unwrap(), occurred_at: at, kind }
}

fn connect(user: &User, connection: &str, at: Timestamp) -> Event {
    event(user, connection, at, EventKind::Connect { lease: None, device: None })
}

fn disconnect(user: &User, connection: &str, at: Timestamp) -> Event {
    event(user, connection, at, EventKind::Disconnect { reason: EndReason::ClientClosed })
}

fn news(events: &[Event], now: Timestamp) -> News {
    let mut news = News::new(rules(SETTINGS));
    for event in events {
        news.add(event, Acceptance::In(Generation(1)), now);
    }
    news
}

async fn state(store: &dyn States, user: &User) -> UserState {
    store.states(&[user.key()]).await.unwrap().remove(0)
}

async fn online(store: &dyn States, user: &User, now: Timestamp) -> Option<bool> {
    let mut configuration = new_service(user.service_sid).configuration;
    configuration.set_reachability_enabled(true, NOW);
    Appearance::of(&configuration, &state(store, user).await, now, Viewer::Other).reachability.online
}

async fn by_identity(store: &dyn Users, user: &User) -> Option<User> {
    store.user(user.service_sid, &UserRef::Identity(user.identity.clone())).await.unwrap()
}
