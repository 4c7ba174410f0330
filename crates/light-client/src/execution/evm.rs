//! Calls on proved state, by revm.
//!
//! A call runs on what is known. Where something is missing it goes on with nothing in its place, so that one run finds as
//! many gaps as it can; its result counts only if there was no gap. Then what was missing is fetched and it runs again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use alloy_consensus::Header;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::context_interface::result::{EVMError, ExecutionResult};
use revm::database_interface::{DatabaseRef, WrapDatabaseRef};
use revm::primitives::hardfork::SpecId;
use revm::state::{AccountInfo, Bytecode, EvmState};
use revm::{ExecuteEvm, MainBuilder, MainContext};

use super::knowledge::Knowledge;
use super::need::Need;
use super::trie::ProofError;

/// The rules of execution: mainnet's of December 2025.
const FORK: SpecId = SpecId::OSAKA;
/// Update fraction of the blob base fee (EIP-7691).
const BLOB_FRACTION: u64 = 5_007_716;
/// Gaps that one run collects.
const GAPS_MAX: usize = 64;
/// The most gas of one call: a transaction's limit (EIP-7825), because a phone pays for it in time.
const GAS_MAX: u64 = 1 << 24;

/// A call that nobody signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    pub(crate) from: Address,
    pub(crate) to: TxKind,
    pub(crate) data: Bytes,
    pub(crate) value: U256,
    pub(crate) gas: Option<u64>,
    pub(crate) access_list: AccessList,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    pub(crate) gas_used: u64,
    pub(crate) touched: EvmState,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Returned(Bytes),
    Reverted(Bytes),
    Halted(String),
    /// It could not even be tried.
    Invalid(String),
}

/// Gas a call may use if it names no limit.
pub(crate) fn call_gas_max(header: &Header) -> u64 {
    header.gas_limit.min(GAS_MAX)
}

/// The state after one block, as far as it is known.
struct View<'a> {
    known: &'a Knowledge,
    header: &'a Header,
    block: B256,
    /// Slots by account; code by its hash.
    slots: RefCell<BTreeMap<Address, Vec<U256>>>,
    codes: RefCell<BTreeMap<B256, Address>>,
    owners: RefCell<BTreeMap<B256, Address>>,
}

impl View<'_> {
    fn gap(&self, address: Address, slot: Option<U256>) {
        let mut slots = self.slots.borrow_mut();
        if slots.len() < GAPS_MAX || slots.contains_key(&address) {
            let of_account = slots.entry(address).or_default();
            if let Some(slot) = slot
                && of_account.len() < GAPS_MAX
                && !of_account.contains(&slot)
            {
                of_account.push(slot);
            }
        }
    }

    fn needs(self) -> Vec<Need> {
        let (block, number) = (self.block, self.header.number);
        let state = self
            .slots
            .into_inner()
            .into_iter()
            .map(|(address, slots)| Need::State {
                block,
                number,
                address,
                slots,
            });
        let codes = self
            .codes
            .into_inner()
            .into_iter()
            .map(|(hash, address)| Need::Code {
                hash,
                number,
                address,
            });
        state.chain(codes).collect()
    }
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        match self.known.account(self.header.state_root, address) {
            Ok(account) => Ok(account.map(|account| {
                self.owners.borrow_mut().insert(account.code_hash, address);
                AccountInfo {
                    balance: account.balance,
                    nonce: account.nonce,
                    code_hash: account.code_hash,
                    code: (account.code_hash == KECCAK256_EMPTY).then(Bytecode::default),
                    ..AccountInfo::default()
                }
            })),
            Err(
                ProofError::Missing(_)
                | ProofError::Malformed(_)
                | ProofError::TooDeep
                | ProofError::Value,
            ) => {
                self.gap(address, None);
                Ok(None)
            }
        }
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Infallible> {
        if let Some(code) = self.known.code(hash) {
            return Ok(Bytecode::new_raw(code.clone()));
        }
        if let Some(owner) = self.owners.borrow().get(&hash)
            && self.codes.borrow().len() < GAPS_MAX
        {
            self.codes.borrow_mut().insert(hash, *owner);
        }
        Ok(Bytecode::default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        let account = self.known.account(self.header.state_root, address);
        let value = match account {
            Ok(Some(account)) => self.known.slot(account.storage_root, slot),
            Ok(None) => return Ok(U256::ZERO),
            Err(error) => Err(error),
        };
        Ok(value.unwrap_or_else(|_| {
            self.gap(address, Some(slot));
            U256::ZERO
        }))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        // Through the contract of EIP-2935, which holds what the opcode gives.
        let slot = U256::from(number % 8_191);
        let history = alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
        if number.saturating_add(1) == self.header.number {
            return Ok(self.header.parent_hash);
        }
        self.storage_ref(history, slot).map(B256::from)
    }
}

/// Runs a call on top of a block. Gas costs nothing, so the caller needs no balance but for `value`.
///
/// Returns what must be fetched first, if anything is missing.
pub(crate) fn call(
    known: &Knowledge,
    header: &Header,
    block: B256,
    chain_id: u64,
    call: &Call,
) -> Result<Outcome, Vec<Need>> {
    let mut config = CfgEnv::new().with_chain_id(chain_id);
    config.set_spec_and_mainnet_gas_params(FORK);
    config.disable_eip3607 = true;
    config.disable_nonce_check = true;
    let environment = BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: 0,
        difficulty: U256::ZERO,
        prevrandao: Some(header.mix_hash),
        blob_excess_gas_and_price: Some(BlobExcessGasAndPrice::new(
            header.excess_blob_gas.unwrap_or_default(),
            BLOB_FRACTION,
        )),
        ..BlockEnv::default()
    };
    let tx = TxEnv {
        // With an access list a legacy call would ignore it.
        tx_type: u8::from(!call.access_list.is_empty()),
        caller: call.from,
        gas_limit: call
            .gas
            .map_or(call_gas_max(header), |gas| gas.min(call_gas_max(header))),
        gas_price: 0,
        kind: call.to,
        value: call.value,
        data: call.data.clone(),
        chain_id: Some(chain_id),
        access_list: call.access_list.clone(),
        ..TxEnv::default()
    };
    let view = View {
        known,
        header,
        block,
        slots: RefCell::default(),
        codes: RefCell::default(),
        owners: RefCell::default(),
    };
    let done = {
        let mut evm = Context::mainnet()
            .with_db(WrapDatabaseRef(&view))
            .with_block(environment)
            .with_cfg(config)
            .build_mainnet();
        evm.transact(tx)
    };
    let needs = view.needs();
    if !needs.is_empty() {
        return Err(needs);
    }
    Ok(match done {
        Ok(done) => {
            let gas_used = done.result.tx_gas_used();
            let ended = match done.result {
                ExecutionResult::Success { output, .. } => Ended::Returned(output.into_data()),
                ExecutionResult::Revert { output, .. } => Ended::Reverted(output),
                ExecutionResult::Halt { reason, .. } => Ended::Halted(format!("{reason:?}")),
            };
            Outcome {
                ended,
                gas_used,
                touched: done.state,
            }
        }
        Err(
            error @ (EVMError::Transaction(_)
            | EVMError::Header(_)
            | EVMError::Database(_)
            | EVMError::Custom(_)
            | EVMError::CustomAny(_)),
        ) => Outcome {
            ended: Ended::Invalid(error.to_string()),
            gas_used: 0,
            touched: EvmState::default(),
        },
    })
}
