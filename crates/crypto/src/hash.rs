//! SHA-256 and HMAC-SHA256 (FIPS 180-4, RFC 2104).

use aws_lc_rs::{constant_time, digest, hmac};

/// The SHA-256 hash of the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    to_array(context.finish().as_ref())
}

/// A key for HMAC-SHA256, prepared once.
#[derive(Clone)]
pub struct Mac(hmac::Key);

impl Mac {
    /// Prepares a key of any length.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The HMAC of the parts, one after the other.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        to_array(context.sign().as_ref())
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mac(…)")
    }
}

/// HMAC-SHA256 of the parts under a key.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    Mac::new(key).sign(parts)
}

/// The first `N` bytes (at most 32) of an HMAC-SHA256 (RFC 2104 §5 allows to cut it).
pub fn hmac_sha256_truncated<const N: usize>(key: &[u8], parts: &[&[u8]]) -> [u8; N] {
    to_array(&hmac_sha256(key, parts))
}

/// Compares two authentication codes in a time that does not tell where they differ.
pub fn verify_mac(expected: &[u8], received: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(expected, received).is_ok()
}

fn to_array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes
        .first_chunk()
        .copied()
        .expect("asked for no more bytes than the hash has")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4231_case_2() {
        let mac = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert!(verify_mac(&mac, &mac));
        assert!(!verify_mac(&mac, &[0; 32]));
        assert!(!verify_mac(&mac, &mac[..31]));
    }
}
