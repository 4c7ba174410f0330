//! The program `smartmesh`: `up` runs this device's node; every other command asks the running node through its local API.

mod cli;
mod client;
mod commands;
mod output;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use client::ClientError;

/// The command did not succeed.
const FAILED: u8 = 1;
/// There is no node to ask.
const NO_NODE: u8 = 3;
/// Somebody did not answer, or a message has not arrived in time.
const NOT_REACHED: u8 = 4;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            let code = match error.downcast_ref::<ClientError>() {
                Some(ClientError::NoNode(_) | ClientError::Gone { .. }) => NO_NODE,
                Some(ClientError::NotReached(_)) => NOT_REACHED,
                Some(ClientError::Refused { .. } | ClientError::Answer(_)) | None => FAILED,
            };
            ExitCode::from(code)
        }
    }
}
