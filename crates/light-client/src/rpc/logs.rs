//! Logs, complete by proof: each block of the range either proves by its bloom that it has none, or shows all its receipts.

use alloy_primitives::{Address, B256, Bloom, BloomInput, Log};
use serde_json::{Value, json};

use super::params::{Block, one_or_more, parse};
use super::show::{self, Chain};
use super::{Answer, RpcError, Stop, Task, Trust, Verifier};
use crate::execution::{Need, first_log};

/// Positions of topics.
const TOPICS_MAX: usize = 4;
/// Blocks of one question.
const RANGE_MAX: u64 = 4_096;
/// Things asked for at once.
const BATCH_MAX: usize = 256;

/// What to look for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    addresses: Vec<Address>,
    /// Alternatives for each position; none means anything.
    topics: Vec<Vec<B256>>,
}

impl Wanted {
    pub(super) fn parse(criteria: &Value) -> Result<Self, RpcError> {
        let part = |name: &str| criteria.get(name).unwrap_or(&Value::Null);
        let topics = match part("topics") {
            Value::Null => Vec::new(),
            Value::Array(positions) if positions.len() <= TOPICS_MAX => positions
                .iter()
                .map(one_or_more)
                .collect::<Result<_, _>>()?,
            Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_)
            | Value::Array(_) => {
                return Err(RpcError::invalid_params(
                    "topics are a list of at most four",
                ));
            }
        };
        Ok(Self {
            addresses: one_or_more(part("address"))?,
            topics,
        })
    }

    fn accepts(&self, log: &Log) -> bool {
        let address = self.addresses.is_empty() || self.addresses.contains(&log.address);
        address
            && self.topics.iter().enumerate().all(|(at, any)| {
                any.is_empty()
                    || log
                        .topics()
                        .get(at)
                        .is_some_and(|topic| any.contains(topic))
            })
    }

    /// Whether a block with this bloom may hold such a log.
    fn may_be_in(&self, bloom: &Bloom) -> bool {
        let has = |raw: &[u8]| bloom.contains_input(BloomInput::Raw(raw));
        let address =
            self.addresses.is_empty() || self.addresses.iter().any(|one| has(one.as_slice()));
        let mut topics = self.topics.iter();
        address && topics.all(|any| any.is_empty() || any.iter().any(|one| has(one.as_slice())))
    }
}

impl Verifier {
    pub(super) fn logs(&self, task: &Task, criteria: &Value) -> Answer {
        let wanted = Wanted::parse(criteria)?;
        if let Some(hash) = criteria.get("blockHash").filter(|hash| !hash.is_null()) {
            let block = self.canonical(task, parse(hash)?)?;
            let found = self.logs_of(&block, &wanted, Chain::Holds)?;
            return Ok((json!(found), block.trust));
        }
        let newest = self.header(task.heads.latest)?.number;
        let number = |name: &str| -> Result<u64, Stop> {
            let tag = criteria.get(name).filter(|tag| !tag.is_null());
            // Beyond the newest block nothing has happened yet.
            Ok(match tag {
                None => newest,
                Some(tag) => self
                    .find_number(task, tag)?
                    .unwrap_or(newest.saturating_add(1)),
            })
        };
        let (from, to) = (number("fromBlock")?, number("toBlock")?);
        if from > to {
            return Err(RpcError::invalid_params("fromBlock is after toBlock").into());
        }
        let to = to.min(newest);
        if to.saturating_sub(from) >= RANGE_MAX {
            let message = format!("more than {RANGE_MAX} blocks; ask for less");
            return Err(RpcError::new(-32_005, message).into());
        }
        self.logs_between(task, &wanted, from, to)
    }

    fn find_number(&self, task: &Task, tag: &Value) -> Result<Option<u64>, Stop> {
        if let Ok(number) = super::params::number(tag) {
            return Ok(Some(number));
        }
        let block = self.find_block(task, Some(tag))?;
        Ok(block.map(|block| block.header.number))
    }

    /// The logs of a range of blocks, by the chain of their parent hashes: none can be left out.
    pub(super) fn logs_between(&self, task: &Task, wanted: &Wanted, from: u64, to: u64) -> Answer {
        let (mut needs, mut found) = (Vec::new(), Vec::new());
        let mut trust = Trust::Finalized;
        for number in from..=to {
            let step = self.logs_of_number(task, wanted, number);
            match step {
                Ok(Some((logs, of_block))) => {
                    found.extend(logs);
                    trust = trust.max(of_block);
                }
                Ok(None) => break,
                Err(Stop::Need(more)) => {
                    needs.extend(
                        more.into_iter()
                            .filter(|one| !needs.contains(one))
                            .collect::<Vec<_>>(),
                    );
                    if needs.len() >= BATCH_MAX {
                        break;
                    }
                }
                Err(stop) => return Err(stop),
            }
        }
        if needs.is_empty() {
            Ok((json!(found), trust))
        } else {
            Err(Stop::Need(needs))
        }
    }

    fn logs_of_number(
        &self,
        task: &Task,
        wanted: &Wanted,
        number: u64,
    ) -> Result<Option<(Vec<Value>, Trust)>, Stop> {
        let Some(hash) = self.hash_of(task, number)? else {
            return Ok(None);
        };
        let block = self.block(task, hash)?;
        let logs = self.logs_of(&block, wanted, Chain::Holds)?;
        Ok(Some((logs, block.trust)))
    }

    /// The wanted logs of a block.
    pub(super) fn logs_of(
        &self,
        block: &Block,
        wanted: &Wanted,
        chain: Chain,
    ) -> Result<Vec<Value>, Stop> {
        if !wanted.may_be_in(&block.header.logs_bloom) {
            return Ok(Vec::new());
        }
        let receipts = self.receipts(block)?;
        let any = receipts
            .iter()
            .flat_map(|receipt| receipt.logs())
            .any(|log| wanted.accepts(log));
        if !any {
            return Ok(Vec::new());
        }
        // Only to name the transactions.
        let body = self
            .known
            .body(block.hash)
            .ok_or_else(|| Stop::Need(vec![Need::Body(block.hash)]))?;
        let mut found = Vec::new();
        for (at, (receipt, (tx, _))) in receipts.iter().zip(body).enumerate() {
            for (place, log) in (first_log(receipts, at)..).zip(receipt.logs()) {
                if wanted.accepts(log) {
                    found.push(show::log(block, at, *tx, place, log, chain));
                }
            }
        }
        Ok(found)
    }
}
