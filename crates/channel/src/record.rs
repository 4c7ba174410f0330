//! What is on disk, by kind and channel: fixed versions of our own values, apart from the values themselves.
//!
//! Key: kind (1 byte), then the channel's slot (4 bytes). Values are CBOR arrays; a field added later comes last.

mod read;

use alloy_primitives::Address as Account;
use minicbor::{Decode, Encode};
use smartmesh_contracts::ClosingRecord;
use smartmesh_wire::payment::{PaymentMessage, SessionTag, Update, Watch};
use thiserror::Error;

use crate::border::Record;
use crate::channel::{Channel, EndKind};
use crate::channels::Tower;
use crate::locks::Lock;
use crate::onchain::{End, View};

pub(crate) use read::restore;

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
const TOWERS: u8 = 9;
const HINT: u8 = 10;

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
    pub(crate) towers: Vec<Tower>,
    /// Slot, request and the chain's view of what others asked to watch.
    pub(crate) hints: Vec<(u32, Watch, Option<View>)>,
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
    /// Slot, lock and tweak of the lock that pays for it.
    #[n(3)]
    source: Option<(u32, u64, Bytes)>,
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

#[derive(Encode, Decode)]
#[cbor(array)]
struct TowerFields {
    #[n(0)]
    peer: Bytes,
    #[n(1)]
    agent: Bytes,
    #[n(2)]
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
            source: lock
                .source
                .map(|source| (source.slot, source.lock, source.tweak.to_vec().into())),
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

pub(crate) fn towers(towers: &[Tower]) -> Record {
    let fields: Vec<TowerFields> = towers
        .iter()
        .map(|tower| TowerFields {
            peer: tower.peer.octets().to_vec().into(),
            agent: tower.agent.to_vec().into(),
            fee: amount(tower.fee),
        })
        .collect();
    Record {
        key: key(TOWERS, 0),
        value: value(fields),
    }
}

pub(crate) fn hint(slot: u32, watch: &Watch) -> Record {
    Record {
        key: key(HINT, slot),
        value: Some(PaymentMessage::Watch(Box::new(watch.clone())).encode()),
    }
}

pub(crate) fn forget_hint(slot: u32) -> [Record; 2] {
    [HINT, CHAIN].map(|kind| Record {
        key: key(kind, slot),
        value: None,
    })
}

/// The kinds of records that belong to one epoch only.
pub(crate) fn forget_epoch(slot: u32) -> [Record; 5] {
    [OUT, OUT_LOCKS, INC, INC_LOCKS, ORDERS].map(|kind| Record {
        key: key(kind, slot),
        value: None,
    })
}
