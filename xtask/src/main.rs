//! All automation of the repository: `cargo xtask --help` lists it.

mod bench;
mod browser;
mod contracts;
mod demo;
mod fuzz;
mod network;
mod process;
mod sim;
mod test;
mod tidy;
mod web;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, shows, checks and measures SmartMesh"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the app and the program that holds it.
    Build,
    /// Writes down the API's description, from which the app's client is made.
    Describe,
    /// Starts a village of real nodes on this machine and tells what happens.
    Demo(demo::Options),
    /// Runs all checks.
    Test(test::Options),
    /// Formatting, lints and house rules only.
    Check,
    /// Runs a simulated scenario; without a name, lists them.
    Sim(sim::Options),
    /// Runs real nodes in network namespaces (needs root; loopback tests run without).
    Network(network::Options),
    /// Tests the app in a real browser against real nodes (needs Chromium).
    Browser(browser::Options),
    /// Measures against peers and physical limits.
    Bench(bench::Options),
    /// Builds and tests the Solidity contracts.
    Contracts(contracts::Options),
    /// Plants bugs into the contracts and counts how many the tests find.
    Mutants,
    /// Runs the fuzz targets' bodies over mutated inputs for a while.
    Fuzz(fuzz::Options),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Build => process::build_smartmesh().map(drop),
        Command::Describe => web::describe(),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Check => test::check(),
        Command::Sim(options) => sim::run(&options),
        Command::Network(options) => network::run(&options),
        Command::Browser(options) => browser::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Contracts(options) => contracts::run(&options),
        Command::Mutants => contracts::mutants(),
        Command::Fuzz(options) => fuzz::run(&options),
    }
}
