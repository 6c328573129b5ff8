//! Removal of connections from a state. The update that joins events does not know which are too many.

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::presence::connections::{Dropped, Limits};
use reachability_domain::presence::state::UserState;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use tracing::warn;

use super::items::{state_item, unchanged};
use super::join::JoinUpdate;
use super::key::Key;
use super::state::StoredState;
use super::states::Updated;
use super::store::DynamoStore;
use super::table::unless_refused;

/// How many connections one update removes. The length of an expression is limited.
const FORGOTTEN_AT_ONCE: usize = 50;

/// How often a removal is tried. Whoever writes the same user at the same time removes the same connections, so one success
/// is enough for all.
const TRIES: usize = 4;

impl DynamoStore {
    /// Removes the connections that are over the limits from a state that was just updated. Returns how many live ones it
    /// removed. A failure is logged and has no other effect: the next event removes them.
    pub(super) async fn forget_connections(
        &self,
        key: &Key,
        before: &StoredState,
        after: &UserState,
        limits: Limits,
        now: Timestamp,
    ) -> usize {
        let mut state = before.clone();
        state.state = after.clone();
        for _ in 0..TRIES {
            let mut kept = state.state.presence.clone();
            let dropped = kept.prune(limits, now);
            if dropped == Dropped::default() {
                return 0;
            }
            let removed = if state.is_older {
                self.rewrite(key, limits, now).await
            } else {
                let update = JoinUpdate::of_forgetting(&state.state.presence, &kept, FORGOTTEN_AT_ONCE);
                self.update_state(key, update).await
            };
            match removed {
                Ok(Updated::Done(_)) => return dropped.live,
                Ok(Updated::Refused(read)) => state = read,
                Ok(Updated::NotNow) => return 0,
                Err(error) => {
                    warn!(error = %ErrorChain(&error), "old connections could not be removed from a state");
                    return 0;
                }
            }
        }
        0
    }

    /// Writes a state that an earlier version wrote in today's form, pruned.
    pub(super) async fn rewrite(&self, key: &Key, limits: Limits, now: Timestamp) -> Result<Updated, StoreError> {
        let read = self.state(key.clone()).await?;
        let mut next = read.clone();
        next.state.presence.prune(limits, now);
        let (condition, values) = unchanged(&read);
        let put = self.table.client.put_item().table_name(&self.table.name);
        let put = put.set_item(Some(state_item(key.clone(), &next)));
        let put = put.condition_expression(condition).set_expression_attribute_values(values);
        Ok(match unless_refused(put.send().await)? {
            Some(_) => Updated::Done(read),
            None => Updated::Refused(read),
        })
    }
}
