//! What somebody who reads nothing but the logs knows of each channel.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Log};
use alloy_sol_types::SolEventInterface;
use smartmesh_contracts::channels::Channels::ChannelsEvents;
use smartmesh_contracts::{ClosingRecord, Word, WordPhase};

/// Words and records by channel.
#[derive(Clone, Default)]
pub(super) struct Watcher(BTreeMap<B256, (Word, ClosingRecord)>);

impl Watcher {
    /// The channel's word; empty if no log told of it.
    pub(super) fn word(&self, id: B256) -> Word {
        self.0.get(&id).map(|(word, _)| *word).unwrap_or_default()
    }

    /// Takes logs in the order of the chain.
    pub(super) fn read<'a>(&mut self, logs: impl IntoIterator<Item = &'a Log>) {
        for log in logs {
            if let Ok(event) = ChannelsEvents::decode_raw_log(log.topics(), &log.data.data) {
                self.apply(event);
            }
        }
    }

    fn apply(&mut self, event: ChannelsEvents) {
        use ChannelsEvents as E;
        let id = match &event {
            E::Opened(e) => e.channel,
            E::Deposited(e) => e.channel,
            E::Withdrawn(e) => e.channel,
            E::Closed(e) => e.channel,
            E::Updated(e) => e.channel,
            E::Unlocked(e) => e.channel,
            E::Named(e) => e.channel,
            E::Redeemed(e) => e.channel,
            E::Voided(e) => e.channel,
            E::Forfeited(e) => e.channel,
            E::Settled(e) => e.channel,
            E::Credited(_) | E::Claimed(_) => return,
        };
        let (word, record) = self.0.entry(id).or_default();
        match event {
            E::Opened(e) => *word = Word::unpack(e.word).unwrap(),
            E::Deposited(e) => *word = Word::unpack(e.word).unwrap(),
            E::Withdrawn(e) => *word = Word::unpack(e.word).unwrap(),
            E::Closed(e) => {
                *word = Word::unpack(e.word).unwrap();
                *record = ClosingRecord::unpack(e.closing).unwrap();
            }
            E::Updated(e) => *record = ClosingRecord::unpack(e.closing).unwrap(),
            E::Redeemed(e) => *record = ClosingRecord::unpack(e.closing).unwrap(),
            E::Unlocked(e) => *record = record.unlocked(e.payerHigh, e.side).unwrap(),
            E::Named(e) => *record = record.named(e.partyHigh, e.agent),
            E::Voided(_) => word.released = true,
            E::Forfeited(_) | E::Settled(_) => {
                *word = Word {
                    epoch: word.epoch + 1,
                    ..Word::default()
                };
            }
            E::Credited(_) | E::Claimed(_) => {}
        }
        if word.phase == WordPhase::Closing {
            word.record = record.hash();
        }
    }
}
