//! Changing the account's settings.

use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::ports::Accounts;
use reachability_domain::ids::Ids;
use reachability_domain::store::StoreError;

use crate::use_cases::update::{Versioned, update};

struct StoredAccount<'a>(&'a dyn Accounts);

impl Versioned for StoredAccount<'_> {
    type Record = AccountSettings;

    async fn read(&self) -> Result<Option<AccountSettings>, StoreError> {
        self.0.account().await.map(Some)
    }

    async fn replace(&mut self, settings: &mut AccountSettings) -> Result<(), StoreError> {
        self.0.replace_account(settings).await
    }
}

/// Changes the account's settings. Returns the changed settings.
pub(crate) async fn update_account<E: From<StoreError>>(
    accounts: &dyn Accounts,
    ids: &dyn Ids,
    change: impl Fn(&mut AccountSettings) -> Result<(), E> + Send + Sync,
) -> Result<AccountSettings, E> {
    let read = accounts.account().await?;
    // The account always has settings.
    Ok(update(StoredAccount(accounts), ids, read, change).await?.unwrap_or_default())
}
