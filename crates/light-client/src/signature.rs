//! BLS signatures of sync committees (`FastAggregateVerify` with proof of possession), by the sum of the participants.
//!
//! The committee's sum is part of its tree hash and so bound by the state root. Participants are that sum minus the
//! absent members, or the sum of the present ones where fewer signed than did not and their keys are known: the same
//! point either way. Members' keys passed the subgroup check when their deposits were accepted; the signature is checked
//! here.

use blst::BLST_ERROR;
use blst::min_pk::{AggregatePublicKey, PublicKey, Signature};
use thiserror::Error;

use alloy_primitives::B256;

use crate::committee::Key;

/// Ciphersuite of Ethereum's consensus.
const SUITE: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// Set in the first byte of a compressed point that is the point at infinity.
const INFINITY_FLAG: u8 = 0x40;

/// Set in the first byte of a compressed point with the greater of the two ordinates; flipping it negates the point.
const SIGN_FLAG: u8 = 0x20;

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// A key is not a point of the curve, or is the point at infinity.
    #[error("a committee key is no valid point")]
    BadKey,
    /// The keys of those who signed add up to nothing.
    #[error("the participants' keys cancel out")]
    NoKey,
    /// The signature is not a point of its group.
    #[error("the signature is no valid point")]
    BadPoint,
    /// The signature is not that of the participants over this header.
    #[error("the committee did not sign this header")]
    Forged,
}

/// Which keys lead to the participants' sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Participants<'a> {
    /// The committee's sum without these.
    AllBut(&'a Key, Vec<&'a Key>),
    /// These alone.
    Only(Vec<&'a Key>),
}

fn point(key: &Key) -> Result<PublicKey, SignatureError> {
    if key.first().is_none_or(|byte| byte & INFINITY_FLAG != 0) {
        return Err(SignatureError::BadKey);
    }
    PublicKey::uncompress(key).map_err(|_| SignatureError::BadKey)
}

fn negated(key: &Key) -> Key {
    let mut negated = *key;
    if let Some(byte) = negated.first_mut() {
        *byte ^= SIGN_FLAG;
    }
    negated
}

fn sum(participants: &Participants<'_>) -> Result<PublicKey, SignatureError> {
    let (first, rest): (Key, Vec<Key>) = match participants {
        Participants::AllBut(aggregate, absent) => {
            (**aggregate, absent.iter().map(|key| negated(key)).collect())
        }
        Participants::Only(keys) => {
            let mut keys = keys.iter().map(|key| **key);
            let first = keys.next().ok_or(SignatureError::NoKey)?;
            (first, keys.collect())
        }
    };
    let mut total = AggregatePublicKey::from_public_key(&point(&first)?);
    for key in rest {
        total
            .add_public_key(&point(&key)?, false)
            .map_err(|_| SignatureError::BadKey)?;
    }
    Ok(total.to_public_key())
}

/// Judges the participants' signature over a signing root.
///
/// # Errors
///
/// Says which of key, sum, signature point or signature is wrong.
pub(crate) fn verify(
    participants: &Participants<'_>,
    signing_root: B256,
    signature: &[u8; 96],
) -> Result<(), SignatureError> {
    let key = sum(participants)?;
    let signature = Signature::uncompress(signature).map_err(|_| SignatureError::BadPoint)?;
    match signature.verify(true, signing_root.as_slice(), SUITE, &[], &key, false) {
        BLST_ERROR::BLST_SUCCESS => Ok(()),
        BLST_ERROR::BLST_PK_IS_INFINITY => Err(SignatureError::NoKey),
        BLST_ERROR::BLST_BAD_ENCODING
        | BLST_ERROR::BLST_POINT_NOT_ON_CURVE
        | BLST_ERROR::BLST_POINT_NOT_IN_GROUP => Err(SignatureError::BadPoint),
        BLST_ERROR::BLST_AGGR_TYPE_MISMATCH
        | BLST_ERROR::BLST_VERIFY_FAIL
        | BLST_ERROR::BLST_BAD_SCALAR => Err(SignatureError::Forged),
    }
}
