//! The wire forms of light-client data, fork by fork, brought into the one form of this crate.
//!
//! SSZ and JSON readers fill these raw values; everything the specification says about empty parts and older headers in
//! newer containers is decided here.

use alloy_primitives::B256;

use crate::committee::{Committee, Key, Participation};
use crate::header::{BeaconHeader, ExecutionProof, Header, number_leaf};
use crate::merkle::{self, branch_of, hash_pair, root_of};
use crate::network::{Fork, HeaderForm, Network, Preset};
use crate::update::{Bootstrap, Finality, FormError, Members, NextCommittee, Signature, Update};

/// Field of the block hash in an execution payload header.
const BLOCK_HASH_FIELD: usize = 12;

/// Fields of an execution payload header up to Capella.
const CAPELLA_FIELDS: usize = 15;

/// Depth of the execution payload header in the block body, Capella to Fulu.
pub(crate) const PAYLOAD_DEPTH: usize = 4;

/// A header as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawHeader {
    pub(crate) beacon: BeaconHeader,
    pub(crate) execution: RawExecution,
    pub(crate) branch: Vec<B256>,
}

/// The execution part of a header as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RawExecution {
    /// Altair and Bellatrix have none.
    Absent,
    /// The tree hashes of a payload header's fields.
    Payload(Vec<B256>),
    /// From Gloas on.
    BlockHash(B256),
}

/// The parts of an update as they were on the wire; absent ones are as the specification's `empty()`.
pub(crate) struct RawUpdate {
    pub(crate) attested: RawHeader,
    pub(crate) next: Option<(RawCommittee, Vec<B256>)>,
    pub(crate) finality: Option<(RawHeader, Vec<B256>)>,
    pub(crate) participation: Participation,
    pub(crate) signature: Signature,
    pub(crate) signature_slot: u64,
}

/// All keys of a committee.
pub(crate) struct RawCommittee {
    pub(crate) keys: Vec<Key>,
    pub(crate) aggregate: Key,
}

impl RawCommittee {
    fn is_empty(&self) -> bool {
        self.aggregate == [0; 48] && self.keys.iter().all(|key| *key == [0; 48])
    }

    pub(crate) fn committee(&self) -> Committee {
        Committee::from_keys(&self.keys, self.aggregate)
    }
}

/// The fields of an execution payload header, before they are hashed.
pub(crate) struct Payload<'a> {
    pub(crate) parent_hash: B256,
    pub(crate) fee_recipient: [u8; 20],
    pub(crate) state_root: B256,
    pub(crate) receipts_root: B256,
    pub(crate) logs_bloom: &'a [u8],
    pub(crate) prev_randao: B256,
    /// Number, gas limit, gas used, timestamp.
    pub(crate) numbers: [u64; 4],
    pub(crate) extra_data: &'a [u8],
    /// Little-endian.
    pub(crate) base_fee: B256,
    pub(crate) block_hash: B256,
    pub(crate) transactions_root: B256,
    pub(crate) withdrawals_root: B256,
    /// Blob gas used, excess blob gas; from Deneb on.
    pub(crate) blob_gas: Option<[u64; 2]>,
}

impl Payload<'_> {
    /// Hashes each field.
    pub(crate) fn leaves(&self) -> Vec<B256> {
        let bloom: Vec<B256> = self
            .logs_bloom
            .chunks(32)
            .map(B256::right_padding_from)
            .collect();
        let extra = if self.extra_data.is_empty() {
            B256::ZERO
        } else {
            B256::right_padding_from(self.extra_data)
        };
        let extra_length = u64::try_from(self.extra_data.len()).unwrap_or(u64::MAX);
        let [number, gas_limit, gas_used, timestamp] = self.numbers.map(number_leaf);
        let mut leaves = vec![
            self.parent_hash,
            B256::right_padding_from(&self.fee_recipient),
            self.state_root,
            self.receipts_root,
            root_of(&bloom, 3),
            self.prev_randao,
            number,
            gas_limit,
            gas_used,
            timestamp,
            hash_pair(extra, number_leaf(extra_length)),
            self.base_fee,
            self.block_hash,
            self.transactions_root,
            self.withdrawals_root,
        ];
        leaves.extend(self.blob_gas.into_iter().flatten().map(number_leaf));
        leaves
    }

    /// Hashes each field of the empty payload header of a form.
    pub(crate) fn empty_leaves(form: HeaderForm) -> Vec<B256> {
        Payload {
            parent_hash: B256::ZERO,
            fee_recipient: [0; 20],
            state_root: B256::ZERO,
            receipts_root: B256::ZERO,
            logs_bloom: &[0; 256],
            prev_randao: B256::ZERO,
            numbers: [0; 4],
            extra_data: &[],
            base_fee: B256::ZERO,
            block_hash: B256::ZERO,
            transactions_root: B256::ZERO,
            withdrawals_root: B256::ZERO,
            blob_gas: (form == HeaderForm::Deneb).then_some([0; 2]),
        }
        .leaves()
    }
}

fn is_zero(nodes: &[B256]) -> bool {
    nodes.iter().all(B256::is_zero)
}

impl RawHeader {
    /// Returns whether this is the empty header.
    fn is_empty(&self) -> bool {
        let execution = match &self.execution {
            RawExecution::Absent => true,
            RawExecution::Payload(leaves) if leaves.len() == CAPELLA_FIELDS => {
                *leaves == Payload::empty_leaves(HeaderForm::Capella)
            }
            RawExecution::Payload(leaves) => *leaves == Payload::empty_leaves(HeaderForm::Deneb),
            RawExecution::BlockHash(hash) => hash.is_zero(),
        };
        self.beacon == BeaconHeader::default() && execution && is_zero(&self.branch)
    }

