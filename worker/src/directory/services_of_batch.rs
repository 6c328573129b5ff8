//! The services that one batch is about.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Service;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

/// Reads each service once. It is dropped with the batch, so that nothing is decided by an old configuration.
pub(crate) struct ServicesOfBatch<'a> {
    store: &'a dyn Services,
    read: HashMap<ServiceSid, Option<Arc<Service>>>,
}

impl<'a> ServicesOfBatch<'a> {
    pub(crate) fn new(store: &'a dyn Services) -> Self {
        Self { store, read: HashMap::new() }
    }

    /// A service; `None` if it does not exist.
    pub(crate) async fn get(&mut self, sid: ServiceSid) -> Result<Option<Arc<Service>>, StoreError> {
        Ok(match self.read.entry(sid) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unread) => unread.insert(self.store.service(sid).await?.map(Arc::new)).clone(),
        })
    }
}
