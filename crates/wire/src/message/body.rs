//! What is inside the ratchet: a CBOR map with numbered fields.
//!
//! ```text
//! 0 id 16 | 1 sent at | 2 kind | 3 text | 4 file | 5 arrived ids | 6 read ids | 7 target or answered message 16
//! 8 vanishes after seconds | 9 media | 10 group object
//! file   0 reference 32/64 | 1 name | 2 bytes | 3 media type
//! media  0 thumbnail | 1 width | 2 height | 3 duration in ms | 4 waveform | 5 the whole file
//! kinds  1 text, 2 file, 3 receipt, 4 renew, 5 say, 6 react, 7 edit, 8 delete, 9 group
//! ```

use minicbor::{Decode, Encode};
use smartmesh_types::{MessageId, UnixTime};

use super::{
    FILE_NAME_BYTES_MAX, MEDIA_TYPE_BYTES_MAX, MessageError, RECEIPT_IDS_MAX, SEALED_BYTES_MAX,
    TEXT_BYTES_MAX,
};

/// The largest thumbnail, in bytes: with all around it, a message of 16 KiB.
pub const THUMBNAIL_BYTES_MAX: usize = 8 * 1024;
/// The most steps of a waveform.
pub const WAVEFORM_BYTES_MAX: usize = 128;
/// The longest sign of a reaction, in bytes of UTF-8 (a family of four has 25).
pub const EMOJI_BYTES_MAX: usize = 32;
/// The largest file that rides inside its message, in bytes: some seconds of speech.
pub const INLINE_BYTES_MAX: usize = 12 * 1024;
/// The largest object of a group, in bytes.
pub const GROUP_BYTES_MAX: usize = 24 * 1024;
/// The longest words beside an attachment, in bytes of UTF-8.
const CAPTION_BYTES_MAX: usize = 4 * 1024;

/// An offered file: where its bytes are, and what to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOffer {
    /// A Swarm reference: 32 bytes plain, 64 bytes with the key.
    pub reference: Vec<u8>,
    /// The name its sender gave it, 1 to [`FILE_NAME_BYTES_MAX`] bytes; not to be used as a path.
    pub name: String,
    /// The file's size in bytes, as the sender says.
    pub bytes: u64,
    /// Its media type as the sender says, such as `image/jpeg`; at most [`MEDIA_TYPE_BYTES_MAX`] bytes.
    pub media_type: String,
}

/// A message with more to it than words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Say {
    /// The words, at most [`TEXT_BYTES_MAX`]; may be empty beside an attachment.
    pub text: String,
    /// Which message it answers.
    pub reply_to: Option<MessageId>,
    /// After so many seconds both sides remove it: the sender's from sending, the reader's from reading.
    pub vanish_secs: Option<u32>,
    /// What comes along.
    pub attachment: Option<Attachment>,
}

/// A file that comes with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The file.
    pub file: FileOffer,
    /// What can be shown before it is here.
    pub look: Look,
    /// All of the file, if it has at most [`INLINE_BYTES_MAX`] and a plain reference: it is carried with the words.
    pub inline: Option<Vec<u8>>,
}

/// What a file looks like before it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Like any file.
    Plain,
    /// A picture.
    Photo {
        /// A small picture, at most [`THUMBNAIL_BYTES_MAX`].
        thumbnail: Vec<u8>,
        /// Width of the file's picture in pixels.
        width: u16,
        /// Its height.
        height: u16,
    },
    /// Something spoken.
    Voice {
        /// How long it is, in milliseconds.
        duration_ms: u32,
        /// How loud it is from begin to end, at most [`WAVEFORM_BYTES_MAX`] steps of 0 to 255.
        waveform: Vec<u8>,
    },
}

/// What is said about an earlier message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A sign, at most [`EMOJI_BYTES_MAX`]; it takes the place of the one before, and an empty one takes it back.
    React(String),
    /// Other words; by the author alone.
    Edit(String),
    /// It shall be removed; by the author alone.
    Delete,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Words, at most [`TEXT_BYTES_MAX`].
    Text(String),
    /// A file to fetch.
    File(FileOffer),
    /// Receipts, for when they cannot go over a flow; at most [`RECEIPT_IDS_MAX`] each.
    Receipt {
        /// These have arrived.
        arrived: Vec<MessageId>,
        /// These have been read.
        read: Vec<MessageId>,
    },
    /// Nothing but a new ratchet session: the sender could not open what came before, which shall be sent again.
    Renew,
    /// Words with more to them: an answer, an attachment, a time to vanish.
    Say(Box<Say>),
    /// Something about an earlier message.
    Change {
        /// Which message.
        target: MessageId,
        /// What.
        change: Change,
    },
    /// Something of a group, see `group`; at most [`GROUP_BYTES_MAX`].
    Group(Vec<u8>),
    /// Something of a later version.
    Unsupported {
        /// Its kind.
        kind: u8,
    },
}

