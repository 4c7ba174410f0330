//! Transactions come in and blocks come out.

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Header, Transaction};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_eips::eip2718::Decodable2718;
use alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
use alloy_primitives::{Address, B256, Bytes};
use std::sync::Arc;

use super::{Change, Devnet, Mining, post_merge};
use crate::block::{Block, Draft};
use crate::execute::{self, Invalid, Tx};
use crate::pool::Pending;
use crate::state::{State, View};

/// States that can still be asked for; older ones are gone, as with a pruned node.
const STATES_KEPT: u64 = 1_024;

impl Devnet {
    /// Takes a signed transaction as it is sent (EIP-2718) and returns its hash. With automatic mining its block is there
    /// when this returns.
    ///
    /// # Errors
    /// If it can't be decoded, is for another chain, or could not run.
    pub fn send(&mut self, raw: &[u8], now: u64) -> Result<B256, Invalid> {
        let mut rest = raw;
        let tx = Tx::decode_2718(&mut rest)
            .map_err(|error| Invalid(format!("can't decode the transaction: {error}")))?;
        if !rest.is_empty() {
            return Err(Invalid("bytes follow the transaction".to_owned()));
        }
        let from = tx
            .recover_signer()
            .map_err(|_| Invalid("invalid sender".to_owned()))?;
        self.check(&tx, from, now)?;
        let hash = self.core.pool.add(tx, from)?;
        if self.mining == Mining::Auto {
            self.mine_waiting(now);
        }
        Ok(hash)
    }

    /// Refuses what could never get into a block.
    fn check(&self, tx: &Tx, from: Address, now: u64) -> Result<(), Invalid> {
        if tx.is_eip4844() {
            return Err(Invalid("blobs are not supported".to_owned()));
        }
        if tx.chain_id().is_some_and(|id| id != self.chain_id) {
            return Err(Invalid("invalid chain id for signer".to_owned()));
        }
        let draft = self.next_header(now);
        let base_fee = draft.base_fee_per_gas.unwrap_or_default();
        if tx.max_fee_per_gas() < u128::from(base_fee) {
            return Err(Invalid(format!(
                "max fee per gas less than block base fee: {} < {base_fee}",
                tx.max_fee_per_gas()
            )));
        }
        let next = self.nonce(from);
        if tx.nonce() <= next {
            // A dry run finds every other reason; a revert is none.
            let view = View {
                state: &self.core.state,
                hashes: &self.core.hashes,
            };
            execute::transact(view, &draft, self.chain_id, from, tx)?;
        }
        Ok(())
    }

    /// Mines one block with all that can run now, even if that is nothing.
    pub fn mine(&mut self, now: u64) -> &Arc<Block> {
        let header = self.next_header(now);
        let mut draft = Draft::new(header);
        let mut state = self.begin_block(&draft.header);
        let base_fee = draft.header.base_fee_per_gas.unwrap_or_default();
        loop {
            let nonce = |from| state.account(from).map_or(0, |account| account.nonce);
            let Some(Pending { tx, hash, from, .. }) = self
                .core
                .pool
                .best(base_fee, draft.gas_left(), nonce)
                .cloned()
            else {
                break;
            };
            self.core.pool.remove(from, tx.nonce());
            let view = View {
                state: &state,
                hashes: &self.core.hashes,
            };
            // What cannot run any more is forgotten, as every pool does.
            if let Ok(mut outcome) =
                execute::transact(view, &draft.header, self.chain_id, from, &tx)
            {
                state.apply(std::mem::take(&mut outcome.changes));
                draft.push(tx, hash, from, outcome);
            }
        }
        let block = draft.seal(state.root());
        self.next_timestamp = None;
        self.next_base_fee = None;
        self.last_mined = now;
        self.push(block, state);
        self.head()
    }

    /// Mines until nothing that could run waits any more.
    fn mine_waiting(&mut self, now: u64) {
        while !self.mine(now).transactions.is_empty() {
            let next = self.next_header(now);
            let base_fee = next.base_fee_per_gas.unwrap_or_default();
            let nonce = |from| self.nonce(from);
            if self
                .core
                .pool
                .best(base_fee, next.gas_limit, nonce)
                .is_none()
            {
                break;
            }
        }
    }

    /// The state in which a block's transactions run: after the system call that keeps its parent's hash (EIP-2935).
    fn begin_block(&self, header: &Header) -> State {
        let mut state = self.core.state.clone();
        let view = View {
            state: &self.core.state,
            hashes: &self.core.hashes,
        };
        let parent = Bytes::copy_from_slice(header.parent_hash.as_slice());
        if let Some(changes) =
            execute::system_call(view, header, self.chain_id, HISTORY_STORAGE_ADDRESS, parent)
        {
            state.apply(changes);
        }
        state
    }

    /// Header of the block that would be mined now.
    pub(crate) fn next_header(&self, now: u64) -> Header {
        let parent = self.head();
        let wall = now.saturating_add_signed(self.core.offset);
        let timestamp = self.next_timestamp.unwrap_or(wall);
        let base_fee = self
            .next_base_fee
            .or_else(|| parent.header.next_block_base_fee(BaseFeeParams::ethereum()));
        Header {
            parent_hash: parent.hash,
            number: parent.header.number.saturating_add(1),
            timestamp: timestamp.max(parent.header.timestamp.saturating_add(1)),
            gas_limit: parent.header.gas_limit,
            beneficiary: self.coinbase,
            base_fee_per_gas: base_fee,
            mix_hash: execute::next_randomness(parent.hash),
            extra_data: if self.salt == 0 {
                Bytes::new()
            } else {
                Bytes::copy_from_slice(&self.salt.to_be_bytes())
            },
            ..post_merge()
        }
    }

    fn push(&mut self, block: Block, state: State) {
        let block = Arc::new(block);
        let number = block.header.number;
        self.core.hashes.insert(number, block.hash);
        self.core.states.insert(number, state.clone());
        if let Some(old) = number.checked_sub(STATES_KEPT) {
            self.core.states.remove(&old);
        }
        self.core.state = state;
        self.core.blocks.push(Arc::clone(&block));
        self.journal.push(Change::Added(block));
    }

    /// Mines what is due by the clock.
    pub fn tick(&mut self, now: u64) {
        if let Mining::Interval(seconds) = self.mining
            && now >= self.last_mined.saturating_add(seconds)
        {
            self.mine(now);
        }
    }
}
