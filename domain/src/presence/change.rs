//! What the outside is told: a user's visible reachability went from one value to another, or all of a service's did.

use serde_json::{Value, json};

use crate::directory::configuration::{Configuration, Generation};
use crate::identity::UserKey;
use crate::presence::reachability::Reachability;
use crate::presence::state::StateSummary;
use crate::sid::ServiceSid;
use crate::time::Timestamp;

/// A user's visible reachability went from one value to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub user: UserKey,
    /// What was seen before.
    pub before: Reachability,
    /// What is seen now.
    pub after: Reachability,
    /// Since when.
    pub at: Timestamp,
    /// The revision of the state that shows it: of two changes of a user, the one with the higher revision is the later.
    pub revision: u64,
    /// The generation of the service's reachability in which it is so.
    pub generation: Generation,
}

impl Change {
    /// What the outside sees of a write, from the stored state before and after it; `None` if nothing.
    ///
    /// Each state is judged at the time of its own write, so that a change is neither lost nor told twice when a
    /// connection's end passes between two writes. Of registrations nothing is seen until they are told in this generation:
    /// when reachability is switched on that is done one by one ([`Action::Announce`](crate::push::command::BindingCommand)).
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

    /// Writes it for those who subscribed to changes.
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

/// What the outside was told with the write of a state.
fn announced(configuration: &Configuration, state: StateSummary) -> Reachability {
    let reachability = Reachability::of(configuration, state, state.as_of);
    let is_announced = state.announced_in == Some(configuration.generation);
    Reachability { notifiable: reachability.notifiable.filter(|_| is_announced), ..reachability }
}

/// A service's reachability was switched on or off. Either way nothing is known of its users then: what was told of them
/// in an earlier generation no longer holds, and nothing holds while it is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// Which service.
    pub service_sid: ServiceSid,
    /// Whether it is on now.
    pub reachability_enabled: bool,
    /// How often it was switched on, this time included.
    pub generation: Generation,
}

impl Switch {
    /// What the outside sees of a change of a service's configuration; `None` if nothing.
    pub fn between(service_sid: ServiceSid, before: &Configuration, after: &Configuration) -> Option<Self> {
        let seen = |configuration: &Configuration| (configuration.reachability_enabled, configuration.generation);
        (seen(before) != seen(after)).then_some(Self {
            service_sid,
            reachability_enabled: after.reachability_enabled,
            generation: after.generation,
        })
    }

    /// Writes it for those who subscribed to changes.
    pub fn to_json(&self) -> Value {
        json!({
            "type": "service",
            "service_sid": self.service_sid,
            "reachability_enabled": self.reachability_enabled,
            "generation": self.generation,
        })
    }
}
