//! The public room nearby.

use std::time::Duration;

use smartmesh_api::{Event, MuteList, MutePerson, Muted, Posted, RoomMessage, SayInRoom};

use super::Format;
use crate::cli::RoomCommand;
use crate::client::{Client, encode};
use crate::output;

/// How long to wait for an event before looking whether the node is still there.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

pub(super) fn room(
    client: &Client,
    format: Format,
    text: Option<String>,
    follow: bool,
    command: Option<RoomCommand>,
) -> anyhow::Result<()> {
    match (command, text) {
        (None, Some(text)) => {
            let posted: Posted = client.post("/v1/room", &SayInRoom { text })?;
            match format {
                Format::Json => output::json(&posted),
                Format::Text => output::line("Said; everybody within a few phones can read it."),
            }
            Ok(())
        }
        (None, None) => read(client, format, follow),
        (Some(command), _) => change(client, format, command),
    }
}

fn read(client: &Client, format: Format, follow: bool) -> anyhow::Result<()> {
    // Listening begins before the look, so that nothing falls in between.
    let mut events = if follow { Some(client.events()?) } else { None };
    let lines: Vec<RoomMessage> = client.get("/v1/room?limit=1000")?;
    match format {
        Format::Json if !follow => output::json(&lines),
        Format::Json => lines.iter().for_each(output::json),
        Format::Text if lines.is_empty() && !follow => output::line("The room is silent."),
        Format::Text => lines.iter().for_each(show),
    }
    while let Some(events) = &mut events {
        match events.next(LOOK_AGAIN)? {
            Some(Event::Room { message }) if !lines.iter().any(|line| line.id == message.id) => {
                match format {
                    Format::Json => output::json(&message),
                    Format::Text => show(&message),
                }
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

fn show(line: &RoomMessage) {
    let who = if line.own { "you" } else { &line.name };
    output::line(format!(
        "{}  {who} ({}): {}",
        output::moment(line.made),
        if line.own {
            "here".to_owned()
        } else {
            format!("{} phones away", line.hops)
        },
        line.text
    ));
}

fn change(client: &Client, format: Format, command: RoomCommand) -> anyhow::Result<()> {
    match command {
        RoomCommand::Mute { who } => client.tell("/v1/mutes", &MutePerson { who })?,
        RoomCommand::Unmute { who } => client.delete(&format!("/v1/mutes/{}", encode(&who)))?,
        RoomCommand::Mutes => {
            let muted: Vec<Muted> = client.get("/v1/mutes")?;
            match format {
                Format::Json => output::json(&muted),
                Format::Text => muted.iter().for_each(|one| {
                    let name = one.name.as_deref().unwrap_or("(no name)");
                    output::line(format!("{name:20}  {}", one.address));
                }),
            }
            return Ok(());
        }
        RoomCommand::List => {
            let list: MuteList = client.get("/v1/mutes/list")?;
            match format {
                Format::Json => output::json(&list),
                Format::Text => output::line(list.text),
            }
            return Ok(());
        }
        RoomCommand::Adopt { text } => client.tell("/v1/mutes/list", &MuteList { text })?,
    }
    output::note("done");
    Ok(())
}
