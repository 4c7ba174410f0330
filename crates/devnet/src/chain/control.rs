//! What no real chain lets anybody do: set the time, go back, replace blocks.

use std::sync::Arc;

use alloy_primitives::B256;

use super::{Change, Devnet, Mining, Orphans};
use crate::state::State;

/// Snapshots that are kept; the oldest goes.
const SNAPSHOTS_MAX: usize = 64;

impl Devnet {
    /// Says when blocks come from now on.
    pub fn set_mining(&mut self, mining: Mining) {
        self.mining = mining;
    }

    /// When blocks come.
    #[must_use]
    pub fn mining(&self) -> Mining {
        self.mining
    }

    /// Makes the chain's clock run so many seconds further ahead of the driver's; returns the sum of all such steps.
    pub fn increase_time(&mut self, seconds: u64) -> i64 {
        self.core.offset = self.core.offset.saturating_add_unsigned(seconds);
        self.core.offset
    }

    /// Sets the next block's timestamp, and the clock goes on from there.
    ///
    /// # Errors
    /// If it is not after the newest block's.
    pub fn set_next_timestamp(&mut self, timestamp: u64, now: u64) -> Result<(), String> {
        let head = self.head().header.timestamp;
        if timestamp <= head {
            return Err(format!(
                "timestamp {timestamp} is not after the newest block's, {head}"
            ));
        }
        self.next_timestamp = Some(timestamp);
        self.core.offset = i64::try_from(timestamp)
            .unwrap_or(i64::MAX)
            .saturating_sub_unsigned(now);
        Ok(())
    }

    /// Sets the next block's base fee in wei; later blocks follow from it.
    pub fn set_next_base_fee(&mut self, wei: u64) {
        self.next_base_fee = Some(wei);
    }

    /// Keeps everything as it is under a name.
    pub fn snapshot(&mut self) -> u64 {
        let id = self.next_snapshot;
        self.next_snapshot = id.saturating_add(1);
        self.snapshots.insert(id, self.core.clone());
        while self.snapshots.len() > SNAPSHOTS_MAX {
            self.snapshots.pop_first();
        }
        id
    }

    /// Goes back to a snapshot; it and those taken after it are used up. Says whether it was there.
    pub fn revert(&mut self, id: u64) -> bool {
        let Some(core) = self.snapshots.remove(&id) else {
            return false;
        };
        self.snapshots.split_off(&id);
        while self
            .core
            .blocks
            .last()
            .is_some_and(|block| !self.is_in(&core, block.header.number, block.hash))
        {
            self.take_back();
        }
        let common = self.core.blocks.len();
        let added = core.blocks.iter().skip(common).map(Arc::clone);
        self.journal.extend(added.map(Change::Added));
        self.core = core;
        true
    }

    fn is_in(&self, core: &super::Core, number: u64, hash: B256) -> bool {
        core.hashes.get(&number) == Some(&hash)
    }

    /// Replaces the newest `depth` blocks by as many others, of which the first takes up what waits. Blocks before the
    /// oldest kept state, and the first block, stay.
    pub fn reorg(&mut self, depth: u64, orphans: Orphans, now: u64) {
        let depth = depth.min(self.head().header.number);
        let target = self.head().header.number.saturating_sub(depth);
        let Some(state) = self.state_at(target).cloned() else {
            return;
        };
        self.go_back(target, state, orphans);
        for _ in 0..depth {
            self.mine(now);
        }
    }

    /// Takes the newest `depth` blocks back and puts nothing in their place.
    pub fn rollback(&mut self, depth: u64, orphans: Orphans) {
        let target = self.head().header.number.saturating_sub(depth);
        if let Some(state) = self.state_at(target).cloned() {
            self.go_back(target, state, orphans);
        }
    }

    fn go_back(&mut self, target: u64, state: State, orphans: Orphans) {
        self.salt = self.salt.saturating_add(1);
        while self.head().header.number > target {
            let Some(block) = self.take_back() else { break };
            if orphans == Orphans::Requeue {
                for one in &block.transactions {
                    let _ = self.core.pool.add(one.tx.clone(), one.from);
                }
            }
        }
        self.core.state = state;
    }

    fn take_back(&mut self) -> Option<Arc<crate::Block>> {
        if self.core.blocks.len() < 2 {
            return None;
        }
        let block = self.core.blocks.pop()?;
        self.core.hashes.remove(&block.header.number);
        self.core.states.remove(&block.header.number);
        self.journal.push(Change::Removed(Arc::clone(&block)));
        Some(block)
    }

    /// Forgets a transaction that waits.
    pub fn drop_waiting(&mut self, hash: B256) -> bool {
        let Some(found) = self.core.pool.get(hash) else {
            return false;
        };
        let (from, nonce) = (found.from, alloy_consensus::Transaction::nonce(&found.tx));
        self.core.pool.remove(from, nonce).is_some()
    }

    /// Forgets all transactions that wait.
    pub fn drop_all_waiting(&mut self) {
        self.core.pool.clear();
    }
}
