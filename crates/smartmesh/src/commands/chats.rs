//! Conversations: signs, edits, removals, searching, and knowing who is there.

use serde_json::json;
use smartmesh_api::{Conversation, EditText, Message, Phrase, Queued, React, VerifyContact};

use super::{Format, messages};
use crate::client::{Client, encode};
use crate::output;

fn tell(format: Format, queued: &Queued) {
    match format {
        Format::Json => output::json(queued),
        Format::Text => output::line("on its way"),
    }
}

pub(super) fn react(
    client: &Client,
    format: Format,
    message: &str,
    emoji: String,
) -> anyhow::Result<()> {
    let path = format!("/v1/messages/{message}/react");
    tell(format, &client.post(&path, &React { emoji })?);
    Ok(())
}

pub(super) fn edit(
    client: &Client,
    format: Format,
    message: &str,
    text: String,
) -> anyhow::Result<()> {
    let path = format!("/v1/messages/{message}/edit");
    tell(format, &client.post(&path, &EditText { text })?);
    Ok(())
}

pub(super) fn delete(client: &Client, message: &str, everyone: bool) -> anyhow::Result<()> {
    client.delete(&format!("/v1/messages/{message}?everyone={everyone}"))?;
    output::note("done");
    Ok(())
}

pub(super) fn search(
    client: &Client,
    format: Format,
    words: &str,
    with: Option<&str>,
) -> anyhow::Result<()> {
    let mut path = format!("/v1/search?query={}", encode(words));
    if let Some(who) = with {
        path = format!("{path}&peer={}", encode(who));
    }
    let found: Vec<Message> = client.get(&path)?;
    match format {
        Format::Json => output::json(&found),
        Format::Text if found.is_empty() => output::line("Nothing found."),
        Format::Text => found.iter().for_each(messages::show),
    }
    Ok(())
}

pub(super) fn list(client: &Client, format: Format) -> anyhow::Result<()> {
    let chats: Vec<Conversation> = client.get("/v1/conversations")?;
    if format == Format::Json {
        output::json(&chats);
        return Ok(());
    }
    if chats.is_empty() {
        output::line("No conversations yet.");
    }
    for chat in chats {
        let name = chat.name.as_deref().unwrap_or(&chat.peer);
        let unread = match chat.unread {
            0 => String::new(),
            count => format!(" ({count} unread)"),
        };
        output::line(format!("{name}{unread}"));
        messages::show(&chat.last);
    }
    Ok(())
}

pub(super) fn verify(
    client: &Client,
    format: Format,
    who: &str,
    yes: bool,
    no: bool,
) -> anyhow::Result<()> {
    let contact = format!("/v1/contacts/{}", encode(who));
    if yes || no {
        let path = format!("{contact}/verified");
        client.tell(&path, &VerifyContact { verified: yes })?;
    }
    let phrase: Phrase = client.get(&format!("{contact}/phrase"))?;
    match format {
        Format::Json => output::json(&json!({
            "words": phrase.words, "digits": phrase.digits, "verified": phrase.verified
        })),
        Format::Text => {
            output::line(format!("    {}\n    {}", phrase.words, phrase.digits));
            output::line(if phrase.verified {
                "You have compared it."
            } else {
                "Read it to each other. If it is the same on both phones: smartmesh verify --yes"
            });
        }
    }
    Ok(())
}
