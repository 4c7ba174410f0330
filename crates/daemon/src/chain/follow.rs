//! Tells what is new on the chain, in order and without gaps, and takes back what a reorganisation removed.

use std::collections::VecDeque;

use alloy_primitives::{Address, B256, LogData};
use serde_json::json;

use super::endpoint::{Endpoint, EndpointError};
use super::ether::{Header, Log, Range};

/// Blocks below the newest that are looked at one by one, because they may be replaced while we look.
const RECENT: u64 = 64;
/// Blocks of one question about older logs; endpoints that allow less say so and are asked for half.
const RANGE_MAX: u64 = 1_024;

/// One step along the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A log, before the head of its block.
    Log {
        /// Number of its block.
        block: u64,
        /// Its place in the block.
        index: u64,
        /// Its transaction.
        transaction: B256,
        /// Who emitted it.
        address: Address,
        /// Topics and data.
        data: LogData,
    },
    /// All up to this block was told.
    Head {
        /// Its number.
        block: u64,
        /// Its timestamp, Unix seconds.
        time: u64,
    },
    /// Blocks above this one are gone.
    Rollback {
        /// The last block that stays.
        to: u64,
    },
}

/// What to look for.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// Contracts all of whose logs are wanted.
    pub(super) contracts: Vec<Address>,
    /// A token and an account whose transfers are wanted.
    pub(super) token: Address,
    pub(super) account: Address,
}

/// Where we are.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    watch: Watch,
    /// The newest blocks told, oldest first, at most [`RECENT`].
    recent: VecDeque<(u64, B256)>,
    /// The next block to be told.
    next: u64,
    range: u64,
}

impl Follower {
    /// Begins with block `start`.
    pub(super) fn new(watch: Watch, start: u64) -> Self {
        Self {
            watch,
            recent: VecDeque::new(),
            next: start,
            range: RANGE_MAX,
        }
    }

    /// Takes some steps towards the newest block. What has been told stays told if a later question fails.
    pub(super) fn step(
        &mut self,
        endpoint: &Endpoint,
        head: &Header,
        facts: &mut Vec<Fact>,
    ) -> Result<(), EndpointError> {
        self.go_back(endpoint, head, facts)?;
        let old = head.number().saturating_sub(RECENT);
        if self.next < old {
            return self.step_old(endpoint, old.saturating_sub(1), facts);
        }
        while self.next <= head.number() {
            let header = if self.next == head.number() {
                Some(head.clone())
            } else {
                endpoint.header(self.next)?
            };
            let Some(header) = header.filter(|header| self.follows(header)) else {
                // The chain changed under our eyes; the next step goes back first.
                return Ok(());
            };
            self.step_recent(endpoint, &header, facts)?;
        }
        Ok(())
    }

    /// Whether everything up to this block has been told.
    pub(super) fn is_at(&self, head: &Header) -> bool {
        self.recent.back() == Some(&(head.number(), head.hash))
    }

    fn follows(&self, header: &Header) -> bool {
        header.number() == self.next
            && self
                .recent
                .back()
                .is_none_or(|(_, hash)| *hash == header.parent_hash)
    }

    /// Drops the blocks that are no longer in the chain.
    fn go_back(
        &mut self,
        endpoint: &Endpoint,
        head: &Header,
        facts: &mut Vec<Fact>,
    ) -> Result<(), EndpointError> {
        let before = self.next;
        while let Some((number, hash)) = self.recent.back().copied() {
            let there = if number == head.number() {
                Some(head.hash)
            } else if number > head.number() {
                None
            } else {
                endpoint.header(number)?.map(|header| header.hash)
            };
            if there == Some(hash) {
                break;
            }
            self.recent.pop_back();
            self.next = number;
        }
        if self.next < before {
            let to = self.next.saturating_sub(1);
            facts.push(Fact::Rollback { to });
        }
        Ok(())
    }

    /// One range of blocks that nobody replaces any more.
    fn step_old(
        &mut self,
        endpoint: &Endpoint,
        last: u64,
        facts: &mut Vec<Fact>,
    ) -> Result<(), EndpointError> {
        let to = last.min(self.next.saturating_add(self.range.saturating_sub(1)));
        let range = Range::Numbers(self.next, to);
        let logs = match self.logs(endpoint, range) {
            Err(EndpointError::Refused { .. }) if self.range > 1 => {
                self.range /= 2;
                return Ok(());
            }
            result => result?,
        };
        let Some(header) = endpoint.header(to)? else {
            return Ok(());
        };
        push(logs, self.next, to, facts)?;
        self.recent.clear();
        self.told(&header, facts);
        Ok(())
    }

    fn step_recent(
        &mut self,
        endpoint: &Endpoint,
        header: &Header,
        facts: &mut Vec<Fact>,
    ) -> Result<(), EndpointError> {
        let watched = self.watch.contracts.iter().chain([&self.watch.token]);
        let logs = if watched.into_iter().any(|one| header.may_hold_logs_of(one)) {
            self.logs(endpoint, Range::Block(header.hash))?
        } else {
            Vec::new()
        };
        push(logs, header.number(), header.number(), facts)?;
        self.told(header, facts);
        Ok(())
    }

    fn told(&mut self, header: &Header, facts: &mut Vec<Fact>) {
        facts.push(Fact::Head {
            block: header.number(),
            time: header.time(),
        });
        self.recent.push_back((header.number(), header.hash));
        if self.recent.len() > usize::try_from(RECENT).unwrap_or(usize::MAX) {
            self.recent.pop_front();
        }
        self.next = header.number().saturating_add(1);
    }

