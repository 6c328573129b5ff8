//! Removal of connections from a state. The update that joins events does not know which are too many.

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::presence::connections::{Limits, Presence};
use reachability_domain::presence::news::News;
use reachability_domain::presence::state::UserState;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use tracing::warn;

use super::items::{state_item, unchanged};
use super::join::JoinUpdate;
use super::key::Key;
use super::state::StoredState;
use super::store::DynamoStore;
use super::table::unless_refused;

/// How many connections one update removes. The length of an expression is limited.
const FORGOTTEN_AT_ONCE: usize = 50;

impl DynamoStore {
    /// Removes the connections that are over the limits from a state that was just updated. Returns how many live ones it
    /// removed. A failure is logged and has no other effect: the next event removes them.
    pub(super) async fn forget_connections(
        &self,
        key: &Key,
        before: &StoredState,
        after: &UserState,
        news: &News,
        now: Timestamp,
    ) -> usize {
        let mut kept = after.presence.clone();
        let dropped = kept.prune(news.rules().limits, now);
        if dropped.live + dropped.ended == 0 {
            return 0;
        }
        let done = if before.is_older {
            match self.state(key.clone()).await {
                Ok(read) => self.rewrite(key, &read, news.rules().limits, now).await,
                Err(error) => Err(error),
            }
        } else {
            self.remove_connections(key, &after.presence, &kept).await
        };
        match done {
            Ok(true) => dropped.live,
            // Somebody else was faster, and removes them.
            Ok(false) => 0,
            Err(error) => {
                warn!(error = %ErrorChain(&error), "old connections could not be removed from a state");
                0
            }
        }
    }

    async fn remove_connections(&self, key: &Key, before: &Presence, after: &Presence) -> Result<bool, StoreError> {
        let update = JoinUpdate::of_forgetting(before, after, FORGOTTEN_AT_ONCE);
        let request = self.table.client.update_item().table_name(&self.table.name);
        let request = request
            .set_key(Some(key.clone().attributes()))
            .update_expression(update.expression())
            .condition_expression(update.condition())
            .set_expression_attribute_names(Some(update.names))
            .set_expression_attribute_values(Some(update.values));
        Ok(unless_refused(request.send().await)?.is_some())
    }

    /// Writes a state that an earlier version wrote in today's form, pruned. Returns whether nobody else wrote it meanwhile.
    pub(super) async fn rewrite(
        &self,
        key: &Key,
        read: &StoredState,
        limits: Limits,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut next = read.clone();
        next.state.presence.prune(limits, now);
        let (condition, values) = unchanged(read);
        let put = self.table.client.put_item().table_name(&self.table.name);
        let put = put.set_item(Some(state_item(key.clone(), &next)));
        let put = put.condition_expression(condition).set_expression_attribute_values(values);
        Ok(unless_refused(put.send().await)?.is_some())
    }
}
