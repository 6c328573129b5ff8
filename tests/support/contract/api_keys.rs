//! API keys.

use std::sync::Arc;

use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::ports::ApiKeys;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::secret::Secret;
use reachability_domain::sid::{KeySid, Sid};
use reachability_domain::store::StoreError;

use super::{NOW, later};

/// They are created, read, renamed, listed and deleted.
pub async fn keys_are_kept(store: Arc<dyn ApiKeys>) {
    let key = |n: u128| ApiKey {
        sid: KeySid::from_bits(n),
        friendly_name: format!("key {n}"),
        secret: Secret::new(format!("secret {n}")),
        date_created: NOW,
        date_updated: None,
    };
    assert_eq!(store.key(KeySid::from_bits(1)).await.unwrap(), None);
    for n in [2, 1, 3] {
        store.create_key(&key(n)).await.unwrap();
    }
    let other = ApiKey { friendly_name: "another".to_owned(), ..key(1) };
    assert!(matches!(store.create_key(&other).await, Err(StoreError::Exists)));
    assert_eq!(store.key(key(1).sid).await.unwrap(), Some(key(1)));
    assert_eq!(store.key(KeySid::from_bits(1)).await.unwrap(), Some(key(1)));
    let slice = store.keys(PageRequest { position: Cursor::Start, limit: 2 }).await.unwrap();
    assert_eq!((slice.items, slice.more), (vec![key(1), key(2)], true));
    let renamed = ApiKey { friendly_name: "renamed".to_owned(), date_updated: Some(later(1)), ..key(1) };
    store.replace_key(&renamed).await.unwrap();
    assert_eq!(store.key(renamed.sid).await.unwrap(), Some(renamed.clone()));
    let slice = store.keys(PageRequest { position: Cursor::Start, limit: 2 }).await.unwrap();
    assert_eq!(slice.items, [renamed.clone(), key(2)]);
    assert!(store.delete_key(KeySid::from_bits(1)).await.unwrap());
    // A replacement does not bring a key back.
    assert!(matches!(store.replace_key(&renamed).await, Err(StoreError::Missing)));
    assert!(!store.delete_key(KeySid::from_bits(1)).await.unwrap());
    assert_eq!(store.key(KeySid::from_bits(1)).await.unwrap(), None);
}
