//! Calls that nobody signs, and what a transaction will cost.

use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, TxKind, U64, U256};
use alloy_sol_types::{Revert, SolError};
use revm::precompile::u64_to_address;
use serde_json::{Value, json};

use super::params::{self, Params, number};
use super::{Answer, RpcError, unknown_method};
use crate::chain::Devnet;
use crate::execute::{self, Call, Ended, Outcome};
use crate::state::View;

/// Tip that `eth_maxPriorityFeePerGas` suggests, in wei: nobody competes for room here.
const TIP: u64 = 1_000_000_000;
/// Blocks of one fee history.
const HISTORY_MAX: u64 = 1_024;
/// Precompiles are the addresses up to this one, and EIP-7951's.
const PRECOMPILES: u64 = 0x11;
const P256_VERIFY: u64 = 0x100;

impl Devnet {
    pub(super) fn run(&self, method: &str, params: &Params<'_>, now: u64) -> Answer {
        match method {
            "eth_call" => {
                let outcome = self.try_call(params, None, now)?;
                Ok(json!(returned(&outcome)?))
            }
            "eth_estimateGas" => self.estimate(params, now),
            "eth_createAccessList" => self.create_access_list(params, now),
            "eth_gasPrice" => {
                let base_fee = self.next_header(now).base_fee_per_gas.unwrap_or_default();
                Ok(json!(U64::from(base_fee.saturating_add(TIP))))
            }
            "eth_maxPriorityFeePerGas" => Ok(json!(U64::from(TIP))),
            "eth_blobBaseFee" => Ok(json!("0x1")),
            "eth_feeHistory" => self.fee_history(params, now),
            _ => Err(unknown_method(method)),
        }
    }

    fn try_call(
        &self,
        params: &Params<'_>,
        gas: Option<u64>,
        now: u64,
    ) -> Result<Outcome, RpcError> {
        let mut call = params::call(params.get(0).unwrap_or(&Value::Null))?;
        call.gas = gas.or(call.gas);
        self.run_call(params, &call, now)
    }

    fn run_call(&self, params: &Params<'_>, call: &Call, now: u64) -> Result<Outcome, RpcError> {
        let (number, header) = self.header_at(params.get(1), now)?;
        let view = View {
            state: self.state_at(number).ok_or_else(RpcError::state_gone)?,
            hashes: self.hashes(),
        };
        Ok(execute::call(view, &header, self.chain_id(), call)?)
    }

    /// The least gas with which the transaction does what it should, by halving.
    fn estimate(&self, params: &Params<'_>, now: u64) -> Answer {
        let (_, header) = self.header_at(params.get(1), now)?;
        let most = execute::call_gas_max(&header);
        let given = params::call(params.get(0).unwrap_or(&Value::Null))?.gas;
        let mut enough = given.unwrap_or(most).min(most);
        let outcome = self.try_call(params, Some(enough), now)?;
        returned(&outcome)?;
        // A call needs at least what it used; what it gives back at the end it may have needed before.
        let mut too_little = outcome.gas_used.saturating_sub(1);
        while enough.saturating_sub(too_little) > 1 {
            let middle = too_little.midpoint(enough);
            let fits = self
                .try_call(params, Some(middle), now)
                .is_ok_and(|outcome| matches!(outcome.result, Ended::Returned(_)));
            if fits {
                enough = middle;
            } else {
                too_little = middle;
            }
        }
        Ok(json!(U64::from(enough)))
    }

