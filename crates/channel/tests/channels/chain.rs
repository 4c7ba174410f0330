//! The embedded bytecode on a chain of blocks that can be taken back.

use alloy_primitives::{Address, Bytes, Log, TxKind, U256, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use revm::context::{Context, TxEnv};
use revm::context_interface::result::ExecutionResult;
use revm::database::InMemoryDB;
use revm::database_interface::DatabaseRef;
use revm::handler::{MainnetContext, MainnetEvm};
use revm::primitives::hardfork::SpecId;
use revm::{ExecuteCommitEvm, MainBuilder, MainContext};
use smartmesh_channel::{Chain as Addresses, ChainFact, Contract, ContractCall};
use smartmesh_contracts::token::SMT;
use smartmesh_contracts::{
    ContractEvent, Deployment, channels, chequebook, conditions, decode_log, token,
};

/// Chain id.
pub(crate) const CHAIN_ID: u64 = 31_337;
/// Seconds between blocks.
pub(crate) const BLOCK_SECONDS: u64 = 12;

/// One transaction as it waits or is in a block.
#[derive(Clone, Debug)]
pub(crate) struct Tx {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) data: Vec<u8>,
}

#[derive(Clone)]
struct Block {
    time: u64,
    txs: Vec<Tx>,
    logs: Vec<ContractEvent>,
    /// State before it.
    before: InMemoryDB,
}

/// The chain; block 0 holds the deployment.
pub(crate) struct Chain {
    evm: MainnetEvm<MainnetContext<InMemoryDB>>,
    blocks: Vec<Block>,
    pub(crate) mempool: Vec<Tx>,
    pub(crate) now: u64,
    pub(crate) at: Deployment,
    /// Rises with each reorganisation, with the height of what stayed.
    pub(crate) reorgs: Vec<u64>,
}

impl Chain {
    pub(crate) fn new(holder: Address) -> Self {
        let context = Context::mainnet()
            .with_db(InMemoryDB::default())
            .modify_cfg_chained(|cfg| {
                cfg.chain_id = CHAIN_ID;
                cfg.set_spec_and_mainnet_gas_params(SpecId::OSAKA);
                cfg.disable_nonce_check = true;
                cfg.tx_gas_limit_cap = Some(u64::MAX);
            });
        let context = context.modify_block_chained(|block| block.gas_limit = u64::MAX);
        let zero = Address::ZERO;
        let mut chain = Self {
            evm: context.build_mainnet(),
            blocks: Vec::new(),
            mempool: Vec::new(),
            now: 1_800_000_000,
            at: Deployment {
                chain_id: CHAIN_ID,
                block: 0,
                smt: zero,
                conditions: zero,
                channels: zero,
                chequebook: zero,
                rewards: zero,
            },
            reorgs: Vec::new(),
        };
        chain.at.smt = chain.deploy(&token::SMT::BYTECODE, &holder.abi_encode());
        chain.at.conditions = chain.deploy(&conditions::Conditions::BYTECODE, &[]);
        let registry = chain.at.conditions.abi_encode();
        chain.at.channels = chain.deploy(&channels::Channels::BYTECODE, &registry);
        chain.at.chequebook = chain.deploy(&chequebook::Chequebook::BYTECODE, &[]);
        chain.at.rewards = Address::repeat_byte(0xee);
        chain
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses {
            chain_id: CHAIN_ID,
            token: self.at.smt,
            conditions: self.at.conditions,
            channels: self.at.channels,
            chequebook: self.at.chequebook,
        }
    }

