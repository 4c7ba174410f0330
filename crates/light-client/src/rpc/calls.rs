//! Calls that nobody signs, and what a transaction will cost, run on proved state.

use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, Bytes, TxKind, U64};
use alloy_sol_types::{Revert, SolError};
use serde_json::{Value, json};

use super::params::{self, Block, Params};
use super::{Answer, RpcError, Stop, Task, Verifier};
use crate::execution::{Call, Ended, Outcome, call, call_gas_max};

/// Runs of one estimate: halving 2^24 gas.
const HALVINGS_MAX: u32 = 25;
/// Precompiles are the addresses up to this one, and EIP-7951's.
const PRECOMPILES: u16 = 0x11;
const P256_VERIFY: u16 = 0x100;

fn is_precompile(address: Address) -> bool {
    let (zeros, number) = address.split_at(18);
    let number = number.try_into().map_or(0, u16::from_be_bytes);
    zeros.iter().all(|byte| *byte == 0)
        && ((1..=PRECOMPILES).contains(&number) || number == P256_VERIFY)
}

impl Verifier {
    pub(super) fn calls(&self, task: &Task, params: &Params<'_>) -> Answer {
        let wanted = params::call(params.get(0).unwrap_or(&Value::Null))?;
        if params.get(2).is_some() {
            return Err(RpcError::invalid_params("state overrides are not supported").into());
        }
        let block = self.block_at(task, params.get(1))?;
        let answer = match task.method.as_str() {
            "eth_call" => json!(returned(&self.run(&block, &wanted)?)?),
            "eth_estimateGas" => self.estimate(&block, wanted)?,
            _ => self.create_access_list(&block, wanted)?,
        };
        Ok((answer, block.trust))
    }

    fn run(&self, block: &Block, wanted: &Call) -> Result<Outcome, Stop> {
        call(
            &self.known,
            &block.header,
            block.hash,
            self.chain_id,
            wanted,
        )
        .map_err(Stop::Need)
    }

    /// The least gas with which the transaction does what it should, by halving.
    fn estimate(&self, block: &Block, mut wanted: Call) -> Result<Value, Stop> {
        let most = call_gas_max(&block.header);
        let mut enough = wanted.gas.unwrap_or(most).min(most);
        wanted.gas = Some(enough);
        let outcome = self.run(block, &wanted)?;
        returned(&outcome)?;
        let mut too_little = outcome.gas_used.saturating_sub(1);
        for _ in 0..HALVINGS_MAX {
            if enough.saturating_sub(too_little) <= 1 {
                break;
            }
            let middle = too_little.midpoint(enough);
            wanted.gas = Some(middle);
            if matches!(self.run(block, &wanted)?.ended, Ended::Returned(_)) {
                enough = middle;
            } else {
                too_little = middle;
            }
        }
        Ok(json!(U64::from(enough)))
    }

    /// What a call touches, apart from what is warm anyhow (EIP-2930).
    fn create_access_list(&self, block: &Block, mut wanted: Call) -> Result<Value, Stop> {
        let outcome = self.run(block, &wanted)?;
        let warm = |address: Address, has_slots: bool| {
            let party = address == wanted.from
                || wanted.to == TxKind::Call(address)
                || address == block.header.beneficiary;
            is_precompile(address) || (party && !has_slots)
        };
        let mut items: Vec<AccessListItem> = outcome
            .touched
            .iter()
            .map(|(address, account)| {
                let mut keys: Vec<B256> = account
                    .storage
                    .keys()
                    .map(|slot| B256::from(*slot))
                    .collect();
                keys.sort_unstable();
                AccessListItem {
                    address: *address,
                    storage_keys: keys,
                }
            })
            .filter(|item| !warm(item.address, !item.storage_keys.is_empty()))
            .collect();
        items.sort_unstable_by_key(|item| item.address);
        wanted.access_list = AccessList(items);
        let outcome = self.run(block, &wanted)?;
        let mut answer = json!({
            "accessList": wanted.access_list,
            "gasUsed": U64::from(outcome.gas_used),
        });
        if let (Err(error), Some(answer)) = (returned(&outcome), answer.as_object_mut()) {
            answer.insert("error".to_owned(), json!(error.message));
        }
        Ok(answer)
    }
}

/// What a call returned, or its failure as wallets expect it: code 3 with the revert's data.
fn returned(outcome: &Outcome) -> Result<&Bytes, RpcError> {
    match &outcome.ended {
        Ended::Returned(output) => Ok(output),
        Ended::Reverted(data) => {
            let message = match Revert::abi_decode(data) {
                Ok(revert) => format!("execution reverted: {}", revert.reason),
                Err(_) => "execution reverted".to_owned(),
            };
            Err(RpcError {
                code: 3,
                message,
                data: Some(data.clone()),
            })
        }
        Ended::Halted(reason) => Err(RpcError::new(-32_000, format!("EVM error {reason}"))),
        Ended::Invalid(reason) => Err(RpcError::new(-32_000, reason.clone())),
    }
}
