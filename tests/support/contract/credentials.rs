//! Credentials of push providers.

use std::sync::Arc;

use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::{Credential, Health, Method, RegistrationCheck, Sealed};
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::outage::Outage;
use reachability_domain::push::ports::Credentials;
use reachability_domain::push::reason::Reason;
use reachability_domain::sid::{CredentialSid, Sid};
use reachability_domain::store::StoreError;

use super::{NOW, later};

/// A new credential.
pub fn credential(n: u128) -> Credential {
    Credential {
        sid: CredentialSid::from_bits(n),
        channel: Channel::Fcm,
        friendly_name: Some("Käse \u{1F600}".to_owned()),
        sandbox: true,
        check: RegistrationCheck::DryRun,
        lifetime: Lifetime::new(Channel::Fcm, 30),
        method: Method::ServiceAccount {
            project_id: "project".to_owned(),
            client_email: "somebody@project".to_owned(),
            private_key_id: "1".to_owned(),
        },
        sealed: Some(Sealed::new("sealed".to_owned())),
        health: Health::Rejected { reason: Reason::new("invalid_grant"), at: NOW },
        outage: Some(Outage { reason: Reason::new("NotConnected"), since: later(2) }),
        date_created: NOW,
        date_updated: later(1),
        used_since: later(1),
        version: 0,
    }
}

/// They are created, read, replaced by version, listed and deleted.
pub async fn credentials_are_kept(store: Arc<dyn Credentials>) {
    let first = credential(1);
    assert_eq!(store.credential(first.sid).await.unwrap(), None);
    assert!(matches!(store.replace_credential(&first).await, Err(StoreError::Missing)));
    store.create_credential(&first).await.unwrap();
    assert_eq!(store.credential(first.sid).await.unwrap(), Some(first.clone()));
    let another = Credential { friendly_name: None, ..first.clone() };
    assert!(matches!(store.create_credential(&another).await, Err(StoreError::Exists)));
    for method in [
        Method::PlatformApplication { arn: "arn:aws:sns:…".to_owned() },
        Method::ApnsCertificate { topic: "com.example".to_owned(), not_after: later(9) },
        Method::ApnsKey { key_id: "K".to_owned(), team_id: "T".to_owned(), topic: "com.example".to_owned() },
    ] {
        let known = store.credential(first.sid).await.unwrap().unwrap();
        let next = Credential { method, sealed: None, health: Health::Accepted, outage: None, ..known.clone() };
        store.replace_credential(&next).await.unwrap();
        let stored = store.credential(first.sid).await.unwrap().unwrap();
        assert_eq!(stored, Credential { version: stored.version, ..next.clone() });
        assert!(known.version < stored.version);
        assert!(matches!(store.replace_credential(&next).await, Err(StoreError::Conflict)));
    }
    store.create_credential(&credential(2)).await.unwrap();
    store.create_credential(&credential(3)).await.unwrap();
    let slice = store.credentials(PageRequest { position: Cursor::After(first.sid), limit: 1 }).await.unwrap();
    assert_eq!((slice.items, slice.more), (vec![credential(2)], true));
    assert!(store.delete_credential(first.sid).await.unwrap());
    assert!(!store.delete_credential(first.sid).await.unwrap());
    assert_eq!(store.credential(first.sid).await.unwrap(), None);
}
