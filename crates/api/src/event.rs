//! What the event stream tells, one JSON text a WebSocket message.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Bulletin, Message, MessageState, Movement, Person, RoomMessage, Sos};

/// Something happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A message came, or was sent from this node.
    Message {
        /// The message.
        message: Box<Message>,
    },
    /// A sent message has a new state.
    MessageState {
        /// Its id.
        id: String,
        /// Its state.
        state: MessageState,
    },
    /// A message was edited, deleted by its author, or somebody put a sign on it; `GET /v1/messages/ID` shows it.
    MessageChanged {
        /// Its id.
        id: String,
    },
    /// Messages were removed here: vanished, or by the user.
    MessagesRemoved {
        /// Their ids.
        ids: Vec<String>,
    },
    /// A contact's keys, name or state changed.
    ContactChanged {
        /// Whom.
        address: String,
    },
    /// Somebody within a few hops wishes to be seen.
    Seen {
        /// Whom.
        address: String,
        /// The name they chose.
        name: String,
    },
    /// A fetch went on.
    FetchProgress {
        /// The file's reference.
        reference: String,
        /// Bytes of chunks that are here.
        bytes: u64,
    },
    /// All of a file is here.
    FetchComplete {
        /// The file's reference.
        reference: String,
        /// How many chunks came from whom.
        holders: Vec<(String, u64)>,
    },
    /// A fetch stopped.
    FetchFailed {
        /// The file's reference.
        reference: String,
        /// Why.
        reason: String,
    },
    /// Tokens of the wallet moved, and it counts.
    Movement {
        /// What happened.
        movement: Box<Movement>,
    },
    /// Somebody calls for help, tells more, is helped, or calls off.
    Sos {
        /// The emergency as it stands now.
        sos: Box<Sos>,
    },
    /// There is news about a person.
    Person {
        /// The person as they stand now.
        person: Box<Person>,
    },
    /// A bulletin of a pinned key is new, changed, or (with an empty text) withdrawn.
    Bulletin {
        /// The bulletin.
        bulletin: Box<Bulletin>,
    },
    /// Somebody said something in the public room.
    Room {
        /// The words.
        message: Box<RoomMessage>,
    },
    /// The client was too slow and missed events; it should ask for the current state.
    Missed {
        /// How many.
        count: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_states_name_themselves() {
        let event = Event::MessageState {
            id: "ab".into(),
            state: MessageState::Carried { by: 2 },
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"event":"message_state","id":"ab","state":{"state":"carried","by":2}}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn states_are_told_in_words() {
        let words: Vec<String> = [
            MessageState::Carried { by: 1 },
            MessageState::Arrived,
            MessageState::Failed {
                reason: "expired".into(),
            },
        ]
        .iter()
        .map(ToString::to_string)
        .collect();
        assert_eq!(words, ["carried by 1 phone", "arrived", "failed: expired"]);
    }
}
