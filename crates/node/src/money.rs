//! Payments: the channel core, joined to flows, the disk and the chain. A node without a wallet has none of it.
//!
//! On a flow, a payment message is `kind 2 | message`, or in pieces `kind 3 | id 4 | index 1 | count 1 | bytes` where the
//! path's packets are smaller. A piece of a newer message replaces those of an older one: who sent it sends it again.

use std::collections::BTreeMap;

use smartmesh_channel::{
    Account, ChainFact, ChannelId, ChannelInfo, Channels, Config, Output as ChannelOutput,
    Record as ChannelRecord,
};
use smartmesh_crypto::{AccountKey, Seed};
use smartmesh_mesh::flow::PayloadKind;
use smartmesh_types::{Address, Now, RequestId};
use smartmesh_wire::payment::{MESSAGE_BYTES_MAX, PaymentMessage};

use crate::gate::Gate;
use crate::wiring::prefixed;
use crate::{Event, Node, Output, Record, RefusedReason, RestoreError};

/// First byte of a flow's payload that holds a payment message.
pub(crate) const FOR_MONEY: u8 = 2;
/// The same for a piece of one.
pub(crate) const FOR_MONEY_PIECE: u8 = 3;
/// First byte of the keys of the channels' records.
pub(crate) const MONEY_RECORDS: u8 = 4;

/// Bytes before a piece's content.
const PIECE_HEADER: usize = 7;
/// People of whom pieces are kept at once at most.
const PIECES_FROM_MAX: usize = 64;

/// Payments of a node with a wallet.
#[derive(Debug)]
pub(crate) struct Money {
    core: Channels,
    gate: Gate<ChannelOutput>,
    pieces: BTreeMap<Address, Pieces>,
    next_piece: u32,
}

/// A message that is not whole yet.
#[derive(Debug)]
struct Pieces {
    id: u32,
    parts: Vec<Option<Vec<u8>>>,
}

