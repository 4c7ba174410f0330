//! `cargo xtask contracts` and `cargo xtask mutants`: the Solidity side.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::process;

/// How thorough.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Long fuzzing runs.
    #[arg(long)]
    pub(crate) deep: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    prepare()?;
    let mut command = Command::new("bash");
    command
        .current_dir(process::root().join("contracts"))
        .arg("check.sh");
    if options.deep {
        command.arg("--deep");
    }
    process::run(&mut command)?;
    if options.deep {
        histories()?;
    }
    deployment()?;
    devnet()
}

/// Ten million steps of the reference model beside the bytecode.
fn histories() -> Result<()> {
    process::run(
        process::cargo()
            .env("SMARTMESH_DEEP", "10000000")
            .args(["test", "--package", "smartmesh-contracts"])
            .args(["--test", "bytecode", "history", "--", "--nocapture"]),
    )
}

/// The program's deployment on a real anvil.
fn deployment() -> Result<()> {
    process::run(process::cargo().args(["build", "--package", "smartmesh"]))?;
    process::run(
        Command::new("node")
            .current_dir(process::root().join("contracts"))
            .arg("deploy.mjs")
            .arg(process::target_dir().join("debug/smartmesh")),
    )
}

/// The development chain's answers beside anvil's, which the contracts' packages bring.
fn devnet() -> Result<()> {
    let packages = process::root().join("contracts/node_modules/@foundry-rs");
    let anvil = packages.join("anvil-linux-amd64/bin/anvil");
    anyhow::ensure!(anvil.exists(), "there is no anvil at {}", anvil.display());
    process::run(
        process::cargo()
            .env("SMARTMESH_ANVIL", anvil)
            .args(["test", "--quiet", "--package", "smartmesh-tests"])
            .args(["--test", "devnet"]),
    )
}

pub(crate) fn mutants() -> Result<()> {
    prepare()?;
    process::run(
        Command::new("node")
            .current_dir(process::root().join("contracts"))
            .arg("mutate.mjs"),
    )
}

fn prepare() -> Result<()> {
    process::need("node", "nodejs")?;
    process::need("npm", "npm")
}
