//! The board, joined to gossip, to the contacts and to the user.

use smartmesh_mesh::gossip::{GossipInput, ItemId};
use smartmesh_messaging::{
    self as messaging, BoardCommand, BoardError, BoardInput, BoardOutput, ContactInfo, Standing,
};
use smartmesh_types::{Now, RequestId};

use crate::node::BOARD_RECORDS;
use crate::wiring::prefixed;
use crate::{Event, Node, Record, RefusedReason};

impl Node {
    pub(crate) fn ask_board(&mut self, request: RequestId, command: BoardCommand, now: Now) {
        if let Err(error) = self
            .board
            .handle(BoardInput::Command(request, command), now)
        {
            let reason = match error {
                BoardError::NoCall(_) | BoardError::NoOwnCall => {
                    RefusedReason::NotFound(error.to_string())
                }
                BoardError::Full(what) => RefusedReason::Full(what),
                BoardError::TooFast(_) => RefusedReason::Full("words for everybody near"),
                BoardError::Invalid(_) | BoardError::NoList => {
                    RefusedReason::Invalid(error.to_string())
                }
            };
            self.tell(Event::Refused { request, reason });
        }
    }

    pub(crate) fn set_name(&mut self, request: RequestId, name: String, now: Now) {
        let good = (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
        if !good {
            let reason = RefusedReason::Invalid(
                "a name has 1 to 64 bytes and no control characters".to_owned(),
            );
            self.tell(Event::Refused { request, reason });
            return;
        }
        self.config.name.clone_from(&name);
        let command = BoardCommand::Name(name.clone());
        let _ = self
            .board
            .handle(BoardInput::Command(request, command), now);
        if self.visible {
            // Those near see it at once; the answer is the board's.
            let show = messaging::Command::Show { name };
            self.ask_messaging(RequestId(0), show, now);
        }
    }

    pub(crate) fn board_contacts(&mut self, contacts: &[ContactInfo], now: Now) {
        let known = contacts
            .iter()
            .filter(|contact| contact.standing == Standing::Contact)
            .map(|contact| contact.address);
        let _ = self
            .board
            .handle(BoardInput::Contacts(known.collect()), now);
    }

    pub(crate) fn post_heard(&mut self, item: [u8; 16], payload: Vec<u8>, hops: u8, now: Now) {
        let heard = BoardInput::Heard {
            item,
            payload,
            hops,
        };
        let _ = self.board.handle(heard, now);
    }

    /// Refusals act at once, before gossip passes the item on; all else waits for the records before it.
    pub(crate) fn gate_board(&mut self, output: BoardOutput, now: Now) {
        match output {
            BoardOutput::Persist(record) => self.board_gate.persist(Record {
                key: prefixed(BOARD_RECORDS, &record.key),
                value: record.value,
            }),
            BoardOutput::Refuse { item } => {
                self.mesh
                    .publish(GossipInput::Refuse { id: ItemId(item) }, now);
            }
            BoardOutput::Drop { item } => {
                self.mesh
                    .publish(GossipInput::Drop { id: ItemId(item) }, now);
            }
            other @ (BoardOutput::Publish { .. } | BoardOutput::Event(_)) => {
                self.board_gate.push(other);
            }
        }
    }

    pub(crate) fn handle_board(&mut self, output: BoardOutput, now: Now) {
        match output {
            BoardOutput::Persist(_) | BoardOutput::Refuse { .. } | BoardOutput::Drop { .. } => {}
            BoardOutput::Publish {
                kind,
                scope,
                life,
                payload,
            } => self.mesh.publish(
                GossipInput::Publish {
                    kind,
                    scope,
                    life,
                    payload,
                },
                now,
            ),
            BoardOutput::Event(event) => self.tell(Event::Board(event)),
        }
    }
}