impl Node {
    /// Lets this node pay and be paid: `key` is this installation's channel key, derived from the wallet. Records of an
    /// earlier start are used. Asked a second time it changes nothing.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub fn enable_money(
        &mut self,
        config: Config,
        key: AccountKey,
        seed: &Seed,
        now: Now,
    ) -> Result<(), RestoreError> {
        if self.money.is_some() {
            return Ok(());
        }
        let seed = seed.split("money");
        let records = std::mem::take(&mut self.money_records);
        let core = if records.is_empty() {
            Channels::new(config, self.address(), key, &seed, now)
        } else {
            Channels::restore(config, self.address(), key, &seed, records, now).map_err(
                |error| RestoreError {
                    core: "channels",
                    reason: error.to_string(),
                },
            )?
        };
        self.money = Some(Money {
            core,
            gate: Gate::default(),
            pieces: BTreeMap::new(),
            next_piece: 0,
        });
        let reachable: Vec<Address> = self.people.reachable().collect();
        for peer in reachable {
            self.ask_money(smartmesh_channel::Input::PathUp { peer }, now);
        }
        self.settle(now);
        Ok(())
    }

    /// Every channel, as the user sees it; none without a wallet.
    pub fn channels(&self) -> Vec<ChannelInfo> {
        self.money
            .as_ref()
            .map(|money| money.core.channels().collect())
            .unwrap_or_default()
    }

    /// The channel with somebody in some token that has most to spend.
    pub fn channel_with(&self, peer: Address, token: Account) -> Option<ChannelId> {
        self.money.as_ref()?.core.channel_with(peer, token)
    }

    /// The block above which the shell must tell the logs; none without a wallet.
    pub fn chain_cursor(&self) -> Option<u64> {
        self.money.as_ref().map(|money| money.core.chain_cursor())
    }

    /// Chain seconds as this node can best tell.
    pub fn chain_clock(&self) -> Option<u64> {
        self.money.as_ref().map(|money| money.core.chain_clock())
    }

    pub(crate) fn keep_money_records(&mut self, records: Vec<(Vec<u8>, Vec<u8>)>) {
        self.money_records = records
            .into_iter()
            .map(|(key, value)| ChannelRecord {
                key,
                value: Some(value),
            })
            .collect();
    }

    pub(crate) fn command_money(
        &mut self,
        request: RequestId,
        command: smartmesh_channel::Command,
        now: Now,
    ) {
        let Some(money) = &mut self.money else {
            self.tell(Event::Refused {
                request,
                reason: RefusedReason::Invalid("this node has no wallet".to_owned()),
            });
            return;
        };
        let input = smartmesh_channel::Input::Command(request, command);
        if let Err(error) = money.core.handle(input, now) {
            self.tell(Event::Refused {
                request,
                reason: RefusedReason::Money(error),
            });
        }
    }

    pub(crate) fn chain_fact(&mut self, fact: ChainFact, now: Now) {
        self.ask_money(smartmesh_channel::Input::Chain(fact), now);
    }

    /// Only commands can fail.
    pub(crate) fn ask_money(&mut self, input: smartmesh_channel::Input, now: Now) {
        if let Some(money) = &mut self.money {
            let _ = money.core.handle(input, now);
        }
    }

    pub(crate) fn money_timeout(&self) -> Option<smartmesh_types::Instant> {
        self.money
            .as_ref()
            .and_then(|money| money.core.next_timeout())
    }

    /// Moves one output of the core on its way; whether there was one.
    pub(crate) fn settle_money(&mut self, now: Now) -> bool {
        let Some(money) = &mut self.money else {
            return false;
        };
        if let Some(output) = money.core.poll_output() {
            match output {
                ChannelOutput::Persist(record) => money.gate.persist(Record {
                    key: prefixed(MONEY_RECORDS, &record.key),
                    value: record.value,
                }),
                other @ (ChannelOutput::OpenPath { .. }
                | ChannelOutput::Send { .. }
                | ChannelOutput::Submit(_)
                | ChannelOutput::Event(_)) => money.gate.push(other),
            }
            return true;
        }
        if let Some((id, records)) = money.gate.begin(&mut self.next_persist) {
            self.outputs.push_back(Output::Persist { id, records });
            return true;
        }
        if let Some(output) = money.gate.release() {
            self.handle_channels(output, now);
            return true;
        }
        false
    }

    pub(crate) fn money_persisted(&mut self, id: crate::PersistId, now: Now) {
        let ready = match &mut self.money {
            Some(money) => money.gate.complete(id),
            None => return,
        };
        for output in ready {
            self.handle_channels(output, now);
        }
    }

    fn handle_channels(&mut self, output: ChannelOutput, now: Now) {
        match output {
            ChannelOutput::Persist(_) => {}
            ChannelOutput::OpenPath { to } => {
                let flow = self.mesh.open_flow(to, now);
                self.people.opening(flow, to);
                if self.people.path(to).is_some() {
                    self.ask_money(smartmesh_channel::Input::PathUp { peer: to }, now);
                }
            }
            ChannelOutput::Send { to, message } => self.send_payment(to, &message, now),
            ChannelOutput::Submit(call) => self.outputs.push_back(Output::Submit(call)),
            ChannelOutput::Event(event) => self.tell(Event::Money(event)),
        }
    }

    fn send_payment(&mut self, to: Address, message: &PaymentMessage, now: Now) {
        let (Some(flow), Some((_, mtu))) = (self.people.flow_to(to), self.people.path(to)) else {
            return;
        };
        let bytes = message.encode();
        let room = mtu.saturating_sub(1);
        if bytes.len() < room {
            let framed = prefixed(FOR_MONEY, &bytes);
            self.mesh.send(flow, PayloadKind::Message, &framed, now);
            return;
        }
        let Some(money) = &mut self.money else {
            return;
        };
        money.next_piece = money.next_piece.wrapping_add(1);
        let id = money.next_piece;
        let size = room.saturating_sub(PIECE_HEADER).max(1);
        let Ok(count) = u8::try_from(bytes.len().div_ceil(size)) else {
            return;
        };
        for (index, part) in (0..count).zip(bytes.chunks(size)) {
            let mut piece = vec![FOR_MONEY_PIECE];
            piece.extend(id.to_be_bytes());
            piece.extend([index, count]);
            piece.extend_from_slice(part);
            self.mesh.send(flow, PayloadKind::Message, &piece, now);
        }
    }

    /// A payload of kind [`FOR_MONEY`].
    pub(crate) fn handle_payment(&mut self, from: Address, bytes: &[u8], now: Now) {
        if let Ok(message) = PaymentMessage::decode(bytes) {
            self.ask_money(smartmesh_channel::Input::Received { from, message }, now);
        }
    }

    /// A payload of kind [`FOR_MONEY_PIECE`].
    pub(crate) fn handle_payment_piece(&mut self, from: Address, bytes: &[u8], now: Now) {
        let Some(money) = &mut self.money else {
            return;
        };
        if let Some(whole) = money.take_piece(from, bytes) {
            self.handle_payment(from, &whole, now);
        }
    }

    pub(crate) fn money_flow_up(&mut self, peer: Address, now: Now) {
        self.ask_money(smartmesh_channel::Input::PathUp { peer }, now);
    }

    pub(crate) fn money_flow_down(&mut self, peer: Address, now: Now) {
        if let Some(money) = &mut self.money {
            money.pieces.remove(&peer);
        }
        if self.people.flow_to(peer).is_none() {
            self.ask_money(smartmesh_channel::Input::PathDown { peer }, now);
        }
    }
}

impl Money {
    fn take_piece(&mut self, from: Address, bytes: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = bytes.split_first_chunk::<4>()?;
        let ([index, count], part) = rest.split_first_chunk::<2>()?;
        let (id, index, count) = (
            u32::from_be_bytes(*id),
            usize::from(*index),
            usize::from(*count),
        );
        if index >= count || part.len().saturating_mul(count) > MESSAGE_BYTES_MAX.saturating_mul(2)
        {
            return None;
        }
        let is_known = self.pieces.contains_key(&from);
        if !is_known && self.pieces.len() >= PIECES_FROM_MAX {
            self.pieces.pop_first();
        }
        let pieces = self.pieces.entry(from).or_insert_with(|| Pieces {
            id,
            parts: Vec::new(),
        });
        if pieces.id != id || pieces.parts.len() != count {
            *pieces = Pieces {
                id,
                parts: vec![None; count],
            };
        }
        *pieces.parts.get_mut(index)? = Some(part.to_vec());
        let is_whole = pieces.parts.iter().all(Option::is_some);
        if !is_whole {
            return None;
        }
        let pieces = self.pieces.remove(&from)?;
        Some(pieces.parts.into_iter().flatten().flatten().collect())
    }
}
