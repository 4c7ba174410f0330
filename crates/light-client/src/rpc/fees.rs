//! What a transaction should offer, and sending it.

use alloy_consensus::Transaction;
use alloy_eips::Decodable2718;
use alloy_primitives::{Bytes, U256, keccak256};
use serde_json::json;

use super::params::{Params, number, parse};
use super::{Answer, RpcError, Task, Trust, Verifier, hint, show};
use crate::execution::{Need, Tx};

/// The highest tip that is believed, in wei: a source must not make people pay more than this by a hint.
const TIP_MAX: u64 = 10_000_000_000;
/// Blocks of one fee history.
const HISTORY_MAX: u64 = 64;
/// The longest transaction that is sent.
const TRANSACTION_BYTES_MAX: usize = 128 << 10;

impl Verifier {
    pub(super) fn fees(&self, task: &Task, params: &Params<'_>) -> Answer {
        match task.method.as_str() {
            "eth_maxPriorityFeePerGas" => Ok((json!(tip(task)?), Trust::Hint)),
            "eth_gasPrice" => {
                // The base fee of the next block is at most an eighth more than the last one's.
                let base = self
                    .header(task.heads.latest)?
                    .base_fee_per_gas
                    .unwrap_or(0);
                let next = base.saturating_add(base / 8);
                Ok((
                    json!(tip(task)?.saturating_add(U256::from(next))),
                    Trust::Hint,
                ))
            }
            "eth_blobBaseFee" => Ok((json!("0x1"), Trust::Hint)),
            "eth_feeHistory" => self.fee_history(task, params),
            _ => self.send(task, &params.take(0)?),
        }
    }

    fn fee_history(&self, task: &Task, params: &Params<'_>) -> Answer {
        let count = params.get(0).map_or(Ok(1), number)?.clamp(1, HISTORY_MAX);
        let newest = self.block_at(task, params.get(1))?;
        let percentiles: Vec<f64> = params.optional(2)?.unwrap_or_default();
        let oldest = newest.header.number.saturating_sub(count.saturating_sub(1));
        let (mut fees, mut ratios) = (Vec::new(), Vec::new());
        for number in oldest..=newest.header.number {
            let Some(hash) = self.hash_of(task, number)? else {
                break;
            };
            let header = self.header(hash)?;
            fees.push(show::quantity(header.base_fee_per_gas.unwrap_or(0)));
            let permille = header
                .gas_used
                .saturating_mul(1_000_000)
                .checked_div(header.gas_limit)
                .and_then(|permille| u32::try_from(permille).ok());
            ratios.push(f64::from(permille.unwrap_or(0)) / 1_000_000.0);
        }
        let base = newest.header.base_fee_per_gas.unwrap_or(0);
        fees.push(show::quantity(base.saturating_add(base / 8)));
        let mut answer = json!({
            "oldestBlock": show::quantity(oldest),
            "baseFeePerGas": fees,
            "gasUsedRatio": ratios,
        });
        let mut trust = newest.trust;
        if let (false, Some(answer)) = (percentiles.is_empty(), answer.as_object_mut()) {
            let tips = vec![json!(tip(task)?); percentiles.len()];
            answer.insert("reward".to_owned(), json!(vec![tips; ratios.len()]));
            trust = Trust::Hint;
        }
        Ok((answer, trust))
    }

    /// Sends a transaction after looking at it; its hash is computed here.
    fn send(&self, task: &Task, raw: &Bytes) -> Answer {
        let refused = |message: &str| RpcError::new(-32_000, message);
        if raw.len() > TRANSACTION_BYTES_MAX {
            return Err(refused("oversized data").into());
        }
        let mut rest: &[u8] = raw;
        let tx = Tx::decode_2718(&mut rest)
            .map_err(|error| refused(&format!("malformed transaction: {error}")))?;
        if !rest.is_empty() {
            return Err(refused("bytes follow the transaction").into());
        }
        if tx.chain_id().is_some_and(|id| id != self.chain_id) {
            return Err(refused("invalid chain id for signer").into());
        }
        hint(task, &Need::Send(raw.clone()))?;
        Ok((json!(keccak256(raw)), Trust::Local))
    }
}

fn tip(task: &Task) -> Result<U256, super::Stop> {
    let told = hint(task, &Need::Tip)?;
    let told: U256 = parse(told).unwrap_or_default();
    Ok(told.min(U256::from(TIP_MAX)))
}
