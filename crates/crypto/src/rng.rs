//! Randomness as an argument: a 32-byte seed, split by label, drives a ChaCha20 generator.

use aws_lc_rs::hkdf;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use zeroize::Zeroizing;

/// 32 random bytes that the shell draws anew at each start; everything random in the cores follows from them.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    /// Takes fresh bytes from the system's entropy, or any bytes in a test.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// An independent seed for the part of the program that this label names (HKDF-SHA256, RFC 5869).
    #[must_use]
    pub fn split(&self, label: &str) -> Self {
        Self(Zeroizing::new(derive_key(&self.0, label)))
    }

    /// A generator that starts at this seed.
    pub fn rng(&self) -> Rng {
        Rng(ChaCha20Rng::from_seed(*self.0))
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// A cryptographic generator (ChaCha20, 20 rounds) whose whole output follows from its [`Seed`].
#[derive(Clone)]
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// The next `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Fills a slice with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A random 32-bit number.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A random 64-bit number.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A random number below `end`, or 0 if `end` is 0; the bias is below `end / 2^64`.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()).wrapping_mul(u128::from(end));
        u64::try_from(wide.wrapping_shr(64)).unwrap_or(0)
    }
}

impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng(…)")
    }
}

/// 32 bytes of HKDF-SHA256 over a uniformly random key, with the label as `info` (RFC 5869 §3.3: no extract step needed).
pub(crate) fn derive_key(key: &[u8; 32], label: &str) -> [u8; 32] {
    let mut out = [0; 32];
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key)
        .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
        .expect("32 bytes are within what HKDF-SHA256 may give");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_split_a_seed_into_independent_ones() {
        let seed = Seed::new([1; 32]);
        let (mut a, mut b) = (seed.split("a").rng(), seed.split("b").rng());
        assert_ne!(a.u64(), b.u64());
        assert_eq!(seed.split("a").rng().u64(), seed.split("a").rng().u64());
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Seed::new([2; 32]).rng();
        assert!((0..1_000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
    }
}