    /// What a call touches, apart from what is warm anyhow (EIP-2930).
    fn create_access_list(&self, params: &Params<'_>, now: u64) -> Answer {
        let mut call = params::call(params.get(0).unwrap_or(&Value::Null))?;
        let outcome = self.run_call(params, &call, now)?;
        let (_, header) = self.header_at(params.get(1), now)?;
        let warm = |address: Address, has_slots: bool| {
            let precompile = (1..=PRECOMPILES)
                .chain([P256_VERIFY])
                .any(|number| u64_to_address(number) == address);
            let party = address == call.from
                || call.to == TxKind::Call(address)
                || address == header.beneficiary;
            precompile || (party && !has_slots)
        };
        let mut items: Vec<AccessListItem> = outcome
            .changes
            .iter()
            .map(|(address, account)| {
                let mut keys: Vec<B256> = account
                    .storage
                    .keys()
                    .map(|slot| B256::from(*slot))
                    .collect();
                keys.sort_unstable();
                (*address, keys)
            })
            .filter(|(address, keys)| !warm(*address, !keys.is_empty()))
            .map(|(address, storage_keys)| AccessListItem {
                address,
                storage_keys,
            })
            .collect();
        items.sort_unstable_by_key(|item| item.address);
        call.access_list = AccessList(items);
        let outcome = self.run_call(params, &call, now)?;
        let mut answer = json!({
            "accessList": call.access_list,
            "gasUsed": U64::from(outcome.gas_used),
        });
        if let (Err(error), Some(answer)) = (returned(&outcome), answer.as_object_mut()) {
            answer.insert("error".to_owned(), json!(error.message));
        }
        Ok(answer)
    }

    fn fee_history(&self, params: &Params<'_>, now: u64) -> Answer {
        let wanted = params.get(0).map_or(Ok(1), number)?.clamp(1, HISTORY_MAX);
        let newest = self.block_at(params.get(1))?.header.number;
        let percentiles: Vec<f64> = params.optional(2)?.unwrap_or_default();
        if !percentiles.is_sorted() || percentiles.iter().any(|one| !(0.0..=100.0).contains(one)) {
            return Err(RpcError::invalid_params(
                "percentiles must rise from 0 to 100",
            ));
        }
        let oldest = newest.saturating_sub(wanted.saturating_sub(1));
        let blocks = (oldest..=newest).filter_map(|number| self.block(number));
        let (mut fees, mut ratios, mut rewards) = (Vec::new(), Vec::new(), Vec::new());
        for block in blocks {
            let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
            fees.push(json!(U64::from(base_fee)));
            let permille = u32::try_from(
                block
                    .header
                    .gas_used
                    .saturating_mul(1_000_000)
                    .checked_div(block.header.gas_limit)
                    .unwrap_or_default(),
            );
            ratios.push(json!(f64::from(permille.unwrap_or(u32::MAX)) / 1_000_000.0));
            rewards.push(json!(tips(block, base_fee, &percentiles)));
        }
        let next = match self.block(newest.saturating_add(1)) {
            Some(block) => block.header.base_fee_per_gas,
            None => self.next_header(now).base_fee_per_gas,
        };
        fees.push(json!(U64::from(next.unwrap_or_default())));
        let blob_fees = vec!["0x1"; fees.len()];
        let mut answer = json!({
            "oldestBlock": U64::from(oldest),
            "baseFeePerGas": fees,
            "gasUsedRatio": ratios,
            "baseFeePerBlobGas": blob_fees,
            "blobGasUsedRatio": vec![0.0; ratios.len()],
        });
        if let (false, Some(answer)) = (percentiles.is_empty(), answer.as_object_mut()) {
            answer.insert("reward".to_owned(), json!(rewards));
        }
        Ok(answer)
    }
}

/// The tips at percentiles of a block's gas.
fn tips(block: &crate::Block, base_fee: u64, percentiles: &[f64]) -> Vec<U256> {
    use alloy_consensus::Transaction;
    let mut tips: Vec<(u128, u64)> = block
        .transactions
        .iter()
        .map(|one| {
            let tip = one.tx.effective_tip_per_gas(base_fee).unwrap_or_default();
            (tip, one.gas_used)
        })
        .collect();
    tips.sort_unstable();
    percentiles
        .iter()
        .map(|percentile| {
            let mut below = 0_u64;
            let reached = |gas: u64| {
                let gas = u32::try_from(gas).map_or(f64::MAX, f64::from);
                let all = u32::try_from(block.header.gas_used).map_or(f64::MAX, f64::from);
                gas * 100.0 >= all * percentile
            };
            let found = tips.iter().find(|(_, gas)| {
                below = below.saturating_add(*gas);
                reached(below)
            });
            U256::from(found.or(tips.last()).map_or(0, |(tip, _)| *tip))
        })
        .collect()
}

/// What a call returned, or its failure as wallets expect it: code 3 with the revert's data.
fn returned(outcome: &Outcome) -> Result<&alloy_primitives::Bytes, RpcError> {
    match &outcome.result {
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
    }
}
