//! Deterministic 128-bit ids: the same input always gives the same sid.

use sha2::{Digest, Sha256};

/// The first 128 bits of SHA-256 over the parts. Each part is prefixed with its length, so ("ab", "c") and ("a", "bc")
/// differ.
pub(crate) fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest[..16].iter().fold(0, |bits, byte| (bits << 8) | u128::from(*byte))
}
