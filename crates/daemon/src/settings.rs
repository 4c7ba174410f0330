//! What the user asked for, and why the node could not start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use smartmesh_radio::{LinkSpec, OpenRadiosError, PeerName, TunnelError};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::database::DatabaseError;
use crate::folder::FolderError;
use crate::keystore::KeystoreError;
use crate::wallet::WalletError;

/// Port of the local API when the user names none; the next free one is taken if a second node runs.
pub const API_PORT: u16 = 21_326;

/// Blocks on top of one before it counts, unless the user says otherwise: deeper reorganisations have not been seen since
/// the merge.
const CONFIRMATIONS: u64 = 6;

/// How the chain is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ChainChoice {
    /// Not at all: payments over the mesh work, nothing can be deposited or settled.
    #[default]
    None,
    /// A development chain inside the node, new at each start; it serves others on a port of this machine.
    Devnet,
    /// Somebody's JSON-RPC, or several separated by commas.
    Url(String),
}

impl std::str::FromStr for ChainChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "devnet" => Ok(Self::Devnet),
            url if url.starts_with("http://") || url.starts_with("https://") => {
                Ok(Self::Url(url.to_owned()))
            }
            _ => Err(
                "a chain is `devnet`, `none`, or the URL of an Ethereum JSON-RPC, http or https"
                    .to_owned(),
            ),
        }
    }
}

/// What `smartmesh up` was told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder.
    pub data: PathBuf,
    /// The name to show; `None` keeps the one of the last start.
    pub name: Option<String>,
    /// Where to serve the API; `None` for [`API_PORT`] on 127.0.0.1, or any free port.
    pub api: Option<SocketAddr>,
    /// Links, see [`LinkSpec`].
    pub links: Vec<LinkSpec>,
    /// Configured peers.
    pub peers: Vec<PeerName>,
    /// Where configured peers reach us.
    pub listen: Option<SocketAddr>,
    /// How the chain is reached.
    pub chain: ChainChoice,
    /// Where the contracts are: a file as `smartmesh chain deploy` writes it.
    pub contracts: Option<PathBuf>,
    /// Beacon APIs for the light node, in the order of the chain's URLs; those themselves if there are none.
    pub beacons: Vec<String>,
    /// The beacon block root where the light node begins.
    pub checkpoint: Option<String>,
    /// Blocks on top of one before its deposits and closes count.
    pub confirmations: u64,
    /// The TUN interface to make.
    pub tunnel: Option<String>,
    /// The only page that may show the app in a frame; an origin on loopback, for the village of the demo.
    pub framed_by: Option<String>,
    /// The passphrase of the keys at rest.
    pub passphrase: Option<Zeroizing<Vec<u8>>>,
}

impl Settings {
    /// All defaults on one data folder.
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            name: None,
            api: None,
            links: Vec::new(),
            peers: Vec::new(),
            listen: None,
            chain: ChainChoice::None,
            contracts: None,
            beacons: Vec::new(),
            checkpoint: None,
            confirmations: CONFIRMATIONS,
            tunnel: None,
            framed_by: None,
            passphrase: None,
        }
    }

    pub(crate) fn default_api() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, API_PORT).into()
    }
}

/// Why the node did not start, or had to stop.
#[derive(Debug, Error)]
pub enum RunError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The keys.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The wallet.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The list of contracts.
    #[error("can't use the list of contracts {path}: {reason}")]
    Contracts {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The light node's checkpoint.
    #[error("`{0}` is no checkpoint: it is a beacon block root, 0x and 64 hex digits")]
    Checkpoint(String),
    /// The development chain.
    #[error("can't start the development chain: {0}")]
    Devnet(std::io::Error),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The memory of the node.
    #[error(
        "{0}; the folder was written by another version or is damaged: use that version, or a backup"
    )]
    Restore(#[from] smartmesh_node::RestoreError),
    /// A radio.
    #[error(transparent)]
    Radios(#[from] OpenRadiosError),
    /// The TUN interface.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// The API's port.
    #[error(
        "can't serve the API on {address}: {cause}; another program uses the port, choose another with --api"
    )]
    Api {
        /// The wanted address.
        address: SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The API must stay on this machine.
    #[error(
        "the API is for this machine alone: {0} is not a loopback address such as 127.0.0.1:21326"
    )]
    ApiNotLocal(SocketAddr),
    /// The runtime.
    #[error("can't start: {0}")]
    Runtime(std::io::Error),
}
