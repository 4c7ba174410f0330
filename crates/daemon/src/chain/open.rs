//! How the chain is reached, settled at the start.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use smartmesh_contracts::Deployment;
use smartmesh_wallet::Key;
use tokio::sync::mpsc;

use super::access::{Access, Report, Setup};
use super::endpoint::Endpoint;
use super::server::{DevnetServer, serve_devnet};
use crate::database::{Database, Write};
use crate::disk::Disk;
use crate::money::{self, FOLLOWED};
use crate::settings::{ChainChoice, RunError, Settings};
use crate::shell::Mark;

/// Name of the contracts that were used last.
const CONTRACTS: &str = "contracts";
/// Name of the outbox in the database.
pub(super) const OUTBOX: &str = "outbox";

/// An endpoint and where the contracts are, each if it is known.
pub(crate) struct ChainOpened {
    pub(crate) deployment: Option<Deployment>,
    endpoint: Option<Endpoint>,
    start: u64,
    kept: Option<Vec<u8>>,
    _devnet: Option<DevnetServer>,
}

impl ChainOpened {
    /// Opens what the user chose. The contracts are those of the given list, of the development chain, or of last time.
    ///
    /// # Errors
    /// If the list can't be read or the development chain can't start. A silent endpoint is no error.
    pub(crate) fn open(settings: &Settings, database: &Database) -> Result<Self, RunError> {
        let remembered = database
            .meta(CONTRACTS)?
            .and_then(|kept| serde_json::from_slice(&kept).ok());
        let listed = settings
            .contracts
            .as_deref()
            .map(money::read_contracts)
            .transpose()?;
        let (endpoint, devnet) = match &settings.chain {
            ChainChoice::None => (None, None),
            ChainChoice::Url(url) => (Some(Endpoint::remote(url)), None),
            ChainChoice::Devnet => {
                let any_port: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
                let devnet = serve_devnet(any_port).map_err(RunError::Devnet)?;
                tracing::info!(url = %format!("http://{}", devnet.address), "a development chain is up; other nodes reach it with --chain URL");
                (
                    Some(Endpoint::Devnet(Arc::clone(&devnet.chain))),
                    Some(devnet),
                )
            }
        };
        let asked = || {
            let endpoint = endpoint.as_ref()?;
            endpoint.devnet_deployment().ok().flatten()
        };
        let deployment = match (&listed, &devnet) {
            (Some(listed), _) => Some(*listed),
            (None, Some(devnet)) => Some(devnet.deployment),
            (None, None) => asked().or(remembered),
        };
        let same = deployment == remembered;
        let followed = database
            .meta(FOLLOWED)?
            .filter(|_| same && devnet.is_none());
        let start = followed
            .and_then(|kept| kept.try_into().ok())
            .map_or(0, u64::from_be_bytes);
        Ok(Self {
            start,
            kept: database.meta(OUTBOX)?.filter(|_| same && devnet.is_none()),
            deployment,
            endpoint,
            _devnet: devnet,
        })
    }

    /// Starts the thread that talks to the chain, if there is whom and what to ask. It tells what is new from `cursor` on, if
    /// that is further back than it remembers.
    pub(crate) fn start(
        &self,
        account: Key,
        cursor: Option<u64>,
        settings: &Settings,
        disk: Disk<Mark>,
        reports: mpsc::Sender<Report>,
    ) -> Option<(Access, JoinHandle<()>)> {
        let deployment = self.deployment?;
        let write = Write::Meta {
            name: CONTRACTS,
            value: serde_json::to_vec(&deployment).unwrap_or_default(),
        };
        let _ = disk.write(write, None);
        let endpoint = self.endpoint.clone()?;
        let setup = Setup {
            endpoint,
            deployment,
            account,
            start: cursor.map_or(self.start, |cursor| self.start.min(cursor)),
            confirmations: settings.confirmations,
            kept: self.kept.clone(),
            disk,
        };
        Some(Access::start(setup, reports))
    }
}
