//! Garbage collection of connections' marks. An update that joins events adds attributes and removes none.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::AttributeValue;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::presence::connections::Presence;
use reachability_domain::presence::state::UserState;
use reachability_domain::time::Timestamp;
use tracing::warn;

use super::key::Key;
use super::state;
use super::store::DynamoStore;
use super::table::unless_refused;

/// How many attributes of connections a state may have before garbage is looked for. With fewer it usually is smaller than
/// one kilobyte, which is what a write unit pays for.
const MAX_MARKS: usize = 12;

/// How many of them it takes to be worth a write of its own.
const MIN_COLLECTED: usize = 6;

impl DynamoStore {
    /// Removes the marks of connections that can no longer matter, once there are many. Failing to changes nothing.
    pub(super) async fn collect_marks(&self, key: &Key, state: &UserState, now: Timestamp) {
        let marks = |presence: &Presence| {
            presence
                .connections()
                .map(|(_, it)| usize::from(it.lease.is_some()) + usize::from(it.ended.is_some()))
                .sum()
        };
        let all: usize = marks(&state.presence);
        if all <= MAX_MARKS {
            return;
        }
        let mut kept = state.presence.clone();
        kept.prune(now);
        if all - marks(&kept) < MIN_COLLECTED {
            return;
        }
        let kept: HashSet<_> = kept.connections().map(|(id, _)| id.clone()).collect();
        let gone = state.presence.connections().map(|(id, _)| id).filter(|id| !kept.contains(id));
        let names = gone.flat_map(|id| [state::opened(id), state::ended(id)]).take(100);
        let names: HashMap<String, String> = names.enumerate().map(|(n, name)| (format!("#n{n}"), name)).collect();
        let removed: Vec<&str> = names.keys().map(String::as_str).collect();
        let request = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(key.clone().attributes()))
            .update_expression(format!("REMOVE {}", removed.join(", ")))
            .condition_expression("rev = :rev")
            .expression_attribute_values(":rev", AttributeValue::N(state.revision.to_string()))
            .set_expression_attribute_names(Some(names));
        if let Err(error) = unless_refused(request.send().await) {
            warn!(error = %ErrorChain(&error), "what could be forgotten was not");
        }
    }
}
