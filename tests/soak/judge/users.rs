//! What the API shows of users.

use std::collections::{BTreeMap, BTreeSet};

use reachability_infra::clock;
use reachability_tests::changes;
use serde_json::Value;

use super::Difference;
use crate::ledger::Key;
use crate::world::{SERVICES, World};

/// What the API shows of everybody.
pub(super) struct Shown {
    /// `is_online` and `is_notifiable`, by the list of users.
    pub(super) users: BTreeMap<Key, Value>,
    /// By the list of who is here: as others see them.
    pub(super) to_others: BTreeMap<Key, Value>,
    /// The same, as they are.
    to_itself: BTreeMap<Key, Value>,
    /// Of the service that floods.
    loud: BTreeMap<String, Value>,
}

impl Shown {
    pub(super) async fn read(world: &World) -> Self {
        let (mut users, mut to_others, mut to_itself) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for service in 0..SERVICES {
            let sid = &world.services[service];
            let shown = changes::shown(&world.owner, sid).await;
            users.extend(shown.into_iter().map(|(identity, user)| ((service, identity), user)));
            for (query, all) in [("", &mut to_others), ("&IncludeInvisible=true", &mut to_itself)] {
                let mut next = Value::from(format!("/v1/Services/{sid}/Presence?PageSize=100{query}"));
                while let Some(url) = next.as_str() {
                    let page = world.owner.get(url).await;
                    for user in page["users"].as_array().unwrap_or_else(|| panic!("{url}: {page}")) {
                        all.insert((service, user["id"].as_str().unwrap().to_owned()), user.clone());
                    }
                    next = page["meta"]["next_page_url"].clone();
                }
            }
        }
        let loud = changes::shown(&world.owner, &world.services[SERVICES]).await;
        Self { users, to_others, to_itself, loud }
    }
}

/// What differs from what was acknowledged.
pub(super) fn differences(world: &World, shown: &Shown) -> Vec<Difference> {
    let (now, mut differences) = (clock::now().as_millis(), vec![]);
    let people = world.ledger.people();
    world.checked("users compared with the model", people.len());
    for (key, person) in people.iter() {
        let mut differ = |what: String| differences.push((Some(key.clone()), what));
        let lists = [shown.users.get(key), shown.to_others.get(key), shown.to_itself.get(key)];
        let [Some(listed), Some(to_others), Some(to_itself)] = lists else {
            let is_nowhere = lists.iter().all(Option::is_none);
            if person.exists() || !is_nowhere {
                differ(format!("it is lost, or not in all lists: {lists:?}"));
            }
            continue;
        };
        let (user, settings) = (world.ledger.user(key), world.ledger.settings());
        let own = person.online_to_itself(&user, settings, now);
        if !own.contains(&to_itself["online"].as_bool()) {
            differ(format!("it is shown to itself as {}, allowed: {own:?}", to_itself["online"]));
        }
        let others = person.online_to_others(&user, settings, now);
        for online in [&to_others["online"], &listed[0]] {
            if !others.contains(&online.as_bool()) {
                differ(format!("it is shown to others as {online}, allowed: {others:?}"));
            }
        }
        let notifiable: BTreeSet<Option<bool>> = if person.is_dead {
            BTreeSet::from([Some(false)])
        } else {
            person.registration.allowed().map(|registration| registration.notifiable()).collect()
        };
        for shown in [&listed[1], &to_others["notifiable"], &to_itself["notifiable"]] {
            if !notifiable.contains(&shown.as_bool()) {
                differ(format!("`notifiable` is shown as {shown}, allowed: {notifiable:?}"));
            }
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if !person.status.allows(&text(&to_itself["status"])) {
            differ(format!("its status is shown as {}, allowed: {:?}", to_itself["status"], person.status));
        }
        if !person.name.allows(&text(&to_itself["name"])) {
            differ(format!("its name is shown as {}, allowed: {:?}", to_itself["name"], person.name));
        }
        if !person.invisible.allows(&(to_itself["invisible"] == true)) {
            differ(format!("`invisible` is shown as {}, allowed: {:?}", to_itself["invisible"], person.invisible));
        }
    }
    for key in shown.users.keys().chain(shown.to_itself.keys()).filter(|key| !people.contains_key(*key)) {
        differences.push((Some(key.clone()), "nobody has heard of it".to_owned()));
    }
    for (identity, user) in shown.loud.iter().filter(|(_, user)| user[0] != false) {
        differences.push((None, format!("{identity} of the flood is {user}, though its leases have ended")));
    }
    differences
}
