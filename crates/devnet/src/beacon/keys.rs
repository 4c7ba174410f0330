//! The validators' keys, which follow from the chain's first block.

use std::cell::RefCell;

use alloy_primitives::{B256, keccak256};
use blst::min_pk::{AggregatePublicKey, AggregateSignature, PublicKey, SecretKey, Signature};
use smartmesh_light_client::{Committee, Key};

use super::Committees;

/// Ciphersuite of Ethereum's consensus.
const SUITE: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// Keys of every committee.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    secrets: Vec<SecretKey>,
    members: u16,
    committees: RefCell<Committees>,
}

impl Keys {
    /// Twice as many validators as a committee has members, so that committees differ.
    pub(super) fn new(seed: B256, members: u16) -> Self {
        let secrets = (0..members.saturating_mul(2))
            .map_while(|at| {
                let material = keccak256([seed.as_slice(), &at.to_be_bytes()].concat());
                SecretKey::key_gen(material.as_slice(), &[]).ok()
            })
            .collect();
        Self {
            secrets,
            members,
            committees: RefCell::default(),
        }
    }

    /// The members of a period: a window of the validators that moves on.
    fn members(&self, period: u64) -> Vec<&SecretKey> {
        let count = u64::from(self.members).saturating_mul(2).max(1);
        let start = period.wrapping_mul(11).checked_rem(count).unwrap_or(0);
        self.secrets
            .iter()
            .cycle()
            .skip(usize::try_from(start).unwrap_or(0))
            .take(usize::from(self.members))
            .collect()
    }

    pub(super) fn committee(&self, period: u64) -> Committee {
        if let Some(known) = self.committees.borrow().get(&period) {
            return known.clone();
        }
        let points: Vec<PublicKey> = self
            .members(period)
            .into_iter()
            .map(SecretKey::sk_to_pk)
            .collect();
        let keys: Vec<Key> = points.iter().map(PublicKey::compress).collect();
        let sum = AggregatePublicKey::aggregate(&points.iter().collect::<Vec<_>>(), false);
        let aggregate = sum.map_or([0; 48], |sum| sum.to_public_key().compress());
        let committee = Committee::from_keys(&keys, aggregate);
        self.committees
            .borrow_mut()
            .insert(period, committee.clone());
        committee
    }

    /// The signature of all members but the absent ones; `None` if nobody is left.
    pub(super) fn sign(&self, period: u64, absent: &[u16], root: B256) -> Option<[u8; 96]> {
        let signatures: Vec<Signature> = (0_u16..)
            .zip(self.members(period))
            .filter(|(at, _)| !absent.contains(at))
            .map(|(_, secret)| secret.sign(root.as_slice(), SUITE, &[]))
            .collect();
        let sum = AggregateSignature::aggregate(&signatures.iter().collect::<Vec<_>>(), false);
        sum.ok().map(|sum| sum.to_signature().compress())
    }
}
