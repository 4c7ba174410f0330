//! Ethereum's JSON-RPC, answered from what is proved.
//!
//! A question is a [`Task`]. Each step either answers it, fails it, or names what is missing; the driver fetches that from
//! any source, gives it to [`Verifier::accept`], which judges it, and takes the next step. Rounds and fetches are bounded.
//! What cannot be proved is refused, or carries [`Trust::Hint`] or [`Trust::Unknown`].

mod blocks;
mod calls;
mod fees;
mod filters;
mod logs;
mod params;
mod show;
mod state;

use std::collections::BTreeMap;

use alloy_consensus::Header as BlockHeader;
use alloy_primitives::{B256, Bytes, U64, keccak256};
use serde_json::{Value, json};
use thiserror::Error;

use crate::execution::{Knowledge, Lie, Need};
use filters::Filters;
use params::Params;

/// Rounds of fetching that one question may take.
const ROUNDS_MAX: u32 = 48;
/// Things fetched for one question.
const FETCHES_MAX: usize = 8_192;

/// How far an answer can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Proved under a finalized header.
    Finalized,
    /// Proved under a header that a majority signed; it may still be replaced.
    Optimistic,
    /// Known without asking anybody.
    Local,
    /// Some source says so.
    Hint,
    /// A source has nothing, which proves nothing.
    Unknown,
}

impl Trust {
    /// Returns the word that answers carry.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Finalized => "finalized",
            Self::Optimistic => "optimistic",
            Self::Local => "local",
            Self::Hint => "hint",
            Self::Unknown => "unknown",
        }
    }
}

/// An error as JSON-RPC carries it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
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
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    fn invalid_params(message: impl std::fmt::Display) -> Self {
        Self::new(-32_602, format!("invalid params: {message}"))
    }

    fn unproved(what: &str) -> Self {
        Self::new(-32_001, format!("{what}; it cannot be proved"))
    }

    fn unknown_method(method: &str) -> Self {
        Self::new(
            -32_601,
            format!("the method {method} does not exist/is not available"),
        )
    }
}

/// Why a step has no answer yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// These must be fetched first.
    Need(Vec<Need>),
    /// There is none.
    Fail(RpcError),
}

impl From<RpcError> for Stop {
    fn from(error: RpcError) -> Self {
        Self::Fail(error)
    }
}

pub(crate) type Answer = Result<(Value, Trust), Stop>;

/// The execution blocks that the consensus core vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The newest that a majority signed.
    pub latest: B256,
    /// The newest that is final.
    pub finalized: B256,
}

/// One question on its way.
#[derive(Clone, Debug)]
pub struct Task {
    method: String,
    params: Value,
    /// What the question means by `latest`, so that all of it is read at one block.
    heads: Heads,
    hints: BTreeMap<Need, Value>,
    rounds: u32,
    fetches: usize,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The answer.
    Done(Value, Trust),
    /// Fetch these, then take the next step.
    Fetch(Vec<Need>),
}

/// Answers questions from what is proved.
#[derive(Clone, Debug)]
pub struct Verifier {
    chain_id: u64,
    known: Knowledge,
    filters: Filters,
}

impl Verifier {
    /// A verifier that knows nothing yet.
    #[must_use]
    pub fn new(chain_id: u64) -> Self {
        Self {
            chain_id,
            known: Knowledge::default(),
            filters: Filters::default(),
        }
    }

    /// Returns what is known.
    #[must_use]
    pub const fn known(&self) -> &Knowledge {
        &self.known
    }

    /// Begins a question.
    #[must_use]
    pub fn begin(&self, method: &str, params: &Value, heads: Heads) -> Task {
        Task {
            method: method.to_owned(),
            params: params.clone(),
            heads,
            hints: BTreeMap::new(),
            rounds: 0,
            fetches: 0,
        }
    }

    /// Judges a source's answer to a need.
    ///
    /// # Errors
    ///
    /// Names the check that fails; ask another source then.
    pub fn accept(&mut self, task: &mut Task, need: &Need, answer: Value) -> Result<(), Lie> {
        self.known.accept(need, &answer)?;
        if need.is_hint() {
            task.hints.insert(need.clone(), answer);
        }
        Ok(())
    }

