//! Why what a user's state shows changed, read from the stored states before and after the write.

use serde::{Deserialize, Serialize};

use crate::presence::change_reason::ChangeReason;
use crate::presence::connections::Presence;
use crate::presence::reachability::Reachability;
use crate::presence::state::UserState;
use crate::presence::status::Status;
use crate::push::reason::Reason;
use crate::push::registration::Registration;

/// What a user's state shows to others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Visible {
    /// Whether there is such a user.
    pub exists: bool,
    /// Whether the user is online and notifiable.
    #[serde(flatten)]
    pub reachability: Reachability,
    /// What the user says of itself; missing if that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// Why a field of [`Visible`] changed; `None` for one that did not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reasons {
    /// Of `exists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<ChangeReason>,
    /// Of `is_online`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_online: Option<ChangeReason>,
    /// Of `is_notifiable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_notifiable: Option<ChangeReason>,
    /// Of `status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ChangeReason>,
}

impl Reasons {
    /// Why these two states, of which the first was replaced by the second, show different values.
    pub(crate) fn between(before: &UserState, after: &UserState, was: &Visible, is: &Visible) -> Self {
        let (was_reachable, is_reachable) = (was.reachability, is.reachability);
        Self {
            exists: (was.exists != is.exists).then(|| of_existence(after)),
            is_online: (was_reachable.online != is_reachable.online)
                .then(|| of_online(before, after, is_reachable.online)),
            is_notifiable: (was_reachable.notifiable != is_reachable.notifiable)
                .then(|| of_notifiable(before, after, is_reachable.notifiable)),
            status: (was.status != is.status).then(|| {
                if before.sid.is_some() && after.sid.is_none() { ChangeReason::Deleted } else { ChangeReason::Status }
            }),
        }
    }
}

/// Why a user is there or is not, which was not so before the write.
fn of_existence(after: &UserState) -> ChangeReason {
    match &after.created_by {
        _ if after.sid.is_none() => ChangeReason::Deleted,
        Some(reason) => reason.clone(),
        // Created by an earlier version, which cannot have been before this write.
        None => ChangeReason::Profile,
    }
}

/// Why `is_online` has a new value.
fn of_online(before: &UserState, after: &UserState, online: Option<bool>) -> ChangeReason {
    match online {
        Some(true) => ChangeReason::Connect,
        // It became invisible, which looks like a goodbye, and so does the reason. What came with that is not seen.
        Some(false) if after.disclosure.hidden.is_some() => {
            if after.as_of < before.presence.live_until() {
                ChangeReason::ClientClosed
            } else {
                of_end(&before.presence)
            }
        }
        Some(false) => of_end(&after.presence),
        None if before.sid.is_some() && after.sid.is_none() => ChangeReason::Deleted,
        None => ChangeReason::Switched,
    }
}

/// Why the last connection of all ended. It is the one whose end ended the user's presence, and is never pruned.
fn of_end(presence: &Presence) -> ChangeReason {
    let reason = presence.last().and_then(|(_, connection)| connection.end_reason());
    reason.map_or(ChangeReason::LeaseEnded, ChangeReason::from)
}

/// Why `is_notifiable` has a new value.
fn of_notifiable(before: &UserState, after: &UserState, notifiable: Option<bool>) -> ChangeReason {
    let known = |sid| before.registrations.devices().find(|(known, _)| *known == sid).map(|(_, it)| it);
    let changed = after.registrations.devices().find_map(|(sid, is)| match known(sid) {
        None => Some(ChangeReason::Registered),
        Some(was) if was != is => Some(of_device(was, is)),
        Some(_) => None,
    });
    let has_gone = before.registrations.devices().len() > after.registrations.devices().len();
    let was_announced = before.registrations.announced_in() == after.registrations.announced_in();
    let had_expired = was_announced && before.registrations.deliverable_until() <= after.as_of;
    match (notifiable, changed) {
        (None, _) if before.sid.is_some() && after.sid.is_none() => ChangeReason::Deleted,
        (None, _) => ChangeReason::Switched,
        // Whatever happens to a registration afterwards did not end it.
        (Some(false), _) if had_expired => ChangeReason::Expired,
        (Some(_), Some(reason)) => reason,
        (Some(false), None) if has_gone => ChangeReason::Unregistered,
        (Some(_), None) if !was_announced => ChangeReason::Switched,
        (Some(true), None) => ChangeReason::Registered,
        (Some(false), None) => ChangeReason::Expired,
    }
}

/// Why a device is another than before.
fn of_device(was: &Registration, is: &Registration) -> ChangeReason {
    match &is.death_reason {
        Some(reason) if is.is_dead && reason.as_str() == Reason::EXPIRED => ChangeReason::Expired,
        Some(reason) if is.is_dead => ChangeReason::Provider(reason.clone()),
        _ if was.registered_at != is.registered_at => ChangeReason::Registered,
        _ if was.is_dead && !is.is_dead => ChangeReason::Confirmed,
        // A confirmation alone makes nobody notifiable: what else is new is the time.
        _ => ChangeReason::Expired,
    }
}
