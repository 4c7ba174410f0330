//! Reads light-client data in SSZ, the binary form of the Beacon API (`application/octet-stream`) and of the p2p network.

use alloy_primitives::B256;

use crate::bytes::Reader;
use crate::committee::{Key, Participation};
use crate::form::{self, Payload, RawCommittee, RawExecution, RawHeader, RawUpdate, Shape};
use crate::header::BeaconHeader;
use crate::network::{Fork, HeaderForm, Network};
use crate::update::{Bootstrap, FormError, Update};

/// The longest light-client message of any fork is an update of about 27 KB.
const MESSAGE_BYTES_MAX: usize = 40_000;

/// Which message the bytes hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `LightClientUpdate`.
    Update,
    /// `LightClientFinalityUpdate`.
    Finality,
    /// `LightClientOptimisticUpdate`.
    Optimistic,
}

fn offset(reader: &mut Reader<'_>) -> Result<usize, FormError> {
    usize::try_from(u32::from_le_bytes(reader.array()?)).map_err(|_| FormError::Offset)
}

fn committee(reader: &mut Reader<'_>, members: usize) -> Result<RawCommittee, FormError> {
    let keys = (0..members)
        .map(|_| reader.array())
        .collect::<Result<Vec<Key>, _>>()?;
    Ok(RawCommittee {
        keys,
        aggregate: reader.array()?,
    })
}

fn participation(reader: &mut Reader<'_>, members: usize) -> Result<Participation, FormError> {
    let size = u16::try_from(members).map_err(|_| FormError::Truncated)?;
    Participation::from_bytes(reader.take(members.div_ceil(8))?, size).ok_or(FormError::Truncated)
}

fn beacon(reader: &mut Reader<'_>) -> Result<BeaconHeader, FormError> {
    Ok(BeaconHeader {
        slot: reader.number()?,
        proposer_index: reader.number()?,
        parent_root: reader.node()?,
        state_root: reader.node()?,
        body_root: reader.node()?,
    })
}

/// The place of a header inside a container: here, or where an offset says.
enum Place {
    Here(RawHeader),
    At(usize),
}

fn header_place(reader: &mut Reader<'_>, shape: Shape) -> Result<Place, FormError> {
    match shape.header {
        HeaderForm::Beacon => Ok(Place::Here(RawHeader {
            beacon: beacon(reader)?,
            execution: RawExecution::Absent,
            branch: Vec::new(),
        })),
        HeaderForm::BlockHash => Ok(Place::Here(RawHeader {
            beacon: beacon(reader)?,
            execution: RawExecution::BlockHash(reader.node()?),
            branch: reader.nodes(shape.execution_depth)?,
        })),
        HeaderForm::Capella | HeaderForm::Deneb => Ok(Place::At(offset(reader)?)),
    }
}

fn payload_header(bytes: &[u8], shape: Shape) -> Result<RawHeader, FormError> {
    let mut reader = Reader::new(bytes);
    let beacon = beacon(&mut reader)?;
    let payload_offset = offset(&mut reader)?;
    let branch = reader.nodes(shape.execution_depth)?;
    if payload_offset != reader.at {
        return Err(FormError::Offset);
    }
    let leaves = payload_leaves(reader.rest, shape.header)?;
    Ok(RawHeader {
        beacon,
        execution: RawExecution::Payload(leaves),
        branch,
    })
}

fn payload_leaves(bytes: &[u8], form: HeaderForm) -> Result<Vec<B256>, FormError> {
    let mut reader = Reader::new(bytes);
    let parent_hash = reader.node()?;
    let fee_recipient = reader.array()?;
    let state_root = reader.node()?;
    let receipts_root = reader.node()?;
    let logs_bloom = reader.take(256)?;
    let prev_randao = reader.node()?;
    let numbers = [
        reader.number()?,
        reader.number()?,
        reader.number()?,
        reader.number()?,
    ];
    let extra_offset = offset(&mut reader)?;
    let base_fee = reader.node()?;
    let block_hash = reader.node()?;
    let transactions_root = reader.node()?;
    let withdrawals_root = reader.node()?;
    let blob_gas = if form == HeaderForm::Deneb {
        Some([reader.number()?, reader.number()?])
    } else {
        None
    };
    if extra_offset != reader.at {
        return Err(FormError::Offset);
    }
    if reader.rest.len() > 32 {
        return Err(FormError::ExtraData(reader.rest.len()));
    }
    Ok(Payload {
        parent_hash,
        fee_recipient,
        state_root,
        receipts_root,
        logs_bloom,
        prev_randao,
        numbers,
        extra_data: reader.rest,
        base_fee,
        block_hash,
        transactions_root,
        withdrawals_root,
        blob_gas,
    }
    .leaves())
}

/// Resolves the headers of a container, in order, and checks that its parts fill the bytes exactly.
fn headers(
    bytes: &[u8],
    reader: &Reader<'_>,
    places: Vec<Place>,
    shape: Shape,
) -> Result<Vec<RawHeader>, FormError> {
    let offsets: Vec<usize> = places
        .iter()
        .filter_map(|place| match place {
            Place::Here(_) => None,
            Place::At(offset) => Some(*offset),
        })
        .collect();
    match offsets.first() {
        None => reader.finish()?,
        Some(first) if *first != reader.at => return Err(FormError::Offset),
        Some(_) => {}
    }
    let mut ends = offsets.iter().skip(1).copied().chain([bytes.len()]);
    places
        .into_iter()
        .map(|place| match place {
            Place::Here(header) => Ok(header),
            Place::At(start) => {
                let end = ends.next().ok_or(FormError::Offset)?;
                payload_header(bytes.get(start..end).ok_or(FormError::Offset)?, shape)
            }
        })
        .collect()
}

