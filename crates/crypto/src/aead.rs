//! Sealing and opening of packets in place, one key per direction.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use thiserror::Error;

/// Bytes of the authentication tag behind each sealed packet, for both suites.
pub const TAG_BYTES: usize = 16;

/// Which cipher the packets of a session use; the handshake itself always runs ChaCha20-Poly1305.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CipherSuite {
    /// ChaCha20-Poly1305 (RFC 8439); everybody has it.
    ChaCha20Poly1305,
    /// AES-256-GCM (NIST SP 800-38D); used where both ends have AES instructions.
    Aes256Gcm,
}

impl CipherSuite {
    /// The best suite that this processor runs fast.
    pub fn preferred() -> Self {
        #[cfg(target_arch = "x86_64")]
        let fast_aes = std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        let fast_aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let fast_aes = false;
        if fast_aes {
            Self::Aes256Gcm
        } else {
            Self::ChaCha20Poly1305
        }
    }

    fn key(self, bytes: &[u8; 32]) -> LessSafeKey {
        let algorithm = match self {
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Self::Aes256Gcm => &AES_256_GCM,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, bytes).expect("both suites take 32-byte keys"))
    }
}

/// A sealed packet that does not open: forged, damaged, or for another key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the packet does not open under this key")]
pub struct AeadError;

/// The sending direction's key. The caller never uses one counter twice.
pub struct SealingKey(LessSafeKey);

/// The receiving direction's key.
pub struct OpeningKey(LessSafeKey);

impl SealingKey {
    /// A key of 32 uniformly random bytes.
    pub fn new(suite: CipherSuite, key: &[u8; 32]) -> Self {
        Self(suite.key(key))
    }

    /// Seals `text` in place and returns the tag that goes behind it. The nonce is 4 zero bytes and the counter in
    /// big-endian order; `header` is authenticated, not hidden.
    pub fn seal(&self, counter: u64, header: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(counter), Aad::from(header), text)
            .expect("packets are far below the ciphers' limit of 2^36 bytes");
        tag.as_ref()
            .first_chunk()
            .copied()
            .expect("both suites have 16-byte tags")
    }

    /// Opens what this key itself sealed, in place: a sender may have to take back a packet and send it another way.
    ///
    /// # Errors
    /// If the bytes were not sealed by this key under this counter and header.
    pub fn unseal<'a>(
        &self,
        counter: u64,
        header: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], AeadError> {
        self.0
            .open_in_place(nonce(counter), Aad::from(header), sealed)
            .map_err(|_| AeadError)
    }
}

impl OpeningKey {
    /// A key of 32 uniformly random bytes.
    pub fn new(suite: CipherSuite, key: &[u8; 32]) -> Self {
        Self(suite.key(key))
    }

    /// Opens text and tag in place and returns the text. The caller refuses counters it has seen.
    ///
    /// # Errors
    /// If the bytes were not sealed under this key, counter and header; the buffer's content is then undefined.
    pub fn open<'a>(
        &self,
        counter: u64,
        header: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], AeadError> {
        self.0
            .open_in_place(nonce(counter), Aad::from(header), sealed)
            .map_err(|_| AeadError)
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

impl std::fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpeningKey(…)")
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    let (_, low) = bytes.split_at_mut(4);
    low.copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(suite: CipherSuite) {
        let (seal, open) = (
            SealingKey::new(suite, &[7; 32]),
            OpeningKey::new(suite, &[7; 32]),
        );
        let mut packet = b"hello mesh".to_vec();
        let tag = seal.seal(5, b"header", &mut packet);
        packet.extend_from_slice(&tag);
        assert_ne!(packet[..10], *b"hello mesh");
        assert_eq!(
            open.open(5, b"header", &mut packet.clone()).unwrap(),
            b"hello mesh"
        );
        assert_eq!(
            seal.unseal(5, b"header", &mut packet.clone()).unwrap(),
            b"hello mesh"
        );
        assert_eq!(open.open(6, b"header", &mut packet.clone()), Err(AeadError));
        assert_eq!(open.open(5, b"other", &mut packet.clone()), Err(AeadError));
        packet[0] ^= 1;
        assert_eq!(open.open(5, b"header", &mut packet), Err(AeadError));
        assert_eq!(open.open(5, b"header", &mut [1, 2, 3]), Err(AeadError));
    }

    #[test]
    fn chacha_opens_only_what_was_sealed() {
        check(CipherSuite::ChaCha20Poly1305);
    }

    #[test]
    fn aes_opens_only_what_was_sealed() {
        check(CipherSuite::Aes256Gcm);
    }
}
