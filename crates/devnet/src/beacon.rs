//! A beacon chain over the devnet: sync committees with known keys sign its blocks, so that a light client can verify it and
//! be lied to.
//!
//! States and bodies are synthetic: the leaves that a light client looks at stand at their generalized indices, everything
//! else is made of hashes. Slots count blocks and have nothing to do with the clock; a test skips as many as it likes.

mod json;
mod keys;
mod rest;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use alloy_primitives::{B256, keccak256};
use smartmesh_light_client::merkle::{Nodes, depth, helper_indices};
use smartmesh_light_client::{
    Activation, BeaconHeader, Bootstrap, ExecutionProof, Finality, Fork, Header, Members, Network,
    NextCommittee, Participation, Preset, Update,
};

use crate::block::Block;
use crate::chain::Devnet;
use keys::Keys;

pub use json::{bootstrap_json, config_json, update_json};

/// Members of a committee: enough to have absent ones, few enough to sign quickly.
const MEMBERS: u16 = 32;
/// Slots of an epoch and epochs of a period; a period is longer than the devnet's blocks take to be final.
const SLOTS_PER_EPOCH: u64 = 32;
const EPOCHS_PER_PERIOD: u64 = 8;
/// The slot of the first block, the beginning of a period.
const FIRST_SLOT: u64 = SLOTS_PER_EPOCH * EPOCHS_PER_PERIOD * 1_000;

/// A block of the beacon chain with what its state and body prove.
#[derive(Clone, Debug)]
struct Signed {
    header: Header,
    /// Number of the execution block.
    number: u64,
    state: Nodes,
    finalized: Option<usize>,
}

/// A beacon chain whose keys are known.
#[derive(Clone, Debug)]
pub struct Beacon {
    network: Network,
    keys: Keys,
    blocks: Vec<Signed>,
    /// Slots to leave out before the next block.
    skip: u64,
    /// Who does not sign.
    absent: Vec<u16>,
    /// Finality stands still at this block.
    stalled: Option<usize>,
    /// The newest signature and what it signs: heads are asked for again and again.
    signed: RefCell<Option<(B256, [u8; 96])>>,
}

