//! Keys that Ethereum can judge: ECDSA on secp256k1 by `libsecp256k1`, in the forms the contracts take.
//!
//! Signing is deterministic (RFC 6979), so signing the same content again gives the same bytes. Signatures are compact
//! (EIP-2098): `r`, then `s` with the y parity in its top bit; only the lower `s` is made or taken.

use alloy_primitives::keccak256;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId, Signature};
use secp256k1::{Message, PublicKey, SECP256K1, Scalar, SecretKey};
use thiserror::Error;
use zeroize::Zeroize;

/// Bytes of a compact signature.
pub const COMPACT_SIGNATURE_BYTES: usize = 64;

/// Bytes that are no secret key, public key or scalar of secp256k1.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a key of secp256k1")]
pub struct AccountKeyError;

/// A secret key whose account can be judged on Ethereum; wiped when dropped.
#[derive(Clone)]
pub struct AccountKey(SecretKey);

/// A point of the curve: a public key, or what a point lock asks the secret of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CurvePoint(PublicKey);

/// An EIP-2098 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompactSignature(pub [u8; COMPACT_SIGNATURE_BYTES]);

impl AccountKey {
    /// Takes a secret of 32 bytes, big-endian.
    ///
    /// # Errors
    /// If it is zero or not below the order of the group.
    pub fn from_bytes(secret: [u8; 32]) -> Result<Self, AccountKeyError> {
        SecretKey::from_byte_array(secret)
            .map(Self)
            .map_err(|_| AccountKeyError)
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> CurvePoint {
        CurvePoint(self.0.public_key(SECP256K1))
    }

    /// The Ethereum address, 20 bytes.
    #[must_use]
    pub fn address(&self) -> [u8; 20] {
        self.public().address()
    }

    /// Signs a digest of 32 bytes.
    #[must_use]
    pub fn sign(&self, digest: &[u8; 32]) -> CompactSignature {
        let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(*digest), &self.0);
        let (recovery, mut bytes) = signature.serialize_compact();
        if i32::from(recovery) & 1 == 1
            && let Some(top) = bytes.get_mut(32)
        {
            *top |= 0x80;
        }
        CompactSignature(bytes)
    }

    /// The secret plus `tweak`, as a point lock's hops add to it.
    ///
    /// # Errors
    /// If the tweak is no scalar or the sum is zero.
    pub fn plus(&self, tweak: &[u8; 32]) -> Result<Self, AccountKeyError> {
        let tweak = Scalar::from_be_bytes(*tweak).map_err(|_| AccountKeyError)?;
        self.0
            .add_tweak(&tweak)
            .map(Self)
            .map_err(|_| AccountKeyError)
    }

    /// The secret's bytes, big-endian: for a point lock's secret, which is meant to be revealed.
    #[must_use]
    pub fn reveal(&self) -> [u8; 32] {
        self.0.secret_bytes()
    }
}

impl Drop for AccountKey {
    fn drop(&mut self) {
        self.0.non_secure_erase();
        let mut left = self.0.secret_bytes();
        left.zeroize();
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccountKey(…)")
    }
}

impl CurvePoint {
    /// Takes a compressed point of 33 bytes.
    ///
    /// # Errors
    /// If it is no point of the curve.
    pub fn from_bytes(bytes: &[u8; 33]) -> Result<Self, AccountKeyError> {
        PublicKey::from_byte_array_compressed(*bytes)
            .map(Self)
            .map_err(|_| AccountKeyError)
    }

    /// The compressed point, 33 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 33] {
        self.0.serialize()
    }

    /// The Ethereum address: the last 20 bytes of keccak(x || y).
    #[must_use]
    pub fn address(&self) -> [u8; 20] {
        let [_, point @ ..] = self.0.serialize_uncompressed();
        let [_, _, _, _, _, _, _, _, _, _, _, _, address @ ..] = keccak256(point).0;
        address
    }

    /// The point plus `tweak` times the generator.
    ///
    /// # Errors
    /// If the tweak is no scalar or the sum is the point at infinity.
    pub fn plus(&self, tweak: &[u8; 32]) -> Result<Self, AccountKeyError> {
        let tweak = Scalar::from_be_bytes(*tweak).map_err(|_| AccountKeyError)?;
        self.0
            .add_exp_tweak(SECP256K1, &tweak)
            .map(Self)
            .map_err(|_| AccountKeyError)
    }
}

