//! Joining events to a state in one conditional update, without reading it.
//!
//! [`UserState::join`] takes the later of two times, the greater of two generations and the earliest end. An update cannot
//! compare, but its condition can. The first try assumes that what is stored is behind, which is the usual case. If it is
//! refused, the answer shows the stored state: then the next try leaves alone what is ahead. What is ahead stays ahead, so
//! however many write the same user, each needs a few tries. Only where a connection's own condition does not hold, the
//! store reads the state and joins as the domain does.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::presence::connections::Presence;
use reachability_domain::presence::news::News;
use reachability_domain::presence::state::UserState;
use reachability_domain::time::Timestamp;
use serde::Serialize;

use super::state;

/// How many connections one update may name. The length of an expression is limited.
const MAX_CONNECTIONS: usize = 25;

/// Which attributes of the stored state are ahead of what the events say, so that an update leaves them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ahead {
    /// `rev`: it is not a time from before now, so that the next one is one more.
    rev: bool,
    as_of: bool,
    active: bool,
    generation: bool,
}

/// What events add to the state of a user that exists.
#[derive(Debug)]
pub(super) struct JoinUpdate {
    presence: Presence,
    /// When the earliest event occurred: events from before a deletion say nothing.
    earliest: Timestamp,
    now: Timestamp,
}

/// An update with its condition.
#[derive(Debug, Default)]
pub(super) struct Expression {
    set: Vec<String>,
    conditions: Vec<String>,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl JoinUpdate {
    /// `None` if there is nothing to add, or too much.
    pub(super) fn of(news: &News, now: Timestamp) -> Option<Self> {
        let (presence, earliest) = (news.presence(None), news.earliest()?);
        let connections = presence.connections().len();
        (1..=MAX_CONNECTIONS).contains(&connections).then_some(Self { presence, earliest, now })
    }

    /// Which attributes of a state are ahead of the events.
    pub(super) fn ahead(&self, state: &UserState) -> Ahead {
        Ahead {
            rev: i64::try_from(state.revision).unwrap_or(i64::MAX) >= self.now.as_millis() && state.revision > 0,
            as_of: state.as_of > self.now,
            active: state.presence.last_active() > self.presence.last_active(),
            generation: state.presence.online_generation() > self.presence.online_generation(),
        }
    }

    /// Whether the connections, and the user, are as an update needs them.
    pub(super) fn is_possible(&self, state: &UserState) -> bool {
        let fits = self.presence.connections().all(|(id, news)| {
            let known = state.presence.connection(id);
            let lease_fits = match (news.lease, known.lease) {
                (Some(news), Some(known)) => known.at < news.at && known.until <= news.until,
                _ => true,
            };
            lease_fits && (news.ended.is_none() || known.ended.is_none())
        });
        fits && state.sid.is_some() && state.deleted_at.is_none_or(|at| at < self.earliest)
    }

    /// The update of a state of which these attributes are ahead.
    pub(super) fn expression(&self, ahead: Ahead) -> Expression {
        let mut update = Expression::default();
        update.conditions.push("attribute_exists(sid)".to_owned());
        let (now, earliest) = (update.value(&self.now), update.value(&self.earliest));
        update.conditions.push(format!("(attribute_not_exists(del) OR del < {earliest})"));
        if ahead.rev {
            let one = update.value(&1);
            update.conditions.push(format!("rev >= {now}"));
            update.set.push(format!("rev = rev + {one}"));
        } else {
            update.conditions.push(format!("(attribute_not_exists(rev) OR rev < {now})"));
            update.set.push(format!("rev = {now}"));
        }
        update.greatest("as_of", &self.now, ahead.as_of);
        update.greatest("active", &self.presence.last_active(), ahead.active);
        if self.presence.online_generation() > Generation::default() {
            update.greatest("gen", &self.presence.online_generation(), ahead.generation);
        }
        for (id, connection) in self.presence.connections() {
            if let Some(opening) = &connection.lease {
                let (name, at, lease) =
                    (update.name(state::opened(id)), update.value(&opening.at), update.value(&opening.until));
                update
                    .conditions
                    .push(format!("(attribute_not_exists({name}) OR ({name}.a < {at} AND {name}.l <= {lease}))"));
                update.set(&name, opening);
            }
            if let Some(ending) = &connection.ended {
                let name = update.name(state::ended(id));
                update.conditions.push(format!("attribute_not_exists({name})"));
                update.set(&name, ending);
            }
        }
        update
    }
}

impl Expression {
    /// What to do.
    pub(super) fn update(&self) -> String {
        format!("SET {}", self.set.join(", "))
    }

    /// The condition expression.
    pub(super) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    /// Sets an attribute to a value that is the greatest so far, or leaves it alone if it is ahead.
    fn greatest(&mut self, attribute: &str, value: &impl Serialize, is_ahead: bool) {
        let name = self.name(attribute.to_owned());
        let placeholder = self.value(value);
        if is_ahead {
            self.conditions.push(format!("{name} > {placeholder}"));
        } else {
            self.conditions.push(format!("(attribute_not_exists({name}) OR {name} <= {placeholder})"));
            self.set.push(format!("{name} = {placeholder}"));
        }
    }

    fn set(&mut self, name: &str, value: &impl Serialize) {
        let placeholder = self.value(value);
        self.set.push(format!("{name} = {placeholder}"));
    }

    fn name(&mut self, attribute: String) -> String {
        let placeholder = format!("#n{}", self.names.len());
        self.names.insert(placeholder.clone(), attribute);
        placeholder
    }

    fn value(&mut self, value: &impl Serialize) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), state::write(value).into());
        placeholder
    }
}