    /// Takes the next step of a question.
    ///
    /// # Errors
    ///
    /// The error to answer with.
    pub fn step(&mut self, task: &mut Task) -> Result<Step, RpcError> {
        let params = task.params.clone();
        let params = Params::new(&params)?;
        match self.answer(task, &params) {
            Ok((value, trust)) => Ok(Step::Done(value, trust)),
            Err(Stop::Fail(error)) => Err(error),
            Err(Stop::Need(needs)) => {
                task.rounds = task.rounds.saturating_add(1);
                task.fetches = task.fetches.saturating_add(needs.len());
                if task.rounds > ROUNDS_MAX || task.fetches > FETCHES_MAX {
                    return Err(RpcError::new(
                        -32_005,
                        "the question needs more proofs than a phone fetches for one; ask for less",
                    ));
                }
                Ok(Step::Fetch(needs))
            }
        }
    }

    fn answer(&mut self, task: &Task, params: &Params<'_>) -> Answer {
        let local = |value: Value| Ok((value, Trust::Local));
        match task.method.as_str() {
            "web3_clientVersion" => local(json!(concat!(
                "smartmesh-light/",
                env!("CARGO_PKG_VERSION")
            ))),
            "web3_sha3" => local(json!(keccak256(params.take::<Bytes>(0)?))),
            "net_version" => local(json!(self.chain_id.to_string())),
            "net_listening" => local(json!(true)),
            "net_peerCount" => local(json!("0x0")),
            "eth_chainId" => local(json!(U64::from(self.chain_id))),
            "eth_syncing" => local(json!(false)),
            "eth_accounts" => local(json!([])),
            "eth_blockNumber" => {
                let header = self.header(task.heads.latest)?;
                Ok((json!(U64::from(header.number)), Trust::Optimistic))
            }
            "eth_getBalance"
            | "eth_getTransactionCount"
            | "eth_getCode"
            | "eth_getStorageAt"
            | "eth_getProof" => self.state(task, params),
            "eth_call" | "eth_estimateGas" | "eth_createAccessList" => self.calls(task, params),
            "eth_getBlockByNumber"
            | "eth_getBlockByHash"
            | "eth_getHeaderByNumber"
            | "eth_getHeaderByHash"
            | "eth_getBlockTransactionCountByNumber"
            | "eth_getBlockTransactionCountByHash"
            | "eth_getUncleCountByBlockNumber"
            | "eth_getUncleCountByBlockHash"
            | "eth_getBlockReceipts"
            | "eth_getTransactionByHash"
            | "eth_getTransactionReceipt"
            | "eth_getTransactionByBlockNumberAndIndex"
            | "eth_getTransactionByBlockHashAndIndex"
            | "eth_getRawTransactionByHash" => self.blocks(task, params),
            "eth_getLogs" => self.logs(task, params.get(0).unwrap_or(&Value::Null)),
            "eth_newFilter"
            | "eth_newBlockFilter"
            | "eth_getFilterChanges"
            | "eth_getFilterLogs"
            | "eth_uninstallFilter" => self.filter(task, params),
            "eth_gasPrice"
            | "eth_maxPriorityFeePerGas"
            | "eth_feeHistory"
            | "eth_blobBaseFee"
            | "eth_sendRawTransaction" => self.fees(task, params),
            method => Err(RpcError::unknown_method(method).into()),
        }
    }

    fn header(&self, hash: B256) -> Result<&BlockHeader, Stop> {
        self.known
            .header(hash)
            .ok_or_else(|| Stop::Need(vec![Need::Header(hash)]))
    }

    /// Whether a block is final, as far as the heads tell.
    fn trust_of(&self, task: &Task, number: u64) -> Trust {
        let is_final = self
            .known
            .header(task.heads.finalized)
            .is_some_and(|header| number <= header.number);
        if is_final {
            Trust::Finalized
        } else {
            Trust::Optimistic
        }
    }
}

fn hint<'a>(task: &'a Task, need: &Need) -> Result<&'a Value, Stop> {
    task.hints
        .get(need)
        .ok_or_else(|| Stop::Need(vec![need.clone()]))
}
