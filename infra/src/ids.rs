//! Sids and secrets, made from the operating system's randomness.

use std::fmt::Write;
use std::time::Duration;

use reachability_domain::secret::Secret;
use reachability_domain::sid::Sid;
use uuid::Uuid;

/// A sid never used before. Sids made later by the same process are greater, so that lists, which are ordered by sid,
/// are in the order of making.
pub fn sid<S: Sid>() -> S {
    // The first bits are the time, the others random: UUID version 7.
    S::from_bits(Uuid::now_v7().as_u128())
}

/// A sid that tells nothing: for what is not listed.
pub fn random_sid<S: Sid>() -> S {
    S::from_bits(Uuid::new_v4().as_u128())
}

/// A secret of 128 random bits, as 32 hexadecimal digits.
///
/// # Errors
/// If the operating system has no randomness to give.
pub fn secret() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::new(bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })))
}

/// A random time up to `most`, so that those who wait for one another do not meet again.
pub fn jitter(most: Duration) -> Duration {
    let fraction = (Uuid::new_v4().as_u128() & 0xFFFF) as f64 / 65_536.0;
    most.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use reachability_domain::sid::UserSid;

    use super::*;

    #[test]
    fn later_sids_are_greater() {
        let sids: Vec<UserSid> = (0..10_000).map(|_| sid()).collect();
        assert!(sids.is_sorted_by(|earlier, later| earlier < later));
    }

    #[test]
    fn secrets_differ() {
        let secrets: BTreeSet<String> = (0..100).map(|_| secret().unwrap().expose().to_owned()).collect();
        assert_eq!(secrets.len(), 100);
        assert!(secrets.iter().all(|secret| secret.len() == 32));
    }
}
