//! Documents of the version before outages and the reasons of queued deliveries were stored.

use std::sync::Arc;

use reachability_domain::push::credential::{Credential, Health};
use reachability_domain::push::notification::{Delivery, DeliveryStatus};
use reachability_domain::push::outage::Outage;
use reachability_domain::push::ports::{Credentials, Notifications};
use reachability_domain::push::reason::Reason;
use reachability_domain::sid::{BindingSid, CredentialSid, NotificationSid, Sid};
use reachability_domain::time::Timestamp;

use super::NOW;

/// A credential with the sid 1, and a delivery of the notification 1 to the device 2, in JSON.
pub const OLDER_DOCUMENTS: [&str; 2] = [
    r#"{"sid":"CR00000000000000000000000000000001","channel":"apn","friendly_name":null,"sandbox":false,"check":"silent","method":{"kind":"apns_key","key_id":"K","team_id":"T","topic":"com.example"},"sealed":"v1:x","health":{"state":"rejected","reason":"BadTopic","at":5},"date_created":1,"date_updated":2,"version":3}"#,
    r#"{"notification_sid":"NT00000000000000000000000000000001","binding_sid":"BS00000000000000000000000000000002","identity":"alice","channel":"apn","status":{"status":"queued"},"date_updated":7}"#,
];

/// The store contains [`OLDER_DOCUMENTS`]. They are read, and then replaced as usual.
pub async fn older_documents_are_read(store: Arc<impl Credentials + Notifications>) {
    let credential = store.credential(CredentialSid::from_bits(1)).await.unwrap().unwrap();
    let health = Health::Rejected { reason: Reason::new("BadTopic"), at: Timestamp::from_millis(5) };
    assert_eq!((&credential.health, &credential.outage, credential.version), (&health, &None, 3));
    let outage = Some(Outage { reason: Reason::new("NotConnected"), since: NOW });
    let next = Credential { outage, ..credential };
    store.replace_credential(&next).await.unwrap();
    let stored = store.credential(next.sid).await.unwrap();
    assert_eq!(stored, Some(Credential { version: 4, ..next }));

    let (notification, device) = (NotificationSid::from_bits(1), BindingSid::from_bits(2));
    let delivery = store.deliveries_to(notification, &[device]).await.unwrap().remove(0);
    assert_eq!((&delivery.status, delivery.date_updated.as_millis()), (&DeliveryStatus::NEW, 7));
    let status = DeliveryStatus::Queued { reason: Some(Reason::new("NotConnected")) };
    let next = Delivery { status, date_updated: NOW, ..delivery };
    store.replace_deliveries(std::slice::from_ref(&next)).await.unwrap();
    assert_eq!(store.deliveries_to(notification, &[device]).await.unwrap(), [next]);
}