    fn deploy(&mut self, bytecode: &Bytes, arguments: &[u8]) -> Address {
        let code = [bytecode.as_ref(), arguments].concat();
        match self.transact(Address::repeat_byte(0xde), TxKind::Create, code) {
            ExecutionResult::Success { output, .. } => *output.address().unwrap(),
            failed @ (ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. }) => {
                panic!("{failed:?}")
            }
        }
    }

    fn transact(&mut self, from: Address, to: TxKind, data: Vec<u8>) -> ExecutionResult {
        let now = U256::from(self.now);
        self.evm.ctx.modify_block(|block| block.timestamp = now);
        let tx = TxEnv::builder()
            .caller(from)
            .kind(to)
            .data(data.into())
            .gas_limit(30_000_000)
            .gas_price(0)
            .chain_id(Some(CHAIN_ID))
            .build()
            .unwrap();
        self.evm.transact_commit(tx).unwrap()
    }

    /// Gives an account tokens, outside any block.
    pub(crate) fn fund(&mut self, holder: Address, who: Address, amount: u128) {
        let call = SMT::transferCall {
            to: who,
            value: U256::from(amount),
        };
        let result = self.transact(holder, TxKind::Call(self.at.smt), call.abi_encode());
        assert!(result.is_success());
    }

    /// Puts a call that a core asked for among those that wait.
    pub(crate) fn submit(&mut self, wallet: Address, call: &ContractCall) {
        let tx = match call {
            ContractCall::Deposit {
                token,
                amount,
                data,
                ..
            } => Tx {
                from: wallet,
                to: *token,
                data: SMT::depositToCall {
                    target: self.at.channels,
                    value: U256::from(*amount),
                    data: data.clone().into(),
                }
                .abi_encode(),
            },
            ContractCall::Signed { contract, data, .. } => Tx {
                from: wallet,
                to: match contract {
                    Contract::Token => self.at.smt,
                    Contract::Conditions => self.at.conditions,
                    Contract::Channels => self.at.channels,
                    Contract::Chequebook => self.at.chequebook,
                },
                data: data.clone(),
            },
        };
        self.mempool.push(tx);
    }

    /// Mines what waits into one block; returns how many calls were refused.
    pub(crate) fn mine(&mut self) -> usize {
        self.now += BLOCK_SECONDS;
        let txs = std::mem::take(&mut self.mempool);
        let before = self.evm.ctx.journaled_state.database.clone();
        let mut logs = Vec::new();
        let mut refused = 0;
        for tx in &txs {
            let result = self.transact(tx.from, TxKind::Call(tx.to), tx.data.clone());
            match result {
                ExecutionResult::Success { logs: emitted, .. } => {
                    logs.extend(
                        emitted.iter().filter_map(|log: &Log| {
                            decode_log(&self.at, log.address, &log.data).ok()
                        }),
                    );
                }
                ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => refused += 1,
            }
        }
        self.blocks.push(Block {
            time: self.now,
            txs,
            logs,
            before,
        });
        refused
    }

    /// Takes the last blocks back; their calls wait again, unless `lost`.
    pub(crate) fn reorganise(&mut self, depth: usize, lost: bool) {
        let keep = self.blocks.len().saturating_sub(depth);
        if keep == self.blocks.len() {
            return;
        }
        let gone = self.blocks.split_off(keep);
        self.evm.ctx.journaled_state.database = gone[0].before.clone();
        // The cache of the journal must not remember what was taken back.
        self.evm.ctx.journaled_state.inner.state.clear();
        let waiting = std::mem::take(&mut self.mempool);
        if !lost {
            self.mempool
                .extend(gone.into_iter().flat_map(|block| block.txs));
        }
        self.mempool.extend(waiting);
        self.reorgs.push(keep as u64);
    }

    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// What a watcher tells of a block; blocks are numbered from 1.
    pub(crate) fn facts(&self, number: u64) -> Vec<ChainFact> {
        let block = &self.blocks[number as usize - 1];
        let mut facts: Vec<ChainFact> = block
            .logs
            .iter()
            .enumerate()
            .map(|(index, event)| ChainFact::Log {
                block: number,
                index: index as u32,
                event: Box::new(event.clone()),
            })
            .collect();
        facts.push(ChainFact::Head {
            block: number,
            time: block.time,
        });
        facts
    }

    /// Balance in SMT.
    pub(crate) fn balance(&self, account: Address) -> u128 {
        let slot = keccak256([account.abi_encode(), U256::ZERO.abi_encode()].concat());
        self.evm
            .ctx
            .journaled_state
            .database
            .storage_ref(self.at.smt, slot.into())
            .unwrap()
            .to()
    }
}
