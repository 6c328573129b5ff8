//! The account's settings.

use std::sync::Arc;

use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::ports::Accounts;
use reachability_domain::sid::Sid;
use reachability_domain::store::StoreError;

/// They are replaced only at the version that was read.
pub async fn account_settings_are_replaced_by_version(store: Arc<dyn Accounts>) {
    let fresh = store.account().await.unwrap();
    assert_eq!(fresh, AccountSettings::default());
    let settings = AccountSettings { default_chat_service_sid: Some(Sid::from_bits(7)), ..fresh.clone() };
    store.replace_account(&settings).await.unwrap();
    let stored = store.account().await.unwrap();
    assert_eq!(stored, AccountSettings { version: stored.version, ..settings.clone() });
    assert!(stored.version > fresh.version);
    // A second replacement at the same version is a conflict.
    assert!(matches!(store.replace_account(&settings).await, Err(StoreError::Conflict)));
    store.replace_account(&AccountSettings { default_closed_timer: Some("PT1H".into()), ..stored }).await.unwrap();
    assert_eq!(store.account().await.unwrap().default_closed_timer.as_deref(), Some("PT1H"));
}
