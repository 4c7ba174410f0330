//! What messages hold beside words, between the API's JSON and the node's values.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use smartmesh_api as api;
use smartmesh_node as node;
use smartmesh_types::MessageId;

use super::message_id;

/// Puts into a message of the history what was said.
pub(crate) fn show_say(message: &mut api::Message, say: &node::Say) {
    message.text.clone_from(&say.text);
    message.reply_to = say.reply_to.map(|id| id.to_string());
    message.vanish_secs = say.vanish_secs;
    let Some(attachment) = &say.attachment else {
        return;
    };
    message.file = Some(api::FileOffer {
        reference: hex::encode(&attachment.file.reference),
        size: attachment.file.bytes,
        name: attachment.file.name.clone(),
        media_type: attachment.file.media_type.clone(),
    });
    match &attachment.look {
        node::Look::Plain => {}
        node::Look::Photo {
            thumbnail,
            width,
            height,
        } => {
            message.photo = Some(api::Photo {
                thumbnail: STANDARD.encode(thumbnail),
                width: *width,
                height: *height,
            });
        }
        node::Look::Voice {
            duration_ms,
            waveform,
        } => {
            message.voice = Some(api::Voice {
                duration_ms: *duration_ms,
                waveform: waveform.clone(),
            });
        }
    }
}

/// What a client wants to say; `inline` is the whole file if it rides along.
///
/// # Errors
/// If a field cannot be read; the text says which.
pub(crate) fn say(
    body: &api::SendText,
    inline: Option<Vec<u8>>,
) -> Result<node::Say, &'static str> {
    let reply_to: Option<MessageId> = body
        .reply_to
        .as_ref()
        .map(|id| message_id(id).ok_or("a message's id has 32 hex digits"))
        .transpose()?;
    let look = match (&body.photo, &body.voice) {
        (Some(_), Some(_)) => return Err("a file is a photo or a voice note, not both"),
        (Some(photo), None) => node::Look::Photo {
            thumbnail: STANDARD
                .decode(&photo.thumbnail)
                .map_err(|_| "the thumbnail is no base64")?,
            width: photo.width,
            height: photo.height,
        },
        (None, Some(voice)) => node::Look::Voice {
            duration_ms: voice.duration_ms,
            waveform: voice.waveform.clone(),
        },
        (None, None) => node::Look::Plain,
    };
    let attachment = match &body.file {
        None if look != node::Look::Plain => return Err("a photo or voice note needs its file"),
        None => None,
        Some(file) => Some(node::Attachment {
            file: node::AttachedFile {
                reference: hex::decode(&file.reference)
                    .map_err(|_| "the file's reference is no hex")?,
                name: file.name.clone(),
                bytes: file.size,
                media_type: file.media_type.clone(),
            },
            look,
            inline,
        }),
    };
    Ok(node::Say {
        text: body.text.clone(),
        reply_to,
        vanish_secs: body.vanish_secs,
        attachment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_is_what_the_reader_sees() {
        let body = api::SendText {
            to: "Ann".into(),
            text: "look".into(),
            reply_to: Some("0102030405060708090a0b0c0d0e0f10".into()),
            vanish_secs: Some(60),
            file: Some(api::FileOffer {
                reference: "ab".repeat(32),
                size: 5,
                name: "a.jpg".into(),
                media_type: "image/jpeg".into(),
            }),
            photo: Some(api::Photo {
                thumbnail: "/9j/".into(),
                width: 4,
                height: 3,
            }),
            voice: None,
        };
        let mut shown = api::Message::default();
        show_say(&mut shown, &say(&body, None).unwrap());
        assert_eq!(
            (
                shown.text,
                shown.reply_to,
                shown.vanish_secs,
                shown.file,
                shown.photo
            ),
            (
                body.text,
                body.reply_to,
                body.vanish_secs,
                body.file,
                body.photo
            )
        );
        for broken in [
            api::SendText {
                photo: shown_photo("%%"),
                file: Some(api::FileOffer {
                    reference: "ab".repeat(32),
                    size: 5,
                    name: "a".into(),
                    media_type: String::new(),
                }),
                ..api::SendText::default()
            },
            api::SendText {
                reply_to: Some("12".into()),
                ..api::SendText::default()
            },
            api::SendText {
                photo: shown_photo("/9j/"),
                ..api::SendText::default()
            },
        ] {
            assert!(say(&broken, None).is_err());
        }
    }

    fn shown_photo(thumbnail: &str) -> Option<api::Photo> {
        Some(api::Photo {
            thumbnail: thumbnail.into(),
            width: 1,
            height: 1,
        })
    }
}
