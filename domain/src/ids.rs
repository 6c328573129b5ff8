//! The port for ids, secrets and random delays.

use std::error::Error;
use std::time::Duration;

use crate::secret::Secret;
use crate::sid::Sid;

/// The operating system returned no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system returned no random bytes")]
pub struct NoRandomness(#[source] pub Box<dyn Error + Send + Sync>);

/// Generates unique ids.
pub trait Ids: Send + Sync {
    /// A 128-bit id, greater than every id that this process generated before.
    fn ordered(&self) -> u128;

    /// A 128-bit id that reveals nothing, such as a creation time.
    fn random(&self) -> u128;

    /// A secret of 128 random bits, as 32 hexadecimal digits.
    ///
    /// # Errors
    /// If the operating system returns no random bytes.
    fn secret(&self) -> Result<Secret, NoRandomness>;
}

impl dyn Ids + '_ {
    /// A new sid for a resource that is listed. Lists are ordered by sid, so this gives the order of creation.
    pub fn sid<S: Sid>(&self) -> S {
        S::from_bits(self.ordered())
    }

    /// A new sid that reveals no creation time: for resources that are not listed.
    pub fn random_sid<S: Sid>(&self) -> S {
        S::from_bits(self.random())
    }

    /// A random delay up to `most`, so that competing writers do not retry at the same moment.
    pub fn jitter(&self, most: Duration) -> Duration {
        // The upper bits of a random UUID contain its version; the lower bits are random.
        most.mul_f64((self.random() & 0xFFFF) as f64 / 65_536.0)
    }
}
