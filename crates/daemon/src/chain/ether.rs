//! The questions that are asked, and their answers as values.

use alloy_primitives::{Address, B256, Bloom, BloomInput, Bytes, LogData, U64, U256};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use smartmesh_contracts::Deployment;

use super::endpoint::{Endpoint, EndpointError};

/// What is needed of a block's header.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    number: U64,
    timestamp: U64,
    pub(super) hash: B256,
    pub(super) parent_hash: B256,
    base_fee_per_gas: Option<U64>,
    logs_bloom: Bloom,
}

impl Header {
    pub(super) fn number(&self) -> u64 {
        self.number.to()
    }

    pub(super) fn time(&self) -> u64 {
        self.timestamp.to()
    }

    pub(super) fn base_fee(&self) -> u128 {
        self.base_fee_per_gas.map_or(0, |fee| fee.to())
    }

    pub(super) fn may_hold_logs_of(&self, address: &Address) -> bool {
        let input = BloomInput::Raw(address.as_slice());
        self.logs_bloom.contains_input(input)
    }
}

/// A log with its place.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Log {
    pub(super) address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_number: U64,
    log_index: U64,
    pub(super) transaction_hash: B256,
    #[serde(default)]
    pub(super) removed: bool,
}

impl Log {
    pub(super) fn block(&self) -> u64 {
        self.block_number.to()
    }

    pub(super) fn index(&self) -> u64 {
        self.log_index.to()
    }

    pub(super) fn into_data(self) -> LogData {
        LogData::new_unchecked(self.topics, self.data)
    }
}

/// What became of a transaction.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Receipt {
    block_number: U64,
    status: U64,
}

impl Receipt {
    pub(super) fn block(&self) -> u64 {
        self.block_number.to()
    }

    pub(super) fn succeeded(&self) -> bool {
        self.status == U64::from(1)
    }
}

/// Which logs are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Range {
    Numbers(u64, u64),
    Block(B256),
}

impl Endpoint {
    fn value<T: DeserializeOwned>(&self, method: &str, params: &Value) -> Result<T, EndpointError> {
        let answer = self.ask(method, params)?;
        T::deserialize(answer)
            .map_err(|error| EndpointError::Rubbish(format!("to {method}: {error}")))
    }

    fn number(&self, method: &str, params: &Value) -> Result<u64, EndpointError> {
        self.value::<U64>(method, params).map(|number| number.to())
    }

    pub(super) fn chain_id(&self) -> Result<u64, EndpointError> {
        self.number("eth_chainId", &json!([]))
    }

    pub(super) fn head(&self) -> Result<Header, EndpointError> {
        self.value("eth_getBlockByNumber", &json!(["latest", false]))
    }

    /// The header of a block of the chain; `None` if it is not that long.
    pub(super) fn header(&self, number: u64) -> Result<Option<Header>, EndpointError> {
        let number = U64::from(number);
        self.value("eth_getBlockByNumber", &json!([number, false]))
    }

    /// Logs of contracts; `topics` as `eth_getLogs` takes them.
    pub(super) fn logs(
        &self,
        range: Range,
        addresses: &[Address],
        topics: &Value,
    ) -> Result<Vec<Log>, EndpointError> {
        let mut filter = json!({ "address": addresses, "topics": topics });
        let range = match range {
            Range::Numbers(from, to) => {
                json!({ "fromBlock": U64::from(from), "toBlock": U64::from(to) })
            }
            Range::Block(hash) => json!({ "blockHash": hash }),
        };
        if let (Some(filter), Value::Object(range)) = (filter.as_object_mut(), range) {
            filter.extend(range);
        }
        self.value("eth_getLogs", &json!([filter]))
    }

    pub(super) fn wei(&self, account: Address) -> Result<U256, EndpointError> {
        self.value("eth_getBalance", &json!([account, "latest"]))
    }

    /// The nonce after all blocks, or after all that waits too.
    pub(super) fn nonce(&self, account: Address, at: &str) -> Result<u64, EndpointError> {
        self.number("eth_getTransactionCount", &json!([account, at]))
    }

    pub(super) fn tip(&self) -> Result<u128, EndpointError> {
        let tip: U256 = self.value("eth_maxPriorityFeePerGas", &json!([]))?;
        u128::try_from(tip).map_err(|_| EndpointError::Rubbish("an absurd tip".to_owned()))
    }

    pub(super) fn estimate(
        &self,
        from: Address,
        to: Address,
        value: U256,
        data: &Bytes,
    ) -> Result<u64, EndpointError> {
        let call = json!({ "from": from, "to": to, "value": value, "data": data });
        self.number("eth_estimateGas", &json!([call]))
    }

    pub(super) fn call(&self, to: Address, data: &Bytes) -> Result<Bytes, EndpointError> {
        let call = json!({ "to": to, "data": data });
        self.value("eth_call", &json!([call, "latest"]))
    }

    pub(super) fn send(&self, raw: &Bytes) -> Result<B256, EndpointError> {
        self.value("eth_sendRawTransaction", &json!([raw]))
    }

    pub(super) fn receipt(&self, hash: B256) -> Result<Option<Receipt>, EndpointError> {
        self.value("eth_getTransactionReceipt", &json!([hash]))
    }

    /// The contracts that a devnet has deployed; other chains don't know the question.
    pub(crate) fn devnet_deployment(&self) -> Result<Option<Deployment>, EndpointError> {
        self.value("smartmesh_deployment", &json!([]))
    }
}
