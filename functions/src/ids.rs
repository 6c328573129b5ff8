#![allow(missing_docs, unused)]
use reachability_domain::ids::Ids;
use reachability_domain::sid::Sid;
use reachability_infra::ids::Uuids;
use std::time::Duration;
pub(crate) fn sid<S: Sid>() -> S {
    (&Uuids as &dyn Ids).sid()
}
pub(crate) fn random_sid<S: Sid>() -> S {
    (&Uuids as &dyn Ids).random_sid()
}
pub(crate) fn secret() -> Result<reachability_domain::secret::Secret, reachability_domain::ids::NoRandomness> {
    Uuids.secret()
}
pub(crate) fn jitter(most: Duration) -> Duration {
    (&Uuids as &dyn Ids).jitter(most)
}
