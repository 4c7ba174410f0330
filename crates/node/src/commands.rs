//! The user's commands: one function each.

use std::collections::BTreeMap;

use smartmesh_mesh::MeshInput;
use smartmesh_messaging as messaging;
use smartmesh_messaging::{Answer, Content, Standing, Via};
use smartmesh_types::{Address, Now, RequestId, Tag};

use crate::event::{ContentReceived, FileReceived, MessageState, PathKind, TextReceived};
use crate::{Command, Event, FileOffer, Node, RefusedReason};

impl Node {
    pub(crate) fn handle_command(&mut self, request: RequestId, command: Command, now: Now) {
        match command {
            Command::AddContact { text, name } => {
                self.ask_messaging(request, messaging::Command::AddContact { text, name }, now);
            }
            Command::RenameContact { address, name } => {
                self.ask_messaging(request, messaging::Command::Rename { address, name }, now);
            }
            Command::BlockContact {
                address,
                blocked: true,
            } => {
                self.ask_messaging(request, messaging::Command::Block { address }, now);
            }
            Command::BlockContact {
                address,
                blocked: false,
            } => {
                self.ask_messaging(request, messaging::Command::Unblock { address }, now);
            }
            Command::ForgetContact { address } => {
                self.ask_messaging(request, messaging::Command::Forget { address }, now);
            }
            Command::MakeInvite => {
                let name = self.config.name.clone();
                self.ask_messaging(request, messaging::Command::Invite { name }, now);
            }
            Command::SendText { to, text } => {
                let urgency = messaging::Urgency::Normal;
                self.ask_messaging(
                    request,
                    messaging::Command::Send {
                        to,
                        text,
                        lifetime: None,
                        urgency,
                    },
                    now,
                );
            }
            Command::OfferFile { to, offer } => {
                let offer = wire_offer(offer);
                self.ask_messaging(
                    request,
                    messaging::Command::SendContent {
                        to,
                        content: Content::File(offer),
                        lifetime: None,
                    },
                    now,
                );
            }
            Command::SendContent { to, content } => {
                let send = messaging::Command::SendContent {
                    to,
                    content,
                    lifetime: None,
                };
                self.ask_messaging(request, send, now);
            }
            Command::VerifyContact { address, verified } => {
                let verify = messaging::Command::Verify { address, verified };
                self.ask_messaging(request, verify, now);
            }
            Command::MarkRead { message } => {
                self.ask_messaging(request, messaging::Command::MarkRead { message }, now);
            }
            Command::Stored { message } => {
                self.ask_messaging(request, messaging::Command::Stored { message }, now);
            }
            Command::Cancel { message } => {
                self.ask_messaging(request, messaging::Command::Cancel { message }, now);
            }
            Command::FetchFile { from, offer } => self.fetch_file(request, from, offer, now),
            Command::CancelFetch { reference } => self.cancel_fetch(request, &reference, now),
            Command::Ping { to } => self.ping(request, to, now),
            Command::Trace { to } => self.trace(request, to, now),
            Command::Perf { to, millis } => self.perf(request, to, millis, now),
            Command::Board(command) => self.ask_board(request, command, now),
            Command::SetName { name } => self.set_name(request, name, now),
            Command::Money(command) => self.command_money(request, command, now),
            Command::SetVisible { visible: true } => {
                let name = self.config.name.clone();
                self.visible = true;
                self.ask_messaging(request, messaging::Command::Show { name }, now);
            }
            Command::SetVisible { visible: false } => {
                self.visible = false;
                self.ask_messaging(request, messaging::Command::Hide, now)
            }
        }
    }

    pub(crate) fn ask_messaging(
        &mut self,
        request: RequestId,
        command: messaging::Command,
        now: Now,
    ) {
        if let Err(error) = self
            .messaging
            .handle(messaging::Input::Command(request, command), now)
        {
            self.tell(Event::Refused {
                request,
                reason: refusal(error),
            });
        }
    }

    pub(crate) fn handle_message_event(&mut self, event: messaging::Event, now: Now) {
        match event {
            messaging::Event::Answer { request, answer } => self.tell(match answer {
                Answer::Done => Event::Done(request),
                Answer::Added(address) => Event::ContactAdded { request, address },
                Answer::Invite(text) => Event::Invite { request, text },
                Answer::Queued(message) => Event::Queued { request, message },
            }),
            messaging::Event::MessageReceived(message) => self.tell_message(message, now),
            messaging::Event::StateChanged { message, state } => {
                if let messaging::MessageState::Failed(_) = &state {
                    self.stop_carrying(message, now);
                }
                self.tell(Event::MessageState {
                    message,
                    state: state_in_words(state),
                });
            }
            messaging::Event::ContactAdded { address, .. }
            | messaging::Event::ContactChanged { address } => {
                self.contacts_changed(now);
                self.tell(Event::ContactChanged { address });
            }
            messaging::Event::Seen { address, key, name } => {
                self.people.note_seen(address, name.clone(), now);
                self.contacts_changed(now);
                self.tell(Event::Seen { address, key, name });
            }
        }
    }

