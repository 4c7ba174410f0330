//! One function a command.

mod chain;
mod channel;
mod chats;
mod demo;
mod files;
mod light;
mod messages;
mod money;
mod open;
mod pay;
mod people;
mod room;
mod rpc;
mod safety;
mod tools;
mod up;
mod wallet;

use smartmesh_daemon::default_folder;

use crate::cli::{ChannelCommand, Cli, Command};
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
        Command::Send {
            to,
            text,
            wait,
            reply,
            vanish,
            file,
            media_type,
            thumbnail,
            voice,
        } => {
            let more = messages::More {
                reply,
                vanish,
                file,
                media_type,
                thumbnail,
                voice,
            };
            messages::send(&client()?, format, to, text, wait, more)
        }
        Command::React { message, emoji } => chats::react(&client()?, format, &message, emoji),
        Command::Edit { message, text } => chats::edit(&client()?, format, &message, text),
        Command::Delete { message, everyone } => chats::delete(&client()?, &message, everyone),
        Command::Search { words, with } => {
            chats::search(&client()?, format, &words, with.as_deref())
        }
        Command::Chats => chats::list(&client()?, format),
        Command::Verify { who, yes, no } => chats::verify(&client()?, format, &who, yes, no),
        Command::Inbox { follow, peek, all } => {
            let view = messages::View { follow, peek, all };
            messages::inbox(&client()?, format, view)
        }
        Command::Sos {
            note,
            need,
            people,
            battery,
            place,
            command,
        } => {
            let cry = safety::Cry {
                note,
                need,
                people,
                battery,
                place,
            };
            safety::sos(&client()?, format, cry, command)
        }
        Command::Safe {
            name,
            about,
            condition,
            note,
            place,
            command,
        } => {
            let word = safety::Word {
                name,
                about,
                condition,
                note,
                place,
            };
            safety::safe(&client()?, format, word, command)
        }
        Command::Bulletin { command } => safety::bulletin(&client()?, format, command),
        Command::Room {
            text,
            follow,
            command,
        } => room::room(&client()?, format, text, follow, command),
        Command::Name { name } => people::name(&client()?, format, name),
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
        Command::Channel {
            command: Some(ChannelCommand::Verify { file }),
        } => channel::judge(format, &file),
        Command::Channel { command } => channel::run(&client()?, format, command),
        Command::Request { amount, memo } => pay::request(&client()?, format, amount, memo),
        Command::Agent { command } => pay::agent(&client()?, format, command),
        Command::Chain { command } => chain::run(format, command),
        Command::Demo { once } => demo::demo(once),
        Command::Light {
            command: crate::cli::light::Light::Status,
        } => rpc::status(&client()?, format),
        Command::Light { command } => light::light(command),
        Command::Rpc { method, params } => rpc::ask(&client()?, format, &method, &params),
        Command::Doctor => tools::doctor(&client()?, format),
        Command::Visible { state } => tools::visible(&client()?, format, state),
    }
}
