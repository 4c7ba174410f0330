//! Channels.

mod verify;

use std::path::Path;

use anyhow::Context;
use smartmesh_api::{Amount, Channel, EndChannel, MoveFunds, OpenChannel, Statement};

use super::Format;
use super::money::{self, Consent};
use crate::cli::ChannelCommand;
use crate::client::Client;
use crate::output;

pub(super) fn run(
    client: &Client,
    format: Format,
    command: Option<ChannelCommand>,
) -> anyhow::Result<()> {
    let sign = |yes: bool, path: &str, amount: Amount| {
        let body = |preview| MoveFunds { amount, preview };
        money::sign(client, format, Consent::from(yes), path, body)
    };
    let end = |yes: bool, path: &str, alone: bool| {
        let body = |preview| EndChannel { alone, preview };
        money::sign(client, format, Consent::from(yes), path, body)
    };
    match command {
        None | Some(ChannelCommand::List) => list(client, format),
        Some(ChannelCommand::Open { with, deposit, yes }) => {
            let body = |preview| OpenChannel {
                with: with.clone(),
                deposit,
                preview,
            };
            money::sign(client, format, Consent::from(yes), "/v1/channels", body)
        }
        Some(ChannelCommand::Deposit {
            channel,
            amount,
            yes,
        }) => sign(yes, &format!("/v1/channels/{channel}/deposit"), amount),
        Some(ChannelCommand::Withdraw {
            channel,
            amount,
            yes,
        }) => sign(yes, &format!("/v1/channels/{channel}/withdraw"), amount),
        Some(ChannelCommand::Close {
            channel,
            alone,
            yes,
        }) => end(yes, &format!("/v1/channels/{channel}/close"), alone),
        Some(ChannelCommand::Settle { channel, yes }) => {
            end(yes, &format!("/v1/channels/{channel}/settle"), true)
        }
        Some(ChannelCommand::Verify { file }) => judge(format, &file),
    }
}

fn list(client: &Client, format: Format) -> anyhow::Result<()> {
    let channels: Vec<Channel> = client.get("/v1/channels")?;
    if format == Format::Json {
        output::json(&channels);
        return Ok(());
    }
    if channels.is_empty() {
        output::line("No channels yet. `smartmesh channel open WHO AMOUNT` opens one.");
    }
    for one in channels {
        let who = one.peer_name.unwrap_or(one.peer);
        let id = one.id.get(..10).unwrap_or(&one.id);
        output::line(format!(
            "{id}  {who:12}  yours {} SMT, can be spent {}; paid {}, received {}; {}",
            one.mine, one.spendable, one.paid, one.received, one.state
        ));
    }
    Ok(())
}

pub(super) fn judge(format: Format, file: &Path) -> anyhow::Result<()> {
    let content = std::fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
    let statement: Statement =
        serde_json::from_slice(&content).context("this is no statement of a channel")?;
    let judgement = verify::judge(&statement)?;
    if format == Format::Json {
        output::json(&judgement);
        return Ok(());
    }
    let (low, high) = (&statement.low, &statement.high);
    output::line(format!("{low} must get {} SMT", judgement.low));
    output::line(format!("{high} must get {} SMT", judgement.high));
    if judgement.undecided.0 > 0 {
        output::line(format!(
            "{} SMT are in conditional payments that this file does not decide",
            judgement.undecided
        ));
    }
    for cheat in &judgement.cheats {
        let who = match cheat.party {
            smartmesh_api::Party::Low => low,
            smartmesh_api::Party::High => high,
        };
        output::line(format!("{who} cheated: {}", cheat.how));
    }
    if judgement.cheats.is_empty() {
        output::line("Nobody cheated, as far as this file shows.");
    }
    match judgement.paid_right {
        Some(true) => output::line("That is what was paid out."),
        Some(false) => output::line("Something else was paid out."),
        None => {}
    }
    Ok(())
}
