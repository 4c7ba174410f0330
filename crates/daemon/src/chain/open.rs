//! How the chain is reached, settled at the start.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use smartmesh_contracts::Deployment;
use smartmesh_light_client::Network;
use smartmesh_wallet::Key;
use tokio::sync::mpsc;

use super::access::{Access, Report, Setup};
use super::beacon::BeaconApi;
use super::endpoint::{Endpoint, agent};
use super::light::{Light, Start};
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
            ChainChoice::Url(urls) => (Some(endpoint_at(urls, settings)?), None),
            ChainChoice::Devnet => {
                let any_port: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
                let devnet = serve_devnet(any_port).map_err(RunError::Devnet)?;
                tracing::info!(url = %format!("http://{}", devnet.address), "a development chain is up; other nodes reach it with --chain URL");
                let chain = Arc::clone(&devnet.chain);
                let beacon = BeaconApi::Devnet(Arc::clone(&chain), Arc::clone(&devnet.beacon));
                let source = (
                    "the devnet in this node".to_owned(),
                    Endpoint::Devnet(chain),
                    beacon,
                );
                let chain_id = devnet.deployment.chain_id;
                let light = Light::new(chain_id, Start::AsToldByDevnet, vec![source]);
                (Some(Endpoint::Light(light)), Some(devnet))
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

    /// The light node, if the chain is asked through one.
    pub(crate) fn light(&self) -> Option<Light> {
        match &self.endpoint {
            Some(Endpoint::Light(light)) => Some(light.clone()),
            Some(Endpoint::Remote { .. } | Endpoint::Devnet(_)) | None => None,
        }
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

/// Id of the main network and of development chains.
const MAINNET: u64 = 1;
const DEVNET: u64 = 31_337;

/// The endpoints behind a comma-separated list of URLs: through the light node where there is a checkpoint, or where a
/// development chain of this machine brings its own.
fn endpoint_at(urls: &str, settings: &Settings) -> Result<Endpoint, RunError> {
    let urls: Vec<&str> = urls.split(',').map(str::trim).collect();
    let beacons: Vec<&str> = if settings.beacons.is_empty() {
        urls.clone()
    } else {
        settings.beacons.iter().map(String::as_str).collect()
    };
    let sources = beacons
        .iter()
        .zip(urls.iter().cycle())
        .map(|(beacon, execution)| {
            let api = BeaconApi::Remote {
                url: beacon.trim_end_matches('/').to_owned(),
                agent: agent(),
            };
            ((*beacon).to_owned(), Endpoint::remote(execution), api)
        })
        .collect::<Vec<_>>();
    if let Some(checkpoint) = &settings.checkpoint {
        let root = checkpoint
            .parse()
            .map_err(|_| RunError::Checkpoint(checkpoint.clone()))?;
        let start = Start::At(Box::new(Network::mainnet()), root);
        return Ok(Endpoint::Light(Light::new(MAINNET, start, sources)));
    }
    let first = urls.first().copied().unwrap_or_default();
    let brings_its_own = is_loopback(first)
        && sources
            .iter()
            .any(|(_, _, beacon)| beacon.get_config().is_ok());
    if brings_its_own {
        let light = Light::new(DEVNET, Start::AsToldByDevnet, sources);
        return Ok(Endpoint::Light(light));
    }
    tracing::warn!(
        "the endpoint of the chain is believed, not verified: give a checkpoint with --checkpoint and a Beacon API with --beacon"
    );
    Ok(Endpoint::remote(first))
}

/// Whether a URL leads to this machine.
fn is_loopback(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_matches(['[', ']']);
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
