//! Reports of devices: rows of the feed, added by the write that they report.

use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::service::Service;
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::push::notification::Delivery;
use reachability_domain::push::report::Report;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::target::WebhookTarget;
use rusqlite::params;

use super::directory::ACCOUNT;
use super::feed::Writer;
use super::rows::{Key, Rows, execute, write_document};

/// Adds a report to the feed, if somebody wants its webhook: there may be one for every device.
pub(super) fn tell(writer: &Writer<'_>, report: Report, at: Timestamp) -> Result<(), StoreError> {
    let user = report.user.clone();
    let entry = FeedEntry::of_report(report);
    let Some(service): Option<Service> = Rows::new("services", "sid = ?1", &[&Key(user.service)]).find(writer)? else {
        return Ok(());
    };
    let account: AccountSettings = match service.webhooks.post_webhook_url {
        Some(_) => AccountSettings::default(),
        None => ACCOUNT.find(writer)?.unwrap_or_default(),
    };
    let is_wanted = |event| WebhookTarget::of(&service.webhooks, &account.webhooks, event).is_some();
    if entry.webhooks.iter().copied().any(is_wanted) {
        writer.tell(user.service, Some(&user.identity), entry, at)?;
    }
    Ok(())
}

/// Stores that a delivery was given up, with the report of that.
pub(super) fn fail_delivery(writer: &Writer<'_>, failed: &Delivery) -> Result<(), StoreError> {
    let (notification, binding) = (Key(failed.notification_sid), Key(failed.binding_sid));
    let known: Option<Delivery> =
        Rows::new("deliveries", "notification = ?1 AND sid = ?2", &[&notification, &binding]).find(writer)?;
    let replace = "INSERT OR REPLACE INTO deliveries VALUES (?1, ?2, ?3)";
    execute(writer, replace, params![notification, binding, write_document(failed)?])?;
    match Report::of_delivery(known.as_ref(), failed) {
        Some(report) => tell(writer, report, failed.date_updated),
        None => Ok(()),
    }
}
