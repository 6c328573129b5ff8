//! The account's default service, which routes without a service sid use.
//!
//! Its sid is derived from the account's sid. So the service can be shown before it is stored, and concurrent first
//! writers store the same record. After a deletion the derived sid is different: a reused sid would give the new
//! service's users the state of the deleted service's users.

use crate::digest::hash;
use crate::directory::service::{DefaultRoles, Service};
use crate::sid::{AccountSid, RoleSid, ServiceSid, Sid};
use crate::time::Timestamp;

/// The friendly name until the owner sets another.
const FRIENDLY_NAME: &str = "Default Conversations Service";

/// The creation date shown for a default service that is not stored yet. It is constant so that every request shows the
/// same date: 2026-01-01.
pub const DATE_CREATED: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The number of leading bits that hold the creation time in a generated sid. Derived sids have zeros there, so the
/// default service is first in lists, which are ordered by sid.
const TIME_BITS: u32 = 48;

/// The derived sid of an account's default service. `deleted` is the previous default service if that was deleted,
/// otherwise `None`.
pub fn default_service_sid(account: AccountSid, deleted: Option<ServiceSid>) -> ServiceSid {
    let account = account.bits().to_be_bytes();
    let deleted = deleted.map_or(0, Sid::bits).to_be_bytes();
    ServiceSid::from_bits(hash(&[b"default service", &account, &deleted]) >> TIME_BITS)
}

/// Whether [`default_service_sid`] can have produced this sid. Generated sids have a creation time in their leading
/// bits.
pub fn may_be_default(sid: ServiceSid) -> bool {
    sid.bits() >> (u128::BITS - TIME_BITS) == 0
}

/// The default service with all settings at their defaults.
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
    fn the_sid_depends_on_the_account_and_the_deleted_service() {
        let (one, other) = (AccountSid::from_bits(1), AccountSid::from_bits(2));
        let first = default_service_sid(one, None);
        // Deployments have stored this sid: it must not change.
        assert_eq!(first.to_string(), "IS000000000000183da0292cf853d61cd6");
        assert_ne!(first, default_service_sid(other, None));
        assert!(may_be_default(first) && !may_be_default(ServiceSid::from_bits(1 << 80)));
        let second = default_service_sid(one, Some(first));
        let third = default_service_sid(one, Some(second));
        assert!(first != second && second != third && third != first);
        assert_eq!(DATE_CREATED.to_string(), "2026-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_default_roles_differ() {
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
