//! The chain: blocks and their states. Mining is in `mine`, what no real chain lets anybody do in `control`.

mod control;
mod mine;

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_consensus::constants::EMPTY_WITHDRAWALS;
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_eips::eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, U256};
use smartmesh_contracts::Deployment;

use crate::block::{Block, Draft};
use crate::genesis::Genesis;
use crate::pool::Pool;
use crate::rpc::Filters;
use crate::state::{Account, AccountProof, State};

/// When blocks come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// One for each transaction, at once.
    Auto,
    /// One every so many seconds.
    Interval(u64),
    /// Only when asked for.
    Manual,
}

/// What happens to the transactions of blocks that a reorganisation takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// They wait for a block again.
    Requeue,
    /// They are forgotten, as if they had never been heard of.
    Forget,
}

/// One step of the chain's head, in order; filters and watchers read along.
#[derive(Clone, Debug)]
pub enum Change {
    /// A block came on top.
    Added(Arc<Block>),
    /// The topmost block went.
    Removed(Arc<Block>),
}

/// Everything that a snapshot brings back.
#[derive(Clone, Debug)]
struct Core {
    blocks: Vec<Arc<Block>>,
    hashes: BTreeMap<u64, B256>,
    states: BTreeMap<u64, State>,
    state: State,
    pool: Pool,
    offset: i64,
}

/// An Ethereum in one process. It has no clock: who drives it brings the time.
#[derive(Clone, Debug)]
pub struct Devnet {
    chain_id: u64,
    coinbase: Address,
    finality_depth: u64,
    core: Core,
    mining: Mining,
    next_timestamp: Option<u64>,
    next_base_fee: Option<u64>,
    last_mined: u64,
    /// Makes blocks after a reorganisation differ from those they replace.
    salt: u64,
    snapshots: BTreeMap<u64, Core>,
    next_snapshot: u64,
    journal: Vec<Change>,
    pub(crate) filters: Filters,
    pub(crate) deployment: Option<Deployment>,
}

impl Devnet {
    /// A chain of one block.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        let mut state = State::default();
        for (address, balance) in &genesis.balances {
            state.change(*address, |account| account.balance = *balance);
        }
        state.change(HISTORY_STORAGE_ADDRESS, |account| {
            account.nonce = 1;
            account.set_code(HISTORY_STORAGE_CODE.clone());
        });
        let header = Header {
            beneficiary: genesis.coinbase,
            gas_limit: genesis.gas_limit,
            timestamp: genesis.timestamp,
            base_fee_per_gas: Some(genesis.base_fee),
            ..post_merge()
        };
        let block = Arc::new(Draft::new(header).seal(state.root()));
        Self {
            chain_id: genesis.chain_id,
            coinbase: genesis.coinbase,
            finality_depth: genesis.finality_depth,
            core: Core {
                hashes: BTreeMap::from([(0, block.hash)]),
                states: BTreeMap::from([(0, state.clone())]),
                blocks: vec![Arc::clone(&block)],
                state,
                pool: Pool::default(),
                offset: 0,
            },
            mining: Mining::Auto,
            next_timestamp: None,
            next_base_fee: Some(genesis.base_fee),
            last_mined: genesis.timestamp,
            salt: 0,
            snapshots: BTreeMap::new(),
            next_snapshot: 1,
            journal: vec![Change::Added(block)],
            filters: Filters::default(),
            deployment: None,
        }
    }

    /// EIP-155 chain id.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The newest block.
    #[must_use]
    pub fn head(&self) -> &Arc<Block> {
        self.core
            .blocks
            .last()
            .expect("the first block is never taken back")
    }

    /// A block by its number.
    #[must_use]
    pub fn block(&self, number: u64) -> Option<&Arc<Block>> {
        self.core.blocks.get(usize::try_from(number).ok()?)
    }

    /// A block of the chain by its hash.
    #[must_use]
    pub fn block_by_hash(&self, hash: B256) -> Option<&Arc<Block>> {
        self.core
            .blocks
            .iter()
            .rev()
            .find(|block| block.hash == hash)
    }

    /// The newest block that a reorganisation of the usual depth cannot reach.
    #[must_use]
    pub fn finalized(&self) -> u64 {
        self.head()
            .header
            .number
            .saturating_sub(self.finality_depth)
    }

    /// All steps of the head since the chain began, in order.
    #[must_use]
    pub fn journal(&self) -> &[Change] {
        &self.journal
    }

    /// Balance in wei after the newest block.
    #[must_use]
    pub fn balance(&self, address: Address) -> U256 {
        let account = self.core.state.account(address);
        account.map_or(U256::ZERO, |account| account.balance)
    }

    /// Transactions that an account has sent and that are in blocks.
    #[must_use]
    pub fn nonce(&self, address: Address) -> u64 {
        let account = self.core.state.account(address);
        account.map_or(0, |account| account.nonce)
    }

    /// Proves an account and slots against the state root of a block, if that state is still kept.
    #[must_use]
    pub fn proof(&self, number: u64, address: Address, slots: &[U256]) -> Option<AccountProof> {
        Some(self.state_at(number)?.proof(address, slots))
    }

    /// A transaction in a block, with the block and its place.
    #[must_use]
    pub fn transaction(&self, hash: B256) -> Option<(&Arc<Block>, usize)> {
        self.core.blocks.iter().rev().find_map(|block| {
            let at = block.transactions.iter().position(|one| one.hash == hash)?;
            Some((block, at))
        })
    }

    pub(crate) fn state_at(&self, number: u64) -> Option<&State> {
        if number == self.head().header.number {
            return Some(&self.core.state);
        }
        self.core.states.get(&number)
    }

    pub(crate) fn account_at(&self, number: u64, address: Address) -> Option<Account> {
        let account = self.state_at(number)?.account(address).cloned();
        Some(account.unwrap_or_default())
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.core.pool
    }

    pub(crate) fn hashes(&self) -> &BTreeMap<u64, B256> {
        &self.core.hashes
    }

    /// Changes an account by hand, as no block of a real chain could; seen from the next block on and by calls.
    pub(crate) fn change_account(&mut self, address: Address, change: impl FnOnce(&mut Account)) {
        self.core.state.change(address, change);
        self.keep_head();
    }

    pub(crate) fn change_storage(&mut self, address: Address, slot: U256, value: U256) {
        self.core.state.set_storage(address, slot, value);
        self.keep_head();
    }

    /// What was changed by hand after a block stays when a later block is taken back.
    fn keep_head(&mut self) {
        let number = self.head().header.number;
        self.core.states.insert(number, self.core.state.clone());
    }

    /// Sets an account's balance in wei by hand.
    pub fn set_balance(&mut self, address: Address, balance: U256) {
        self.change_account(address, |account| account.balance = balance);
    }
}

/// Header fields that every block of this chain shares.
fn post_merge() -> Header {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}
