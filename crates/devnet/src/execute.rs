//! One transaction or call on one state, by revm.

use alloy_consensus::{EthereumTxEnvelope, Header, Transaction, TxEip4844};
use alloy_eips::Typed2718;
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::context_interface::either::Either;
use revm::context_interface::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::database_interface::WrapDatabaseRef;
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;
use revm::{ExecuteEvm, MainBuilder, MainContext, SystemCallEvm};

use crate::state::View;

/// The rules of execution: mainnet's of December 2025.
const FORK: SpecId = SpecId::OSAKA;
/// Update fraction of the blob base fee, which no block of this chain changes (EIP-7691).
const BLOB_FRACTION: u64 = 5_007_716;

/// A transaction as blocks of this chain carry it; those with blobs are refused on their way in.
pub type Tx = EthereumTxEnvelope<TxEip4844>;

/// What became of a transaction or call.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Ended,
    pub(crate) gas_used: u64,
    /// Of a success; a failed transaction has none.
    pub(crate) logs: Vec<Log>,
    pub(crate) created: Option<Address>,
    pub(crate) changes: EvmState,
}

/// How execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Returned(Bytes),
    Reverted(Bytes),
    Halted(String),
}

/// Why a transaction can't even be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) String);

/// A call that nobody signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    pub(crate) from: Address,
    pub(crate) to: TxKind,
    pub(crate) data: Bytes,
    pub(crate) value: U256,
    pub(crate) gas: Option<u64>,
    pub(crate) access_list: alloy_eips::eip2930::AccessList,
}

fn config(chain_id: u64) -> CfgEnv {
    let mut config = CfgEnv::new().with_chain_id(chain_id);
    config.set_spec_and_mainnet_gas_params(FORK);
    config
}

fn environment(header: &Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: U256::ZERO,
        prevrandao: Some(header.mix_hash),
        blob_excess_gas_and_price: Some(BlobExcessGasAndPrice::new(0, BLOB_FRACTION)),
        ..BlockEnv::default()
    }
}

/// Runs a signed transaction in the block that `header` begins.
pub(crate) fn transact(
    view: View<'_>,
    header: &Header,
    chain_id: u64,
    from: Address,
    tx: &Tx,
) -> Result<Outcome, Invalid> {
    let authorizations = tx.authorization_list().unwrap_or_default();
    let env = TxEnv {
        tx_type: tx.ty(),
        caller: from,
        gas_limit: tx.gas_limit(),
        gas_price: tx.max_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: tx.max_priority_fee_per_gas(),
        authorization_list: authorizations.iter().cloned().map(Either::Left).collect(),
        ..TxEnv::default()
    };
    run(view, environment(header), config(chain_id), env)
}

/// Runs a call on top of `header`'s block. Gas costs nothing, so the caller needs no balance but for `value`.
pub(crate) fn call(
    view: View<'_>,
    header: &Header,
    chain_id: u64,
    call: &Call,
) -> Result<Outcome, Invalid> {
    let mut config = config(chain_id);
    config.disable_eip3607 = true;
    config.disable_nonce_check = true;
    let mut block = environment(header);
    block.basefee = 0;
    let env = TxEnv {
        // With an access list a legacy call would ignore it.
        tx_type: u8::from(!call.access_list.is_empty()),
        caller: call.from,
        gas_limit: call.gas.unwrap_or_else(|| call_gas_max(header)),
        gas_price: 0,
        kind: call.to,
        value: call.value,
        data: call.data.clone(),
        chain_id: Some(chain_id),
        access_list: call.access_list.clone(),
        ..TxEnv::default()
    };
    run(view, block, config, env)
}

/// Gas a call may use if it names no limit: all of a block, or of a transaction if that is less (EIP-7825).
pub(crate) fn call_gas_max(header: &Header) -> u64 {
    header.gas_limit.min(1 << 24)
}

/// Runs a system call at the start of a block, such as EIP-2935's.
pub(crate) fn system_call(
    view: View<'_>,
    header: &Header,
    chain_id: u64,
    contract: Address,
    data: Bytes,
) -> Option<EvmState> {
    let mut evm = Context::mainnet()
        .with_db(WrapDatabaseRef(view))
        .with_block(environment(header))
        .with_cfg(config(chain_id))
        .build_mainnet();
    let done = evm.system_call(contract, data).ok()?;
    done.result.is_success().then_some(done.state)
}

fn run(view: View<'_>, block: BlockEnv, config: CfgEnv, tx: TxEnv) -> Result<Outcome, Invalid> {
    let mut evm = Context::mainnet()
        .with_db(WrapDatabaseRef(view))
        .with_block(block)
        .with_cfg(config)
        .build_mainnet();
    let done = evm.transact(tx).map_err(|error| match error {
        EVMError::Transaction(reason) => Invalid(in_words(&reason)),
        error @ (EVMError::Header(_)
        | EVMError::Database(_)
        | EVMError::Custom(_)
        | EVMError::CustomAny(_)) => Invalid(error.to_string()),
    })?;
    let gas_used = done.result.tx_gas_used();
    let (result, logs, created) = match done.result {
        ExecutionResult::Success { output, logs, .. } => {
            let created = output.address().copied();
            (Ended::Returned(output.into_data()), logs, created)
        }
        ExecutionResult::Revert { output, .. } => (Ended::Reverted(output), Vec::new(), None),
        ExecutionResult::Halt { reason, .. } => {
            (Ended::Halted(format!("{reason:?}")), Vec::new(), None)
        }
    };
    Ok(Outcome {
        result,
        gas_used,
        logs,
        created,
        changes: done.state,
    })
}

/// The words that geth uses, which wallets look for.
fn in_words(reason: &InvalidTransaction) -> String {
    if let InvalidTransaction::NonceTooLow { tx, state } = reason {
        return format!("nonce too low: next nonce {state}, tx nonce {tx}");
    }
    if let InvalidTransaction::NonceTooHigh { tx, state } = reason {
        return format!("nonce too high: next nonce {state}, tx nonce {tx}");
    }
    if let InvalidTransaction::LackOfFundForMaxFee { fee, balance } = reason {
        return format!("insufficient funds for gas * price + value: have {balance} want {fee}");
    }
    reason.to_string()
}

/// Hash of the parent's randomness, so that each block has its own.
pub(crate) fn next_randomness(parent: B256) -> B256 {
    alloy_primitives::keccak256(parent)
}
