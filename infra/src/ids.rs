//! Ids and secrets from the operating system's random generator.

use std::fmt::Write;

use reachability_domain::ids::{Ids, NoRandomness};
use reachability_domain::secret::Secret;
use uuid::Uuid;

/// Generates UUIDs and secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Uuids;

impl Ids for Uuids {
    fn ordered(&self) -> u128 {
        // UUID version 7: it begins with the time; the rest is random.
        Uuid::now_v7().as_u128()
    }

    fn random(&self) -> u128 {
        Uuid::new_v4().as_u128()
    }

    fn secret(&self) -> Result<Secret, NoRandomness> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| NoRandomness(error.into()))?;
        Ok(Secret::new(bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })))
    }
}

/// A random delay up to `most`, so that competing writers do not retry at the same moment.
#[cfg(any(feature = "aws", feature = "push"))]
pub(crate) fn jitter(most: std::time::Duration) -> std::time::Duration {
    (&Uuids as &dyn Ids).jitter(most)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use reachability_domain::sid::UserSid;

    use super::*;

    #[test]
    fn later_sids_are_greater() {
        let ids: &dyn Ids = &Uuids;
        let sids: Vec<UserSid> = (0..10_000).map(|_| ids.sid()).collect();
        assert!(sids.is_sorted_by(|earlier, later| earlier < later));
    }

    #[test]
    fn secrets_differ() {
        let secrets: BTreeSet<String> = (0..100).map(|_| Uuids.secret().unwrap().expose().to_owned()).collect();
        assert_eq!(secrets.len(), 100);
        assert!(secrets.iter().all(|secret| secret.len() == 32));
    }
}
