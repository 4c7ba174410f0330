//! The chain's JSON-RPC 2.0: bytes of a request in, bytes of the answer out.
//!
//! Methods of one kind are in one file: `read` (blocks, transactions, state), `run` (calls and estimates), `filter` (logs and
//! filters), `control` (what only a development chain does). Messages of errors are geth's where wallets look at them.

mod control;
mod filter;
mod params;
mod read;
mod run;
mod show;

use alloy_primitives::{Bytes, U64};
use serde_json::{Value, json};

use crate::chain::Devnet;
use crate::execute::Invalid;
pub(crate) use filter::Filters;
use params::Params;

/// Requests in one batch.
const BATCH_MAX: usize = 1_000;
/// Bytes of one request.
const REQUEST_BYTES_MAX: usize = 8 << 20;

/// An error as JSON-RPC carries it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// JSON-RPC's or geth's code.
    pub code: i64,
    /// What was wrong.
    pub message: String,
    /// What a reverted call returned.
    pub data: Option<Bytes>,
}

impl RpcError {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    fn invalid_params(message: impl std::fmt::Display) -> Self {
        Self::new(-32_602, format!("invalid params: {message}"))
    }

    fn state_gone() -> Self {
        Self::new(-32_000, "the state of this block is not kept any more")
    }

    fn unknown_block() -> Self {
        Self::new(-32_001, "header not found")
    }
}

impl From<Invalid> for RpcError {
    fn from(invalid: Invalid) -> Self {
        Self::new(-32_000, invalid.0)
    }
}

type Answer = Result<Value, RpcError>;

impl Devnet {
    /// Answers one request or a batch of them; `now` is the driver's time in Unix seconds.
    #[must_use]
    pub fn handle(&mut self, request: &[u8], now: u64) -> Vec<u8> {
        self.tick(now);
        let answer = if request.len() > REQUEST_BYTES_MAX {
            failed(&Value::Null, &RpcError::new(-32_600, "request too large"))
        } else {
            match serde_json::from_slice(request) {
                Ok(Value::Array(batch)) if batch.is_empty() || batch.len() > BATCH_MAX => failed(
                    &Value::Null,
                    &RpcError::new(-32_600, "batch empty or too large"),
                ),
                Ok(Value::Array(batch)) => batch.iter().map(|one| self.answer(one, now)).collect(),
                Ok(one) => self.answer(&one, now),
                Err(error) => failed(
                    &Value::Null,
                    &RpcError::new(-32_700, format!("parse error: {error}")),
                ),
            }
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    fn answer(&mut self, request: &Value, now: u64) -> Value {
        let id = request.get("id").unwrap_or(&Value::Null);
        let Some(method) = request.get("method").and_then(Value::as_str) else {
            return failed(id, &RpcError::new(-32_600, "invalid request"));
        };
        let params = request.get("params").unwrap_or(&Value::Null);
        match self.call(method, params, now) {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(error) => failed(id, &error),
        }
    }

    /// Calls one method with its parameters.
    ///
    /// # Errors
    /// As JSON-RPC tells them.
    pub fn call(&mut self, method: &str, params: &Value, now: u64) -> Result<Value, RpcError> {
        let params = Params::new(params)?;
        match method {
            "web3_clientVersion" => Ok(json!(concat!(
                "smartmesh-devnet/",
                env!("CARGO_PKG_VERSION")
            ))),
            "web3_sha3" => {
                let bytes: Bytes = params.take(0)?;
                Ok(json!(alloy_primitives::keccak256(bytes)))
            }
            "net_version" => Ok(json!(self.chain_id().to_string())),
            "net_listening" => Ok(json!(true)),
            "net_peerCount" => Ok(json!("0x0")),
            "eth_chainId" => Ok(json!(U64::from(self.chain_id()))),
            "eth_syncing" => Ok(json!(false)),
            "eth_accounts" => Ok(json!([])),
            "eth_sendRawTransaction" => {
                let raw: Bytes = params.take(0)?;
                Ok(json!(self.send(&raw, now)?))
            }
            "eth_blockNumber"
            | "eth_getBalance"
            | "eth_getTransactionCount"
            | "eth_getCode"
            | "eth_getStorageAt"
            | "eth_getProof"
            | "eth_getBlockByNumber"
            | "eth_getBlockByHash"
            | "eth_getHeaderByNumber"
            | "eth_getBlockReceipts"
            | "eth_getBlockTransactionCountByNumber"
            | "eth_getBlockTransactionCountByHash"
            | "eth_getUncleCountByBlockNumber"
            | "eth_getUncleCountByBlockHash"
            | "eth_getTransactionByHash"
            | "eth_getTransactionReceipt"
            | "eth_getTransactionByBlockNumberAndIndex"
            | "eth_getTransactionByBlockHashAndIndex"
            | "eth_getRawTransactionByHash"
            | "debug_getRawHeader"
            | "debug_getRawReceipts"
            | "debug_getRawTransaction"
            | "txpool_status" => self.read(method, &params, now),
            "eth_call"
            | "eth_estimateGas"
            | "eth_createAccessList"
            | "eth_gasPrice"
            | "eth_maxPriorityFeePerGas"
            | "eth_feeHistory"
            | "eth_blobBaseFee" => self.run(method, &params, now),
            "eth_getLogs"
            | "eth_newFilter"
            | "eth_newBlockFilter"
            | "eth_getFilterChanges"
            | "eth_getFilterLogs"
            | "eth_uninstallFilter" => self.filter(method, &params),
            "smartmesh_deployment" | "smartmesh_fund" => self.ours(method, &params, now),
            _ if method.starts_with("evm_")
                || method.starts_with("anvil_")
                || method.starts_with("hardhat_") =>
            {
                self.control(method, &params, now)
            }
            _ => Err(unknown_method(method)),
        }
    }
}

fn unknown_method(method: &str) -> RpcError {
    RpcError::new(
        -32_601,
        format!("the method {method} does not exist/is not available"),
    )
}

fn failed(id: &Value, error: &RpcError) -> Value {
    let mut body = json!({ "code": error.code, "message": error.message });
    if let (Some(data), Some(body)) = (&error.data, body.as_object_mut()) {
        body.insert("data".to_owned(), json!(data));
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": body })
}

#[cfg(test)]
mod tests;
