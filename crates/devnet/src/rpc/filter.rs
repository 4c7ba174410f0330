//! Logs, and filters that tell what is new.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bloom, BloomInput, Log, U64};
use serde_json::{Value, json};

use super::params::{At, Params, one_or_more, parse};
use super::show::{self, Chain};
use super::{Answer, RpcError, unknown_method};
use crate::chain::{Change, Devnet};

/// Filters at once; the oldest goes.
const FILTERS_MAX: usize = 1_024;
/// Positions of topics.
const TOPICS_MAX: usize = 4;

/// What to look for.
#[derive(Clone, Debug, Default)]
struct Wanted {
    addresses: Vec<Address>,
    /// Alternatives for each position; none means anything.
    topics: Vec<Vec<B256>>,
}

#[derive(Clone, Debug)]
enum Kind {
    Blocks,
    Logs { wanted: Wanted, criteria: Value },
}

/// The filters of all clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    /// By id: what it wants, and how far in the journal it has been told.
    known: BTreeMap<u64, (Kind, usize)>,
    next: u64,
}

impl Wanted {
    fn parse(criteria: &Value) -> Result<Self, RpcError> {
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

impl Devnet {
    pub(super) fn filter(&mut self, method: &str, params: &Params<'_>) -> Answer {
        match method {
            "eth_getLogs" => self.logs(params.get(0).unwrap_or(&Value::Null)),
            "eth_newFilter" => {
                let criteria = params.get(0).cloned().unwrap_or(json!({}));
                let wanted = Wanted::parse(&criteria)?;
                Ok(self.add_filter(Kind::Logs { wanted, criteria }))
            }
            "eth_newBlockFilter" => Ok(self.add_filter(Kind::Blocks)),
            "eth_getFilterChanges" => self.filter_changes(params),
            "eth_getFilterLogs" => {
                let (kind, _) = self.known_filter(params)?;
                match kind {
                    Kind::Logs { criteria, .. } => self.logs(criteria),
                    Kind::Blocks => Err(RpcError::new(-32_000, "filter not found")),
                }
            }
            "eth_uninstallFilter" => {
                let id: U64 = params.take(0)?;
                Ok(json!(self.filters.known.remove(&id.to()).is_some()))
            }
            _ => Err(unknown_method(method)),
        }
    }

    fn logs(&self, criteria: &Value) -> Answer {
        let wanted = Wanted::parse(criteria)?;
        if let Some(hash) = criteria.get("blockHash").filter(|hash| !hash.is_null()) {
            let block = self
                .block_by_hash(parse(hash)?)
                .ok_or_else(RpcError::unknown_block)?;
            let logs = show::logs(block, Chain::Holds, |log| wanted.accepts(log));
            return Ok(json!(logs));
        }
        let head = self.head().header.number;
        let number = |name: &str| match criteria.get(name).filter(|tag| !tag.is_null()) {
            None => Ok(head),
            Some(tag) => match self.at(Some(tag)) {
                Ok(At::Block(block)) => Ok(block.header.number),
                Ok(At::Pending) => Ok(head),
                // Beyond the newest block nothing has happened yet.
                Err(error) if error == RpcError::unknown_block() => Ok(head.saturating_add(1)),
                Err(error) => Err(error),
            },
        };
        let (from, to) = (number("fromBlock")?, number("toBlock")?);
        if from > to {
            return Err(RpcError::invalid_params("fromBlock is after toBlock"));
        }
        let blocks = (from..=to)
            .map_while(|number| self.block(number))
            .filter(|block| wanted.may_be_in(&block.header.logs_bloom));
        let logs =
            blocks.flat_map(|block| show::logs(block, Chain::Holds, |log| wanted.accepts(log)));
        Ok(logs.collect())
    }

    fn add_filter(&mut self, kind: Kind) -> Value {
        let told = self.journal().len();
        self.filters.next = self.filters.next.saturating_add(1);
        let id = self.filters.next;
        self.filters.known.insert(id, (kind, told));
        while self.filters.known.len() > FILTERS_MAX {
            self.filters.known.pop_first();
        }
        json!(U64::from(id))
    }

    fn known_filter(&self, params: &Params<'_>) -> Result<&(Kind, usize), RpcError> {
        let id: U64 = params.take(0)?;
        self.filters
            .known
            .get(&id.to())
            .ok_or_else(|| RpcError::new(-32_000, "filter not found"))
    }

    fn filter_changes(&mut self, params: &Params<'_>) -> Answer {
        let (kind, told) = self.known_filter(params)?;
        let mut news = Vec::new();
        for change in self.journal().iter().skip(*told) {
            match (kind, change) {
                (Kind::Blocks, Change::Added(block)) => news.push(json!(block.hash)),
                (Kind::Blocks, Change::Removed(_)) => {}
                (Kind::Logs { wanted, .. }, Change::Added(block)) => {
                    news.extend(show::logs(block, Chain::Holds, |log| wanted.accepts(log)));
                }
                (Kind::Logs { wanted, .. }, Change::Removed(block)) => {
                    news.extend(show::logs(block, Chain::LeftIt, |log| wanted.accepts(log)));
                }
            }
        }
        let id: U64 = params.take(0)?;
        let told = self.journal().len();
        if let Some((_, position)) = self.filters.known.get_mut(&id.to()) {
            *position = told;
        }
        Ok(json!(news))
    }
}
