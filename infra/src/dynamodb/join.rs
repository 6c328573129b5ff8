//! Joining events to a state in one conditional update, without reading it.
//!
//! [`UserState::join`](reachability_domain::presence::state::UserState::join) takes the later of two times, the higher
//! of two generations and the earliest end. An update expression cannot compare, but its condition can. The condition
//! holds where all new values win, which is the usual case. Otherwise nothing is written, and the store reads the state
//! and joins it with the domain's code.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::presence::connections::Presence;
use reachability_domain::time::Timestamp;
use serde::Serialize;

use super::state;

/// Maximum number of connections in one update: DynamoDB limits the length of expressions.
const MAX_CONNECTIONS: usize = 25;

/// An update with its condition.
#[derive(Debug, Default)]
pub(super) struct JoinUpdate {
    set: Vec<String>,
    conditions: Vec<String>,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl JoinUpdate {
    /// The update that adds `news` to the state of an existing user; `None` if `news` is empty or too large.
    pub(super) fn of(news: &Presence, now: Timestamp) -> Option<Self> {
        let connections = news.connections();
        if connections.len() == 0 || connections.len() > MAX_CONNECTIONS {
            return None;
        }
        let mut update = Self::default();
        update.values.insert(":one".to_owned(), AttributeValue::N("1".to_owned()));
        update.conditions.push("attribute_exists(sid)".to_owned());
        // The first write of a state chooses its first revision, so it cannot be an update.
        update.conditions.push("attribute_exists(rev)".to_owned());
        update.greatest("as_of", &now);
        update.greatest("active", &news.last_active());
        if news.online_generation() > Generation::default() {
            update.greatest("gen", &news.online_generation());
        }
        for (id, connection) in connections {
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
        Some(update)
    }

    /// The update expression.
    pub(super) fn expression(&self) -> String {
        format!("SET {} ADD rev :one", self.set.join(", "))
    }

    /// The condition expression.
    pub(super) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    /// Sets an attribute to a value, on the condition that no greater one is stored.
    fn greatest(&mut self, attribute: &str, value: &impl Serialize) {
        let name = self.name(attribute.to_owned());
        let placeholder = self.value(value);
        self.conditions.push(format!("(attribute_not_exists({name}) OR {name} <= {placeholder})"));
        self.set.push(format!("{name} = {placeholder}"));
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
