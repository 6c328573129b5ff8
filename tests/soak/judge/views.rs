//! What clients on sockets see.

use reachability_client::Connection;
use serde_json::{Value, json};

use super::Difference;
use super::users::Shown;
use crate::devices::{Devices, watched};
use crate::talkers::Talkers;
use crate::world::World;

/// What devices on Twilsock see otherwise than the API shows it.
pub(super) fn of_devices(world: &World, devices: &Devices, shown: &Shown) -> Vec<Difference> {
    let (mut differences, mut count, watched) = (vec![], 0, watched());
    for device in devices.0.iter().filter(|device| device.stays) {
        let views = device.views.borrow();
        if views.0.len() != watched.len() {
            differences.push((Some(device.key.clone()), format!("it watches {} users", views.0.len())));
        }
        for view in views.0.values() {
            count += 1;
            let key = (device.key.0, watched[view.user].clone());
            // Its own user it sees as it is.
            let Some(user) = shown.to_others.get(&key).filter(|_| key != device.key) else { continue };
            let seen = json!([view.reachability.0, view.reachability.1, view.friendly_name]);
            let is = json!([user["online"], user["notifiable"], user["name"]]);
            if seen != is || view.current_since.is_none() {
                differences.push((
                    Some(key),
                    format!("{} in service {} has {view:?}, and it is {user}", device.key.1, device.key.0),
                ));
            }
        }
    }
    world.checked("views over Twilsock", count);
    differences
}

/// The same of talkers on `/v1/Socket`.
pub(super) fn of_talkers(world: &World, talkers: &Talkers, shown: &Shown) -> Vec<Difference> {
    let (mut differences, mut count) = (vec![], 0);
    for talker in talkers.0.iter().filter(|talker| talker.stays) {
        let client = talker.client.borrow();
        let Some((client, _)) = &*client else {
            differences.push((Some(talker.key.clone()), "it is not connected yet".to_owned()));
            continue;
        };
        if let Connection::Closed { why } = client.connection() {
            differences.push((Some(talker.key.clone()), format!("its client does not come back: {why:?}")));
        }
        for identity in watched().into_iter().filter(|identity| *identity != talker.key.1) {
            count += 1;
            let (known, key) = (client.user(&identity), (talker.key.0, identity));
            let Some(user) = shown.to_others.get(&key) else { continue };
            let is = seen(user);
            let what = match known {
                None => "knows nothing of it".to_owned(),
                Some(known) if known.stale => "may be out of date".to_owned(),
                Some(known) => {
                    let sees = seen(&serde_json::to_value(&*known.user).unwrap());
                    if sees == is {
                        continue;
                    }
                    format!("sees {sees}, and it is {is}")
                }
            };
            differences.push((Some(key), format!("{} in service {} {what}", talker.key.1, talker.key.0)));
        }
    }
    world.checked("views over /v1/Socket", count);
    differences
}

/// What must be the same in both places. Nobody is told when only the time of the last activity moves on, or the revision.
fn seen(user: &Value) -> Value {
    json!([user["online"], user["notifiable"], user["status"], user["name"], user["custom"]])
}