/// The text inside the ratchet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The same as the envelope's.
    pub id: MessageId,
    /// When it was written, by the sender's clock.
    pub sent_at: UnixTime,
    /// What it says.
    pub content: Content,
}

#[derive(Default, Encode, Decode)]
#[cbor(map)]
struct BodyFields {
    #[cbor(n(0), with = "minicbor::bytes")]
    id: [u8; 16],
    #[n(1)]
    sent_at: u64,
    #[n(2)]
    kind: u8,
    #[n(3)]
    text: Option<String>,
    #[n(4)]
    file: Option<FileFields>,
    #[cbor(n(5), with = "minicbor::bytes")]
    arrived: Option<Vec<u8>>,
    #[cbor(n(6), with = "minicbor::bytes")]
    read: Option<Vec<u8>>,
    #[cbor(n(7), with = "minicbor::bytes")]
    target: Option<Vec<u8>>,
    #[n(8)]
    vanish_secs: Option<u32>,
    #[n(9)]
    media: Option<MediaFields>,
    #[cbor(n(10), with = "minicbor::bytes")]
    group: Option<Vec<u8>>,
}

#[derive(Default, Encode, Decode)]
#[cbor(map)]
struct MediaFields {
    #[cbor(n(0), with = "minicbor::bytes")]
    thumbnail: Option<Vec<u8>>,
    #[n(1)]
    width: Option<u16>,
    #[n(2)]
    height: Option<u16>,
    #[n(3)]
    duration_ms: Option<u32>,
    #[cbor(n(4), with = "minicbor::bytes")]
    waveform: Option<Vec<u8>>,
    #[cbor(n(5), with = "minicbor::bytes")]
    inline: Option<Vec<u8>>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct FileFields {
    #[cbor(n(0), with = "minicbor::bytes")]
    reference: Vec<u8>,
    #[n(1)]
    name: String,
    #[n(2)]
    bytes: u64,
    #[n(3)]
    media_type: String,
}

impl Content {
    /// Whether each part is within its limits, so that it can be sent.
    ///
    /// # Errors
    /// If one is not.
    pub fn verify(&self) -> Result<(), MessageError> {
        let good = match self {
            Self::Text(text) => text.len() <= TEXT_BYTES_MAX,
            Self::File(file) => file.is_sound(),
            Self::Say(say) => say.is_sound(),
            Self::Change { change, .. } => match change {
                Change::React(emoji) => emoji.len() <= EMOJI_BYTES_MAX,
                Change::Edit(text) => text.len() <= TEXT_BYTES_MAX,
                Change::Delete => true,
            },
            Self::Group(bytes) => bytes.len() <= GROUP_BYTES_MAX,
            Self::Receipt { arrived, read } => {
                arrived.len() <= RECEIPT_IDS_MAX && read.len() <= RECEIPT_IDS_MAX
            }
            Self::Renew | Self::Unsupported { .. } => true,
        };
        good.then_some(()).ok_or(MessageError::Field)
    }

    /// The kind's byte.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Text(_) => 1,
            Self::File(_) => 2,
            Self::Receipt { .. } => 3,
            Self::Renew => 4,
            Self::Say(_) => 5,
            Self::Change {
                change: Change::React(_),
                ..
            } => 6,
            Self::Change {
                change: Change::Edit(_),
                ..
            } => 7,
            Self::Change {
                change: Change::Delete,
                ..
            } => 8,
            Self::Group(_) => 9,
            Self::Unsupported { kind } => *kind,
        }
    }
}

impl Body {
    /// The body's bytes.
    ///
    /// # Errors
    /// If a part is beyond its limit.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        self.content.verify()?;
        let mut fields = BodyFields {
            id: self.id.0,
            sent_at: self.sent_at.as_secs(),
            kind: self.content.kind(),
            ..BodyFields::default()
        };
        match &self.content {
            Content::Text(text) => fields.text = Some(text.clone()),
            Content::File(file) => {
                fields.file = Some(file.fields());
            }
            Content::Receipt { arrived, read } => {
                fields.arrived = Some(join(arrived));
                fields.read = Some(join(read));
            }
            Content::Say(say) => say.write(&mut fields),
            Content::Change { target, change } => {
                fields.target = Some(target.0.to_vec());
                fields.text = match change {
                    Change::React(text) | Change::Edit(text) => Some(text.clone()),
                    Change::Delete => None,
                };
            }
            Content::Group(bytes) => fields.group = Some(bytes.clone()),
            Content::Renew | Content::Unsupported { .. } => {}
        }
        minicbor::to_vec(fields).map_err(|_| MessageError::Cbor)
    }

    /// Reads a body. A kind of a later version becomes [`Content::Unsupported`].
    ///
    /// # Errors
    /// If it is not well-formed or a part is beyond its limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > SEALED_BYTES_MAX {
            return Err(MessageError::Length(bytes.len()));
        }
        let fields: BodyFields = minicbor::decode(bytes).map_err(|_| MessageError::Cbor)?;
        let (id, sent_at) = (MessageId(fields.id), UnixTime::from_secs(fields.sent_at));
        let content = Content::read(fields)?;
        content.verify()?;
        Ok(Self {
            id,
            sent_at,
            content,
        })
    }
}

