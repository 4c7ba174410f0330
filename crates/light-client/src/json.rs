//! Reads light-client data in the Beacon API's JSON.

use alloy_primitives::{B256, U256, hex};
use serde_json::Value;

use crate::committee::{Key, Participation};
use crate::form::{self, Payload, RawCommittee, RawExecution, RawHeader, RawUpdate, Shape};
use crate::header::BeaconHeader;
use crate::network::{HeaderForm, Network};
use crate::ssz::Kind;
use crate::update::{Bootstrap, FormError, Update};

fn field<'a>(value: &'a Value, name: &'static str) -> Result<&'a Value, FormError> {
    value.get(name).ok_or(FormError::Field(name))
}

pub(crate) fn number(value: &Value, name: &'static str) -> Result<u64, FormError> {
    let found = field(value, name)?;
    found
        .as_u64()
        .or_else(|| found.as_str().and_then(|text| text.parse().ok()))
        .ok_or(FormError::Field(name))
}

fn bytes_of(value: &Value, name: &'static str) -> Result<Vec<u8>, FormError> {
    value
        .as_str()
        .and_then(|text| hex::decode(text.strip_prefix("0x")?).ok())
        .ok_or(FormError::Field(name))
}

fn array_of<const N: usize>(value: &Value, name: &'static str) -> Result<[u8; N], FormError> {
    let bytes = bytes_of(value, name)?;
    bytes.try_into().map_err(|_| FormError::Field(name))
}

fn array<const N: usize>(value: &Value, name: &'static str) -> Result<[u8; N], FormError> {
    array_of(field(value, name)?, name)
}

fn node(value: &Value, name: &'static str) -> Result<B256, FormError> {
    array(value, name).map(B256::from)
}

fn list<'a>(
    value: &'a Value,
    name: &'static str,
    expected: usize,
) -> Result<&'a Vec<Value>, FormError> {
    let items = field(value, name)?
        .as_array()
        .ok_or(FormError::Field(name))?;
    if items.len() != expected {
        return Err(FormError::Length {
            field: name,
            found: items.len(),
            expected,
        });
    }
    Ok(items)
}

fn nodes(value: &Value, name: &'static str, expected: usize) -> Result<Vec<B256>, FormError> {
    list(value, name, expected)?
        .iter()
        .map(|item| array_of(item, name).map(B256::from))
        .collect()
}

fn committee(value: &Value, name: &'static str, members: usize) -> Result<RawCommittee, FormError> {
    let value = field(value, name)?;
    let keys = list(value, "pubkeys", members)?
        .iter()
        .map(|item| array_of(item, "pubkeys"))
        .collect::<Result<Vec<Key>, _>>()?;
    Ok(RawCommittee {
        keys,
        aggregate: array(value, "aggregate_pubkey")?,
    })
}

fn beacon(value: &Value) -> Result<BeaconHeader, FormError> {
    Ok(BeaconHeader {
        slot: number(value, "slot")?,
        proposer_index: number(value, "proposer_index")?,
        parent_root: node(value, "parent_root")?,
        state_root: node(value, "state_root")?,
        body_root: node(value, "body_root")?,
    })
}

fn header(value: &Value, name: &'static str, shape: Shape) -> Result<RawHeader, FormError> {
    let value = field(value, name)?;
    let beacon = beacon(field(value, "beacon")?)?;
    let execution = match shape.header {
        HeaderForm::Beacon => RawExecution::Absent,
        HeaderForm::BlockHash => RawExecution::BlockHash(node(value, "execution_block_hash")?),
        HeaderForm::Capella | HeaderForm::Deneb => {
            RawExecution::Payload(payload(field(value, "execution")?, shape.header)?)
        }
    };
    let branch = match shape.header {
        HeaderForm::Beacon => Vec::new(),
        HeaderForm::Capella | HeaderForm::Deneb | HeaderForm::BlockHash => {
            nodes(value, "execution_branch", shape.execution_depth)?
        }
    };
    Ok(RawHeader {
        beacon,
        execution,
        branch,
    })
}

