//! Beacon headers, and the execution block they name.

use alloy_primitives::B256;

use crate::merkle::{self, root_of};
use crate::network::{HeaderForm, Network};

/// A beacon block header (consensus specs, phase0, `BeaconBlockHeader`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeaconHeader {
    /// Slot of the block.
    pub slot: u64,
    /// Who proposed it.
    pub proposer_index: u64,
    /// Root of the parent header.
    pub parent_root: B256,
    /// Root of the state after the block.
    pub state_root: B256,
    /// Root of the block's body.
    pub body_root: B256,
}

/// Returns the tree hash of an unsigned number.
pub(crate) fn number_leaf(value: u64) -> B256 {
    let mut leaf = [0; 32];
    for (to, from) in leaf.iter_mut().zip(value.to_le_bytes()) {
        *to = from;
    }
    B256::from(leaf)
}

impl BeaconHeader {
    /// Returns the header's tree hash, by which blocks are known.
    #[must_use]
    pub fn root(&self) -> B256 {
        root_of(
            &[
                number_leaf(self.slot),
                number_leaf(self.proposer_index),
                self.parent_root,
                self.state_root,
                self.body_root,
            ],
            3,
        )
    }
}

/// The execution block that a beacon block names, with the proof under the body root.
///
/// Up to Fulu this is the payload of the same block; from Gloas on it is the parent's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionProof {
    /// Keccak hash of the execution header.
    pub block_hash: B256,
    /// Branch at [`crate::network::Rules::block_hash`] of the header's slot.
    pub branch: Vec<B256>,
}

/// A light-client header of any fork in one form: the beacon header, and the execution block hash where it is carried.
///
/// Every fork's wire form is brought into this one when it is read (what the specification calls upgrading), so the rest
/// of the crate knows one kind of header. State root, receipts root, bloom and time come from the RLP header whose keccak
/// is the block hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The beacon header.
    pub beacon: BeaconHeader,
    /// The execution block, unless the header is older than Capella or the sender left it out.
    pub execution: Option<ExecutionProof>,
}

impl Header {
    /// Judges the execution proof against the body root (`is_valid_light_client_header`).
    ///
    /// A header without one claims nothing about execution and is valid.
    #[must_use]
    pub fn verify_execution(&self, network: &Network) -> bool {
        let rules = network.rules(self.beacon.slot);
        match (&self.execution, rules.header) {
            (None, _) => true,
            (Some(_), HeaderForm::Beacon) => false,
            (Some(proof), HeaderForm::Capella | HeaderForm::Deneb | HeaderForm::BlockHash) => {
                merkle::verify_branch(
                    proof.block_hash,
                    &proof.branch,
                    rules.block_hash,
                    self.beacon.body_root,
                )
            }
        }
    }

    /// Returns the proved execution block hash, if it is carried.
    #[must_use]
    pub fn block_hash(&self) -> Option<B256> {
        self.execution.as_ref().map(|proof| proof.block_hash)
    }
}
