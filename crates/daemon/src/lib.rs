//! The shell around a node: runtime, clock, entropy, sockets, disk and the local API.
//!
//! It decides nothing: what to send, to store and to tell is the node's word, and [`run`] carries it out in one loop on one
//! thread, beside a thread for the disk. `clock.rs` and `entropy.rs` are the only places that ask the system for the time
//! and for randomness. Read [`Settings`] and [`run`] first; `docs/at-rest.md` and `docs/api.md` say what is on the disk and
//! on the local port.

mod app;
mod ask;
mod chain;
pub mod clock;
mod convert;
mod database;
mod disk;
mod doctor;
mod entropy;
mod folder;
mod keystore;
mod money;
mod run;
mod server;
mod settings;
mod shell;
mod stop;
mod wallet;

pub use app::file as app_file;
pub use chain::{DevnetServer, serve_devnet};
pub use database::DatabaseError;
pub use folder::{ConnectionError, FolderError, default_folder, read_connection};
pub use keystore::{KeystoreError, Protection};
pub use run::run;
pub use server::secret as new_secret;
pub use settings::{API_PORT, ChainChoice, RunError, Settings};
pub use smartmesh_radio::{LinkSpec, ParseLinkError, PeerName};
pub use stop::StopSignal;
pub use wallet::WalletError;
