//! Transactions that wait for a block.

use std::collections::BTreeMap;

use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256};

use crate::execute::{Invalid, Tx};

/// Transactions that may wait; a devnet has few senders, and who floods it floods himself.
const WAITING_MAX: usize = 4_096;
/// How much more a replacement must pay, in percent (as geth).
const REPLACE_PERCENT: u128 = 110;

/// A transaction and what is known of it before it runs.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) tx: Tx,
    pub(crate) hash: B256,
    pub(crate) from: Address,
    arrived: u64,
}

/// All that wait, by sender and nonce.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    waiting: BTreeMap<(Address, u64), Pending>,
    arrivals: u64,
}

impl Pool {
    pub(crate) fn add(&mut self, tx: Tx, from: Address) -> Result<B256, Invalid> {
        let hash = *tx.hash();
        let key = (from, tx.nonce());
        if let Some(old) = self.waiting.get(&key) {
            if old.hash == hash {
                return Err(Invalid("already known".to_owned()));
            }
            let enough = |new: u128, old: u128| {
                new.saturating_mul(100) >= old.saturating_mul(REPLACE_PERCENT)
            };
            let tip = |tx: &Tx| tx.priority_fee_or_price();
            if !enough(tx.max_fee_per_gas(), old.tx.max_fee_per_gas())
                || !enough(tip(&tx), tip(&old.tx))
            {
                return Err(Invalid("replacement transaction underpriced".to_owned()));
            }
        } else if self.waiting.len() >= WAITING_MAX {
            return Err(Invalid("txpool is full".to_owned()));
        }
        self.arrivals = self.arrivals.saturating_add(1);
        let pending = Pending {
            tx,
            hash,
            from,
            arrived: self.arrivals,
        };
        self.waiting.insert(key, pending);
        Ok(hash)
    }

    pub(crate) fn get(&self, hash: B256) -> Option<&Pending> {
        self.waiting.values().find(|one| one.hash == hash)
    }

    pub(crate) fn remove(&mut self, from: Address, nonce: u64) -> Option<Pending> {
        self.waiting.remove(&(from, nonce))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.waiting.values()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The nonce after all that wait without a gap from `nonce` on.
    pub(crate) fn next_nonce(&self, from: Address, nonce: u64) -> u64 {
        let mut next = nonce;
        while self.waiting.contains_key(&(from, next)) {
            next = next.saturating_add(1);
        }
        next
    }

    /// The best paying transaction whose turn it is; of equal ones the first that came.
    pub(crate) fn best(
        &self,
        base_fee: u64,
        gas_left: u64,
        nonce: impl Fn(Address) -> u64,
    ) -> Option<&Pending> {
        self.waiting
            .values()
            .filter(|one| one.tx.nonce() == nonce(one.from))
            .filter(|one| one.tx.gas_limit() <= gas_left)
            .filter_map(|one| Some((one.tx.effective_tip_per_gas(base_fee)?, one)))
            .max_by_key(|(tip, one)| (*tip, std::cmp::Reverse(one.arrived)))
            .map(|(_, one)| one)
    }
}
