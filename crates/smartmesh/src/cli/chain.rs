//! Flags of `smartmesh chain deploy`.

use std::path::PathBuf;

use alloy_primitives::Address;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// A node's JSON-RPC, such as http://127.0.0.1:8545
    #[arg(long, value_name = "URL")]
    pub(crate) rpc: String,
    /// A file whose first line is a private key in hex, or a mnemonic; its account pays the gas
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Who gets the whole supply of SMT [default: the account that pays]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) holder: Option<Address>,
    /// Make them even where there is a known deployment
    #[arg(long)]
    pub(crate) anyway: bool,
}