fn payload(value: &Value, form: HeaderForm) -> Result<Vec<B256>, FormError> {
    let bloom: [u8; 256] = array(value, "logs_bloom")?;
    let extra_data = bytes_of(field(value, "extra_data")?, "extra_data")?;
    if extra_data.len() > 32 {
        return Err(FormError::ExtraData(extra_data.len()));
    }
    let base_fee = field(value, "base_fee_per_gas")?
        .as_str()
        .and_then(|text| text.parse::<U256>().ok())
        .ok_or(FormError::Field("base_fee_per_gas"))?;
    Ok(Payload {
        parent_hash: node(value, "parent_hash")?,
        fee_recipient: array(value, "fee_recipient")?,
        state_root: node(value, "state_root")?,
        receipts_root: node(value, "receipts_root")?,
        logs_bloom: &bloom,
        prev_randao: node(value, "prev_randao")?,
        numbers: [
            number(value, "block_number")?,
            number(value, "gas_limit")?,
            number(value, "gas_used")?,
            number(value, "timestamp")?,
        ],
        extra_data: &extra_data,
        base_fee: B256::from(base_fee.to_le_bytes::<32>()),
        block_hash: node(value, "block_hash")?,
        transactions_root: node(value, "transactions_root")?,
        withdrawals_root: node(value, "withdrawals_root")?,
        blob_gas: if form == HeaderForm::Deneb {
            Some([
                number(value, "blob_gas_used")?,
                number(value, "excess_blob_gas")?,
            ])
        } else {
            None
        },
    }
    .leaves())
}

/// Returns what is inside the envelope of a Beacon API answer.
#[must_use]
pub fn data(value: &Value) -> &Value {
    value.get("data").unwrap_or(value)
}

fn shape_at(value: &Value, name: &'static str, network: &Network) -> Result<Shape, FormError> {
    let slot = number(field(field(value, name)?, "beacon")?, "slot")?;
    Ok(Shape::new(network.fork(slot), network.preset))
}

/// Reads a bootstrap, with or without its envelope.
///
/// # Errors
///
/// Names the first field that is missing or malformed.
pub fn bootstrap(value: &Value, network: &Network) -> Result<Bootstrap, FormError> {
    let value = data(value);
    let shape = shape_at(value, "header", network)?;
    form::bootstrap(
        network,
        header(value, "header", shape)?,
        &committee(value, "current_sync_committee", shape.members)?,
        nodes(value, "current_sync_committee_branch", shape.current_depth)?,
    )
}

/// Reads an update of the given kind, with or without its envelope.
///
/// # Errors
///
/// Names the first field that is missing or malformed.
pub fn update(value: &Value, kind: Kind, network: &Network) -> Result<Update, FormError> {
    let value = data(value);
    let shape = shape_at(value, "attested_header", network)?;
    let next = match kind {
        Kind::Update => Some((
            committee(value, "next_sync_committee", shape.members)?,
            nodes(value, "next_sync_committee_branch", shape.next_depth)?,
        )),
        Kind::Finality | Kind::Optimistic => None,
    };
    let finality = match kind {
        Kind::Update | Kind::Finality => Some((
            header(value, "finalized_header", shape)?,
            nodes(value, "finality_branch", shape.finality_depth)?,
        )),
        Kind::Optimistic => None,
    };
    let aggregate = field(value, "sync_aggregate")?;
    let bits = bytes_of(
        field(aggregate, "sync_committee_bits")?,
        "sync_committee_bits",
    )?;
    let participation = Participation::from_bytes(&bits, network.preset.committee_size)
        .ok_or(FormError::Field("sync_committee_bits"))?;
    form::update(
        network,
        RawUpdate {
            attested: header(value, "attested_header", shape)?,
            next,
            finality,
            participation,
            signature: array(aggregate, "sync_committee_signature")?,
            signature_slot: number(value, "signature_slot")?,
        },
    )
}

/// Reads an answer of `light_client/updates`: a list of updates, each in an envelope or bare.
///
/// # Errors
///
/// The first error of an item, or [`FormError::Field`] if it is no list.
pub fn updates(value: &Value, network: &Network) -> Result<Vec<Update>, FormError> {
    data(value)
        .as_array()
        .ok_or(FormError::Field("data"))?
        .iter()
        .map(|item| update(item, Kind::Update, network))
        .collect()
}
