//! Money between the node, the chain's thread and the history.

use alloy_primitives::{Address as Account, U256};
use alloy_sol_types::SolCall;
use smartmesh_api as api;
use smartmesh_channel::{
    Answer as Paid, ChainFact, ChannelId, Command as Order, Contract, ContractCall, Event,
};
use smartmesh_contracts::decode_log;
use smartmesh_contracts::token::SMT;
use smartmesh_node::{Command, Input};
use smartmesh_types::RequestId;

use super::{Saved, Shell, wall_time};
use crate::ask::Answer;
use crate::chain::{Fact, Job, Report, repeatable};
use crate::clock;
use crate::database::Write;

impl Shell {
    /// Hands the node what is new on the chain, in order.
    pub(super) fn tell_chain(&mut self, report: &Report) {
        let Some(deployment) = self.money.info.deployment else {
            return;
        };
        for fact in &report.facts {
            let fact = match fact {
                Fact::Log {
                    block,
                    index,
                    address,
                    data,
                    ..
                } => {
                    let (Ok(event), Ok(index)) = (
                        decode_log(&deployment, *address, data),
                        u32::try_from(*index),
                    ) else {
                        continue;
                    };
                    ChainFact::Log {
                        block: *block,
                        index,
                        event: Box::new(event),
                    }
                }
                Fact::Head { block, time } => ChainFact::Head {
                    block: *block,
                    time: *time,
                },
                Fact::Rollback { to } => ChainFact::Rollback { to: *to },
            };
            self.node.handle(Input::Chain(fact), clock::now());
        }
    }

    /// Brings a call to the chain. Without access it waits: the node asks again.
    pub(super) fn submit(&mut self, call: ContractCall) {
        let info = &self.money.info;
        let (Some(access), Some(deployment)) = (&info.access, info.deployment) else {
            return;
        };
        let (to, data) = match call {
            ContractCall::Deposit {
                token,
                amount,
                data,
                ..
            } => {
                let call = SMT::depositToCall {
                    target: deployment.channels,
                    value: U256::from(amount),
                    data: data.into(),
                };
                (token, call.abi_encode())
            }
            ContractCall::Signed {
                contract,
                data,
                agent,
                ..
            } => {
                if agent != Account::ZERO && agent != info.keys.account.address() {
                    return;
                }
                let to = match contract {
                    Contract::Token => deployment.smt,
                    Contract::Conditions => deployment.conditions,
                    Contract::Channels => deployment.channels,
                    Contract::Chequebook => deployment.chequebook,
                };
                (to, data)
            }
        };
        // A full queue is no loss either.
        let _ = access.ask(Job::Send(repeatable(to, data.into()), None));
    }

    /// What the history says of a payment that this command makes.
    pub(super) fn note_order(&mut self, request: RequestId, command: &Command) {
        if let Command::Money(Order::Pay {
            channel,
            amount,
            memo,
        }) = command
        {
            let order = (*channel, *amount, memo.clone());
            self.money.orders.insert(request, order);
        }
    }

    pub(super) fn handle_money(&mut self, event: Event) {
        match event {
            Event::Answer { request, answer } => self.handle_paid(request, answer),
            Event::Received {
                channel,
                from,
                amount,
                seq,
                memo,
            } => {
                let id = format!("{channel}:in:{seq}");
                let flow = api::MoneyFlow::In;
                let peer = from.to_string();
                let mut movement = movement(id, flow, amount, peer, &memo);
                "final between the two of you; on the chain when the channel is settled"
                    .clone_into(&mut movement.state);
                movement.is_final = true;
                self.save_movement(movement);
            }
            // The command line and the app ask for the channels' state when they show it.
            Event::Changed(_) | Event::Watched(_) => {}
            Event::ReceivedOver { channel, amount } => {
                tracing::info!(%channel, amount, "a payment over several hops is certain");
            }
            Event::Relayed { channel, earned } => {
                tracing::info!(%channel, earned, "a payment of others passed through");
            }
            Event::Waiting { channel, reason } => {
                tracing::info!(%channel, %reason, "a payment waits for the partner");
            }
            Event::Forgot(channel) => {
                tracing::warn!(%channel, "this phone forgot payments of a channel; it can only be closed now");
            }
            Event::Contradicted(channel) => {
                tracing::warn!(%channel, "the partner of a channel signed two different messages with one number");
            }
            Event::Closed {
                channel,
                by_us,
                until,
            } => {
                tracing::info!(%channel, by_us, until, "a channel is closing");
            }
            Event::Ended { channel, ending } => {
                tracing::info!(%channel, ?ending, "a channel has ended");
            }
        }
    }

    fn handle_paid(&mut self, request: RequestId, answer: Paid) {
        match &answer {
            Paid::Signed { channel, seq } => {
                if let Some((_, amount, memo)) = self.money.orders.remove(&request) {
                    let peer = self.partner(*channel);
                    let id = format!("{channel}:out:{seq}");
                    let mut movement = movement(id, api::MoneyFlow::Out, amount, peer, &memo);
                    "signed; it may have arrived".clone_into(&mut movement.state);
                    self.money
                        .signed
                        .insert((*channel, *seq, request), movement.clone());
                    self.save_movement(movement);
                }
            }
            Paid::Arrived { channel, seq } => {
                if let Some(mut movement) = self.money.signed.remove(&(*channel, *seq, request)) {
                    "arrived; final between the two of you".clone_into(&mut movement.state);
                    movement.is_final = true;
                    self.save_movement(movement);
                }
            }
            Paid::Failed { channel, reason } => {
                let open = (*channel, 0, request);
                let found = self
                    .money
                    .signed
                    .range(open..)
                    .find(|((one, _, asked), _)| one == channel && *asked == request)
                    .map(|(key, _)| *key);
                if let Some(mut movement) = found.and_then(|key| self.money.signed.remove(&key)) {
                    movement.state = format!("failed: {reason}; nothing was paid");
                    movement.is_final = true;
                    self.save_movement(movement);
                }
                self.money.orders.remove(&request);
            }
            Paid::Begun(_)
            | Paid::Ordered
            | Paid::NotOpened { .. }
            | Paid::Locked { .. }
            | Paid::Paid { .. }
            | Paid::NotPaid { .. }
            | Paid::NotTaken => {}
        }
        self.answer(request, Answer::Money(answer));
    }

    fn partner(&self, channel: ChannelId) -> String {
        let channels = self.node.channels();
        let found = channels.iter().find(|one| one.id == channel);
        found.map_or_else(|| channel.to_string(), |one| one.peer.to_string())
    }

    fn save_movement(&mut self, movement: api::Movement) {
        let publish = api::Event::Movement {
            movement: Box::new(movement.clone()),
        };
        let saved = Saved {
            publish: Some(publish),
            ..Saved::default()
        };
        self.save(Write::Movement(Box::new(movement)), saved);
    }
}

fn movement(
    id: String,
    flow: api::MoneyFlow,
    amount: u128,
    peer: String,
    memo: &[u8],
) -> api::Movement {
    api::Movement {
        id,
        at: wall_time().as_secs(),
        flow,
        amount: api::Amount(amount),
        fee: api::Amount(0),
        way: api::Way::Channel,
        peer,
        peer_name: None,
        memo: String::from_utf8_lossy(memo).into_owned(),
        state: String::new(),
        is_final: false,
    }
}
