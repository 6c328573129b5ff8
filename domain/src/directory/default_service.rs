//! The account's default service: the one of the routes that name none.
//!
//! Its sid is derived from the account's, so that it can be shown before it is stored, and whoever stores it first stores
//! the same. Once it was deleted there is another: a sid is not used twice, since what was known of the users of the
//! first would be taken for what is known of those of the second.

use crate::digest::hash;
use crate::directory::service::{DefaultRoles, Service};
use crate::sid::{AccountSid, RoleSid, ServiceSid, Sid};
use crate::time::Timestamp;

/// What a default service is called until its owner calls it something else.
const FRIENDLY_NAME: &str = "Default Conversations Service";

/// When a default service was made that was never stored: a constant, so that it is shown with the same date every time.
/// 2026-01-01, which is the origin of revisions too.
pub const DATE_CREATED: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// How many bits of a sid tell when it was made. Lists are ordered by sid. With none of them set, a default service is
/// at the beginning.
const TIME_BITS: u32 = 48;

/// The sid of an account's default service where its owner has not chosen one. `deleted` is the last default service if
/// that was deleted, or else `None`.
pub fn default_service_sid(account: AccountSid, deleted: Option<ServiceSid>) -> ServiceSid {
    let account = account.bits().to_be_bytes();
    let deleted = deleted.map_or(0, Sid::bits).to_be_bytes();
    ServiceSid::from_bits(hash(&[b"default service", &account, &deleted]) >> TIME_BITS)
}

/// Whether a sid may be one of [`default_service_sid`]. Those of services that were created tell when that was.
pub fn may_be_default(sid: ServiceSid) -> bool {
    sid.bits() >> (u128::BITS - TIME_BITS) == 0
}

/// A default service as it is before anything was set on it.
pub fn default_service(sid: ServiceSid, date_created: Timestamp) -> Service {
    let role = |name: &str| -> RoleSid {
        RoleSid::from_bits(hash(&[b"role of a default service", &sid.bits().to_be_bytes(), name.as_bytes()]))
    };
    let roles = DefaultRoles {
        conversation_creator: role("conversation creator"),
        conversation: role("conversation"),
        service_user: role("service user"),
    };
    Service::new(sid, FRIENDLY_NAME.to_owned(), roles, date_created)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_for_the_same_account_and_another_after_it_was_deleted() {
        let (one, other) = (AccountSid::from_bits(1), AccountSid::from_bits(2));
        let first = default_service_sid(one, None);
        // Deployments have stored it: it must not change.
        assert_eq!(first.to_string(), "IS000000000000183da0292cf853d61cd6");
        assert_ne!(first, default_service_sid(other, None));
        assert!(may_be_default(first) && !may_be_default(ServiceSid::from_bits(1 << 80)));
        let second = default_service_sid(one, Some(first));
        let third = default_service_sid(one, Some(second));
        assert!(first != second && second != third && third != first);
        assert_eq!(DATE_CREATED.to_string(), "2026-01-01T00:00:00.000Z");
    }

    #[test]
    fn its_roles_differ() {
        let sid = default_service_sid(AccountSid::from_bits(1), None);
        let service = default_service(sid, DATE_CREATED);
        assert_eq!(service, default_service(sid, DATE_CREATED));
        let roles = service.default_roles;
        assert_ne!(roles.conversation, roles.conversation_creator);
        assert_ne!(roles.conversation, roles.service_user);
        assert_ne!(roles.conversation_creator, roles.service_user);
        let other = default_service(default_service_sid(AccountSid::from_bits(2), None), DATE_CREATED);
        assert_ne!(roles.conversation, other.default_roles.conversation);
    }
}