fn one<T>(items: &mut std::vec::IntoIter<T>) -> Result<T, FormError> {
    items.next().ok_or(FormError::Truncated)
}

/// Finds the fork of a message from the slot of its first header, which also decides the containers' form.
fn fork_of(
    bytes: &[u8],
    network: &Network,
    fixed: impl Fn(Shape) -> usize,
) -> Result<Fork, FormError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(FormError::TooLong(bytes.len()));
    }
    let mut reader = Reader::new(bytes);
    let first = reader.number()?;
    let offset = usize::try_from(first & u64::from(u32::MAX)).map_err(|_| FormError::Offset)?;
    let with_offsets = Fork::ALL.into_iter().find(|fork| {
        let shape = Shape::new(*fork, network.preset);
        matches!(shape.header, HeaderForm::Capella | HeaderForm::Deneb) && fixed(shape) == offset
    });
    let slot = match with_offsets {
        Some(_) => match bytes.get(offset..) {
            Some(part) => Reader::new(part).number()?,
            None => return Err(FormError::Truncated),
        },
        None => first,
    };
    Ok(network.fork(slot))
}

fn update_fixed(shape: Shape, kind: Kind) -> usize {
    let members = shape.members;
    let node = 32_usize;
    let tail = members.div_ceil(8).saturating_add(96).saturating_add(8);
    let committee = members.saturating_mul(48).saturating_add(48);
    let next = committee.saturating_add(node.saturating_mul(shape.next_depth));
    let finality = node.saturating_mul(shape.finality_depth).saturating_add(4);
    let base = tail.saturating_add(4);
    match kind {
        Kind::Update => base.saturating_add(next).saturating_add(finality),
        Kind::Finality => base.saturating_add(finality),
        Kind::Optimistic => base,
    }
}

/// Reads a bootstrap.
///
/// # Errors
///
/// Says what is malformed for the fork of the header's slot.
pub fn bootstrap(bytes: &[u8], network: &Network) -> Result<Bootstrap, FormError> {
    let fixed = |shape: Shape| {
        shape
            .members
            .saturating_mul(48)
            .saturating_add(48 + 4)
            .saturating_add(shape.current_depth.saturating_mul(32))
    };
    let fork = fork_of(bytes, network, fixed)?;
    let shape = Shape::new(fork, network.preset);
    let mut reader = Reader::new(bytes);
    let place = header_place(&mut reader, shape)?;
    let committee = committee(&mut reader, shape.members)?;
    let branch = reader.nodes(shape.current_depth)?;
    let mut headers = headers(bytes, &reader, vec![place], shape)?.into_iter();
    form::bootstrap(network, one(&mut headers)?, &committee, branch)
}

/// Reads an update of the given kind.
///
/// # Errors
///
/// Says what is malformed for the fork of the attested header's slot.
pub fn update(bytes: &[u8], kind: Kind, network: &Network) -> Result<Update, FormError> {
    let fork = fork_of(bytes, network, |shape| update_fixed(shape, kind))?;
    let shape = Shape::new(fork, network.preset);
    let mut reader = Reader::new(bytes);
    let mut places = vec![header_place(&mut reader, shape)?];
    let next = match kind {
        Kind::Update => Some((
            committee(&mut reader, shape.members)?,
            reader.nodes(shape.next_depth)?,
        )),
        Kind::Finality | Kind::Optimistic => None,
    };
    let finality_branch = match kind {
        Kind::Update | Kind::Finality => {
            places.push(header_place(&mut reader, shape)?);
            Some(reader.nodes(shape.finality_depth)?)
        }
        Kind::Optimistic => None,
    };
    let participation = participation(&mut reader, shape.members)?;
    let signature = reader.array()?;
    let signature_slot = reader.number()?;
    let mut headers = headers(bytes, &reader, places, shape)?.into_iter();
    let attested = one(&mut headers)?;
    let finality = match finality_branch {
        Some(branch) => Some((one(&mut headers)?, branch)),
        None => None,
    };
    form::update(
        network,
        RawUpdate {
            attested,
            next,
            finality,
            participation,
            signature,
            signature_slot,
        },
    )
}

/// Splits an answer of `light_client/updates` into its messages: each is a length (8 bytes, little-endian, counting the
/// digest), a fork digest of 4 bytes and an update.
///
/// # Errors
///
/// [`FormError::Truncated`] where a length leads past the end.
pub fn split_updates(bytes: &[u8]) -> Result<Vec<&[u8]>, FormError> {
    let mut reader = Reader::new(bytes);
    let mut messages = Vec::new();
    while !reader.rest.is_empty() {
        let length = usize::try_from(reader.number()?).map_err(|_| FormError::Truncated)?;
        let chunk = reader.take(length)?;
        messages.push(chunk.get(4..).ok_or(FormError::Truncated)?);
    }
    Ok(messages)
}
