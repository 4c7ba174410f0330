//! A node's long-term identity: an Ed25519 key, the address made from it, and the tags it is routed by.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use smartmesh_types::{Address, NodeKey, Tag};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::hash::{Mac, hmac_sha256, hmac_sha256_truncated, sha256};
use crate::rng::{Rng, derive_key};
use crate::{KeyPair, Seed};

/// Bytes of an Ed25519 signature (RFC 8032 §5.1.6).
pub const SIGNATURE_BYTES: usize = 64;

/// A signature that is not this key's over this message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the signature is not valid for this key and message")]
pub struct SignatureError;

/// This installation's random identity; its 32-byte secret is the only thing that must be kept.
pub struct Identity {
    secret: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
    key: NodeKey,
}

impl Identity {
    /// A new identity from the next 32 random bytes.
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_secret(rng.bytes())
    }

    /// The identity whose Ed25519 seed (RFC 8032 §5.1.5) this is.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(&secret).expect("any 32 bytes are an Ed25519 seed");
        let key = NodeKey(
            pair.public_key()
                .as_ref()
                .first_chunk()
                .copied()
                .expect("Ed25519 keys have 32 bytes"),
        );
        Self {
            secret: Zeroizing::new(secret),
            pair,
            key,
        }
    }

    /// The secret, for the keystore alone.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The public key.
    pub fn key(&self) -> NodeKey {
        self.key
    }

    /// The mesh address made from the public key.
    pub fn address(&self) -> Address {
        address_of(&self.key)
    }

    /// A seed for this purpose that only this identity can compute and that is the same at each start.
    pub fn derive(&self, label: &str) -> Seed {
        Seed::new(derive_key(&self.secret, label))
    }

    /// The static X25519 key of the end-to-end handshake, derived by its own label so that the two algorithms never share
    /// a secret.
    pub fn end_to_end_key(&self) -> KeyPair {
        KeyPair::from_secret(derive_key(&self.secret, "smartmesh end-to-end x25519"))
    }

    /// What this identity and the owner of another end-to-end key share, or `None` if that is no usable key.
    pub fn pair_secret(&self, remote: &[u8; 32]) -> Option<PairSecret> {
        let own = self.end_to_end_key();
        let shared = own.agree(remote)?;
        let (low, high) = (own.public().min(*remote), own.public().max(*remote));
        let key = Zeroizing::new(hmac_sha256(&*shared, &[PAIR_LABEL, &low, &high]));
        Some(PairSecret(Mac::new(&*key)))
    }

    /// Signs a message under a domain, so that a signature made for one purpose is useless for another.
    pub fn sign(&self, domain: &str, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let signature = self.pair.sign(&signed_bytes(domain, message));
        signature
            .as_ref()
            .first_chunk()
            .copied()
            .expect("Ed25519 signatures have 64 bytes")
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.address())
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self::from_secret(*self.secret)
    }
}

/// Separates the codes of pairs from whatever else is made of the same agreement.
const PAIR_LABEL: &[u8] = b"smartmesh pair secret\0";

/// A secret that two people can compute from their own secret and the other's end-to-end key, and nobody else (X25519, then
/// HMAC-SHA256 over both public keys). It makes codes by which the two recognise each other.
#[derive(Clone, Debug)]
pub struct PairSecret(Mac);

impl PairSecret {
    /// The code of a text, given in parts.
    pub fn code(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.sign(parts)
    }
}

/// Judges a signature made by [`Identity::sign`].
///
/// # Errors
/// If it is not the key's over this domain and message.
pub fn verify_signature(
    key: &NodeKey,
    domain: &str,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    UnparsedPublicKey::new(&ED25519, &key.0)
        .verify(&signed_bytes(domain, message), signature)
        .map_err(|_| SignatureError)
}

/// The mesh address of a key: the prefix and the first 104 bits of SHA-256 over a domain label and the key.
pub fn address_of(key: &NodeKey) -> Address {
    let hash = sha256(&[b"smartmesh address\0", &key.0]);
    Address::from_key_hash(hash.first_chunk().copied().expect("SHA-256 gives 32 bytes"))
}

/// The name by which a destination is routed in one epoch; whoever does not know the address cannot link two of them
/// (HMAC-SHA256 as a pseudorandom function, cut to 64 bits).
pub fn destination_tag(address: Address, epoch: u64) -> Tag {
    Tag(hmac_sha256_truncated(
        &address.octets(),
        &[b"smartmesh destination tag\0", &epoch.to_be_bytes()],
    ))
}

fn signed_bytes(domain: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes =
        Vec::with_capacity(domain.len().saturating_add(message.len()).saturating_add(1));
    bytes.extend_from_slice(domain.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_bound_to_key_domain_and_message() {
        let (alice, bob) = (
            Identity::from_secret([1; 32]),
            Identity::from_secret([2; 32]),
        );
        let signature = alice.sign("test", b"message");
        assert_eq!(
            verify_signature(&alice.key(), "test", b"message", &signature),
            Ok(())
        );
        assert_eq!(
            verify_signature(&bob.key(), "test", b"message", &signature),
            Err(SignatureError)
        );
        assert_eq!(
            verify_signature(&alice.key(), "tes", b"tmessage", &signature),
            Err(SignatureError)
        );
        assert_eq!(
            verify_signature(&alice.key(), "test", b"massage", &signature),
            Err(SignatureError)
        );
        assert_eq!(
            verify_signature(&alice.key(), "test", b"message", &signature[..63]),
            Err(SignatureError)
        );
    }

    #[test]
    fn two_people_share_a_secret_that_a_third_does_not_have() {
        let [alice, bob, eve] = [1, 2, 3].map(|byte| Identity::from_secret([byte; 32]));
        let code = |one: &Identity, other: &Identity| {
            let secret = one.pair_secret(&other.end_to_end_key().public()).unwrap();
            secret.code(&[b"te", b"xt"])
        };
        assert_eq!(code(&alice, &bob), code(&bob, &alice));
        assert_ne!(code(&alice, &bob), code(&alice, &eve));
        assert_ne!(code(&alice, &bob), code(&eve, &bob));
        assert!(alice.pair_secret(&[0; 32]).is_none());
    }

    #[test]
    fn tags_rotate_with_the_epoch() {
        let address = Identity::from_secret([1; 32]).address();
        assert_ne!(destination_tag(address, 1), destination_tag(address, 2));
        assert_eq!(destination_tag(address, 1), destination_tag(address, 1));
    }
}
