//! What the user asked for, and why the node could not start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use smartmesh_radio::{LinkSpec, OpenRadiosError, PeerName, TunnelError};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::database::DatabaseError;
use crate::folder::FolderError;
use crate::keystore::KeystoreError;

/// Port of the local API when the user names none; the next free one is taken if a second node runs.
pub const API_PORT: u16 = 21_326;

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
