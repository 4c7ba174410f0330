//! Sending and reading.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use smartmesh_api::{Direction, Message, MessageState, Path, Photo, Queued, SendText, Voice};

use super::Format;
use crate::client::{Client, ClientError};
use crate::output;

/// The node is asked again after this time, so that a lost event delays nothing for long.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

pub(super) fn send(
    client: &Client,
    format: Format,
    to: String,
    text: String,
    wait: Option<f64>,
    more: More,
) -> anyhow::Result<()> {
    let body = more.body(client, to, text)?;
    let queued: Queued = client.post("/v1/messages", &body)?;
    let seconds = wait.unwrap_or(0.0);
    let wait = Duration::try_from_secs_f64(seconds)
        .map_err(|_| anyhow::anyhow!("--wait takes seconds, not {seconds}"))?;
    let message: Message = client.get(&format!(
        "/v1/messages/{}?wait_ms={}",
        queued.id,
        wait.as_millis()
    ))?;
    match format {
        Format::Json => {
            output::json(&json!({ "id": queued.id, "to": queued.to, "state": message.state }))
        }
        Format::Text => output::line(describe(message.state.as_ref())),
    }
    match &message.state {
        Some(MessageState::Failed { reason }) => Err(ClientError::Refused {
            error: format!("the message will not arrive: {reason}"),
            advice: None,
        }
        .into()),
        state if !wait.is_zero() && !state.as_ref().is_some_and(MessageState::has_arrived) => {
            Err(ClientError::NotReached(format!(
                "it has not arrived within {seconds} s; it stays on its way"
            ))
            .into())
        }
        _ => Ok(()),
    }
}

/// What goes along with the words.
#[derive(Debug, Default)]
pub(super) struct More {
    pub(super) reply: Option<String>,
    pub(super) vanish: Option<u32>,
    pub(super) file: Option<PathBuf>,
    pub(super) media_type: String,
    pub(super) thumbnail: Option<PathBuf>,
    pub(super) voice: Option<u32>,
}

impl More {
    /// The message to send; its file is stored before.
    fn body(self, client: &Client, to: String, text: String) -> anyhow::Result<SendText> {
        let file = match &self.file {
            Some(path) => Some(super::files::store(client, path, &self.media_type)?.file),
            None => None,
        };
        let photo = match &self.thumbnail {
            Some(path) => {
                let bytes = std::fs::read(path)
                    .with_context(|| format!("can't read {}", path.display()))?;
                Some(Photo {
                    thumbnail: STANDARD.encode(bytes),
                    width: 0,
                    height: 0,
                })
            }
            None => None,
        };
        Ok(SendText {
            to,
            text,
            reply_to: self.reply,
            vanish_secs: self.vanish,
            file,
            photo,
            voice: self.voice.map(|duration_ms| Voice {
                duration_ms,
                waveform: Vec::new(),
            }),
        })
    }
}

fn describe(state: Option<&MessageState>) -> String {
    match state {
        Some(MessageState::Waiting { until }) => {
            format!(
                "waiting (no path; will try until {})",
                output::moment(*until)
            )
        }
        Some(state) => state.to_string(),
        None => "stored; on its way".to_owned(),
    }
}

/// Which messages to show, and what to tell of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) follow: bool,
    pub(super) peek: bool,
    pub(super) all: bool,
}

pub(super) fn inbox(client: &Client, format: Format, view: View) -> anyhow::Result<()> {
    // Listening begins before the first look, so that nothing falls in between.
    let mut events = if view.follow {
        Some(client.events()?)
    } else {
        None
    };
    let mut after = 0;
    let mut shown = Vec::new();
    loop {
        let messages: Vec<Message> =
            client.get(&format!("/v1/messages?after={after}&limit=1000"))?;
        let more = !messages.is_empty();
        for message in messages {
            after = after.max(message.sequence);
            if !view.all && message.direction == Direction::Out {
                continue;
            }
            let unread = message.direction == Direction::In && !message.read;
            if unread && !view.peek {
                client.tell(&format!("/v1/messages/{}/read", message.id), &json!({}))?;
            }
            match (format, view.follow) {
                (Format::Json, true) => output::json(&message),
                (Format::Json, false) => shown.push(message),
                (Format::Text, _) => show(&message),
            }
        }
        if more {
            continue;
        }
        match &mut events {
            Some(events) => drop(events.next(LOOK_AGAIN)?),
            None => break,
        }
    }
    match format {
        Format::Json => output::json(&shown),
        Format::Text if after == 0 => output::line("No messages yet."),
        Format::Text => {}
    }
    Ok(())
}

pub(super) fn show(message: &Message) {
    let who = message.peer_name.as_deref().unwrap_or(&message.peer);
    let when = output::moment(message.sent_at);
    let text = match &message.file {
        Some(file) => format!(
            "[file {} of {}; `smartmesh get {}`]",
            file.name,
            output::bytes(file.size),
            message.id
        ),
        None if message.deleted => "(removed)".to_owned(),
        None => message.text.clone(),
    };
    let words = if message.file.is_some() && !message.text.is_empty() {
        format!("{} {text}", message.text)
    } else {
        text
    };
    let signs: String = message
        .reactions
        .iter()
        .map(|sign| format!(" {}", sign.emoji))
        .collect();
    let edited = if message.edited_at.is_some() {
        " (edited)"
    } else {
        ""
    };
    let text = format!("{words}{edited}{signs}");
    let arrow = match message.direction {
        Direction::In => "from",
        Direction::Out => "to",
    };
    let state = match (message.direction, message.path) {
        (Direction::In, Some(Path::Carried)) => " (carried)".to_owned(),
        (Direction::In, Some(Path::Live) | None) => String::new(),
        (Direction::Out, _) => format!(" ({})", describe(message.state.as_ref())),
    };
    output::line(format!("{when}  {arrow} {who}: {text}{state}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_in_words() {
        assert_eq!(
            describe(Some(&MessageState::Waiting { until: 0 })),
            "waiting (no path; will try until 1970-01-01 00:00)"
        );
        assert_eq!(
            describe(Some(&MessageState::Carried { by: 3 })),
            "carried by 3 phones"
        );
        assert_eq!(describe(None), "stored; on its way");
    }
}