impl Beacon {
    /// Begins a chain over a devnet, in the form of the given fork.
    #[must_use]
    pub fn new(devnet: &Devnet, fork: Fork) -> Self {
        let seed = devnet.block(0).map_or(B256::ZERO, |block| block.hash);
        let positive = |number| NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN);
        let schedule = Fork::ALL
            .into_iter()
            .zip(0_u8..)
            .map(|(one, number)| Activation {
                fork: one,
                version: [number, 0, 0, 0x53],
                epoch: if one <= fork { 0 } else { u64::MAX },
            })
            .collect();
        let network = Network {
            name: "devnet".to_owned(),
            preset: Preset {
                committee_size: MEMBERS,
                slots_per_epoch: positive(SLOTS_PER_EPOCH),
                epochs_per_period: positive(EPOCHS_PER_PERIOD),
            },
            genesis_validators_root: seed,
            // So every slot has begun by the clock of any phone.
            genesis_time: 0,
            seconds_per_slot: positive(1),
            schedule,
        };
        let mut beacon = Self {
            network,
            keys: Keys::new(seed, MEMBERS),
            blocks: Vec::new(),
            skip: 0,
            absent: Vec::new(),
            stalled: None,
            signed: RefCell::default(),
        };
        beacon.follow(devnet);
        beacon
    }

    /// Returns the network as a light client must know it.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the root of the newest block that is final, to be trusted at the start.
    #[must_use]
    pub fn checkpoint(&self) -> B256 {
        let last = self.blocks.last().and_then(|head| head.finalized);
        let block = last.and_then(|at| self.blocks.get(at));
        block
            .or(self.blocks.first())
            .map_or(B256::ZERO, |block| block.header.beacon.root())
    }

    /// Leaves so many slots empty before the next block.
    pub fn skip_slots(&mut self, slots: u64) {
        self.skip = self.skip.saturating_add(slots);
    }

    /// Lets these members stay away from now on.
    pub fn set_absent(&mut self, absent: &[u16]) {
        self.absent = absent.to_vec();
        self.signed.replace(None);
    }

    /// Lets finality stand still, or go on.
    pub fn stall_finality(&mut self, stalled: bool) {
        self.stalled = match (stalled, self.blocks.last()) {
            (true, Some(head)) => Some(head.finalized.unwrap_or(0)),
            (_, _) => None,
        };
    }

    /// Takes over what the devnet has added or taken back.
    pub fn follow(&mut self, devnet: &Devnet) {
        while let Some(head) = self.blocks.last() {
            let same = devnet
                .block(head.number)
                .is_some_and(|block| Some(block.hash) == head.header.block_hash());
            if same {
                break;
            }
            // A block that was signed leaves its slot behind.
            self.skip = self.skip.saturating_add(1);
            self.blocks.pop();
        }
        let next = self
            .blocks
            .last()
            .map_or(0, |head| head.number.saturating_add(1));
        for number in next..=devnet.head().header.number {
            if let Some(block) = devnet.block(number) {
                let block = Arc::clone(block);
                self.push(devnet, &block);
            }
        }
    }

    fn push(&mut self, devnet: &Devnet, block: &Block) {
        let parent = self.blocks.last().map(|head| &head.header.beacon);
        let slot = match parent {
            Some(parent) => parent.slot.saturating_add(1).saturating_add(self.skip),
            None => FIRST_SLOT,
        };
        self.skip = 0;
        let rules = self.network.rules(slot);
        let number = block.header.number;
        let final_number = number.min(devnet.finalized());
        let finalized = self.stalled.or_else(|| {
            self.blocks
                .iter()
                .rposition(|signed| signed.number <= final_number)
        });
        let mut state = Nodes::default();
        let final_header = finalized.and_then(|at| self.blocks.get(at));
        let (root, epoch) = match final_header {
            Some(signed) => {
                let beacon = &signed.header.beacon;
                (beacon.root(), self.network.epoch(beacon.slot))
            }
            None => (B256::ZERO, 0),
        };
        let period = self.network.period(slot);
        state.insert(rules.finalized_root, root);
        state.insert(rules.finalized_root ^ 1, number_node(epoch));
        state.insert(rules.current_committee, self.keys.committee(period).root());
        state.insert(
            rules.next_committee,
            self.keys.committee(period.saturating_add(1)).root(),
        );
        let leaves = [
            rules.finalized_root,
            rules.finalized_root ^ 1,
            rules.current_committee,
            rules.next_committee,
        ];
        for index in helper_indices(&leaves) {
            state.insert(index, filler(block.hash, slot, index));
        }
        let state_root = state.fold().unwrap_or_default();
        let branch: Vec<B256> = (0..depth(rules.block_hash))
            .map(|level| filler(block.hash, slot, u64::try_from(level).unwrap_or(0)))
            .collect();
        let body_root =
            smartmesh_light_client::merkle::branch_root(block.hash, &branch, rules.block_hash);
        let beacon = BeaconHeader {
            slot,
            proposer_index: slot % 1_024,
            parent_root: parent.map_or(B256::ZERO, BeaconHeader::root),
            state_root,
            body_root,
        };
        self.blocks.push(Signed {
            header: Header {
                beacon,
                execution: Some(ExecutionProof {
                    block_hash: block.hash,
                    branch,
                }),
            },
            number,
            state,
            finalized,
        });
    }

    /// Returns the bootstrap of a block, if it is of this chain.
    #[must_use]
    pub fn bootstrap(&self, root: B256) -> Option<Bootstrap> {
        let signed = self
            .blocks
            .iter()
            .find(|signed| signed.header.beacon.root() == root)?;
        let slot = signed.header.beacon.slot;
        Some(Bootstrap {
            header: signed.header.clone(),
            committee: self.keys.committee(self.network.period(slot)),
            branch: signed
                .state
                .branch(self.network.rules(slot).current_committee)?,
        })
    }

    /// Returns the best update of a period: its last block that the same committee signs.
    #[must_use]
    pub fn update(&self, period: u64) -> Option<Update> {
        let signed = self.blocks.iter().rev().find(|signed| {
            let slot = signed.header.beacon.slot;
            self.network.period(slot) == period
                && self.network.period(slot.saturating_add(1)) == period
        })?;
        self.sign(signed, true)
    }

    /// Returns the newest signed head with its finality.
    #[must_use]
    pub fn finality_update(&self) -> Option<Update> {
        self.sign(self.blocks.last()?, false)
    }

    /// Returns the periods of the first and of the newest block.
    #[must_use]
    pub fn periods(&self) -> (u64, u64) {
        let period = |signed: Option<&Signed>| {
            signed.map_or(0, |signed| self.network.period(signed.header.beacon.slot))
        };
        (period(self.blocks.first()), period(self.blocks.last()))
    }

    fn sign(&self, signed: &Signed, with_committee: bool) -> Option<Update> {
        let slot = signed.header.beacon.slot;
        let rules = self.network.rules(slot);
        let signature_slot = slot.saturating_add(1);
        let next = self.network.period(slot).saturating_add(1);
        let root = self
            .network
            .signing_root(signed.header.beacon.root(), signature_slot);
        let next_committee = match with_committee {
            true => Some(NextCommittee {
                committee: self.keys.committee(next),
                branch: signed.state.branch(rules.next_committee)?,
            }),
            false => None,
        };
        let finality = match signed.finalized.and_then(|at| self.blocks.get(at)) {
            Some(finalized) => Some(Finality {
                header: Some(finalized.header.clone()),
                branch: signed.state.branch(rules.finalized_root)?,
            }),
            None => None,
        };
        Some(Update {
            attested: signed.header.clone(),
            next_committee,
            finality,
            participation: Participation::all_but(&self.absent, MEMBERS),
            signature: self.signature(signature_slot, root)?,
            signature_slot,
            members: Members::default(),
        })
    }
}

impl Beacon {
    fn signature(&self, slot: u64, root: B256) -> Option<[u8; 96]> {
        if let Some((known, signature)) = *self.signed.borrow()
            && known == root
        {
            return Some(signature);
        }
        let period = self.network.period(slot);
        let signature = self.keys.sign(period, &self.absent, root)?;
        self.signed.replace(Some((root, signature)));
        Some(signature)
    }
}

/// A node that stands for everything a light client does not look at.
fn filler(seed: B256, slot: u64, index: u64) -> B256 {
    let mut bytes = seed.to_vec();
    bytes.extend(slot.to_be_bytes());
    bytes.extend(index.to_be_bytes());
    keccak256(bytes)
}

fn number_node(number: u64) -> B256 {
    B256::right_padding_from(&number.to_le_bytes())
}

/// Committees by period, computed once.
type Committees = BTreeMap<u64, smartmesh_light_client::Committee>;

#[cfg(test)]
mod tests;