impl Content {
    fn read(fields: BodyFields) -> Result<Self, MessageError> {
        let missing = MessageError::Field;
        Ok(match fields.kind {
            1 => Self::Text(fields.text.ok_or(missing)?),
            2 => Self::File(FileOffer::read(fields.file.ok_or(missing)?)),
            3 => Self::Receipt {
                arrived: split(&fields.arrived.unwrap_or_default())?,
                read: split(&fields.read.unwrap_or_default())?,
            },
            4 => Self::Renew,
            5 => Self::Say(Box::new(Say::read(fields)?)),
            kind @ 6..=8 => Self::Change {
                target: message_id(&fields.target.unwrap_or_default())?,
                change: match kind {
                    6 => Change::React(fields.text.ok_or(missing)?),
                    7 => Change::Edit(fields.text.ok_or(missing)?),
                    _ => Change::Delete,
                },
            },
            9 => Self::Group(fields.group.ok_or(missing)?),
            kind => Self::Unsupported { kind },
        })
    }
}

impl FileOffer {
    fn is_sound(&self) -> bool {
        matches!(self.reference.len(), 32 | 64)
            && (1..=FILE_NAME_BYTES_MAX).contains(&self.name.len())
            && self.media_type.len() <= MEDIA_TYPE_BYTES_MAX
    }

    fn fields(&self) -> FileFields {
        FileFields {
            reference: self.reference.clone(),
            name: self.name.clone(),
            bytes: self.bytes,
            media_type: self.media_type.clone(),
        }
    }

    fn read(fields: FileFields) -> Self {
        Self {
            reference: fields.reference,
            name: fields.name,
            bytes: fields.bytes,
            media_type: fields.media_type,
        }
    }
}

impl Say {
    fn is_sound(&self) -> bool {
        let attached = self.attachment.as_ref().is_none_or(|attachment| {
            let looks = match &attachment.look {
                Look::Plain => true,
                Look::Photo { thumbnail, .. } => thumbnail.len() <= THUMBNAIL_BYTES_MAX,
                Look::Voice { waveform, .. } => waveform.len() <= WAVEFORM_BYTES_MAX,
            };
            let rides = attachment.inline.as_ref().is_none_or(|inline| {
                inline.len() <= INLINE_BYTES_MAX && attachment.file.reference.len() == 32
            });
            attachment.file.is_sound() && looks && rides
        });
        // The longest words and a whole attachment would not fit one sealed message.
        let words = self.text.len() <= TEXT_BYTES_MAX
            && (self.text.len() <= CAPTION_BYTES_MAX || self.attachment.is_none());
        attached && words && self.vanish_secs != Some(0)
    }

    fn write(&self, fields: &mut BodyFields) {
        fields.text = Some(self.text.clone());
        fields.target = self.reply_to.map(|id| id.0.to_vec());
        fields.vanish_secs = self.vanish_secs;
        let Some(attachment) = &self.attachment else {
            return;
        };
        fields.file = Some(attachment.file.fields());
        let mut media = MediaFields {
            inline: attachment.inline.clone(),
            ..MediaFields::default()
        };
        match &attachment.look {
            Look::Plain => {}
            Look::Photo {
                thumbnail,
                width,
                height,
            } => {
                media.thumbnail = Some(thumbnail.clone());
                (media.width, media.height) = (Some(*width), Some(*height));
            }
            Look::Voice {
                duration_ms,
                waveform,
            } => {
                media.duration_ms = Some(*duration_ms);
                media.waveform = Some(waveform.clone());
            }
        }
        fields.media = Some(media);
    }

    fn read(fields: BodyFields) -> Result<Self, MessageError> {
        let media = fields.media.unwrap_or_default();
        let look = match (media.thumbnail, media.duration_ms) {
            (Some(thumbnail), _) => Look::Photo {
                thumbnail,
                width: media.width.unwrap_or(0),
                height: media.height.unwrap_or(0),
            },
            (None, Some(duration_ms)) => Look::Voice {
                duration_ms,
                waveform: media.waveform.unwrap_or_default(),
            },
            (None, None) => Look::Plain,
        };
        let reply_to = fields
            .target
            .map(|target| message_id(&target))
            .transpose()?;
        Ok(Self {
            text: fields.text.unwrap_or_default(),
            reply_to,
            vanish_secs: fields.vanish_secs,
            attachment: fields.file.map(|file| Attachment {
                file: FileOffer::read(file),
                look,
                inline: media.inline,
            }),
        })
    }
}

