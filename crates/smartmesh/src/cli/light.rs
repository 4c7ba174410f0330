//! Words and flags of `smartmesh light`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Light {
    /// Show what this phone's light node believes, and whom it asks
    Status,
    /// Verify light-client data from files, offline, and print what a phone would believe as JSON
    Verify(Chain),
    /// Write updates in the compact form that phones pass to each other
    Compact {
        #[command(flatten)]
        chain: Chain,
        /// The file to write
        #[arg(long, short)]
        out: PathBuf,
        /// Which execution blocks to carry along
        #[arg(long, value_enum, default_value_t = Execution::Nothing)]
        carry: Execution,
    },
    /// Print compact updates as JSON, with every branch rebuilt
    Expand(Chain),
}

/// Where to begin and what to follow.
#[derive(Debug, Args)]
pub(crate) struct Chain {
    /// The bootstrap, in JSON or SSZ as the Beacon API answers it
    #[arg(long, value_name = "FILE")]
    pub(crate) bootstrap: PathBuf,
    /// The trusted block root, from a source you trust
    #[arg(long, value_name = "0x…")]
    pub(crate) root: String,
    /// Updates in order: JSON, SSZ or compact
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) updates: Vec<PathBuf>,
    /// A finality update
    #[arg(long, value_name = "FILE")]
    pub(crate) finality: Option<PathBuf>,
    /// An optimistic update
    #[arg(long, value_name = "FILE")]
    pub(crate) optimistic: Option<PathBuf>,
    /// mainnet, or files that describe the network (the Beacon API's config/spec and genesis, or YAML with GENESIS_VALIDATORS_ROOT)
    #[arg(long, value_name = "mainnet|FILE", num_args = 1.., default_value = "mainnet")]
    pub(crate) config: Vec<String>,
    /// Judge as if it were this slot [default: by this machine's clock]
    #[arg(long, value_name = "N")]
    pub(crate) slot: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Execution {
    /// Only what leads to the next committee
    Nothing,
    /// The finalized header's
    Finalized,
    /// The attested header's
    Attested,
    /// Both
    Both,
}
