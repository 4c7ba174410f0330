//! What lies on the disk: a key from a passphrase, and sealing of stored values.
//!
//! Each value has a key of its own, HMAC-SHA256 of a fresh 16-byte salt and the value's place under the store's key
//! (a pseudorandom function, RFC 2104), so that a nonce never repeats and a value moved to another place does not open.
//!
//! ```text
//! stored value  | salt 16 | ChaCha20-Poly1305( value ) | tag 16 |       nonce 0; the place is associated data
//! ```

use argon2::{Algorithm, Argon2, Params, Version};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{AeadError, CipherSuite, Mac, OpeningKey, Rng, SealingKey, TAG_BYTES, hmac_sha256};

/// Bytes that sealing adds to a stored value.
pub const AT_REST_OVERHEAD_BYTES: usize = SALT_BYTES + TAG_BYTES;

const SALT_BYTES: usize = 16;

/// Cost of Argon2id; kept beside the salt, so that it can grow without locking anybody out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Default for PassphraseCost {
    /// RFC 9106 §4, second recommendation, with one lane: 64 MiB, 3 passes; about 0.2 s on a phone.
    fn default() -> Self {
        Self {
            memory_kib: 64 << 10,
            passes: 3,
        }
    }
}

/// A cost that Argon2id cannot run with, or that no sound file asks for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("argon2id can't run with {0:?}")]
pub struct PassphraseCostError(pub PassphraseCost);

/// The most memory that a file may make us spend, in KiB: a damaged one must not stop the phone.
const MEMORY_KIB_MAX: u32 = 1 << 20;

/// The key of a passphrase: Argon2id (RFC 9106), one lane.
///
/// # Errors
/// If the cost is senseless or above 1 GiB.
pub fn passphrase_key(
    passphrase: &[u8],
    salt: &[u8; 16],
    cost: PassphraseCost,
) -> Result<Zeroizing<[u8; 32]>, PassphraseCostError> {
    if cost.memory_kib > MEMORY_KIB_MAX {
        return Err(PassphraseCostError(cost));
    }
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(32))
        .map_err(|_| PassphraseCostError(cost))?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, key.as_mut())
        .map_err(|_| PassphraseCostError(cost))?;
    Ok(key)
}

/// The key of one store on the disk: seals values and hides the names of their places.
pub struct StoreKey {
    key: Zeroizing<[u8; 32]>,
    places: Mac,
}

impl StoreKey {
    /// Takes 32 uniformly random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        let places = Mac::new(&hmac_sha256(&key, &[b"smartmesh places v1"]));
        Self {
            key: Zeroizing::new(key),
            places,
        }
    }

    /// The name under which a place is stored; without the key it says nothing of what it names.
    pub fn place(&self, table: &str, name: &[u8]) -> [u8; 32] {
        self.places.sign(&[table.as_bytes(), &[0], name])
    }

    /// Seals a value for a place.
    pub fn seal(&self, place: &[u8], value: &[u8], rng: &mut Rng) -> Vec<u8> {
        let salt: [u8; SALT_BYTES] = rng.bytes();
        let mut sealed = Vec::with_capacity(value.len().saturating_add(AT_REST_OVERHEAD_BYTES));
        sealed.extend(salt);
        let mut text = value.to_vec();
        let key = SealingKey::new(CipherSuite::ChaCha20Poly1305, &self.value_key(&salt, place));
        let tag = key.seal(0, place, &mut text);
        sealed.append(&mut text);
        sealed.extend(tag);
        sealed
    }

    /// Opens what [`Self::seal`] made for the same place.
    ///
    /// # Errors
    /// If it is damaged, moved from another place, or sealed under another key.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AeadError> {
        let (salt, text) = sealed.split_first_chunk::<SALT_BYTES>().ok_or(AeadError)?;
        let key = OpeningKey::new(CipherSuite::ChaCha20Poly1305, &self.value_key(salt, place));
        let mut text = text.to_vec();
        let length = key.open(0, place, &mut text)?.len();
        text.truncate(length);
        Ok(text)
    }

    fn value_key(&self, salt: &[u8; SALT_BYTES], place: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hmac_sha256(&*self.key, &[b"value", salt, place]))
    }
}

impl std::fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    #[test]
    fn a_value_opens_only_at_its_place_under_its_key_and_undamaged() {
        let mut rng = Seed::new([1; 32]).rng();
        let key = StoreKey::new([2; 32]);
        let sealed = key.seal(b"here", b"value", &mut rng);
        assert_eq!(sealed.len(), 5 + AT_REST_OVERHEAD_BYTES);
        assert_eq!(key.open(b"here", &sealed), Ok(b"value".to_vec()));
        assert_ne!(key.seal(b"here", b"value", &mut rng), sealed);
        assert_eq!(key.open(b"there", &sealed), Err(AeadError));
        assert_eq!(
            StoreKey::new([3; 32]).open(b"here", &sealed),
            Err(AeadError)
        );
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(key.open(b"here", &damaged), Err(AeadError));
            assert_eq!(key.open(b"here", &sealed[..at]), Err(AeadError));
        }
    }

    #[test]
    fn places_are_told_apart_by_table_and_key() {
        let key = StoreKey::new([2; 32]);
        let names = [
            key.place("a", b"x"),
            key.place("b", b"x"),
            key.place("a", b"y"),
            StoreKey::new([3; 32]).place("a", b"x"),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name));
        }
    }

    #[test]
    fn a_passphrase_and_a_salt_give_one_key() {
        let cost = PassphraseCost {
            memory_kib: 64,
            passes: 2,
        };
        let key = passphrase_key(b"password", b"somesaltsomesalt", cost).unwrap();
        assert_eq!(
            key,
            passphrase_key(b"password", b"somesaltsomesalt", cost).unwrap()
        );
        assert_ne!(
            key,
            passphrase_key(b"passwore", b"somesaltsomesalt", cost).unwrap()
        );
        assert_ne!(
            key,
            passphrase_key(b"password", b"somesaltsomesalu", cost).unwrap()
        );
    }

    #[test]
    fn senseless_costs_are_refused() {
        for cost in [
            PassphraseCost {
                memory_kib: 0,
                passes: 1,
            },
            PassphraseCost {
                memory_kib: 64,
                passes: 0,
            },
            PassphraseCost {
                memory_kib: u32::MAX,
                passes: 1,
            },
        ] {
            assert_eq!(
                passphrase_key(b"p", &[0; 16], cost).err(),
                Some(PassphraseCostError(cost))
            );
        }
    }
}
