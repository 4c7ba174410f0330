//! Filters that tell what is new.

use std::collections::BTreeMap;

use alloy_primitives::{B256, U64};
use serde_json::{Value, json};

use super::logs::Wanted;
use super::params::Params;
use super::show::Chain;
use super::{Answer, RpcError, Stop, Task, Trust, Verifier};

/// Filters at once; the oldest goes.
const FILTERS_MAX: usize = 256;
/// Blocks that a filter remembers having told, to take them back after a reorganisation.
const TOLD_MAX: usize = 64;
/// Blocks that one poll catches up with; whoever polls more rarely asks for logs instead.
const CATCH_UP_MAX: u64 = 1_024;

#[derive(Clone, Debug)]
enum Kind {
    Blocks,
    Logs { wanted: Wanted, criteria: Value },
}

#[derive(Clone, Debug)]
struct Filter {
    kind: Kind,
    /// The next block to be told.
    next: u64,
    /// The newest blocks told.
    told: BTreeMap<u64, B256>,
}

/// The filters of all clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters {
    known: BTreeMap<u64, Filter>,
    last: u64,
}

fn not_found() -> Stop {
    RpcError::new(-32_000, "filter not found").into()
}

impl Verifier {
    pub(super) fn filter(&mut self, task: &Task, params: &Params<'_>) -> Answer {
        let local = |value: Value| Ok((value, Trust::Local));
        match task.method.as_str() {
            "eth_newFilter" => {
                let criteria = params.get(0).cloned().unwrap_or(json!({}));
                let wanted = Wanted::parse(&criteria)?;
                local(self.add(task, Kind::Logs { wanted, criteria })?)
            }
            "eth_newBlockFilter" => local(self.add(task, Kind::Blocks)?),
            "eth_getFilterLogs" => match &self.known_filter(params)?.1.kind {
                Kind::Logs { criteria, .. } => self.logs(task, &criteria.clone()),
                Kind::Blocks => Err(not_found()),
            },
            "eth_uninstallFilter" => {
                let id: U64 = params.take(0)?;
                local(json!(self.filters.known.remove(&id.to()).is_some()))
            }
            _ => self.changes(task, params),
        }
    }

    fn add(&mut self, task: &Task, kind: Kind) -> Result<Value, Stop> {
        let newest = self.header(task.heads.latest)?.number;
        self.filters.last = self.filters.last.saturating_add(1);
        let filter = Filter {
            kind,
            next: newest.saturating_add(1),
            told: BTreeMap::from([(newest, task.heads.latest)]),
        };
        self.filters.known.insert(self.filters.last, filter);
        while self.filters.known.len() > FILTERS_MAX {
            self.filters.known.pop_first();
        }
        Ok(json!(U64::from(self.filters.last)))
    }

    fn known_filter(&self, params: &Params<'_>) -> Result<(u64, &Filter), Stop> {
        let id: U64 = params.take(0)?;
        let id = id.to();
        let filter = self.filters.known.get(&id).ok_or_else(not_found)?;
        Ok((id, filter))
    }

    /// What happened since the last poll; logs of blocks that left the chain come again, marked as removed.
    fn changes(&mut self, task: &Task, params: &Params<'_>) -> Answer {
        let (id, filter) = self.known_filter(params)?;
        let mut filter = filter.clone();
        let newest = self.header(task.heads.latest)?.number;
        let mut news = Vec::new();
        while let Some((number, hash)) = filter.told.last_key_value().map(|(n, h)| (*n, *h)) {
            if self.hash_of(task, number)? == Some(hash) {
                break;
            }
            if let Kind::Logs { wanted, .. } = &filter.kind
                && filter.told.len() > 1
            {
                let block = self.block(task, hash)?;
                news.extend(self.logs_of(&block, wanted, Chain::LeftIt)?);
            }
            filter.told.remove(&number);
            filter.next = number;
        }
        if newest.saturating_sub(filter.next) > CATCH_UP_MAX {
            return Err(RpcError::new(-32_005, "polled too rarely; ask for the logs").into());
        }
        for number in filter.next..=newest {
            let Some(hash) = self.hash_of(task, number)? else {
                break;
            };
            filter.told.insert(number, hash);
            if let Kind::Blocks = filter.kind {
                news.push(json!(hash));
            }
        }
        let mut trust = Trust::Optimistic;
        if let Kind::Logs { wanted, .. } = &filter.kind
            && filter.next <= newest
        {
            let (Value::Array(logs), of_logs) =
                self.logs_between(task, wanted, filter.next, newest)?
            else {
                return Err(not_found());
            };
            news.extend(logs);
            trust = of_logs;
        }
        filter.next = newest.saturating_add(1);
        while filter.told.len() > TOLD_MAX {
            filter.told.pop_first();
        }
        self.filters.known.insert(id, filter);
        Ok((json!(news), trust))
    }
}
