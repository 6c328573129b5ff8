//! What the outside sees change: a user's visible record, or a service's switch.

use serde::{Deserialize, Serialize};

use crate::directory::configuration::{Configuration, Generation};
use crate::directory::service::Service;
use crate::directory::user::User;
use crate::identity::{Identity, UserKey};
use crate::presence::appearance::{Appearance, Viewer};
use crate::presence::change_reason::ChangeReason;
use crate::presence::reachability::Reachability;
use crate::presence::reasons::{Reasons, Visible};
use crate::presence::state::{StateSummary, UserState};
use crate::sid::{RoleSid, ServiceSid, UserSid};
use crate::time::{Timestamp, rfc3339};

/// A user was created or deleted, or its reachability changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The user.
    #[serde(flatten)]
    pub user: UserKey,
    /// The user's sid; `None` if there is no such user and was none before the write.
    pub user_sid: Option<UserSid>,
    /// The value now.
    #[serde(flatten)]
    pub after: Visible,
    /// The value before.
    pub before: Visible,
    /// Why each field that changed did so.
    pub reasons: Reasons,
    /// When the change took effect.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// The revision of the state that shows it. Of two changes of a user, the one with the higher revision is later.
    pub revision: u64,
    /// The generation of the service's reachability.
    pub generation: Generation,
}

impl Change {
    /// The visible change that a write caused, from the stored states before and after it; `None` if nothing visible
    /// changed.
    ///
    /// Each state is evaluated at the time of its own write. So if a connection's end passes between two writes, the
    /// change is neither lost nor published twice. That of a user who is invisible is evaluated at the last write that others
    /// could see: nothing is told because an invisible user does something. Registrations are not visible until they are
    /// announced in this generation: after reachability was switched on,
    /// [`States::announce`](crate::presence::ports::States::announce) does that for one user after the other.
    pub fn between(
        user: &UserKey,
        configuration: &Configuration,
        before: &UserState,
        after: &UserState,
    ) -> Option<Self> {
        let ((was, _), (is, revision)) = (visible(configuration, before), visible(configuration, after));
        (was != is).then(|| Self {
            user: user.clone(),
            user_sid: after.sid.or(before.sid),
            reasons: Reasons::between(before, after, &was, &is),
            before: was,
            after: is,
            at: after.as_of,
            revision,
            generation: configuration.generation,
        })
    }
}

/// What the write of this state published, and the revision of the last write that could publish something.
fn visible(configuration: &Configuration, state: &UserState) -> (Visible, u64) {
    let summary = StateSummary::from(state);
    let is_announced = summary.announced_in == Some(configuration.generation);
    let Appearance { reachability, status, revision, .. } =
        Appearance::of(configuration, summary, state.as_of_for_others(), Viewer::Other);
    let reachability = Reachability { notifiable: reachability.notifiable.filter(|_| is_announced), ..reachability };
    (Visible { exists: state.sid.is_some(), reachability, status }, revision)
}

/// A user's profile was changed. It is told apart from [`Change`], since it is stored apart: of the two, the one with the
/// higher revision is later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileChange {
    /// The user.
    #[serde(flatten)]
    pub user: UserKey,
    /// The user's sid.
    pub user_sid: UserSid,
    /// The profile now.
    pub profile: Profile,
    /// The profile before.
    pub before: Profile,
    /// [`ChangeReason::Profile`] or [`ChangeReason::OwnProfile`].
    pub reason: ChangeReason,
    /// When it was changed.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// The revision of the profile.
    pub revision: u64,
    /// The generation of the service's reachability.
    pub generation: Generation,
}

/// What can be changed of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// [`User::friendly_name`].
    pub friendly_name: Option<String>,
    /// [`User::attributes`].
    pub attributes: String,
    /// [`User::role_sid`].
    pub role_sid: Option<RoleSid>,
}

impl From<&User> for Profile {
    fn from(user: &User) -> Self {
        Self { friendly_name: user.friendly_name.clone(), attributes: user.attributes.clone(), role_sid: user.role_sid }
    }
}

impl ProfileChange {
    /// The change that a write of a profile caused; `None` if nothing visible changed.
    pub fn between(configuration: &Configuration, before: &User, after: &User) -> Option<Self> {
        let (was, is) = (Profile::from(before), Profile::from(after));
        (was != is).then(|| Self {
            user: after.key(),
            user_sid: after.sid,
            profile: is,
            before: was,
            reason: if after.by_client { ChangeReason::OwnProfile } else { ChangeReason::Profile },
            at: after.date_updated,
            revision: after.revision,
            generation: configuration.generation,
        })
    }
}

/// A service's reachability was switched on or off. Either way it resets every user to unknown: changes published in an
/// earlier generation no longer hold, and while reachability is off nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The service.
    pub service_sid: ServiceSid,
    /// The value now.
    #[serde(flatten)]
    pub after: Switched,
    /// The value before.
    pub before: Switched,
    /// [`SwitchReason::Switched`], or that the service was deleted.
    pub reason: SwitchReason,
    /// When it was switched; `None` if the service was deleted.
    #[serde(with = "rfc3339::option")]
    pub at: Option<Timestamp>,
}

/// Whether reachability is on for a service, and in which generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Whether it is on.
    pub reachability_enabled: bool,
    /// How often it was switched on, including this time.
    pub generation: Generation,
}

/// Why a service's reachability is another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchReason {
    /// Its owner switched it.
    Switched,
    /// The service was deleted.
    Deleted,
}

impl From<&Configuration> for Switched {
    fn from(configuration: &Configuration) -> Self {
        Self { reachability_enabled: configuration.reachability_enabled, generation: configuration.generation }
    }
}

impl Switch {
    /// What was switched between two stored services (`None` if not stored); `None` if nothing was. A service that is
    /// deleted is off.
    pub fn between(before: Option<&Service>, after: Option<&Service>) -> Option<Self> {
        let service_sid = after.or(before)?.sid;
        let was = before.map(|service| Switched::from(&service.configuration));
        let was = was.unwrap_or(Switched { reachability_enabled: false, generation: Generation::default() });
        let is = match after {
            Some(service) => Switched::from(&service.configuration),
            None => Switched { reachability_enabled: false, ..was },
        };
        let at = after.and_then(|service| match service.configuration.reachability_enabled {
            true => service.configuration.enabled_at,
            false => service.configuration.disabled_at,
        });
        let reason = if after.is_some() { SwitchReason::Switched } else { SwitchReason::Deleted };
        (was != is).then_some(Self { service_sid, after: is, before: was, reason, at })
    }
}

/// A change, as subscribers get it. Its JSON says in `type` what changed: `user`, `profile` or `service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notice {
    /// A user was created or deleted, or its reachability changed.
    User(Change),
    /// A user's profile changed.
    Profile(ProfileChange),
    /// A service's reachability was switched.
    Service(Switch),
}

impl Notice {
    /// The service in which something changed.
    pub fn service(&self) -> ServiceSid {
        match self {
            Self::User(change) => change.user.service,
            Self::Profile(change) => change.user.service,
            Self::Service(switch) => switch.service_sid,
        }
    }

    /// The user who changed; `None` if a service did.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::User(change) => Some(&change.user.identity),
            Self::Profile(change) => Some(&change.user.identity),
            Self::Service(_) => None,
        }
    }

    /// The word in `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Profile(_) => "profile",
            Self::Service(_) => "service",
        }
    }

    /// The message for subscribers.
    pub fn to_json(&self) -> String {
        // Strings, numbers and booleans: it can always be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}
