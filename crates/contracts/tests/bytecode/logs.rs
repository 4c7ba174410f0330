//! What the bytecode emits is what the decoder and the layouts read.

use alloy_primitives::{Address, B256, LogData, U256};
use smartmesh_contracts::channels::{Channels, IChannels};
use smartmesh_contracts::token::SMT;
use smartmesh_contracts::{
    ClosingRecord, ContractEvent, Deployment, EventError, Word, WordPhase, channel_id, decode_log,
};

use crate::chain::{Account, CHAIN_ID, Chain};

#[test]
fn logs_of_a_channel_carry_its_word_and_record() {
    let alice = Account::new(1);
    let other = Address::repeat_byte(0xff);
    let mut chain = Chain::new(alice.address);
    let known = Deployment {
        chain_id: CHAIN_ID,
        block: 0,
        smt: chain.smt,
        conditions: chain.conditions,
        channels: chain.channels,
        chequebook: chain.chequebook,
        rewards: Address::ZERO,
    };
    let (low, high) = (alice.address, other);
    let mut data = [low.as_slice(), high.as_slice(), &[4, 0, 0, 0, 0, 0, 0]].concat();
    data.extend([[7_u8; 32], [8; 32]].concat());
    let call = SMT::depositToCall {
        target: chain.channels,
        value: U256::from(77),
        data: data.into(),
    };
    let opened = chain.call(alice.address, chain.smt, &call).unwrap();
    assert!(opened.gas > 21_000);
    let id = channel_id(chain.smt, low, high, 0x0400);
    let mut seen = 0;
    for log in &opened.logs {
        match decode_log(&known, log.address, &log.data).unwrap() {
            ContractEvent::Channels(Channels::ChannelsEvents::Opened(event)) => {
                assert_eq!(
                    (event.channel, event.token, event.terms),
                    (id, chain.smt, 0x0400)
                );
                assert_eq!(
                    (event.locatorLow, event.locatorHigh),
                    (B256::repeat_byte(7), B256::repeat_byte(8))
                );
                let word = Word::unpack(event.word).unwrap();
                assert_eq!(
                    word,
                    Word {
                        low: 77,
                        phase: WordPhase::Open,
                        ..Word::default()
                    }
                );
                seen += 1;
            }
            ContractEvent::Channels(_)
            | ContractEvent::Smt(_)
            | ContractEvent::Conditions(_)
            | ContractEvent::Chequebook(_)
            | ContractEvent::Rewards(_) => {}
        }
    }
    assert_eq!(seen, 1);
    let state = || IChannels::State {
        seq: 0,
        paid: U256::ZERO.to(),
        root: B256::ZERO,
        locked: U256::ZERO.to(),
        lastExpiry: U256::ZERO.to(),
        tip: B256::ZERO,
        unit: 0,
        max: 0,
    };
    let call = Channels::closeUnknownCall {
        c: IChannels::Channel {
            token: chain.smt,
            low,
            high,
            terms: 0x0400,
        },
        closerHigh: false,
        own: state(),
        partner: state(),
        partnerSignature: IChannels::Signature {
            r: B256::ZERO,
            vs: B256::ZERO,
        },
        mandate: Vec::new(),
    };
    let closed = chain.call(alice.address, chain.channels, &call).unwrap();
    let event = decode_log(&known, chain.channels, &closed.logs[0].data).unwrap();
    let ContractEvent::Channels(Channels::ChannelsEvents::Closed(event)) = event else {
        panic!("{event:?}")
    };
    let record = ClosingRecord::unpack(event.closing).unwrap();
    assert!(record.unknown && !record.closer_high && !record.fined);
    assert_eq!(record.deposits, [77, 0]);
    let word = Word::unpack(event.word).unwrap();
    assert_eq!(
        (word.time, word.phase),
        (chain.now + 4 * 3600, WordPhase::Closing)
    );
    assert_eq!(word.record, record.hash());

    let log = &closed.logs[0].data;
    assert!(matches!(decode_log(&known, other, log), Err(EventError::Stranger(at)) if at == other));
    assert!(matches!(
        decode_log(&known, chain.chequebook, log),
        Err(EventError::Malformed(_))
    ));
    let cut = LogData::new_unchecked(log.topics().to_vec(), log.data.slice(..100));
    assert!(matches!(
        decode_log(&known, chain.channels, &cut),
        Err(EventError::Malformed(_))
    ));
}
