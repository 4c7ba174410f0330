//! The thread that talks to the endpoint.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use smartmesh_contracts::Deployment;
use smartmesh_contracts::token::SMT;
use smartmesh_wallet::{Fees, Key};
use tokio::sync::{mpsc, oneshot};

use super::endpoint::{Endpoint, EndpointError};
use super::ether::Header;
use super::follow::{Fact, Follower, Watch};
use super::open::OUTBOX;
use super::outbox::{Outbox, Outcome, Wish};
use crate::clock;
use crate::database::Write;
use crate::disk::Disk;
use crate::shell::Mark;

/// Requests that may wait for the thread.
const JOBS_MAX: usize = 64;
/// How often a devnet is looked at; it costs nothing and people watch it.
const LOOK_DEVNET: Duration = Duration::from_millis(200);
/// How often any other chain is looked at: a block comes every twelve seconds.
const LOOK: Duration = Duration::from_secs(4);
/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Facts told at once.
const FACTS_MAX: usize = 4_096;
/// Chain id of development chains.
const DEVNET: u64 = 31_337;

/// What the thread needs.
pub(crate) struct Setup {
    /// Whom to ask.
    pub(crate) endpoint: Endpoint,
    /// Where the contracts are.
    pub(crate) deployment: Deployment,
    /// The account that pays for gas.
    pub(crate) account: Key,
    /// The first block to be told.
    pub(crate) start: u64,
    /// Blocks on top of one before it counts.
    pub(crate) confirmations: u64,
    /// The outbox as it was kept.
    pub(crate) kept: Option<Vec<u8>>,
    /// Where it is kept.
    pub(crate) disk: Disk<Mark>,
}

/// What the loop hears.
#[derive(Debug)]
pub(crate) struct Report {
    /// What is new, in order.
    pub(crate) facts: Vec<Fact>,
    /// The state now.
    pub(crate) status: Status,
    /// Calls that came to an end.
    pub(crate) ended: Vec<(B256, Outcome)>,
}

/// The chain as last heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// Number and timestamp of the newest block.
    pub(crate) head: Option<(u64, u64)>,
    /// Base units of SMT of the account.
    pub(crate) smt: Option<U256>,
    /// Wei of the account.
    pub(crate) wei: Option<U256>,
    /// Transactions on their way.
    pub(crate) waiting: usize,
    /// Why the endpoint is of no use at this moment.
    pub(crate) trouble: Option<String>,
}

/// A call that was, or would be, sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The transaction; `None` if it was only asked for its price.
    pub(crate) hash: Option<B256>,
    /// The most it costs in wei.
    pub(crate) wei_max: U256,
}

/// A request to the thread.
#[derive(Debug)]
pub(crate) enum Job {
    /// What would this cost?
    Quote(Wish, oneshot::Sender<Result<Sent, String>>),
    /// Send it, if a call of this name is not on its way already.
    Send(Wish, Option<oneshot::Sender<Result<Sent, String>>>),
}

/// A handle to the thread; it ends when the last one is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    jobs: SyncSender<Job>,
}

impl Access {
    /// Starts the thread. Reports go to `reports`.
    pub(crate) fn start(setup: Setup, reports: mpsc::Sender<Report>) -> (Self, JoinHandle<()>) {
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("chain".to_owned())
            .spawn(move || Worker::new(setup, reports).run(&queue))
            .expect("a thread at the start of the program");
        (Self { jobs }, thread)
    }

    /// Hands a request over; if too many wait, it comes back.
    pub(crate) fn ask(&self, job: Job) -> Result<(), Box<Job>> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }
}

struct Worker {
    endpoint: Endpoint,
    deployment: Deployment,
    account: Address,
    confirmations: u64,
    disk: Disk<Mark>,
    follower: Follower,
    outbox: Outbox,
    status: Status,
    reports: mpsc::Sender<Report>,
    pause: Duration,
    known_chain: bool,
}

impl Worker {
    fn new(setup: Setup, reports: mpsc::Sender<Report>) -> Self {
        let deployment = setup.deployment;
        let account = setup.account.address();
        let watch = Watch {
            contracts: vec![
                deployment.channels,
                deployment.conditions,
                deployment.chequebook,
            ],
            token: deployment.smt,
            account,
        };
        Self {
            endpoint: setup.endpoint,
            account,
            confirmations: setup.confirmations,
            disk: setup.disk,
            follower: Follower::new(watch, setup.start.max(deployment.block)),
            outbox: Outbox::restore(setup.account, deployment.chain_id, setup.kept.as_deref()),
            status: Status::default(),
            reports,
            pause: Duration::ZERO,
            known_chain: false,
            deployment,
        }
    }

