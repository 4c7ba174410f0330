//! One function a command.

mod chain;
mod channel;
mod demo;
mod files;
mod light;
mod messages;
mod money;
mod open;
mod pay;
mod people;
mod tools;
mod up;
mod wallet;

use smartmesh_daemon::default_folder;

use crate::cli::{Cli, Command};
use crate::client::Client;

/// How a command shows its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Carries out what the command line says.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    let folder = cli.data.unwrap_or_else(default_folder);
    let format = if cli.json { Format::Json } else { Format::Text };
    let client = || Client::connect(&folder);
    match cli.command {
        Command::Up(up) => up::up(up, folder),
        Command::Open { print } => open::open(&client()?, format, print),
        Command::Down => tools::down(&client()?),
        Command::Status => tools::status(&client()?, format),
        Command::Nearby => people::nearby(&client()?, format),
        Command::Id => people::id(&client()?, format),
        Command::Add { who, name } => people::add(&client()?, format, who, name),
        Command::Contacts { change: None } => people::contacts(&client()?, format),
        Command::Contacts {
            change: Some(change),
        } => people::change(&client()?, change),
        Command::Send { to, text, wait } => messages::send(&client()?, format, to, text, wait),
        Command::Inbox { follow, peek, all } => {
            let view = messages::View { follow, peek, all };
            messages::inbox(&client()?, format, view)
        }
        Command::Share {
            file,
            to,
            media_type,
            plain,
        } => files::share(&client()?, format, &file, to.as_deref(), &media_type, plain),
        Command::Get { file: None, .. } => files::list(&client()?, format),
        Command::Get {
            file: Some(file),
            out,
        } => files::get(&client()?, format, &file, out),
        Command::Ping {
            to,
            count,
            interval,
        } => tools::ping(&client()?, format, &to, count, interval),
        Command::Trace { to } => tools::trace(&client()?, format, to),
        Command::Perf { to, seconds } => tools::perf(&client()?, format, to, seconds),
        Command::Wallet { command } => wallet::run(&client()?, format, command),
        Command::Pay {
            who,
            amount,
            memo,
            yes,
        } => pay::pay(&client()?, format, &who, amount, &memo, yes),
        Command::Channel { command } => channel::run(format, command),
        Command::Request { amount, memo } => pay::request(&client()?, format, amount, memo),
        Command::Agent { command } => pay::agent(&client()?, format, command),
        Command::Chain { command } => chain::run(format, command),
        Command::Demo { once } => demo::demo(once),
        Command::Light { command } => light::light(command),
        Command::Doctor => tools::doctor(&client()?, format),
        Command::Visible { state } => tools::visible(&client()?, format, state),
    }
}
