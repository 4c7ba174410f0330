//! Methods of development chains, by the names that anvil and hardhat gave them.

use alloy_primitives::{Address, Bytes, U64, U256};
use serde_json::{Value, json};

use super::params::{Params, hash, number, word};
use super::{Answer, RpcError, unknown_method};
use crate::chain::{Devnet, Mining, Orphans};

/// Blocks that one request may mine.
const MINE_MAX: u64 = 65_536;

impl Devnet {
    pub(super) fn control(&mut self, method: &str, params: &Params<'_>, now: u64) -> Answer {
        let (_, name) = method.split_once('_').unwrap_or_default();
        match name {
            "snapshot" => Ok(json!(U64::from(self.snapshot()))),
            "revert" => {
                let id = required(params, 0)?;
                Ok(json!(self.revert(id)))
            }
            "increaseTime" => {
                let seconds = required(params, 0)?;
                Ok(json!(self.increase_time(seconds)))
            }
            "setNextBlockTimestamp" => {
                let timestamp = required(params, 0)?;
                self.set_next_timestamp(timestamp, now)
                    .map_err(RpcError::invalid_params)?;
                Ok(Value::Null)
            }
            "setNextBlockBaseFeePerGas" => {
                let wei = required(params, 0)?;
                self.set_next_base_fee(wei);
                Ok(Value::Null)
            }
            "mine" => self.mine_asked(method, params, now),
            "setAutomine" => {
                let auto: bool = params.take(0)?;
                self.set_mining(if auto { Mining::Auto } else { Mining::Manual });
                Ok(Value::Null)
            }
            "getAutomine" => Ok(json!(self.mining() == Mining::Auto)),
            "setIntervalMining" => {
                self.set_mining(match required(params, 0)? {
                    0 => Mining::Manual,
                    seconds => Mining::Interval(seconds),
                });
                Ok(Value::Null)
            }
            "reorg" => {
                let depth = required(params, 0)?;
                self.reorg(depth, Orphans::Requeue, now);
                Ok(Value::Null)
            }
            "rollback" => {
                let depth = params.number(0)?.unwrap_or(1);
                self.rollback(depth, Orphans::Forget);
                Ok(Value::Null)
            }
            "dropTransaction" => {
                let hash = hash(params, 0)?;
                Ok(self
                    .drop_waiting(hash)
                    .then_some(hash)
                    .map_or(Value::Null, |hash| json!(hash)))
            }
            "dropAllTransactions" => {
                self.drop_all_waiting();
                Ok(Value::Null)
            }
            "setBalance" | "setCode" | "setNonce" | "setStorageAt" => {
                self.set_account(name, params)
            }
            _ => Err(unknown_method(method)),
        }
    }

    /// What only this chain has: its contracts, and a tap.
    pub(super) fn ours(&mut self, method: &str, params: &Params<'_>, now: u64) -> Answer {
        if method == "smartmesh_fund" {
            let who: Address = params.take(0)?;
            let wei: U256 = params.take(1)?;
            let smt: U256 = params.take(2)?;
            self.fund(who, wei, smt, now)?;
            return Ok(json!(true));
        }
        Ok(self.deployment().map_or(Value::Null, |made| {
            json!({
                "chain_id": made.chain_id,
                "block": made.block,
                "smt": made.smt,
                "conditions": made.conditions,
                "channels": made.channels,
                "chequebook": made.chequebook,
                "rewards": made.rewards,
            })
        }))
    }

    fn mine_asked(&mut self, method: &str, params: &Params<'_>, now: u64) -> Answer {
        if method == "evm_mine" {
            // The one parameter is a timestamp, bare or in an object.
            let given = params.get(0);
            let timestamp = given
                .map(|given| given.get("timestamp").unwrap_or(given))
                .filter(|given| !given.is_object());
            if let Some(timestamp) = timestamp {
                self.set_next_timestamp(number(timestamp)?, now)
                    .map_err(RpcError::invalid_params)?;
            }
            self.mine(now);
            return Ok(json!("0x0"));
        }
        let count = params.number(0)?.unwrap_or(1);
        let interval = params.number(1)?;
        if count > MINE_MAX {
            return Err(RpcError::invalid_params("too many blocks"));
        }
        for block in 0..count {
            if let (Some(interval), true) = (interval, block > 0) {
                let next = self.head().header.timestamp.saturating_add(interval.max(1));
                self.set_next_timestamp(next, now)
                    .map_err(RpcError::invalid_params)?;
            }
            self.mine(now);
        }
        Ok(Value::Null)
    }

    fn set_account(&mut self, name: &str, params: &Params<'_>) -> Answer {
        let address: Address = params.take(0)?;
        match name {
            "setBalance" => {
                let wei: U256 = params.take(1)?;
                self.set_balance(address, wei);
            }
            "setCode" => {
                let code: Bytes = params.take(1)?;
                self.change_account(address, |account| account.set_code(code));
            }
            "setNonce" => {
                let nonce = required(params, 1)?;
                self.change_account(address, |account| account.nonce = nonce);
            }
            _ => {
                let slot = word(params.get(1).unwrap_or(&Value::Null))?;
                let value = word(params.get(2).unwrap_or(&Value::Null))?;
                self.change_storage(address, slot, value);
            }
        }
        Ok(json!(true))
    }
}

fn required(params: &Params<'_>, at: usize) -> Result<u64, RpcError> {
    params
        .number(at)?
        .ok_or_else(|| RpcError::invalid_params(format!("parameter {at} is missing")))
}
