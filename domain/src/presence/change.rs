//! Published changes: of one user's visible reachability, or of a service's switch.

use serde_json::{Value, json};

use crate::directory::configuration::{Configuration, Generation};
use crate::identity::UserKey;
use crate::presence::reachability::Reachability;
use crate::presence::state::StateSummary;
use crate::sid::ServiceSid;
use crate::time::Timestamp;

/// A change of one user's visible reachability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The user.
    pub user: UserKey,
    /// The value before.
    pub before: Reachability,
    /// The value now.
    pub after: Reachability,
    /// When the change took effect.
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
    /// change is neither lost nor published twice. Registrations are not visible until they are announced in this
    /// generation: switching reachability on announces them one by one
    /// ([`BindingCommand::Announce`](crate::push::command::BindingCommand)).
    pub fn between(
        user: &UserKey,
        configuration: &Configuration,
        before: impl Into<StateSummary>,
        after: impl Into<StateSummary>,
    ) -> Option<Self> {
        let (before, after) = (before.into(), after.into());
        let change = Self {
            user: user.clone(),
            before: announced(configuration, before),
            after: announced(configuration, after),
            at: after.as_of,
            revision: after.revision,
            generation: configuration.generation,
        };
        (change.before != change.after).then_some(change)
    }

    /// The message for subscribers.
    pub fn to_json(&self) -> Value {
        json!({
            "type": "user",
            "service_sid": self.user.service,
            "identity": self.user.identity,
            "is_online": self.after.online,
            "is_notifiable": self.after.notifiable,
            "before": { "is_online": self.before.online, "is_notifiable": self.before.notifiable },
            "at": self.at.to_string(),
            "revision": self.revision,
            "generation": self.generation,
        })
    }
}

/// The reachability that the write of this state published.
fn announced(configuration: &Configuration, state: StateSummary) -> Reachability {
    let reachability = Reachability::of(configuration, state, state.as_of);
    let is_announced = state.announced_in == Some(configuration.generation);
    Reachability { notifiable: reachability.notifiable.filter(|_| is_announced), ..reachability }
}

/// A service's reachability was switched on or off. Either way it resets every user to unknown: changes published in an
/// earlier generation no longer hold, and while reachability is off nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The service.
    pub service_sid: ServiceSid,
    /// The value now.
    pub reachability_enabled: bool,
    /// How often it was switched on, including this time.
    pub generation: Generation,
}

impl Switch {
    /// The switch between two configurations of a service; `None` if reachability was not switched.
    pub fn between(service_sid: ServiceSid, before: &Configuration, after: &Configuration) -> Option<Self> {
        let seen = |configuration: &Configuration| (configuration.reachability_enabled, configuration.generation);
        (seen(before) != seen(after)).then_some(Self {
            service_sid,
            reachability_enabled: after.reachability_enabled,
            generation: after.generation,
        })
    }

    /// The message for subscribers.
    pub fn to_json(&self) -> Value {
        json!({
            "type": "service",
            "service_sid": self.service_sid,
            "reachability_enabled": self.reachability_enabled,
            "generation": self.generation,
        })
    }
}
