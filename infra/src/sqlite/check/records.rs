//! Records that are documents: each can be read, and is what its key says.

use reachability_domain::channel::Channel;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::service::Service;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::notification::{Delivery, Notification};
use reachability_domain::push::recipient::Recipient;
use reachability_domain::sid::{BindingSid, CredentialSid, KeySid, NotificationSid, ServiceSid};
use rusqlite::Row;
use serde::de::DeserializeOwned;

use super::{Check, Checked, KEPT, Problems, Table, unless, unreadable};
use crate::sqlite::keys::SealedKey;
use crate::sqlite::rows::{Key, document};

/// What is wrong with the document in this column, if it is to be what its row says.
pub(super) fn document_problem<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    is_of_row: impl FnOnce(&T) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Option<String>> {
    Ok(match document(row, column)? {
        Ok(document) => unless(is_of_row(&document)?, "its document is that of another row"),
        Err(error) => Some(unreadable(&error)),
    })
}

impl Check<'_> {
    /// Looks at a table whose documents are in the column after the key.
    fn documents<T: DeserializeOwned>(
        &mut self,
        table: &Table,
        select: &str,
        is_of_row: impl Fn(&T, &Row<'_>) -> rusqlite::Result<bool>,
        count: impl Fn(&mut Checked),
    ) {
        self.each(table, select, |row, checked| {
            count(checked);
            let problem = document_problem(row, table.key.len(), |document| is_of_row(document, row))?;
            Ok(problem.into_iter().collect())
        });
    }

    pub(super) fn directory(&mut self) {
        self.documents(
            &Table::new("account", &[""]),
            "SELECT id, document FROM account",
            |_: &AccountSettings, _| Ok(true),
            |_| {},
        );
        self.documents(
            &Table::new("keys", &["SK"]),
            "SELECT sid, document FROM keys",
            |key: &SealedKey, row| Ok(key.sid == row.get::<_, Key<KeySid>>(0)?.0),
            |_| {},
        );
        self.documents(
            &Table::new("services", &["IS"]),
            "SELECT sid, document FROM services",
            |service: &Service, row| Ok(service.sid == row.get::<_, Key<ServiceSid>>(0)?.0),
            |checked| checked.services += 1,
        );
    }

    pub(super) fn pushes(&mut self) {
        self.documents(
            &Table::new("credentials", &["CR"]),
            "SELECT sid, document FROM credentials",
            |credential: &Credential, row| Ok(credential.sid == row.get::<_, Key<CredentialSid>>(0)?.0),
            |_| {},
        );
        self.documents(
            &Table::new("bindings", &["IS", "BS"]),
            &format!("SELECT service, sid, document, identity FROM bindings WHERE {KEPT}"),
            |binding: &Binding, row| {
                let (Key(service), Key(sid)): (Key<ServiceSid>, Key<BindingSid>) = (row.get(0)?, row.get(1)?);
                let is_of_user = binding.identity.as_str() == row.get_ref(3)?.as_str()?;
                Ok((binding.service_sid, binding.sid) == (service, sid) && is_of_user)
            },
            |checked| checked.bindings += 1,
        );
        self.documents(
            &Table::new("notifications", &["NT"]),
            "SELECT sid, document FROM notifications",
            |notification: &Notification, row| Ok(notification.sid == row.get::<_, Key<NotificationSid>>(0)?.0),
            |_| {},
        );
        self.documents(
            &Table::new("deliveries", &["NT", "BS"]),
            "SELECT notification, sid, document FROM deliveries",
            |delivery: &Delivery, row| {
                let (Key(notification), Key(binding)) = (row.get(0)?, row.get(1)?);
                Ok((delivery.notification_sid, delivery.binding_sid) == (notification, binding))
            },
            |_| {},
        );
        self.documents(
            &Table::new("recipients", &["NT", ""]),
            "SELECT notification, identity, document FROM recipients",
            |recipient: &Recipient, row| {
                let is_of_notification = recipient.notification_sid == row.get::<_, Key<NotificationSid>>(0)?.0;
                Ok(is_of_notification && recipient.identity.as_str() == row.get_ref(1)?.as_str()?)
            },
            |_| {},
        );
    }

    pub(super) fn channels(&mut self) {
        let select = format!(
            "SELECT service, cid, document, member_count,
             (SELECT count(*) FROM members WHERE members.service = channels.service AND members.cid = channels.cid)
             FROM channels WHERE {KEPT}"
        );
        self.each(&Table::new("channels", &["IS", ""]), &select, |row, checked| {
            checked.channels += 1;
            let (counted, members): (u64, u64) = (row.get(3)?, row.get(4)?);
            let document = document_problem(row, 2, |channel: &Channel| {
                let is_named = channel.key.cid.to_string() == row.get_ref(1)?.as_str()?;
                Ok(is_named && channel.key.service == row.get::<_, Key<ServiceSid>>(0)?.0)
            })?;
            let count = (counted != members).then(|| format!("it counts {counted} members, and has {members}"));
            Ok(document.into_iter().chain(count).collect::<Problems>())
        });
        let select = format!(
            "SELECT service, cid, count(*) FROM members WHERE {KEPT} AND NOT EXISTS
             (SELECT 1 FROM channels WHERE channels.service = members.service AND channels.cid = members.cid)
             GROUP BY service, cid"
        );
        self.each(&Table::new("members", &["IS", ""]), &select, |row, _| {
            let members: u64 = row.get(2)?;
            Ok(vec![format!("there is no such channel, and {members} members of it")])
        });
    }
}