    fn logs(&self, endpoint: &Endpoint, range: Range) -> Result<Vec<Log>, EndpointError> {
        let Watch {
            contracts,
            token,
            account,
        } = &self.watch;
        let mut logs = endpoint.logs(range, contracts, &json!([]))?;
        let account = account.into_word();
        for topics in [json!([null, account]), json!([null, null, account])] {
            logs.extend(endpoint.logs(range, &[*token], &topics)?);
        }
        logs.sort_by_key(|log| (log.block(), log.index()));
        logs.dedup_by_key(|log| (log.block(), log.index()));
        Ok(logs)
    }
}

fn push(logs: Vec<Log>, from: u64, to: u64, facts: &mut Vec<Fact>) -> Result<(), EndpointError> {
    if logs
        .iter()
        .any(|log| log.removed || !(from..=to).contains(&log.block()))
    {
        let reason = "logs of blocks that were not asked for";
        return Err(EndpointError::Rubbish(reason.to_owned()));
    }
    facts.extend(logs.into_iter().map(|log| Fact::Log {
        block: log.block(),
        index: log.index(),
        transaction: log.transaction_hash,
        address: log.address,
        data: log.into_data(),
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;
    use smartmesh_devnet::{Devnet, Genesis, Orphans};
    use std::sync::{Arc, Mutex};

    const NOW: u64 = 1_800_000_000;
    const ACCOUNT: Address = Address::repeat_byte(0xa1);

    struct Test {
        devnet: Arc<Mutex<Devnet>>,
        endpoint: Endpoint,
        follower: Follower,
        /// What a reader of the facts believes: the account's tokens after each block.
        believed: Vec<(u64, U256)>,
        head: u64,
    }

    fn test() -> Test {
        let mut devnet = Devnet::new(&Genesis::dev(NOW));
        let deployment = devnet.deploy_contracts(NOW).unwrap();
        let devnet = Arc::new(Mutex::new(devnet));
        let watch = Watch {
            contracts: vec![deployment.channels, deployment.conditions],
            token: deployment.smt,
            account: ACCOUNT,
        };
        Test {
            endpoint: Endpoint::Devnet(Arc::clone(&devnet)),
            devnet,
            follower: Follower::new(watch, 0),
            believed: Vec::new(),
            head: 0,
        }
    }

    impl Test {
        fn fund(&self, amount: u64) {
            let mut devnet = self.devnet.lock().unwrap();
            devnet
                .fund(ACCOUNT, U256::ZERO, U256::from(amount), NOW)
                .unwrap();
        }

        fn mine(&self, blocks: u64) {
            let mut devnet = self.devnet.lock().unwrap();
            for _ in 0..blocks {
                devnet.mine(NOW);
            }
        }

        fn reorg(&self, depth: u64, orphans: Orphans) {
            self.devnet.lock().unwrap().reorg(depth, orphans, NOW);
        }

        fn catch_up(&mut self) {
            let head = self.endpoint.head().unwrap();
            while !self.follower.is_at(&head) {
                let mut facts = Vec::new();
                self.follower
                    .step(&self.endpoint, &head, &mut facts)
                    .unwrap();
                for fact in facts {
                    self.read(fact);
                }
            }
            assert_eq!(self.head, head.number());
        }

        fn read(&mut self, fact: Fact) {
            match fact {
                Fact::Log { block, data, .. } => {
                    assert!(block > self.head);
                    self.believed.push((block, U256::from_be_slice(&data.data)));
                }
                Fact::Head { block, .. } => {
                    assert!(block > self.head || block == 0);
                    self.head = block;
                }
                Fact::Rollback { to } => {
                    self.believed.retain(|(block, _)| *block <= to);
                    self.head = to;
                }
            }
        }

        fn sum(&self) -> u64 {
            self.believed
                .iter()
                .map(|(_, amount)| amount.to::<u64>())
                .sum()
        }
    }

    #[test]
    fn old_and_recent_logs_are_told_once_and_in_order() {
        let mut test = test();
        test.fund(5);
        test.follower.range = 50;
        test.mine(300);
        test.fund(7);
        test.mine(10);
        test.catch_up();
        assert_eq!(test.sum(), 12);
        test.fund(1);
        test.catch_up();
        assert_eq!(test.sum(), 13);
    }

    #[test]
    fn reorganisations_down_to_depth_12_are_followed() {
        let mut test = test();
        for depth in 1..=12 {
            test.fund(100);
            test.mine(depth - 1);
            test.catch_up();
            let before = test.sum();
            test.reorg(depth, Orphans::Forget);
            test.catch_up();
            assert_eq!(test.sum(), before - 100, "depth {depth}");
            test.fund(100);
            test.mine(depth - 1);
            test.catch_up();
            test.reorg(depth, Orphans::Requeue);
            test.catch_up();
            assert_eq!(test.sum(), before, "depth {depth}");
        }
    }

    #[test]
    fn a_chain_that_got_shorter_is_followed_back() {
        let mut test = test();
        test.fund(9);
        test.mine(3);
        test.catch_up();
        test.devnet.lock().unwrap().rollback(5, Orphans::Forget);
        test.catch_up();
        assert_eq!(test.sum(), 0);
    }
}
