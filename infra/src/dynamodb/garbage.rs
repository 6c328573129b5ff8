//! Removal of old connections from a state. The update that joins events only adds attributes.

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

/// Removal starts above this number of connection attributes. A state with fewer is usually smaller than one kilobyte,
/// which is what one write unit pays for.
const MAX_ATTRIBUTES: usize = 12;

/// The minimum number of removable attributes that justifies another write.
const MIN_COLLECTED: usize = 6;

impl DynamoStore {
    /// Removes connections that no longer matter, if there are many. A failure is logged and has no other effect.
    pub(super) async fn prune_connections(&self, key: &Key, state: &UserState, now: Timestamp) {
        let attributes = |presence: &Presence| {
            presence
                .connections()
                .map(|(_, it)| usize::from(it.lease.is_some()) + usize::from(it.ended.is_some()))
                .sum()
        };
        let all: usize = attributes(&state.presence);
        if all <= MAX_ATTRIBUTES {
            return;
        }
        let mut kept = state.presence.clone();
        kept.prune(now);
        if all - attributes(&kept) < MIN_COLLECTED {
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
            warn!(error = %ErrorChain(&error), "old connections could not be removed from a state");
        }
    }
}
