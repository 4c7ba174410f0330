//! What is on disk, by kind and channel: fixed versions of our own values, apart from the values themselves.
//!
//! Key: kind (1 byte), then the channel's slot (4 bytes). Values are CBOR arrays; a field added later comes last.

use alloy_primitives::{Address as Account, U256};
use minicbor::{Decode, Encode};
use smartmesh_contracts::model::Side;
use smartmesh_contracts::{ClosingRecord, Word};
use smartmesh_types::Address;
use smartmesh_wire::payment::{AddedLock, PaymentMessage, SessionTag, State, Update};
use thiserror::Error;

use crate::border::Record;
use crate::channel::{
    Channel, EndKind, EndOrder, Incoming, Outgoing, Reservation, Session, SignedState, Terms,
};
use crate::locks::Lock;
use crate::onchain::{End, OnChain, View};

/// Version of the stored form.
pub(crate) const VERSION: u16 = 1;

const HEADER: u8 = 0;
const CURSOR: u8 = 1;
const STATICS: u8 = 2;
const OUT: u8 = 3;
const OUT_LOCKS: u8 = 4;
const INC: u8 = 5;
const INC_LOCKS: u8 = 6;
const CHAIN: u8 = 7;
const ORDERS: u8 = 8;

/// Records of an earlier start that cannot be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RestoreError {
    /// Of a later version.
    #[error("written by a later version ({0})")]
    Version(u16),
    /// Damaged.
    #[error("record of kind {kind} is damaged")]
    Damaged {
        /// Its kind.
        kind: u8,
    },
}

/// Everything that the records of an earlier start hold.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) cursor: Option<(u64, u64)>,
    pub(crate) channels: Vec<Channel>,
}

type Bytes = minicbor::bytes::ByteVec;

