//! `up`: the node itself.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use smartmesh_daemon::Settings;
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use super::open;
use crate::cli::Up;

/// Variable that holds the passphrase.
const PASSPHRASE: &str = "SMARTMESH_PASSPHRASE";
/// Variable that says what to log, such as `debug` or `smartmesh_mesh=trace`.
const LOG: &str = "SMARTMESH_LOG";

pub(super) fn up(up: Up, data: PathBuf) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env(LOG).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .compact()
        .init();
    let passphrase = passphrase(&up)?;
    let show = if up.no_open {
        open::Show::Nothing
    } else {
        open::Show::ForPeople
    };
    let settings = Settings {
        name: up.name,
        api: up.api,
        links: up.links,
        peers: up.peers,
        listen: up.listen,
        tunnel: up.tunnel,
        framed_by: up.framed_by,
        chain: up.chain,
        contracts: up.contracts,
        beacons: up.beacons,
        checkpoint: up.checkpoint,
        confirmations: up.confirmations,
        passphrase,
        ..Settings::new(data)
    };
    smartmesh_daemon::run(settings, |address| open::show(address, show))?;
    Ok(())
}

fn passphrase(up: &Up) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let text = match &up.passphrase_file {
        Some(path) => {
            let content = fs::read_to_string(path)
                .with_context(|| format!("can't read the passphrase from {}", path.display()))?;
            Some(Zeroizing::new(content))
        }
        None => std::env::var(PASSPHRASE).ok().map(Zeroizing::new),
    };
    let Some(text) = text else { return Ok(None) };
    let line = text.lines().next().unwrap_or_default();
    anyhow::ensure!(
        !line.is_empty(),
        "the passphrase is empty; put it on the first line of the file"
    );
    Ok(Some(Zeroizing::new(line.as_bytes().to_vec())))
}
