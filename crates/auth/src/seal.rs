//! Keyed digests of what must be recognised but not kept.

use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Update};

/// Makes digests that mean nothing without the key, which this process made up and keeps to itself.
pub(crate) struct Seal(Blake2sMac256);

/// A digest.
pub(crate) type Sealed = [u8; 32];

impl Seal {
    pub(crate) fn new() -> Self {
        let key: [u8; 32] = rand::random();
        Self(Blake2sMac256::new(&key.into()))
    }

    /// The digest of these parts, each with its length, so that no two lists of parts make the same octets.
    pub(crate) fn seal(&self, parts: &[&[u8]]) -> Sealed {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize_fixed().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_keys_make_a_difference() {
        let seal = Seal::new();
        assert_eq!(seal.seal(&[b"ab", b"c"]), seal.seal(&[b"ab", b"c"]));
        assert_ne!(seal.seal(&[b"ab", b"c"]), seal.seal(&[b"a", b"bc"]));
        assert_ne!(seal.seal(&[b"ab"]), Seal::new().seal(&[b"ab"]));
    }
}
