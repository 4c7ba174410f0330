//! The compact form of updates: everything a verifier needs who knows the committee by its 80 binding bytes.
//!
//! It leaves out what the receiver can compute (the state root, the current committee's root, body roots below an
//! execution branch) and what it does not need (the keys of members who signed). Reading it rebuilds an [`Update`] with all
//! its branches, which is then judged like any other, so the form itself is trusted with nothing. The layout and the
//! security argument are in `docs/light-client.md`.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use thiserror::Error;

use crate::bytes::{Reader, put_length, put_nodes, put_varint};
use crate::committee::{Committee, Key, Participation, Signed};
use crate::header::{BeaconHeader, ExecutionProof, Header, number_leaf};
use crate::merkle::{self, GeneralizedIndex, Nodes, helper_indices};
use crate::network::{HeaderForm, Network, Rules};
use crate::store::Store;
use crate::update::{Finality, FormError, Members, NextCommittee, Update};

/// First byte of every compact update.
const VERSION: u8 = 1;

/// The longest compact update that is read: 170 absent members of 512 (a third) take about 34 KB.
pub const COMPACT_BYTES_MAX: usize = 40_000;

/// The update brings the next committee.
const HAS_NEXT: u8 = 1;
/// The update brings finality.
const HAS_FINALITY: u8 = 2;
/// Finality is still that of genesis.
const FINALITY_IS_GENESIS: u8 = 4;
/// The attested header carries its execution block.
const ATTESTED_EXECUTION: u8 = 8;
/// The finalized header carries its execution block.
const FINALIZED_EXECUTION: u8 = 16;
/// Participation comes as bits instead of positions of absent members.
const BITS: u8 = 32;
/// All the flags there are.
const FLAGS: u8 = 63;

/// Which execution blocks a compact update carries, each 300 to 380 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// None: enough to follow the committees.
    Nothing,
    /// The finalized header's.
    Finalized,
    /// The attested header's.
    Attested,
    /// Both.
    Both,
}

/// Why an update cannot be brought into the compact form or back.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CompactError {
    /// The bytes are malformed.
    #[error(transparent)]
    Form(#[from] FormError),
    /// Another version.
    #[error("version {0} of the compact form is unknown")]
    Version(u8),
    /// Flags that contradict each other or are unknown.
    #[error("flags {0:#04x} are not allowed")]
    Flags(u8),
    /// The committee of a slot is not known, so its part of the state cannot be filled in.
    #[error("the committee of slot {0} is unknown")]
    UnknownCommittee(u64),
    /// A branch of the update does not fit its place.
    #[error("a branch does not lead to the state root")]
    Branch,
    /// A member's key that is needed for the proof is not known.
    #[error("not every key of the committee is known")]
    MissingKeys,
}

fn carries(carry: Carry) -> (bool, bool) {
    match carry {
        Carry::Nothing => (false, false),
        Carry::Finalized => (false, true),
        Carry::Attested => (true, false),
        Carry::Both => (true, true),
    }
}

fn put_header(into: &mut Vec<u8>, header: &Header, execution: Option<&ExecutionProof>) {
    put_varint(into, header.beacon.proposer_index);
    into.extend_from_slice(header.beacon.parent_root.as_slice());
    match execution {
        Some(proof) => {
            into.extend_from_slice(proof.block_hash.as_slice());
            put_nodes(into, &proof.branch);
        }
        None => into.extend_from_slice(header.beacon.body_root.as_slice()),
    }
}

/// The leaves of the state that sender and receiver both know, in the order of this form.
fn state_leaves(rules: Rules, flags: u8) -> Vec<GeneralizedIndex> {
    let mut leaves = Vec::new();
    if flags & HAS_NEXT != 0 {
        leaves.push(rules.next_committee);
        // From Gloas on they are no siblings, and the branch of the next one does not show it.
        if rules.current_committee ^ 1 == rules.next_committee {
            leaves.push(rules.current_committee);
        }
    }
    if flags & HAS_FINALITY != 0 {
        leaves.extend([rules.finalized_root, rules.finalized_root ^ 1]);
    }
    leaves
}

fn put_branch(nodes: &mut Nodes, leaf: B256, branch: &[B256], index: GeneralizedIndex) {
    nodes.insert(index, leaf);
    let mut at = index;
    for sibling in branch {
        nodes.insert(at ^ 1, *sibling);
        at >>= 1;
    }
}

