//! Locks and what opens them (docs/contracts.md, "Conditions"). Curves and other contracts stay outside: a witness says what its number
//! or its signature belongs to, and the registry what other contracts answer now.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, keccak256};
use sha2::{Digest, Sha256};

use super::{Refusal, Signer, require};
use crate::layout::Leaf;

/// Members of `all` and `any`.
const MEMBERS_MAX: usize = 4;
/// Levels of `all` and `any`.
const NESTING_MAX: u8 = 2;

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Opened by the preimage of a SHA-256 hash.
    HashLock(B256),
    /// Opened by the number whose point has this address.
    PointLock(Address),
    /// Holds iff now >= the time, seconds.
    After(u64),
    /// Holds iff now < the time, seconds.
    Before(u64),
    /// A destination signed that it has a message.
    Receipt(Address, B256),
    /// Another contract answers yes, within a cap of gas.
    Call(Address, u32, Vec<u8>),
    /// All of 1 to 4.
    All(Vec<Self>),
    /// One of 1 to 4.
    Any(Vec<Self>),
}

/// What is shown to fulfil a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Look it up in the registry.
    Recorded,
    /// Preimage of a hash lock.
    Secret(B256),
    /// Number of a point lock, and the address of its point; none if the curve has none.
    Scalar(B256, Option<Address>),
    /// Signature (r, vs) of a receipt, and whose it is.
    Signed(B256, B256, Signer),
    /// The condition speaks for itself.
    Plain,
    /// One for each member.
    All(Vec<Self>),
    /// Index of one member, and its witness.
    Any(u8, Box<Self>),
}

impl Condition {
    /// Bytes as the contracts take them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::HashLock(hash) => [&[1_u8][..], hash.as_slice()].concat(),
            Self::PointLock(point) => [&[2_u8][..], point.as_slice()].concat(),
            Self::After(time) => [&[3_u8][..], &time_bytes(*time)].concat(),
            Self::Before(time) => [&[4_u8][..], &time_bytes(*time)].concat(),
            Self::Receipt(destination, message) => {
                [&[5_u8][..], destination.as_slice(), message.as_slice()].concat()
            }
            Self::Call(target, gas, data) => {
                [&[6_u8][..], target.as_slice(), &gas.to_be_bytes(), data].concat()
            }
            Self::All(members) => encode_members(7, members),
            Self::Any(members) => encode_members(8, members),
        }
    }

    fn key(&self) -> B256 {
        match self {
            Self::HashLock(hash) => *hash,
            Self::PointLock(_)
            | Self::After(_)
            | Self::Before(_)
            | Self::Receipt(..)
            | Self::Call(..)
            | Self::All(_)
            | Self::Any(_) => keccak256(self.encode()),
        }
    }
}

impl Witness {
    /// Bytes as the contracts take them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Recorded => Vec::new(),
            Self::Secret(bytes) | Self::Scalar(bytes, _) => bytes.to_vec(),
            Self::Signed(r, vs, _) => [r.as_slice(), vs.as_slice()].concat(),
            Self::Plain => vec![1],
            Self::All(members) => members
                .iter()
                .flat_map(|member| sized(&member.encode()))
                .collect(),
            Self::Any(index, member) => [&[*index][..], &member.encode()].concat(),
        }
    }
}

fn time_bytes(time: u64) -> [u8; 5] {
    let [_, _, _, rest @ ..] = time.to_be_bytes();
    rest
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    // Longer ones cannot be written; the contract refuses what is cut.
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes()[..], bytes].concat()
}

fn encode_members(kind: u8, members: &[Condition]) -> Vec<u8> {
    let count = u8::try_from(members.len()).unwrap_or(u8::MAX);
    let mut bytes = vec![kind, count];
    bytes.extend(members.iter().flat_map(|member| sized(&member.encode())));
    bytes
}

/// One conditional payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Unique in the channel's epoch and direction.
    pub id: u64,
    /// Base units.
    pub amount: u128,
    /// Seconds; fulfilled in time iff before it.
    pub expiry: u64,
    /// What opens it.
    pub condition: Condition,
}

impl Lock {
    /// The leaf as it stands in the tree.
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        Leaf {
            id: self.id,
            amount: self.amount,
            expiry: self.expiry,
            condition: self.condition.encode(),
        }
    }
}