    fn run(mut self, queue: &Receiver<Job>) {
        let mut told = Status::default();
        loop {
            let (facts, ended) = self.look();
            let more = !facts.is_empty();
            if more || !ended.is_empty() || told != self.status {
                told = self.status.clone();
                let report = Report {
                    facts,
                    ended,
                    status: told.clone(),
                };
                if self.reports.blocking_send(report).is_err() {
                    return;
                }
            }
            let wait = if more { Duration::ZERO } else { self.pause };
            match queue.recv_timeout(wait) {
                Ok(job) => self.handle(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self) -> (Vec<Fact>, Vec<(B256, Outcome)>) {
        let usual = if self.deployment.chain_id == DEVNET {
            LOOK_DEVNET
        } else {
            LOOK
        };
        let (mut facts, mut ended) = (Vec::new(), Vec::new());
        match self.try_look(&mut facts, &mut ended) {
            Ok(()) => {
                if self.status.trouble.take().is_some() {
                    tracing::info!("the chain's endpoint answers again");
                }
                self.pause = usual;
            }
            Err(error) => {
                if self.status.trouble.is_none() {
                    tracing::warn!(%error, "no access to the chain; payments over the mesh go on");
                }
                self.status.trouble = Some(error.to_string());
                self.pause = self.pause.saturating_mul(2).clamp(usual, PAUSE_MAX);
            }
        }
        self.status.waiting = self.outbox.len();
        (facts, ended)
    }

    fn try_look(
        &mut self,
        facts: &mut Vec<Fact>,
        ended: &mut Vec<(B256, Outcome)>,
    ) -> Result<(), EndpointError> {
        if !self.known_chain {
            let found = self.endpoint.chain_id()?;
            if found != self.deployment.chain_id {
                return Err(EndpointError::Rubbish(format!(
                    "it serves chain {found}, the contracts are on chain {}",
                    self.deployment.chain_id
                )));
            }
            self.known_chain = true;
        }
        let head = self.endpoint.head()?;
        let is_new = !self.follower.is_at(&head);
        while !self.follower.is_at(&head) && facts.len() < FACTS_MAX {
            let before = facts.len();
            self.follower.step(&self.endpoint, &head, facts)?;
            if facts.len() == before {
                break;
            }
        }
        if is_new {
            self.refresh(&head)?;
            *ended = self
                .outbox
                .check(&self.endpoint, &head, self.confirmations)?;
            let raised = self.outbox.raise(head.base_fee());
            if raised || !ended.is_empty() {
                self.keep();
            }
        }
        self.outbox.send(&self.endpoint, unix())
    }

    fn refresh(&mut self, head: &Header) -> Result<(), EndpointError> {
        self.status.head = Some((head.number(), head.time()));
        self.status.wei = Some(self.endpoint.wei(self.account)?);
        let call = SMT::balanceOfCall {
            account: self.account,
        };
        let answer = self
            .endpoint
            .call(self.deployment.smt, &call.abi_encode().into())?;
        let smt = SMT::balanceOfCall::abi_decode_returns(&answer)
            .map_err(|_| EndpointError::Rubbish("no token where the contracts say".to_owned()))?;
        self.status.smt = Some(smt);
        Ok(())
    }

    /// Puts the outbox on disk; nothing is sent before.
    fn keep(&self) {
        let write = Write::Meta {
            name: OUTBOX,
            value: self.outbox.to_bytes(),
        };
        self.disk.save_blocking(write);
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Quote(wish, answer) => {
                let quote = self.quote(&wish).map(|(_, _, sent)| sent);
                let _ = answer.send(quote);
            }
            Job::Send(wish, answer) => {
                let name = wish.name;
                let sent = self.begin(wish);
                if let Err(reason) = &sent {
                    tracing::debug!(%name, reason, "a call was not sent");
                }
                if let Some(answer) = answer {
                    let _ = answer.send(sent);
                }
            }
        }
    }

    /// Gas, fees, and what they come to. A call that would fail is refused here, in words.
    fn quote(&self, wish: &Wish) -> Result<(u64, Fees, Sent), String> {
        let words = |error: EndpointError| error.to_string();
        let head = self.endpoint.head().map_err(words)?;
        let tip = self.endpoint.tip().map_err(words)?;
        let fees = Fees::over(head.base_fee(), tip);
        let used = self
            .endpoint
            .estimate(self.account, wish.to, wish.value, &wish.data)
            .map_err(words)?;
        // The state may be another one when it runs.
        let gas = used.saturating_add(used / 4).saturating_add(10_000);
        let wei_max = U256::from(gas)
            .saturating_mul(U256::from(fees.most))
            .saturating_add(wish.value);
        let wei = self.endpoint.wei(self.account).map_err(words)?;
        if wei < wei_max {
            return Err(format!(
                "the account {} has {wei} wei and needs up to {wei_max} for gas; an agent can bring it to the chain instead",
                self.account
            ));
        }
        let sent = Sent {
            hash: None,
            wei_max,
        };
        Ok((gas, fees, sent))
    }

    fn begin(&mut self, wish: Wish) -> Result<Sent, String> {
        if self.outbox.holds(wish.name) {
            return Err("it is on its way already".to_owned());
        }
        let (gas, fees, sent) = self.quote(&wish)?;
        let next = self
            .endpoint
            .nonce(self.account, "pending")
            .map_err(|error| error.to_string())?;
        let hash = self.outbox.add(wish, gas, fees, next)?;
        self.keep();
        if let Err(error) = self.outbox.send(&self.endpoint, unix()) {
            tracing::debug!(%error, "a transaction waits for the endpoint");
        }
        Ok(Sent {
            hash: Some(hash),
            ..sent
        })
    }
}

fn unix() -> u64 {
    clock::now().unix.as_secs()
}

/// A wish whose name follows from its content: asked for again, it is the same.
pub(crate) fn repeatable(to: Address, data: Bytes) -> Wish {
    let name = alloy_primitives::keccak256([to.as_slice(), &data].concat());
    Wish {
        name,
        to,
        data,
        value: U256::ZERO,
    }
}