    /// Brings the header into this crate's form, by the fork of its own slot.
    fn normalise(self, network: &Network) -> Result<Header, FormError> {
        let slot = self.beacon.slot;
        let rules = network.rules(slot);
        let unexpected = FormError::UnexpectedExecution(slot);
        let execution = match (self.execution, rules.header) {
            (RawExecution::Absent, _) => None,
            (RawExecution::Payload(leaves), HeaderForm::Beacon) => {
                let form = if leaves.len() == CAPELLA_FIELDS {
                    HeaderForm::Capella
                } else {
                    HeaderForm::Deneb
                };
                if leaves != Payload::empty_leaves(form) || !is_zero(&self.branch) {
                    return Err(unexpected);
                }
                None
            }
            (RawExecution::Payload(mut leaves), HeaderForm::Capella) => {
                let later = leaves.split_off(CAPELLA_FIELDS.min(leaves.len()));
                if !is_zero(&later) {
                    return Err(unexpected);
                }
                Some(payload_proof(&leaves, 4, self.branch)?)
            }
            (RawExecution::Payload(leaves), HeaderForm::Deneb) => {
                if leaves.len() == CAPELLA_FIELDS {
                    return Err(unexpected);
                }
                Some(payload_proof(&leaves, 5, self.branch)?)
            }
            (RawExecution::Payload(_), HeaderForm::BlockHash) => return Err(unexpected),
            (RawExecution::BlockHash(hash), HeaderForm::Beacon) => {
                if !hash.is_zero() || !is_zero(&self.branch) {
                    return Err(unexpected);
                }
                None
            }
            (
                RawExecution::BlockHash(block_hash),
                HeaderForm::Capella | HeaderForm::Deneb | HeaderForm::BlockHash,
            ) => {
                let extra = self
                    .branch
                    .len()
                    .saturating_sub(merkle::depth(rules.block_hash));
                let (padding, branch) = self
                    .branch
                    .split_at_checked(extra)
                    .ok_or(FormError::Truncated)?;
                if !is_zero(padding) {
                    return Err(FormError::LongBranch(slot));
                }
                Some(ExecutionProof {
                    block_hash,
                    branch: branch.to_vec(),
                })
            }
        };
        Ok(Header {
            beacon: self.beacon,
            execution,
        })
    }
}

/// Proves the block hash in the body instead of the whole payload header.
fn payload_proof(
    leaves: &[B256],
    depth: usize,
    payload_branch: Vec<B256>,
) -> Result<ExecutionProof, FormError> {
    let block_hash = *leaves.get(BLOCK_HASH_FIELD).ok_or(FormError::Truncated)?;
    let mut branch = branch_of(leaves, depth, BLOCK_HASH_FIELD);
    branch.extend(payload_branch);
    Ok(ExecutionProof { block_hash, branch })
}

/// Builds a bootstrap.
pub(crate) fn bootstrap(
    network: &Network,
    header: RawHeader,
    committee: &RawCommittee,
    branch: Vec<B256>,
) -> Result<Bootstrap, FormError> {
    Ok(Bootstrap {
        header: header.normalise(network)?,
        committee: committee.committee(),
        branch,
    })
}

/// Builds an update; parts without a branch must be empty.
pub(crate) fn update(network: &Network, raw: RawUpdate) -> Result<Update, FormError> {
    let next_committee = match raw.next {
        Some((committee, branch)) if !is_zero(&branch) => Some(NextCommittee {
            committee: committee.committee(),
            branch,
        }),
        Some((committee, _)) if !committee.is_empty() => {
            return Err(FormError::CommitteeWithoutBranch);
        }
        Some(_) | None => None,
    };
    let finality = match raw.finality {
        Some((header, branch)) if !is_zero(&branch) => {
            let header = if header.beacon.slot == 0 {
                if !header.is_empty() {
                    return Err(FormError::GenesisHeader);
                }
                None
            } else {
                Some(header.normalise(network)?)
            };
            Some(Finality { header, branch })
        }
        Some((header, _)) if !header.is_empty() => return Err(FormError::FinalityWithoutBranch),
        Some(_) | None => None,
    };
    Ok(Update {
        attested: raw.attested.normalise(network)?,
        next_committee,
        finality,
        participation: raw.participation,
        signature: raw.signature,
        signature_slot: raw.signature_slot,
        members: Members::default(),
    })
}

/// Lengths that a fork and a preset prescribe.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) header: HeaderForm,
    pub(crate) members: usize,
    pub(crate) finality_depth: usize,
    pub(crate) current_depth: usize,
    pub(crate) next_depth: usize,
    pub(crate) execution_depth: usize,
}

impl Shape {
    pub(crate) fn new(fork: Fork, preset: Preset) -> Self {
        let rules = fork.rules();
        Self {
            header: rules.header,
            members: usize::from(preset.committee_size),
            finality_depth: merkle::depth(rules.finalized_root),
            current_depth: merkle::depth(rules.current_committee),
            next_depth: merkle::depth(rules.next_committee),
            execution_depth: match rules.header {
                HeaderForm::Beacon => 0,
                HeaderForm::Capella | HeaderForm::Deneb => PAYLOAD_DEPTH,
                HeaderForm::BlockHash => merkle::depth(rules.block_hash),
            },
        }
    }
}
