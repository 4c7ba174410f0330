//! What the node's surroundings know of money: the wallet's keys, the contracts, the chain as last heard, and the movements
//! of tokens that are seen there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use alloy_primitives::Address;
use alloy_sol_types::SolEvent;
use smartmesh_api::{Amount, MoneyFlow, Movement, Way};
use smartmesh_channel::ChannelId;
use smartmesh_contracts::Deployment;
use smartmesh_contracts::token::SMT;
use smartmesh_types::RequestId;
use tokio::sync::watch;

use crate::chain::{Access, Fact, Report, Status};
use crate::settings::RunError;
use crate::wallet::{WalletFile, WalletKeys};

/// Movements that are not deep enough yet; more come only from who pays gas to annoy, and are in the history later.
const PENDING_MAX: usize = 256;

/// Name of the newest block that counts in the database.
pub(crate) const FOLLOWED: &str = "followed";

/// What does not change while the node runs.
#[derive(Debug)]
pub(crate) struct MoneyInfo {
    pub(crate) keys: WalletKeys,
    pub(crate) file: WalletFile,
    /// Where the contracts are, if that is known.
    pub(crate) deployment: Option<Deployment>,
    /// The thread that talks to the chain, if an endpoint was configured.
    pub(crate) access: Option<Access>,
    pub(crate) confirmations: u64,
}

/// What the loop keeps.
#[derive(Debug)]
pub(crate) struct Money {
    pub(crate) info: Arc<MoneyInfo>,
    state: watch::Sender<MoneyState>,
    /// Payments asked for and not signed yet.
    pub(crate) orders: BTreeMap<RequestId, (ChannelId, u128, Vec<u8>)>,
    /// Payments signed whose arrival was not confirmed yet.
    pub(crate) signed: BTreeMap<(ChannelId, u64, RequestId), Movement>,
    pending: Vec<(u64, Movement)>,
}

/// What anybody may look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct MoneyState {
    pub(crate) chain: Status,
    /// Movements that are not deep enough yet, newest first.
    pub(crate) pending: Vec<Movement>,
}

impl Money {
    pub(crate) fn new(info: Arc<MoneyInfo>) -> (Self, watch::Receiver<MoneyState>) {
        let (state, seen) = watch::channel(MoneyState::default());
        let money = Self {
            info,
            state,
            orders: BTreeMap::new(),
            signed: BTreeMap::new(),
            pending: Vec::new(),
        };
        (money, seen)
    }

    /// Takes in what the chain's thread tells; returns the movements that count from now on.
    pub(crate) fn handle(&mut self, report: &Report) -> Vec<Movement> {
        let mut counted = Vec::new();
        for fact in &report.facts {
            match fact {
                Fact::Log { .. } => self.note_transfer(fact),
                Fact::Head { block, time } => self.count(*block, *time, &mut counted),
                Fact::Rollback { to } => self.pending.retain(|(block, _)| block <= to),
            }
        }
        let head = report.status.head.map_or(0, |(block, _)| block);
        let shown = self.pending.iter().rev().map(|(block, movement)| {
            let deep = head.saturating_sub(*block);
            let missing = self.info.confirmations.saturating_sub(deep);
            Movement {
                state: format!("waits for {missing} more blocks"),
                ..movement.clone()
            }
        });
        self.state.send_replace(MoneyState {
            chain: report.status.clone(),
            pending: shown.collect(),
        });
        counted
    }

    /// The block from which the next start can go on, if it has moved.
    pub(crate) fn followed(&self, report: &Report) -> Option<Vec<u8>> {
        let told = report.facts.iter().rev().find_map(|fact| match fact {
            Fact::Head { block, .. } => Some(*block),
            Fact::Log { .. } | Fact::Rollback { .. } => None,
        })?;
        let counts = told.saturating_sub(self.info.confirmations);
        Some(counts.to_be_bytes().to_vec())
    }

    fn note_transfer(&mut self, fact: &Fact) {
        let Fact::Log {
            block,
            index,
            transaction,
            address,
            data,
        } = fact
        else {
            return;
        };
        let account = self.info.keys.account.address();
        if self.info.deployment.map(|deployment| deployment.smt) != Some(*address) {
            return;
        }
        let Ok(transfer) = SMT::Transfer::decode_log_data(data) else {
            return;
        };
        let (flow, peer) = if transfer.from == account {
            (MoneyFlow::Out, transfer.to)
        } else if transfer.to == account {
            (MoneyFlow::In, transfer.from)
        } else {
            return;
        };
        if self.pending.len() >= PENDING_MAX {
            return;
        }
        let movement = Movement {
            id: format!("{transaction}:{index}"),
            at: 0,
            flow,
            amount: Amount(transfer.value.saturating_to()),
            fee: Amount(0),
            way: Way::Chain,
            peer: peer.to_string(),
            peer_name: self.contract_name(peer).map(str::to_owned),
            memo: String::new(),
            state: String::new(),
            is_final: false,
        };
        self.pending.push((*block, movement));
    }

    fn count(&mut self, head: u64, time: u64, counted: &mut Vec<Movement>) {
        for (block, movement) in &mut self.pending {
            if *block == head {
                movement.at = time;
            }
        }
        let deep = head.saturating_sub(self.info.confirmations);
        let (ready, waiting) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|(block, _)| *block <= deep);
        self.pending = waiting;
        let ready: Vec<(u64, Movement)> = ready;
        counted.extend(ready.into_iter().map(|(_, movement)| Movement {
            state: "final".to_owned(),
            is_final: true,
            ..movement
        }));
    }

    fn contract_name(&self, address: Address) -> Option<&'static str> {
        let deployment = self.info.deployment?;
        if address == deployment.channels {
            Some("payment channels")
        } else if address == deployment.chequebook {
            Some("chequebooks")
        } else if address == deployment.rewards {
            Some("rewards")
        } else {
            None
        }
    }
}

/// Reads a list of contracts.
pub(crate) fn read_contracts(path: &Path) -> Result<Deployment, RunError> {
    let failed = |reason: String| RunError::Contracts {
        path: path.to_owned(),
        reason,
    };
    let content = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&content).map_err(|error| failed(error.to_string()))
}
