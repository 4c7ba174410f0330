//! One channel as the chain tells it, with the last blocks kept apart so that they can be taken back.

use alloy_primitives::U256;
use smartmesh_contracts::channels::Channels::ChannelsEvents;
use smartmesh_contracts::{ClosingRecord, Word};

/// Blocks that may still be replaced: what is deeper is final here.
pub(crate) const FINAL_DEPTH: u64 = 12;
/// Logs of one channel in the last blocks that are looked at; more come only from who pays gas to annoy.
const RECENT_MAX: usize = 256;

/// How an epoch ended on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Low's and high's amounts.
    Shared(u128, u128),
    /// Whether high got everything, and how much.
    Forfeited(bool, u128),
}

/// A channel after some block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// The word; while closing with the deposits that the record has.
    pub(crate) word: Word,
    pub(crate) closing: Option<ClosingRecord>,
    /// How the epoch before the word's ended.
    pub(crate) end: Option<End>,
}

/// What one log changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Word(Word),
    Closed(Word, ClosingRecord),
    Record(ClosingRecord),
    /// What a payer has paid: whether it is high, and the record's word of it.
    Unlocked(bool, U256),
    /// A party's agent: whether it is high, and the record's word of it.
    Named(bool, U256),
    End(End),
}

impl Change {
    /// The change that a log of the contract makes to its channel; none for logs that change no channel. `high` tells
    /// whether an account is the channel's higher key.
    pub(crate) fn of(
        event: &ChannelsEvents,
        high: impl Fn(alloy_primitives::Address) -> bool,
    ) -> Option<Self> {
        Some(match event {
            ChannelsEvents::Deposited(log) => Self::Word(Word::unpack(log.word)?),
            ChannelsEvents::Withdrawn(log) => Self::Word(Word::unpack(log.word)?),
            ChannelsEvents::Closed(log) => {
                Self::Closed(Word::unpack(log.word)?, ClosingRecord::unpack(log.closing)?)
            }
            ChannelsEvents::Updated(log) => Self::Record(ClosingRecord::unpack(log.closing)?),
            ChannelsEvents::Unlocked(log) => Self::Unlocked(log.payerHigh, log.side),
            ChannelsEvents::Named(log) => Self::Named(log.partyHigh, log.agent),
            ChannelsEvents::Opened(log) => Self::Word(Word::unpack(log.word)?),
            ChannelsEvents::Redeemed(log) => Self::Record(ClosingRecord::unpack(log.closing)?),
            ChannelsEvents::Forfeited(log) => Self::End(End::Forfeited(
                high(log.victim),
                u128::try_from(log.amount).ok()?,
            )),
            ChannelsEvents::Settled(log) => Self::End(End::Shared(
                u128::try_from(log.lowAmount).ok()?,
                u128::try_from(log.highAmount).ok()?,
            )),
            ChannelsEvents::Voided(_)
            | ChannelsEvents::Credited(_)
            | ChannelsEvents::Claimed(_) => return None,
        })
    }
}

impl View {
    /// Of a closing channel the record has the deposits.
    pub(crate) fn put(&mut self, record: ClosingRecord) {
        [self.word.low, self.word.high] = record.deposits;
        self.closing = Some(record);
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Word(word) => {
                self.word = word;
                self.closing = None;
            }
            Change::Closed(word, record) => {
                self.word = word;
                self.put(record);
            }
            Change::Record(record) => self.put(record),
            Change::Unlocked(high, word) => {
                if let Some(record) = self.closing.and_then(|record| record.unlocked(high, word)) {
                    self.put(record);
                }
            }
            Change::Named(high, word) => {
                if let Some(record) = self.closing {
                    self.put(record.named(high, word));
                }
            }
            Change::End(end) => {
                self.word = Word {
                    epoch: self.word.epoch.saturating_add(1),
                    ..Word::default()
                };
                self.closing = None;
                self.end = Some(end);
            }
        }
    }
}

/// A channel at every depth that matters.
#[derive(Clone, Debug, Default)]
pub(crate) struct OnChain {
    /// After the last final block.
    pub(crate) base: View,
    /// Changes above it, in chain order.
    recent: Vec<(u64, u32, Change)>,
    /// After the last block that counts.
    pub(crate) counted: View,
    /// After the last block.
    pub(crate) seen: View,
}

impl OnChain {
    pub(crate) fn restored(base: View) -> Self {
        Self {
            base,
            recent: Vec::new(),
            counted: base,
            seen: base,
        }
    }

    pub(crate) fn log(&mut self, block: u64, index: u32, change: Change) {
        let is_new = self
            .recent
            .last()
            .is_none_or(|(last_block, last_index, _)| (*last_block, *last_index) < (block, index));
        if is_new && self.recent.len() < RECENT_MAX {
            self.recent.push((block, index, change));
            self.seen.apply(change);
        }
    }

    pub(crate) fn rollback(&mut self, to: u64, counts_to: u64) {
        self.recent.retain(|(block, ..)| *block <= to);
        self.recount(counts_to);
    }

    /// A new head: what is deep enough counts, what is deeper is final. Returns whether the base moved.
    pub(crate) fn head(&mut self, counts_to: u64, final_to: u64) -> bool {
        if self.recent.is_empty() {
            return false;
        }
        let mut moved = false;
        while let Some((block, _, change)) = self.recent.first().copied() {
            if block > final_to {
                break;
            }
            self.base.apply(change);
            self.recent.remove(0);
            moved = true;
        }
        self.recount(counts_to);
        moved
    }

    fn recount(&mut self, counts_to: u64) {
        self.counted = self.base;
        self.seen = self.base;
        for (block, _, change) in &self.recent {
            if *block <= counts_to {
                self.counted.apply(*change);
            }
            self.seen.apply(*change);
        }
    }

    /// Whether nothing is above the final block.
    pub(crate) fn is_settled(&self) -> bool {
        self.recent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use smartmesh_contracts::WordPhase;

    use super::*;

    fn deposit(low: i128) -> Change {
        Change::Word(Word {
            low,
            phase: WordPhase::Open,
            ..Word::default()
        })
    }

    #[test]
    fn a_deposit_counts_when_deep_enough_and_is_taken_back_with_its_block() {
        let mut chain = OnChain::default();
        chain.log(10, 0, deposit(5));
        chain.head(4, 0);
        assert_eq!((chain.counted.word.low, chain.seen.word.low), (0, 5));
        chain.log(12, 0, deposit(7));
        chain.head(10, 0);
        assert_eq!((chain.counted.word.low, chain.seen.word.low), (5, 7));
        chain.rollback(9, 3);
        assert_eq!((chain.counted.word.low, chain.seen.word.low), (0, 0));
        chain.log(11, 3, deposit(6));
        assert!(chain.head(30, 30));
        assert_eq!((chain.base.word.low, chain.is_settled()), (6, true));
    }

    #[test]
    fn a_log_told_twice_counts_once() {
        let mut chain = OnChain::default();
        chain.log(10, 1, Change::End(End::Shared(0, 0)));
        chain.log(10, 1, Change::End(End::Shared(0, 0)));
        assert_eq!(chain.seen.word.epoch, 1);
    }
}
