//! Chains: one for development, and the contracts on any.

mod deploy;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use smartmesh_daemon::{StopSignal, serve_devnet};

use super::Format;
use crate::cli::ChainCommand;
use crate::output;

/// How often it is looked whether the user wants to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn run(format: Format, command: ChainCommand) -> anyhow::Result<()> {
    match command {
        ChainCommand::Devnet { port } => devnet(format, port),
        ChainCommand::Deploy(options) => deploy::deploy(&options, format),
    }
}

fn devnet(format: Format, port: u16) -> anyhow::Result<()> {
    let stop = StopSignal::watch().context("can't take signals")?;
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let server = serve_devnet(address).context("can't serve the development chain")?;
    let url = format!("http://{}", server.address);
    let made = server.deployment;
    if format == Format::Json {
        output::json(&json!({
            "url": url,
            "chain_id": made.chain_id,
            "block": made.block,
            "smt": made.smt.to_string(),
            "conditions": made.conditions.to_string(),
            "channels": made.channels.to_string(),
            "chequebook": made.chequebook.to_string(),
            "rewards": made.rewards.to_string(),
        }));
    } else {
        output::line(format!(
            "A chain of your own (id {}) at {url}",
            made.chain_id
        ));
        output::line(format!("  SMT {}\n  channels {}", made.smt, made.channels));
        output::line("Start nodes with:");
        output::line(format!("  smartmesh up --chain {url}"));
        output::line(
            "Give an account ether and SMT (in units of 10^-18) with the method smartmesh_fund(account, wei, units).",
        );
        output::line("Ctrl-C ends it, and everything on it is gone.");
    }
    while !stop.has_come() {
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
