//! Channels.

mod verify;

use std::path::Path;

use anyhow::Context;
use smartmesh_api::Statement;

use super::Format;
use crate::cli::ChannelCommand;
use crate::output;

pub(super) fn run(format: Format, command: ChannelCommand) -> anyhow::Result<()> {
    match command {
        ChannelCommand::Verify { file } => judge(format, &file),
    }
}

fn judge(format: Format, file: &Path) -> anyhow::Result<()> {
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
