//! The services that one batch is about.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::join_all;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Service;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

/// How many services are read at once.
const READS_AT_ONCE: usize = 100;

/// Reads each service once. It is dropped with the batch, so that nothing is decided by an old configuration.
pub(crate) struct ServicesOfBatch<'a> {
    store: &'a dyn Services,
    read: HashMap<ServiceSid, Option<Arc<Service>>>,
}

impl<'a> ServicesOfBatch<'a> {
    pub(crate) fn new(store: &'a dyn Services) -> Self {
        Self { store, read: HashMap::new() }
    }

    /// Reads those of these services that were not read yet, at the same time. One that cannot be read is left for
    /// [`ServicesOfBatch::get`], whose caller is told why.
    pub(crate) async fn read(&mut self, sids: impl IntoIterator<Item = ServiceSid>) {
        let unread: BTreeSet<ServiceSid> = sids.into_iter().filter(|sid| !self.read.contains_key(sid)).collect();
        let unread: Vec<ServiceSid> = unread.into_iter().collect();
        for some in unread.chunks(READS_AT_ONCE) {
            let read = join_all(some.iter().map(|sid| self.store.service(*sid))).await;
            for (sid, service) in some.iter().zip(read) {
                if let Ok(service) = service {
                    self.read.insert(*sid, service.map(Arc::new));
                }
            }
        }
    }

    /// A service; `None` if it does not exist.
    pub(crate) async fn get(&mut self, sid: ServiceSid) -> Result<Option<Arc<Service>>, StoreError> {
        Ok(match self.read.entry(sid) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unread) => unread.insert(self.store.service(sid).await?.map(Arc::new)).clone(),
        })
    }
}
