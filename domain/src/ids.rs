//! The port of ids, secrets and chance.

use std::error::Error;
use std::time::Duration;

use crate::secret::Secret;
use crate::sid::Sid;

/// The operating system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("the operating system has no randomness to give")]
pub struct NoRandomness(#[source] pub Box<dyn Error + Send + Sync>);

/// Makes ids that were never used before.
pub trait Ids: Send + Sync {
    /// 128 bits, greater than all that the same process made before.
    fn ordered(&self) -> u128;

    /// 128 bits that tell nothing.
    fn random(&self) -> u128;

    /// A secret of 128 random bits, as 32 hexadecimal digits.
    ///
    /// # Errors
    /// If there is no randomness.
    fn secret(&self) -> Result<Secret, NoRandomness>;
}

impl dyn Ids + '_ {
    /// A sid. Lists are ordered by sid, and with these in the order of making.
    pub fn sid<S: Sid>(&self) -> S {
        S::from_bits(self.ordered())
    }

    /// A sid that tells nothing: for what is not listed.
    pub fn random_sid<S: Sid>(&self) -> S {
        S::from_bits(self.random())
    }

    /// A random time up to `most`, so that those who wait for one another do not meet again.
    pub fn jitter(&self, most: Duration) -> Duration {
        // The upper bits of a random UUID have its version in them, the lower ones are random.
        most.mul_f64((self.random() & 0xFFFF) as f64 / 65_536.0)
    }
}
