//! Alice and Brandon on the real bytecode, in one process: they open a channel, Alice pays, Alice cheats, Brandon confiscates.
//!
//! `cargo run -p smartmesh-contracts --example story`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the program tells a story and may stop at a surprise"
)]

#[path = "../tests/bytecode/chain.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod chain;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent;
use chain::{Account, Chain, Receipt};
use smartmesh_contracts::channel_id;
use smartmesh_contracts::channels::{Channels, IChannels};
use smartmesh_contracts::model::Message;
use smartmesh_contracts::token::SMT;
use smartmesh_contracts::typed::Verifier;

/// Base units of one SMT.
const ONE: u128 = 10_u128.pow(18);
/// Hold of an hour; an unknown close holds four times as long.
const TERMS: u16 = 0x0400;

struct Scene {
    chain: Chain,
    low: Account,
    high: Account,
    names: [&'static str; 2],
}

impl Scene {
    fn balances(&self, then: &str) {
        let smt = |account: Address| self.chain.balance(self.chain.smt, account) / ONE;
        let [low, high] = self.names;
        println!(
            "   {low} {} SMT, {high} {} SMT, in the contract {} SMT {then}\n",
            smt(self.low.address),
            smt(self.high.address),
            smt(self.chain.channels)
        );
    }

    /// Deposits in one transaction, without an allowance: the token hands it over.
    fn deposit(&mut self, who: &Account, smt: u128) -> Receipt {
        let high = u8::from(who.address == self.high.address);
        let mut data = [
            self.low.address.as_slice(),
            self.high.address.as_slice(),
            &TERMS.to_be_bytes(),
        ]
        .concat();
        data.extend([0, 0, 0, 0, high]);
        let call = SMT::depositToCall {
            target: self.chain.channels,
            value: U256::from(smt * ONE),
            data: data.into(),
        };
        self.chain.call(who.address, self.chain.smt, &call).unwrap()
    }

    fn channel(&self) -> IChannels::Channel {
        let (low, high) = (self.low.address, self.high.address);
        IChannels::Channel {
            token: self.chain.smt,
            low,
            high,
            terms: TERMS,
        }
    }
}

fn state(message: &Message) -> IChannels::State {
    let typed = message.typed(B256::ZERO, 0, Address::ZERO);
    IChannels::State {
        seq: typed.seq,
        paid: typed.paid,
        root: typed.root,
        locked: typed.locked,
        lastExpiry: typed.lastExpiry,
        tip: typed.tip,
        unit: typed.unit,
        max: typed.max,
    }
}

fn payment(seq: u64, smt: u128) -> Message {
    Message {
        seq,
        paid: smt * ONE,
        ..Message::default()
    }
}

fn main() {
    let (alice, brandon) = (Account::new(0xa1), Account::new(0xb2));
    let mut chain = Chain::new(alice.address);
    let half = U256::from(3_141_591_653 * ONE);
    chain
        .call(
            alice.address,
            chain.smt,
            &SMT::transferCall {
                to: Address::repeat_byte(1),
                value: half,
            },
        )
        .unwrap();
    let fund = SMT::transferCall {
        to: brandon.address,
        value: U256::from(500 * ONE),
    };
    chain.call(alice.address, chain.smt, &fund).unwrap();
    let alice_is_low = alice.address < brandon.address;
    let mut scene = Scene {
        chain,
        low: if alice_is_low {
            alice.clone()
        } else {
            brandon.clone()
        },
        high: if alice_is_low {
            brandon.clone()
        } else {
            alice.clone()
        },
        names: if alice_is_low {
            ["Alice", "Brandon"]
        } else {
            ["Brandon", "Alice"]
        },
    };
    println!("Alice and Brandon have 500 SMT each.");
    scene.balances("");

    let opened = scene.deposit(&alice, 200);
    let joined = scene.deposit(&brandon, 100);
    println!(
        "Alice opens a channel with 200 SMT ({} gas); Brandon adds 100 ({} gas).",
        opened.gas, joined.gas
    );
    scene.balances("");

    let domain = scene.chain.domain(Verifier::Channels);
    let id = channel_id(
        scene.chain.smt,
        scene.low.address,
        scene.high.address,
        TERMS,
    );
    let payments = [payment(1, 10), payment(2, 60), payment(3, 150)];
    for message in &payments {
        println!(
            "Off the chain, Alice signs message {}: \"paid so far: {} SMT\".",
            message.seq,
            message.paid / ONE
        );
    }
    println!("   No gas, no block, no Internet: Brandon holds the signature.\n");

    let old = &payments[0];
    let close = Channels::closeCall {
        c: scene.channel(),
        closerHigh: !alice_is_low,
        own: state(old),
        partner: state(&Message::default()),
        partnerSignature: IChannels::Signature {
            r: B256::ZERO,
            vs: B256::ZERO,
        },
        mandate: Vec::new(),
    };
    let closed = scene
        .chain
        .call(alice.address, scene.chain.channels, &close)
        .unwrap();
    println!(
        "Alice cheats: she closes with message 1, as if 140 SMT had never been paid ({} gas).",
        closed.gas
    );
    let record = Channels::Closed::decode_log(&closed.logs[0])
        .unwrap()
        .closing;

    scene.chain.now += 1800;
    let proof = payments[2].typed(id, 0, alice.address);
    let (r, vs) = alice.sign(&proof, &domain);
    let forfeit = Channels::forfeitCall {
        c: scene.channel(),
        k: record,
        s: state(&payments[2]),
        closerSignature: IChannels::Signature { r, vs },
        mandate: Vec::new(),
    };
    let confiscated = scene
        .chain
        .call(brandon.address, scene.chain.channels, &forfeit)
        .unwrap();
    println!(
        "Half an hour later Brandon shows message 3, which Alice signed: both deposits are his ({} gas).",
        confiscated.gas
    );
    scene.balances("");
    println!("An honest close would have left Alice 50 of her 200 SMT. The lie left her none.");
}