/// Reads a tree leaf that holds a number.
fn leaf_number(leaf: B256) -> Option<u64> {
    let (number, rest) = leaf.0.split_first_chunk::<8>()?;
    rest.iter()
        .all(|byte| *byte == 0)
        .then(|| u64::from_le_bytes(*number))
}

/// Writes an update for a receiver that knows the committees of `store`; the store must know all keys of the signers.
///
/// Keys of absent members that are in `known` are left out, because the receiver has them from earlier.
///
/// # Errors
///
/// [`CompactError::UnknownCommittee`] or [`CompactError::MissingKeys`] if the store knows too little,
/// [`CompactError::Branch`] if the update's branches do not fit together.
pub fn encode(
    update: &Update,
    network: &Network,
    store: &Store,
    carry: Carry,
    known: &BTreeMap<u16, Key>,
) -> Result<Vec<u8>, CompactError> {
    let (with_attested, with_finalized) = carries(carry);
    let attested = &update.attested;
    let finalized = update
        .finality
        .as_ref()
        .and_then(|finality| finality.header.as_ref());
    let attested_execution = attested.execution.as_ref().filter(|_| with_attested);
    let finalized_execution = finalized
        .and_then(|header| header.execution.as_ref())
        .filter(|_| with_finalized);
    let absent: Vec<u16> = update.participation.members(Signed::No).collect();
    let mut flags = 0;
    for (flag, is_set) in [
        (HAS_NEXT, update.next_committee.is_some()),
        (HAS_FINALITY, update.finality.is_some()),
        (
            FINALITY_IS_GENESIS,
            update.finality.is_some() && finalized.is_none(),
        ),
        (ATTESTED_EXECUTION, attested_execution.is_some()),
        (FINALIZED_EXECUTION, finalized_execution.is_some()),
        (BITS, absent.len() > update.participation.as_bytes().len()),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    let mut out = vec![VERSION, flags];
    put_varint(&mut out, attested.beacon.slot);
    put_header(&mut out, attested, attested_execution);
    put_varint(
        &mut out,
        update.signature_slot.saturating_sub(attested.beacon.slot),
    );
    put_state(&mut out, update, network, flags, finalized_execution)?;
    if flags & BITS == 0 {
        put_length(&mut out, absent.len());
        put_positions(&mut out, &absent);
    } else {
        out.extend_from_slice(update.participation.as_bytes());
    }
    out.extend_from_slice(&update.signature);
    put_members(&mut out, update, network, store, &absent, known)?;
    Ok(out)
}

/// Writes rising positions as gaps.
fn put_positions(into: &mut Vec<u8>, positions: &[u16]) {
    let mut expected = 0_u16;
    for position in positions {
        put_varint(into, u64::from(position.saturating_sub(expected)));
        expected = position.saturating_add(1);
    }
}

fn put_state(
    out: &mut Vec<u8>,
    update: &Update,
    network: &Network,
    flags: u8,
    finalized_execution: Option<&ExecutionProof>,
) -> Result<(), CompactError> {
    let attested = &update.attested.beacon;
    let rules = network.rules(attested.slot);
    let mut nodes = Nodes::default();
    if let Some(next) = &update.next_committee {
        out.extend_from_slice(next.committee.keys_root.as_slice());
        out.extend_from_slice(&next.committee.aggregate);
        let leaf = next.committee.root();
        put_branch(&mut nodes, leaf, &next.branch, rules.next_committee);
    }
    if let Some(finality) = &update.finality {
        let epoch = finality
            .branch
            .first()
            .and_then(|leaf| leaf_number(*leaf))
            .ok_or(CompactError::Branch)?;
        let mut root = B256::ZERO;
        let mut from = 0;
        if let Some(header) = &finality.header {
            root = header.beacon.root();
            from = network.epoch(header.beacon.slot);
            put_varint(out, attested.slot.saturating_sub(header.beacon.slot));
            out.extend_from_slice(header.beacon.state_root.as_slice());
            put_header(out, header, finalized_execution);
        }
        put_varint(out, epoch.checked_sub(from).ok_or(CompactError::Branch)?);
        put_branch(&mut nodes, root, &finality.branch, rules.finalized_root);
    }
    let leaves = state_leaves(rules, flags);
    if leaves.is_empty() {
        out.extend_from_slice(attested.state_root.as_slice());
        return Ok(());
    }
    if nodes.fold() != Some(attested.state_root) {
        return Err(CompactError::Branch);
    }
    for index in helper_indices(&leaves) {
        let node = nodes.node(index).ok_or(CompactError::Branch)?;
        out.extend_from_slice(node.as_slice());
    }
    Ok(())
}

fn put_members(
    out: &mut Vec<u8>,
    update: &Update,
    network: &Network,
    store: &Store,
    absent: &[u16],
    known: &BTreeMap<u16, Key>,
) -> Result<(), CompactError> {
    let wanted: Vec<u16> = absent
        .iter()
        .copied()
        .filter(|position| !known.contains_key(position))
        .collect();
    put_length(out, wanted.len());
    if wanted.is_empty() {
        return Ok(());
    }
    if wanted.len() < absent.len() {
        put_positions(out, &wanted);
    }
    let committee = store
        .signer(network, update.signature_slot)
        .ok_or(CompactError::UnknownCommittee(update.signature_slot))?;
    for position in &wanted {
        let key = committee.key(*position).ok_or(CompactError::MissingKeys)?;
        out.extend_from_slice(key);
    }
    let proof = committee
        .prove(&wanted, network.preset.committee_size)
        .ok_or(CompactError::MissingKeys)?;
    put_nodes(out, &proof);
    Ok(())
}

fn header(
    reader: &mut Reader<'_>,
    network: &Network,
    slot: u64,
    state_root: B256,
    with_execution: bool,
) -> Result<Header, CompactError> {
    let proposer_index = reader.varint()?;
    let parent_root = reader.node()?;
    let rules = network.rules(slot);
    let (body_root, execution) = if with_execution {
        if rules.header == HeaderForm::Beacon {
            return Err(FormError::UnexpectedExecution(slot).into());
        }
        let block_hash = reader.node()?;
        let branch = reader.nodes(merkle::depth(rules.block_hash))?;
        let body_root = merkle::branch_root(block_hash, &branch, rules.block_hash);
        (body_root, Some(ExecutionProof { block_hash, branch }))
    } else {
        (reader.node()?, None)
    };
    Ok(Header {
        beacon: BeaconHeader {
            slot,
            proposer_index,
            parent_root,
            state_root,
            body_root,
        },
        execution,
    })
}

fn positions(
    reader: &mut Reader<'_>,
    count: usize,
    committee_size: u16,
) -> Result<Vec<u16>, FormError> {
    let mut expected = 0_u16;
    let mut positions = Vec::with_capacity(count);
    for _ in 0..count {
        let gap = u16::try_from(reader.varint()?).map_err(|_| FormError::Number)?;
        let position = expected.checked_add(gap).ok_or(FormError::Number)?;
        if position >= committee_size {
            return Err(FormError::Number);
        }
        positions.push(position);
        expected = position.saturating_add(1);
    }
    Ok(positions)
}

/// Reads a compact update with the help of the committees that `store` knows.
///
/// The result is not judged yet: give it to [`Store::apply`].
///
/// # Errors
///
/// Says what is malformed, or that the committee of the attested slot is unknown.
pub fn decode(bytes: &[u8], network: &Network, store: &Store) -> Result<Update, CompactError> {
    if bytes.len() > COMPACT_BYTES_MAX {
        return Err(FormError::TooLong(bytes.len()).into());
    }
    let reader = &mut Reader::new(bytes);
    let version = reader.byte()?;
    if version != VERSION {
        return Err(CompactError::Version(version));
    }
    let flags = reader.byte()?;
    let genesis = flags & FINALITY_IS_GENESIS != 0;
    let finality_flags = FINALITY_IS_GENESIS | FINALIZED_EXECUTION;
    if flags & !FLAGS != 0
        || (flags & HAS_FINALITY == 0 && flags & finality_flags != 0)
        || (genesis && flags & FINALIZED_EXECUTION != 0)
    {
        return Err(CompactError::Flags(flags));
    }
    let slot = reader.varint()?;
    let mut attested = header(
        reader,
        network,
        slot,
        B256::ZERO,
        flags & ATTESTED_EXECUTION != 0,
    )?;
    let signature_slot = slot
        .checked_add(reader.varint()?)
        .ok_or(FormError::Number)?;
    let (next_committee, finality) = state(reader, network, store, flags, &mut attested)?;
    let size = network.preset.committee_size;
    let participation = if flags & BITS == 0 {
        let count = reader.length(usize::from(size))?;
        Participation::all_but(&positions(reader, count, size)?, size)
    } else {
        let bits = reader.take(usize::from(size).div_ceil(8))?;
        Participation::from_bytes(bits, size).ok_or(FormError::Truncated)?
    };
    let signature = reader.array()?;
    let members = members(reader, &participation, size)?;
    reader.finish()?;
    Ok(Update {
        attested,
        next_committee,
        finality,
        participation,
        signature,
        signature_slot,
        members,
    })
}

/// Reads what the update says about the attested state, and computes that state's root and the branches under it.
fn state(
    reader: &mut Reader<'_>,
    network: &Network,
    store: &Store,
    flags: u8,
    attested: &mut Header,
) -> Result<(Option<NextCommittee>, Option<Finality>), CompactError> {
    let slot = attested.beacon.slot;
    let rules = network.rules(slot);
    let mut nodes = Nodes::default();
    let mut next = None;
    if flags & HAS_NEXT != 0 {
        let committee = Committee::from_commitment(reader.node()?, reader.array()?);
        nodes.insert(rules.next_committee, committee.root());
        if state_leaves(rules, HAS_NEXT).contains(&rules.current_committee) {
            let current = store
                .signer(network, slot)
                .ok_or(CompactError::UnknownCommittee(slot))?;
            nodes.insert(rules.current_committee, current.root());
        }
        next = Some(committee);
    }
    let mut finalized = None;
    if flags & HAS_FINALITY != 0 {
        let mut root = B256::ZERO;
        let mut from = 0;
        if flags & FINALITY_IS_GENESIS == 0 {
            let finalized_slot = slot
                .checked_sub(reader.varint()?)
                .ok_or(FormError::Number)?;
            let state_root = reader.node()?;
            let with_execution = flags & FINALIZED_EXECUTION != 0;
            let header = header(reader, network, finalized_slot, state_root, with_execution)?;
            root = header.beacon.root();
            from = network.epoch(finalized_slot);
            finalized = Some(header);
        }
        let epoch = from
            .checked_add(reader.varint()?)
            .ok_or(FormError::Number)?;
        nodes.insert(rules.finalized_root, root);
        nodes.insert(rules.finalized_root ^ 1, number_leaf(epoch));
    }
    let leaves = state_leaves(rules, flags);
    if leaves.is_empty() {
        attested.beacon.state_root = reader.node()?;
        return Ok((None, None));
    }
    for index in helper_indices(&leaves) {
        nodes.insert(index, reader.node()?);
    }
    attested.beacon.state_root = nodes.fold().ok_or(CompactError::Branch)?;
    let branch = |index| nodes.branch(index).ok_or(CompactError::Branch);
    let next_committee = match next {
        Some(committee) => Some(NextCommittee {
            committee,
            branch: branch(rules.next_committee)?,
        }),
        None => None,
    };
    let finality = if flags & HAS_FINALITY != 0 {
        Some(Finality {
            header: finalized,
            branch: branch(rules.finalized_root)?,
        })
    } else {
        None
    };
    Ok((next_committee, finality))
}

fn members(
    reader: &mut Reader<'_>,
    participation: &Participation,
    size: u16,
) -> Result<Members, CompactError> {
    let absent: Vec<u16> = participation.members(Signed::No).collect();
    let count = reader.length(absent.len())?;
    let wanted = if count == absent.len() {
        absent
    } else {
        positions(reader, count, size)?
    };
    let mut keys = BTreeMap::new();
    for position in wanted {
        keys.insert(position, reader.array()?);
    }
    let indices: Vec<GeneralizedIndex> = keys
        .keys()
        .map(|position| u64::from(size).saturating_add(u64::from(*position)))
        .collect();
    let proof = reader.nodes(helper_indices(&indices).len())?;
    Ok(Members { keys, proof })
}

/// First bytes of a file of compact updates.
const FILE_MAGIC: &[u8] = b"SMLC1";

/// Joins compact updates to one file.
#[must_use]
pub fn join(updates: &[Vec<u8>]) -> Vec<u8> {
    let mut file = FILE_MAGIC.to_vec();
    for update in updates {
        put_length(&mut file, update.len());
        file.extend_from_slice(update);
    }
    file
}

/// Splits a file of compact updates, or returns `None` if it is no such file; [`FormError`] where a length leads past the
/// end.
#[must_use]
pub fn split(file: &[u8]) -> Option<Result<Vec<&[u8]>, FormError>> {
    let reader = &mut Reader::new(file.strip_prefix(FILE_MAGIC)?);
    let mut updates = Vec::new();
    while !reader.rest.is_empty() {
        let update = reader
            .length(COMPACT_BYTES_MAX)
            .and_then(|length| reader.take(length));
        match update {
            Ok(update) => updates.push(update),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(updates))
}