impl CompactSignature {
    /// `r`, and `s` with the parity in its top bit.
    #[must_use]
    pub fn r_and_vs(&self) -> ([u8; 32], [u8; 32]) {
        let (mut r, mut vs) = ([0; 32], [0; 32]);
        let (first, second) = self.0.split_at(32);
        r.copy_from_slice(first);
        vs.copy_from_slice(second);
        (r, vs)
    }

    /// `r` and `s`, and the parity.
    fn parts(&self) -> ([u8; 64], i32) {
        let mut bytes = self.0;
        let mut parity = 0;
        if let Some(top) = bytes.get_mut(32) {
            parity = i32::from(*top >> 7);
            *top &= 0x7f;
        }
        (bytes, parity)
    }
}

impl std::fmt::Debug for CompactSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "CompactSignature({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// Whether `account` signed the digest. The parity counts too: what the chain would give to another is worth nothing, so
/// the address is recovered as the chain does (29 µs) instead of checked against a known key (25 µs).
#[must_use]
pub fn signed_by(account: [u8; 20], digest: &[u8; 32], signature: &CompactSignature) -> bool {
    recover(digest, signature) == Some(account)
}

/// Whose signature this is, as the chain's own precompile would say, or `None` if nobody's.
#[must_use]
pub fn recover(digest: &[u8; 32], signature: &CompactSignature) -> Option<[u8; 20]> {
    let (bytes, parity) = signature.parts();
    let mut plain = Signature::from_compact(&bytes).ok()?;
    let given = plain;
    plain.normalize_s();
    if plain != given {
        return None;
    }
    let id = RecoveryId::try_from(parity).ok()?;
    let signature = RecoverableSignature::from_compact(&bytes, id).ok()?;
    let key = SECP256K1
        .recover_ecdsa(Message::from_digest(*digest), &signature)
        .ok()?;
    Some(CurvePoint(key).address())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> AccountKey {
        AccountKey::from_bytes([byte; 32]).unwrap()
    }

    #[test]
    fn a_signature_is_the_signers_and_nobody_elses() {
        let digest = [7; 32];
        let signature = key(1).sign(&digest);
        assert_eq!(signature, key(1).sign(&digest));
        assert!(signed_by(key(1).address(), &digest, &signature));
        assert!(!signed_by(key(2).address(), &digest, &signature));
        assert!(!signed_by(key(1).address(), &[8; 32], &signature));
    }

    #[test]
    fn twins_of_a_signature_are_refused() {
        // The order of the group minus s, with the other parity: the same signature to a careless verifier.
        let order = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c,
            0xd0, 0x36, 0x41, 0x41,
        ];
        let digest = [7; 32];
        let signature = key(1).sign(&digest);
        let mut wrong_parity = signature;
        wrong_parity.0[32] ^= 0x80;
        assert!(!signed_by(key(1).address(), &digest, &wrong_parity));
        let (r, vs) = signature.r_and_vs();
        let mut s = vs;
        s[0] &= 0x7f;
        let order = alloy_primitives::U256::from_be_bytes(order);
        let high = (order - alloy_primitives::U256::from_be_bytes(s)).to_be_bytes::<32>();
        let mut twin = [0; 64];
        twin[..32].copy_from_slice(&r);
        twin[32..].copy_from_slice(&high);
        assert!(!signed_by(
            key(1).address(),
            &digest,
            &CompactSignature(twin)
        ));
        assert!(!signed_by(
            key(1).address(),
            &digest,
            &CompactSignature([0; 64])
        ));
    }

    #[test]
    fn an_address_is_the_one_ethereum_computes() {
        // Key 1's address, known from many sources.
        let mut one = [0; 32];
        one[31] = 1;
        let address = AccountKey::from_bytes(one).unwrap().address();
        assert_eq!(
            alloy_primitives::Address::from(address).to_string(),
            "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
        );
        assert_eq!(AccountKey::from_bytes([0; 32]).err(), Some(AccountKeyError));
    }

    #[test]
    fn tweaks_of_secret_and_point_agree() {
        let tweak = [9; 32];
        let secret = key(3).plus(&tweak).unwrap();
        assert_eq!(secret.public(), key(3).public().plus(&tweak).unwrap());
        let bytes = secret.public().to_bytes();
        assert_eq!(CurvePoint::from_bytes(&bytes), Ok(secret.public()));
        assert!(CurvePoint::from_bytes(&[0; 33]).is_err());
    }
}
