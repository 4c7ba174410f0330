//! Records back into channels.

use std::collections::BTreeMap;

use alloy_primitives::{Address as Account, U256};
use smartmesh_contracts::model::Side;
use smartmesh_contracts::{ClosingRecord, Word};
use smartmesh_types::Address;
use smartmesh_wire::payment::{AddedLock, PaymentMessage, State};

use super::{
    Bytes, CHAIN, CURSOR, ChainFields, HEADER, HINT, INC, INC_LOCKS, IncFields, LockFields, ORDERS,
    OUT, OUT_LOCKS, OrderFields, OutFields, RestoreError, Restored, STATICS, StaticFields, TOWERS,
    TowerFields, VERSION,
};
use crate::border::Record;
use crate::channel::{Channel, EndKind, EndOrder, Reservation, SignedState, Terms};
use crate::channels::Tower;
use crate::locks::{Lock, Source};
use crate::onchain::{End, OnChain, View};

fn array<const N: usize>(bytes: &Bytes) -> Option<[u8; N]> {
    bytes.as_slice().try_into().ok()
}

fn number(bytes: &Bytes) -> Option<u128> {
    array(bytes).map(u128::from_be_bytes)
}

fn account(bytes: &Bytes) -> Option<Account> {
    array(bytes).map(Account::new)
}

/// Reads the records of an earlier start, in any order; each key at most once.
pub(crate) fn restore(records: impl IntoIterator<Item = Record>) -> Result<Restored, RestoreError> {
    let mut restored = Restored::default();
    let mut by_key: BTreeMap<(u8, u32), Vec<u8>> = BTreeMap::new();
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
    if let Some(bytes) = by_key.get(&(TOWERS, 0)) {
        restored.towers = read_towers(bytes).ok_or(RestoreError::Damaged { kind: TOWERS })?;
    }
    let hints = by_key.range((HINT, 0)..=(HINT, u32::MAX));
    for ((_, slot), bytes) in hints {
        let Ok(PaymentMessage::Watch(watch)) = PaymentMessage::decode(bytes) else {
            return Err(RestoreError::Damaged { kind: HINT });
        };
        let view = match by_key.get(&(CHAIN, *slot)) {
            None => None,
            Some(bytes) => Some(read_view(bytes).ok_or(RestoreError::Damaged { kind: CHAIN })?),
        };
        restored.hints.push((*slot, *watch, view));
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
    let side = if fields.is_high {
        Side::High
    } else {
        Side::Low
    };
    let peer = Address::from_octets(array(&fields.peer)?)?;
    let mut channel = Channel::new(slot, terms, side, peer);
    channel.locators = (array(&fields.locator_low)?, array(&fields.locator_high)?);
    channel.partner_reach = fields.partner_reach;
    channel.partner_reserve = number(&fields.partner_reserve)?;
    channel.our_reserve = number(&fields.our_reserve)?;
    Some(channel)
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
                source: match fields.source {
                    None => None,
                    Some((slot, lock, tweak)) => Some(Source {
                        slot,
                        lock,
                        tweak: array(&tweak)?,
                    }),
                },
            })
        })
        .collect()
}

fn read_chain(channel: &mut Channel, bytes: &[u8]) -> Option<()> {
    let fields: ChainFields = minicbor::decode(bytes).ok()?;
    channel.chain = OnChain::restored(read_view(bytes)?);
    channel.epoch = fields.epoch;
    channel.recovering = fields.recovering;
    Some(())
}

/// A channel as the chain had it at the last final block.
fn read_view(bytes: &[u8]) -> Option<View> {
    let fields: ChainFields = minicbor::decode(bytes).ok()?;
    let word = Word::unpack(U256::from_be_bytes(array::<32>(&fields.word)?))?;
    let closing = match &fields.closing {
        None => None,
        Some(bytes) => {
            let (words, rest) = bytes.as_chunks::<32>();
            let words: [[u8; 32]; 8] = words.try_into().ok().filter(|_| rest.is_empty())?;
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
    let mut view = View {
        word,
        closing: None,
        end,
    };
    if let Some(record) = closing {
        view.put(record);
    }
    Some(view)
}

fn read_towers(bytes: &[u8]) -> Option<Vec<Tower>> {
    let fields: Vec<TowerFields> = minicbor::decode(bytes).ok()?;
    fields
        .into_iter()
        .map(|fields| {
            Some(Tower {
                peer: Address::from_octets(array(&fields.peer)?)?,
                agent: account(&fields.agent)?,
                fee: number(&fields.fee)?,
            })
        })
        .collect()
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
