//! Sids and secrets for tests.

use reachability_domain::ids::Ids;
use reachability_domain::secret::Secret;
use reachability_domain::sid::Sid;
use reachability_infra::ids::Uuids;

/// A sid that was never used before.
pub fn sid<S: Sid>() -> S {
    (&Uuids as &dyn Ids).sid()
}

/// A secret.
pub fn secret() -> Secret {
    Uuids.secret().unwrap()
}
