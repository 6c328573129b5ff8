//! Sids and secrets for tests.

use reachability_domain::ids::Ids;
use reachability_domain::secret::Secret;
use reachability_domain::sid::Sid;
use reachability_infra::ids::Uuids;

/// A new sid.
pub fn sid<S: Sid>() -> S {
    (&Uuids as &dyn Ids).sid()
}

/// A new secret.
pub fn secret() -> Secret {
    Uuids.secret().unwrap()
}