#[derive(Encode, Decode)]
#[cbor(array)]
struct StaticFields {
    #[n(0)]
    token: Bytes,
    #[n(1)]
    low: Bytes,
    #[n(2)]
    high: Bytes,
    #[n(3)]
    terms: u16,
    #[n(4)]
    is_high: bool,
    #[n(5)]
    peer: Bytes,
    #[n(6)]
    locator_low: Bytes,
    #[n(7)]
    locator_high: Bytes,
    #[n(8)]
    partner_reach: u32,
    #[n(9)]
    partner_reserve: Bytes,
    #[n(10)]
    our_reserve: Bytes,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct OutFields {
    /// The update as it goes on the air, without session and signature.
    #[n(0)]
    update: Bytes,
    #[n(1)]
    arrived: u64,
    #[n(2)]
    arrived_paid: Bytes,
    #[n(3)]
    next_lock: u64,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct IncFields {
    #[n(0)]
    state: Bytes,
    #[n(1)]
    signature: Bytes,
    #[n(2)]
    last_lock: u64,
    #[n(3)]
    ticks: u32,
    #[n(4)]
    preimage: Bytes,
    #[n(5)]
    contradiction: Option<Signed>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Signed {
    #[n(0)]
    state: Bytes,
    #[n(1)]
    signature: Bytes,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct LockFields {
    #[n(0)]
    added: Bytes,
    #[n(1)]
    secret: Option<Bytes>,
    #[n(2)]
    released: bool,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct ChainFields {
    #[n(0)]
    word: Bytes,
    #[n(1)]
    closing: Option<Bytes>,
    /// 0 none, 1 shared, 2 forfeited to low, 3 to high.
    #[n(2)]
    end: u8,
    #[n(3)]
    end_low: Bytes,
    #[n(4)]
    end_high: Bytes,
    #[n(5)]
    epoch: u32,
    #[n(6)]
    recovering: bool,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct OrderFields {
    /// Withdrawal as on the air.
    #[n(0)]
    withdrawal: Option<Bytes>,
    #[n(1)]
    withdrawal_ours: bool,
    #[n(2)]
    withdrawal_other: Option<Bytes>,
    #[n(3)]
    deadline: u64,
    /// 0 none, 1 together, 2 close, 3 unknown close.
    #[n(4)]
    kind: u8,
    #[n(5)]
    payouts: Option<Bytes>,
    #[n(6)]
    payouts_other: Option<Bytes>,
    #[n(7)]
    agent: Bytes,
    #[n(8)]
    fee: Bytes,
}

fn key(kind: u8, slot: u32) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(slot.to_be_bytes());
    key
}

fn value(fields: impl Encode<()>) -> Option<Vec<u8>> {
    // Writing into a vector cannot fail.
    Some(minicbor::to_vec(fields).unwrap_or_default())
}

fn amount(value: u128) -> Bytes {
    value.to_be_bytes().to_vec().into()
}

fn array<const N: usize>(bytes: &Bytes) -> Option<[u8; N]> {
    bytes.as_slice().try_into().ok()
}

fn number(bytes: &Bytes) -> Option<u128> {
    array(bytes).map(u128::from_be_bytes)
}

fn account(bytes: &Bytes) -> Option<Account> {
    array(bytes).map(Account::new)
}

pub(crate) fn header() -> Record {
    Record {
        key: key(HEADER, 0),
        value: value(VERSION),
    }
}

pub(crate) fn cursor(block: u64, time: u64) -> Record {
    Record {
        key: key(CURSOR, 0),
        value: value((block, time)),
    }
}

pub(crate) fn statics(channel: &Channel) -> Record {
    let fields = StaticFields {
        token: channel.terms.token.to_vec().into(),
        low: channel.terms.low.to_vec().into(),
        high: channel.terms.high.to_vec().into(),
        terms: channel.terms.terms,
        is_high: channel.is_high(),
        peer: channel.peer.octets().to_vec().into(),
        locator_low: channel.locators.0.to_vec().into(),
        locator_high: channel.locators.1.to_vec().into(),
        partner_reach: channel.partner_reach,
        partner_reserve: amount(channel.partner_reserve),
        our_reserve: amount(channel.our_reserve),
    };
    Record {
        key: key(STATICS, channel.slot),
        value: value(fields),
    }
}

pub(crate) fn out(channel: &Channel) -> Record {
    let out = &channel.out;
    let update = PaymentMessage::Update(Update {
        channel: channel.id.tag(),
        session: SessionTag([0; 4]),
        state: out.state,
        signature: [0; 64],
        changes: out.changes.clone(),
        memo: out.memo.clone(),
    });
    let fields = OutFields {
        update: update.encode().into(),
        arrived: out.arrived,
        arrived_paid: amount(out.arrived_paid),
        next_lock: out.next_lock,
    };
    Record {
        key: key(OUT, channel.slot),
        value: value(fields),
    }
}

pub(crate) fn inc(channel: &Channel) -> Record {
    let inc = &channel.inc;
    let fields = IncFields {
        state: inc.state().to_bytes().into(),
        signature: inc
            .newest
            .map_or([0; 64], |signed| signed.signature)
            .to_vec()
            .into(),
        last_lock: inc.last_lock,
        ticks: inc.ticks,
        preimage: inc.preimage.to_vec().into(),
        contradiction: inc.contradiction.map(|signed| Signed {
            state: signed.state.to_bytes().into(),
            signature: signed.signature.to_vec().into(),
        }),
    };
    Record {
        key: key(INC, channel.slot),
        value: value(fields),
    }
}

fn locks(kind: u8, slot: u32, locks: &[Lock]) -> Record {
    let fields: Vec<LockFields> = locks
        .iter()
        .map(|lock| LockFields {
            added: lock.added.to_bytes().into(),
            secret: lock.secret.map(|secret| secret.to_vec().into()),
            released: lock.released,
        })
        .collect();
    Record {
        key: key(kind, slot),
        value: if fields.is_empty() {
            None
        } else {
            value(fields)
        },
    }
}

pub(crate) fn out_locks(channel: &Channel) -> Record {
    locks(OUT_LOCKS, channel.slot, &channel.out.locks)
}

pub(crate) fn inc_locks(channel: &Channel) -> Record {
    locks(INC_LOCKS, channel.slot, &channel.inc.locks)
}

pub(crate) fn chain(channel: &Channel) -> Record {
    let base = &channel.chain.base;
    let words = |record: &ClosingRecord| {
        let words = record.pack().map(|word| word.to_be_bytes::<32>());
        words.concat().into()
    };
    let (end, low, high) = match base.end {
        None => (0, 0, 0),
        Some(End::Shared(low, high)) => (1, low, high),
        Some(End::Forfeited(false, all)) => (2, all, 0),
        Some(End::Forfeited(true, all)) => (3, 0, all),
    };
    let fields = ChainFields {
        word: base.word.pack().to_be_bytes::<32>().to_vec().into(),
        closing: base.closing.as_ref().map(words),
        end,
        end_low: amount(low),
        end_high: amount(high),
        epoch: channel.epoch,
        recovering: channel.recovering,
    };
    Record {
        key: key(CHAIN, channel.slot),
        value: value(fields),
    }
}

pub(crate) fn orders(channel: &Channel) -> Record {
    if channel.order.is_none() && channel.withdrawal.is_none() {
        return Record {
            key: key(ORDERS, channel.slot),
            value: None,
        };
    }
    let reservation = channel.withdrawal;
    let mut fields = OrderFields {
        withdrawal: reservation.map(|reservation| {
            PaymentMessage::Withdrawal(reservation.order)
                .encode()
                .into()
        }),
        withdrawal_ours: reservation.is_some_and(|reservation| reservation.ours),
        withdrawal_other: reservation
            .and_then(|reservation| reservation.other)
            .map(|signature| signature.to_vec().into()),
        deadline: channel.order.map_or(0, |order| order.deadline),
        kind: 0,
        payouts: None,
        payouts_other: None,
        agent: Account::ZERO.to_vec().into(),
        fee: amount(0),
    };
    match channel.order.map(|order| order.kind) {
        None => {}
        Some(EndKind::Together(payouts, other)) => {
            fields.kind = 1;
            fields.payouts = Some(PaymentMessage::Payouts(payouts).encode().into());
            fields.payouts_other = other.map(|signature| signature.to_vec().into());
        }
        Some(EndKind::Close {
            unknown,
            agent,
            fee,
        }) => {
            fields.kind = if unknown { 3 } else { 2 };
            fields.agent = agent.to_vec().into();
            fields.fee = amount(fee);
        }
    }
    Record {
        key: key(ORDERS, channel.slot),
        value: value(fields),
    }
}

/// The kinds of records that belong to one epoch only.
pub(crate) fn forget_epoch(slot: u32) -> [Record; 5] {
    [OUT, OUT_LOCKS, INC, INC_LOCKS, ORDERS].map(|kind| Record {
        key: key(kind, slot),
        value: None,
    })
}

/// Reads the records of an earlier start, in any order; each key at most once.
pub(crate) fn restore(records: impl IntoIterator<Item = Record>) -> Result<Restored, RestoreError> {
    let mut restored = Restored::default();
    let mut by_key: std::collections::BTreeMap<(u8, u32), Vec<u8>> =
        std::collections::BTreeMap::new();
    for record in records {
        let kind = record.key.first().copied().unwrap_or(u8::MAX);
        let slot = record
            .key
            .get(1..)
            .and_then(|slot| slot.try_into().ok())
            .map(u32::from_be_bytes)
            .ok_or(RestoreError::Damaged { kind })?;
        if let Some(value) = record.value {
            by_key.insert((kind, slot), value);
        }
    }
    if let Some(bytes) = by_key.get(&(HEADER, 0)) {
        let version: u16 =
            minicbor::decode(bytes).map_err(|_| RestoreError::Damaged { kind: HEADER })?;
        if version > VERSION {
            return Err(RestoreError::Version(version));
        }
    }
    if let Some(bytes) = by_key.get(&(CURSOR, 0)) {
        restored.cursor =
            Some(minicbor::decode(bytes).map_err(|_| RestoreError::Damaged { kind: CURSOR })?);
    }
    let slots: Vec<u32> = by_key
        .range((STATICS, 0)..=(STATICS, u32::MAX))
        .map(|((_, slot), _)| *slot)
        .collect();
    for slot in slots {
        let read = |kind: u8| by_key.get(&(kind, slot)).map(Vec::as_slice);
        let mut channel = read(STATICS)
            .and_then(|bytes| read_statics(slot, bytes))
            .ok_or(RestoreError::Damaged { kind: STATICS })?;
        type Part = fn(&mut Channel, &[u8]) -> Option<()>;
        let parts: [(u8, Part); 6] = [
            (OUT, read_out),
            (OUT_LOCKS, |channel, bytes| {
                channel.out.locks = read_locks(bytes)?;
                Some(())
            }),
            (INC, read_inc),
            (INC_LOCKS, |channel, bytes| {
                channel.inc.locks = read_locks(bytes)?;
                Some(())
            }),
            (CHAIN, read_chain),
            (ORDERS, read_orders),
        ];
        for (kind, part) in parts {
            if let Some(bytes) = read(kind) {
                part(&mut channel, bytes).ok_or(RestoreError::Damaged { kind })?;
            }
        }
        restored.channels.push(channel);
    }
    Ok(restored)
}

fn read_statics(slot: u32, bytes: &[u8]) -> Option<Channel> {
    let fields: StaticFields = minicbor::decode(bytes).ok()?;
    let terms = Terms {
        token: account(&fields.token)?,
        low: account(&fields.low)?,
        high: account(&fields.high)?,
        terms: fields.terms,
    };
    Some(Channel {
        slot,
        id: terms.id(),
        terms,
        side: if fields.is_high {
            Side::High
        } else {
            Side::Low
        },
        peer: Address::from_octets(array(&fields.peer)?)?,
        locators: (array(&fields.locator_low)?, array(&fields.locator_high)?),
        partner_reach: fields.partner_reach,
        partner_reserve: number(&fields.partner_reserve)?,
        our_reserve: number(&fields.our_reserve)?,
        chain: OnChain::default(),
        epoch: 0,
        out: Outgoing::default(),
        inc: Incoming::default(),
        recovering: false,
        order: None,
        withdrawal: None,
        session: Session::default(),
        submitted: Vec::new(),
        next_is_clean: false,
        told_closed: false,
    })
}

fn read_out(channel: &mut Channel, bytes: &[u8]) -> Option<()> {
    let fields: OutFields = minicbor::decode(bytes).ok()?;
    let PaymentMessage::Update(update) = PaymentMessage::decode(&fields.update).ok()? else {
        return None;
    };
    channel.out.state = update.state;
    channel.out.changes = update.changes;
    channel.out.memo = update.memo;
    channel.out.arrived = fields.arrived;
    channel.out.arrived_paid = number(&fields.arrived_paid)?;
    channel.out.next_lock = fields.next_lock;
    Some(())
}

fn read_signed(state: &Bytes, signature: &Bytes) -> Option<SignedState> {
    Some(SignedState {
        state: State::from_bytes(state)?,
        signature: array(signature)?,
    })
}

fn read_inc(channel: &mut Channel, bytes: &[u8]) -> Option<()> {
    let fields: IncFields = minicbor::decode(bytes).ok()?;
    let newest = read_signed(&fields.state, &fields.signature)?;
    channel.inc.newest = (newest.state.seq != 0).then_some(newest);
    channel.inc.last_lock = fields.last_lock;
    channel.inc.ticks = fields.ticks;
    channel.inc.preimage = array(&fields.preimage)?;
    channel.inc.contradiction = match fields.contradiction {
        None => None,
        Some(signed) => Some(read_signed(&signed.state, &signed.signature)?),
    };
    Some(())
}

fn read_locks(bytes: &[u8]) -> Option<Vec<Lock>> {
    let fields: Vec<LockFields> = minicbor::decode(bytes).ok()?;
    fields
        .into_iter()
        .map(|fields| {
            Some(Lock {
                added: AddedLock::from_bytes(&fields.added)?,
                secret: match fields.secret {
                    None => None,
                    Some(secret) => Some(array(&secret)?),
                },
                released: fields.released,
            })
        })
        .collect()
}

fn read_chain(channel: &mut Channel, bytes: &[u8]) -> Option<()> {
    let fields: ChainFields = minicbor::decode(bytes).ok()?;
    let word = Word::unpack(U256::from_be_bytes(array::<32>(&fields.word)?))?;
    let closing = match &fields.closing {
        None => None,
        Some(bytes) => {
            let (words, rest) = bytes.as_chunks::<32>();
            let words: [[u8; 32]; 7] = words.try_into().ok().filter(|_| rest.is_empty())?;
            Some(ClosingRecord::unpack(words.map(U256::from_be_bytes))?)
        }
    };
    let (low, high) = (number(&fields.end_low)?, number(&fields.end_high)?);
    let end = match fields.end {
        0 => None,
        1 => Some(End::Shared(low, high)),
        2 => Some(End::Forfeited(false, low)),
        3 => Some(End::Forfeited(true, high)),
        _ => return None,
    };
    channel.chain = OnChain::restored(View { word, closing, end });
    channel.epoch = fields.epoch;
    channel.recovering = fields.recovering;
    Some(())
}

fn read_orders(channel: &mut Channel, bytes: &[u8]) -> Option<()> {
    let fields: OrderFields = minicbor::decode(bytes).ok()?;
    let signature = |bytes: &Option<Bytes>| match bytes {
        None => Some(None),
        Some(bytes) => array(bytes).map(Some),
    };
    if let Some(bytes) = &fields.withdrawal {
        let PaymentMessage::Withdrawal(order) = PaymentMessage::decode(bytes).ok()? else {
            return None;
        };
        channel.withdrawal = Some(Reservation {
            order,
            ours: fields.withdrawal_ours,
            other: signature(&fields.withdrawal_other)?,
        });
    }
    let kind = match fields.kind {
        0 => return Some(()),
        1 => {
            let bytes = fields.payouts.as_ref()?;
            let PaymentMessage::Payouts(payouts) = PaymentMessage::decode(bytes).ok()? else {
                return None;
            };
            EndKind::Together(payouts, signature(&fields.payouts_other)?)
        }
        2 | 3 => EndKind::Close {
            unknown: fields.kind == 3,
            agent: account(&fields.agent)?,
            fee: number(&fields.fee)?,
        },
        _ => return None,
    };
    channel.order = Some(EndOrder {
        deadline: fields.deadline,
        kind,
    });
    Some(())
}