fn message_id(bytes: &[u8]) -> Result<MessageId, MessageError> {
    bytes
        .try_into()
        .map(MessageId)
        .map_err(|_| MessageError::Field)
}

fn join(ids: &[MessageId]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.0).collect()
}

fn split(bytes: &[u8]) -> Result<Vec<MessageId>, MessageError> {
    let (ids, rest) = bytes.as_chunks();
    if !rest.is_empty() || ids.len() > RECEIPT_IDS_MAX {
        return Err(MessageError::Field);
    }
    Ok(ids.iter().map(|id| MessageId(*id)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = MessageId> {
        any::<[u8; 16]>().prop_map(MessageId)
    }

    fn ids() -> impl Strategy<Value = Vec<MessageId>> {
        vec(id(), 0..=RECEIPT_IDS_MAX)
    }

    fn file(long: bool) -> impl Strategy<Value = FileOffer> {
        ("\\PC{1,40}", any::<u64>(), "[a-z/]{0,40}").prop_map(move |(name, bytes, media_type)| {
            FileOffer {
                reference: vec![7; if long { 64 } else { 32 }],
                name,
                bytes,
                media_type,
            }
        })
    }

    fn look() -> impl Strategy<Value = Look> {
        prop_oneof![
            Just(Look::Plain),
            (vec(any::<u8>(), 0..600), any::<u16>(), any::<u16>()).prop_map(
                |(thumbnail, width, height)| Look::Photo {
                    thumbnail,
                    width,
                    height,
                }
            ),
            (any::<u32>(), vec(any::<u8>(), 0..=WAVEFORM_BYTES_MAX)).prop_map(
                |(duration_ms, waveform)| Look::Voice {
                    duration_ms,
                    waveform,
                }
            ),
        ]
    }

    fn content() -> impl Strategy<Value = Content> {
        let inline = option::of(vec(any::<u8>(), 0..600));
        let attachment = (file(false), look(), inline)
            .prop_map(|(file, look, inline)| Attachment { file, look, inline });
        let say = (
            "\\PC{0,200}",
            option::of(id()),
            option::of(1_u32..),
            option::of(attachment),
        );
        let change = prop_oneof![
            "\\PC{0,8}".prop_map(Change::React),
            "\\PC{0,200}".prop_map(Change::Edit),
            Just(Change::Delete),
        ];
        prop_oneof![
            "\\PC{0,400}".prop_map(Content::Text),
            any::<bool>().prop_flat_map(file).prop_map(Content::File),
            (ids(), ids()).prop_map(|(arrived, read)| Content::Receipt { arrived, read }),
            Just(Content::Renew),
            say.prop_map(|(text, reply_to, vanish_secs, attachment)| {
                Content::Say(Box::new(Say {
                    text,
                    reply_to,
                    vanish_secs,
                    attachment,
                }))
            }),
            (id(), change).prop_map(|(target, change)| Content::Change { target, change }),
            vec(any::<u8>(), 0..300).prop_map(Content::Group),
            (10_u8..).prop_map(|kind| Content::Unsupported { kind }),
        ]
    }

    proptest! {
        #[test]
        fn bodies_round_trip(id in id(), at in any::<u64>(), content in content()) {
            let body = Body { id, sent_at: UnixTime::from_secs(at), content };
            prop_assert_eq!(Body::decode(&body.encode().unwrap()), Ok(body));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let file = FileOffer {
            reference: vec![1; 64],
            name: "a".into(),
            bytes: 1,
            media_type: String::new(),
        };
        let say = |attachment, vanish_secs| {
            Content::Say(Box::new(Say {
                attachment,
                vanish_secs,
                ..Say::default()
            }))
        };
        let large = Attachment {
            file: file.clone(),
            look: Look::Photo {
                thumbnail: vec![0; THUMBNAIL_BYTES_MAX + 1],
                width: 1,
                height: 1,
            },
            inline: None,
        };
        // A file with its own key cannot be cut the same way again.
        let keyed = Attachment {
            file,
            look: Look::Plain,
            inline: Some(vec![1]),
        };
        for bad in [
            say(Some(large), None),
            say(Some(keyed), None),
            say(None, Some(0)),
        ] {
            assert_eq!(bad.verify(), Err(MessageError::Field));
        }
    }
}