/// The times at which secrets and conditions were fulfilled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Seconds by look-up key; the first time counts.
    pub times: BTreeMap<B256, u64>,
    /// Which calls (encoded conditions) are answered with yes now.
    pub answers: BTreeSet<Vec<u8>>,
}

impl Registry {
    /// Records a secret.
    pub fn register_secret(&mut self, secret: B256, now: u64) {
        self.times.entry(sha256(secret)).or_insert(now);
    }

    /// Records that a condition holds now.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] or [`Refusal::NotFulfilled`].
    pub fn register(
        &mut self,
        condition: &Condition,
        witness: &Witness,
        now: u64,
    ) -> Result<(), Refusal> {
        require(!witness.encode().is_empty(), Refusal::Malformed)?;
        let holds = self.satisfied(condition, witness, u64::MAX, now)?;
        require(holds, Refusal::NotFulfilled)?;
        self.times.entry(condition.key()).or_insert(now);
        Ok(())
    }

    /// Whether a condition counts as fulfilled before `expiry`.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] if the witness is of another kind than the condition.
    pub fn satisfied(
        &self,
        condition: &Condition,
        witness: &Witness,
        expiry: u64,
        now: u64,
    ) -> Result<bool, Refusal> {
        self.judge(condition, witness, expiry, now, 0)
    }

    fn judge(
        &self,
        condition: &Condition,
        witness: &Witness,
        expiry: u64,
        now: u64,
        depth: u8,
    ) -> Result<bool, Refusal> {
        if witness.encode().is_empty() {
            return Ok(self
                .times
                .get(&condition.key())
                .is_some_and(|time| *time < expiry));
        }
        if now >= expiry {
            return Ok(false);
        }
        match (condition, witness) {
            (Condition::HashLock(hash), Witness::Secret(bytes) | Witness::Scalar(bytes, _)) => {
                Ok(sha256(*bytes) == *hash)
            }
            (Condition::PointLock(lock), Witness::Scalar(_, point)) => Ok(*point == Some(*lock)),
            // As long as a number, but of no point that anybody locks with.
            (Condition::PointLock(_), Witness::Secret(_)) => Ok(false),
            (Condition::Receipt(destination, _), Witness::Signed(.., signer)) => {
                Ok(*signer == Some(*destination))
            }
            (Condition::Call(..), Witness::Plain) => Ok(self.answers.contains(&condition.encode())),
            (Condition::After(time), Witness::Plain) => Ok(now >= *time),
            (Condition::Before(time), Witness::Plain) => Ok(now < *time),
            (Condition::All(members), Witness::All(witnesses)) => {
                shape(members, depth)?;
                require(members.len() == witnesses.len(), Refusal::Malformed)?;
                let mut all = true;
                for (member, witness) in members.iter().zip(witnesses) {
                    all &= self.judge(member, witness, expiry, now, depth.saturating_add(1))?;
                }
                Ok(all)
            }
            (Condition::Any(members), Witness::Any(index, witness)) => {
                shape(members, depth)?;
                let member = members.get(usize::from(*index)).ok_or(Refusal::Malformed)?;
                self.judge(member, witness, expiry, now, depth.saturating_add(1))
            }
            (
                Condition::HashLock(_)
                | Condition::PointLock(_)
                | Condition::After(_)
                | Condition::Before(_)
                | Condition::Receipt(..)
                | Condition::Call(..)
                | Condition::All(_)
                | Condition::Any(_),
                Witness::Recorded
                | Witness::Secret(_)
                | Witness::Scalar(..)
                | Witness::Signed(..)
                | Witness::Plain
                | Witness::All(_)
                | Witness::Any(..),
            ) => Err(Refusal::Malformed),
        }
    }
}

fn shape(members: &[Condition], depth: u8) -> Result<(), Refusal> {
    require(
        depth < NESTING_MAX && (1..=MEMBERS_MAX).contains(&members.len()),
        Refusal::Malformed,
    )
}

/// SHA-256, of hash locks and ticks.
pub(super) fn sha256(value: B256) -> B256 {
    B256::from_slice(&Sha256::digest(value))
}
