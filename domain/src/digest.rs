//! Sids that are derived from what they stand for.

use sha2::{Digest, Sha256};

/// The first bits of the SHA-256 of some parts, none of which can be mistaken for a part of another.
pub(crate) fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest[..16].iter().fold(0, |bits, byte| (bits << 8) | u128::from(*byte))
}