    fn tell_message(&mut self, received: messaging::Message, now: Now) {
        let messaging::Message {
            id: message,
            from,
            sent_at,
            via,
            content,
            ..
        } = received;
        let path = match via {
            Via::Flow => PathKind::Live,
            Via::Bundle => PathKind::Carried,
        };
        match content {
            Content::Text(text) => self.tell(Event::TextReceived(TextReceived {
                message,
                from,
                text,
                sent_at,
                path,
            })),
            Content::File(offer) => {
                let offer = FileOffer {
                    reference: offer.reference,
                    size: offer.bytes,
                    name: offer.name,
                    media_type: offer.media_type,
                };
                let event = Event::FileReceived(FileReceived {
                    message,
                    from,
                    offer: offer.clone(),
                    sent_at,
                    path,
                });
                self.expect_file(message, &offer, event, now);
            }
            Content::Unsupported { kind } => {
                let text = format!("(a message of kind {kind}, which this version cannot show)");
                self.tell(Event::TextReceived(TextReceived {
                    message,
                    from,
                    text,
                    sent_at,
                    path,
                }));
            }
            content @ (Content::Say(_) | Content::Change { .. }) => {
                self.tell(Event::ContentReceived(ContentReceived {
                    message,
                    from,
                    content,
                    sent_at,
                    path,
                }));
            }
            Content::Receipt { .. } | Content::Renew | Content::Group(_) => {}
        }
    }

    /// Contacts, visible strangers or the epoch changed: their tags are computed anew, and the links hear whom to recognise.
    pub(crate) fn contacts_changed(&mut self, now: Now) {
        let contacts = self.messaging.contacts();
        let keys = contacts
            .iter()
            .filter(|contact| contact.standing == Standing::Contact)
            .filter_map(|contact| Some((contact.key?, contact.seal_key?)));
        if let Some(contacts) = self.people.pair_up(&self.identity, keys.collect()) {
            self.mesh.handle(MeshInput::Contacts(contacts), now);
        }
        self.board_contacts(&contacts, now);
        let routes = self.mesh.routes();
        let mut tags: BTreeMap<Tag, Address> = BTreeMap::new();
        let strangers = self.people.seen().keys().copied();
        for address in strangers.chain(contacts.iter().map(|contact| contact.address)) {
            tags.insert(routes.tag_of(address), address);
        }
        self.people.set_tags(tags);
        let around: Vec<_> = self
            .mesh
            .routes()
            .destinations()
            .map(|destination| destination.tag)
            .collect();
        for tag in around {
            self.handle_route_changed(tag, now);
        }
    }

    /// A way to somebody has changed: if it is a person we know, whoever waits for them tries at once.
    pub(crate) fn handle_route_changed(&mut self, tag: Tag, now: Now) {
        let Some(address) = self.people.by_tag(tag) else {
            return;
        };
        if self.mesh.routes().next_hops(tag).is_empty() {
            return;
        }
        let _ = self
            .messaging
            .handle(messaging::Input::Nearby { address }, now);
    }
}

fn wire_offer(offer: FileOffer) -> messaging::FileOffer {
    messaging::FileOffer {
        reference: offer.reference,
        name: offer.name,
        bytes: offer.size,
        media_type: offer.media_type,
    }
}

fn refusal(error: messaging::CommandError) -> RefusedReason {
    match error {
        messaging::CommandError::NotAnInvite(reason) => {
            RefusedReason::NotAnInvite(reason.to_string())
        }
        messaging::CommandError::UnknownContact(address) => RefusedReason::UnknownContact(address),
        messaging::CommandError::Full(what) => RefusedReason::Full(what),
        other @ (messaging::CommandError::BadSignature
        | messaging::CommandError::Self_
        | messaging::CommandError::Blocked(_)
        | messaging::CommandError::UnknownMessage(_)
        | messaging::CommandError::Invalid(_)) => RefusedReason::Invalid(other.to_string()),
    }
}

fn state_in_words(state: messaging::MessageState) -> MessageState {
    match state {
        messaging::MessageState::Waiting { until } => MessageState::Waiting { until },
        messaging::MessageState::Carried { by } => MessageState::Carried { by },
        messaging::MessageState::Sent => MessageState::Sent,
        messaging::MessageState::Arrived => MessageState::Arrived,
        messaging::MessageState::Read => MessageState::Read,
        messaging::MessageState::Failed(reason) => MessageState::Failed {
            reason: reason.to_string(),
        },
    }
}
