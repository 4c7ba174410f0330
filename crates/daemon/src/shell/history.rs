//! What was said, on its way into the history: on disk before anybody hears of it.

use smartmesh_api as api;
use smartmesh_node::{Attachment, Change, Content, ContentReceived, FileOffer, Say};
use smartmesh_storage::Splitter;
use smartmesh_types::{Address, MessageId, RequestId};

use super::{Saved, Sent, Shell, wall_time};
use crate::ask::Answer;
use crate::convert;
use crate::database::{ChangeKind, MessageChange, Write};

/// A message of this phone's user, without its id and place.
fn sent_message(to: Address) -> api::Message {
    api::Message {
        peer: to.to_string(),
        direction: api::Direction::Out,
        sent_at: wall_time().as_secs(),
        ..api::Message::default()
    }
}

pub(super) fn sent_text(to: Address, text: &str) -> Sent {
    Sent::Message(Box::new(api::Message {
        text: text.to_owned(),
        ..sent_message(to)
    }))
}

pub(super) fn sent_file(to: Address, offer: &FileOffer) -> Sent {
    Sent::Message(Box::new(api::Message {
        file: Some(convert::file_offer(offer)),
        ..sent_message(to)
    }))
}

pub(super) fn sent_content(to: Address, own: Address, content: &Content) -> Option<Sent> {
    match content {
        Content::Say(say) => Some(Sent::Message(Box::new(shown(sent_message(to), say)))),
        Content::Change { target, change } => Some(Sent::Change(Box::new(MessageChange {
            target: target.to_string(),
            who: own.to_string(),
            own: true,
            at: wall_time().as_secs(),
            kind: change_kind(change),
        }))),
        Content::Text(_)
        | Content::File(_)
        | Content::Receipt { .. }
        | Content::Renew
        | Content::Group(_)
        | Content::Unsupported { .. } => None,
    }
}

fn shown(mut message: api::Message, say: &Say) -> api::Message {
    convert::content::show_say(&mut message, say);
    if message.direction == api::Direction::Out {
        let secs = message.vanish_secs.map(u64::from);
        message.vanish_at = secs.map(|secs| message.sent_at.saturating_add(secs));
    }
    message
}

fn change_kind(change: &Change) -> ChangeKind {
    match change {
        Change::React(emoji) => ChangeKind::React(emoji.clone()),
        Change::Edit(text) => ChangeKind::Edit(text.clone()),
        Change::Delete => ChangeKind::Delete,
    }
}

impl Shell {
    /// A message of ours is on disk in the core; the client hears of it when the history has it too.
    pub(super) fn handle_queued(&mut self, request: RequestId, id: MessageId) {
        let Some(pending) = self.pending.remove(&request) else {
            return;
        };
        let answer = Some((pending.answer, Answer::Queued(id)));
        match pending.sent {
            None => {
                if let Some((client, answer)) = answer {
                    let _ = client.send(answer);
                }
            }
            Some(Sent::Message(mut message)) => {
                message.id = id.to_string();
                message.sequence = self.next_sequence();
                let publish = api::Event::Message {
                    message: message.clone(),
                };
                let saved = Saved {
                    publish: Some(publish),
                    confirm: None,
                    answer,
                };
                self.save(Write::Message(message), saved);
            }
            Some(Sent::Change(change)) => {
                let saved = Saved {
                    publish: Some(api::Event::MessageChanged {
                        id: change.target.clone(),
                    }),
                    confirm: None,
                    answer,
                };
                self.save(Write::Change(change), saved);
            }
        }
    }

    pub(super) fn handle_received(&mut self, id: MessageId, mut message: api::Message) {
        message.sequence = self.next_sequence();
        let publish = api::Event::Message {
            message: Box::new(message.clone()),
        };
        let saved = Saved {
            publish: Some(publish),
            confirm: Some(id),
            answer: None,
        };
        self.save(Write::Message(Box::new(message)), saved);
    }

    /// Words with more to them, or a change of an earlier message.
    pub(super) fn handle_content(&mut self, received: ContentReceived) {
        let ContentReceived {
            message: id,
            from,
            content,
            sent_at,
            path,
        } = received;
        match content {
            Content::Say(say) => {
                if let Some(attachment) = &say.attachment {
                    self.keep_inline(attachment);
                }
                let message = api::Message {
                    id: id.to_string(),
                    peer: from.to_string(),
                    direction: api::Direction::In,
                    sent_at: sent_at.as_secs(),
                    path: Some(convert::path(path)),
                    ..api::Message::default()
                };
                self.handle_received(id, shown(message, &say));
            }
            Content::Change { target, change } => {
                let change = MessageChange {
                    target: target.to_string(),
                    who: from.to_string(),
                    own: false,
                    at: sent_at.as_secs(),
                    kind: change_kind(&change),
                };
                let saved = Saved {
                    publish: Some(api::Event::MessageChanged {
                        id: change.target.clone(),
                    }),
                    confirm: Some(id),
                    answer: None,
                };
                self.save(Write::Change(Box::new(change)), saved);
            }
            Content::Text(_)
            | Content::File(_)
            | Content::Receipt { .. }
            | Content::Renew
            | Content::Group(_)
            | Content::Unsupported { .. } => {}
        }
    }

    /// Stores a file that came inside its message; bytes that are not those of the reference are not taken.
    fn keep_inline(&mut self, attachment: &Attachment) {
        let Some(bytes) = &attachment.inline else {
            return;
        };
        let mut splitter = Splitter::plain();
        let mut chunks = Vec::new();
        splitter.push(bytes, &mut chunks);
        if splitter.finish(&mut chunks).to_bytes() != attachment.file.reference {
            tracing::debug!("a file inside a message is not the one it says");
            return;
        }
        let chunks = chunks
            .into_iter()
            .map(|chunk| (chunk.address().0, chunk.into_bytes()));
        self.write(Write::Chunks(chunks.collect()), None);
        let write = Write::File {
            reference: hex::encode(&attachment.file.reference),
            state: api::FetchState::Complete,
        };
        self.write(write, None);
    }
}
