//! Carries out what the node wants and brings it the answers. Everything here runs on the loop's one thread.

mod history;
mod money;

use std::collections::{BTreeMap, VecDeque};

use smartmesh_api as api;
use smartmesh_node::{BoardEvent, Command, Event, Input, Node, Output, PersistId};
use smartmesh_radio::{RadioEvent, Radios, Tunnel};
use smartmesh_types::{Address, Instant, MessageId, RequestId, UnixTime};
use tokio::sync::{broadcast, oneshot};

use crate::ask::{Answer, Ask, Snapshot};
use crate::chain::{Outcome, Report};
use crate::clock;
use crate::convert;
use crate::database::{MessageChange, Write};
use crate::disk::{Disk, DiskBusy, DiskReply};
use crate::money::{FOLLOWED, Money};

/// Commands that may wait for their answer; clients that gave up are forgotten when it is full.
const PENDING_MAX: usize = 256;
/// Requests the shell makes for itself; their answers interest nobody.
const OWN_REQUEST: RequestId = RequestId(0);

/// What a disk job was for.
#[derive(Debug)]
pub(crate) enum Mark {
    Persist(PersistId),
    Chunk([u8; 32]),
    Saved(Box<Saved>),
}

/// What is to be told once something is on disk.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// To all clients.
    publish: Option<api::Event>,
    /// To the node: the history has this message for good.
    confirm: Option<MessageId>,
    /// To the client that asked.
    answer: Option<(oneshot::Sender<Answer>, Answer)>,
}

/// A command under way.
#[derive(Debug)]
struct Pending {
    answer: oneshot::Sender<Answer>,
    /// What the history will say, for a command that sends a message.
    sent: Option<Sent>,
    /// The file whose fetch this command begins.
    fetch: Option<String>,
    hops: Vec<(u8, Option<smartmesh_types::Duration>)>,
}

/// What the history will hold of a command that sends something, once it is on disk in the core.
#[derive(Debug)]
enum Sent {
    /// A message; its id and place come later.
    Message(Box<api::Message>),
    /// Something about an earlier message.
    Change(Box<MessageChange>),
}

/// A job that did not fit into the disk's queue.
enum Deferred {
    Write(Write, Option<Mark>),
    Chunk([u8; 32]),
}

/// The node and everything that surrounds it.
pub(crate) struct Shell {
    pub(crate) node: Node,
    pub(crate) radios: Radios,
    pub(crate) tunnel: Option<Tunnel>,
    disk: Disk<Mark>,
    events: broadcast::Sender<api::Event>,
    pending: BTreeMap<RequestId, Pending>,
    next_request: u64,
    sequence: u64,
    fetching: BTreeMap<String, u64>,
    deferred: VecDeque<Deferred>,
    started: Instant,
    money: Money,
}

impl Shell {
    pub(crate) fn new(
        node: Node,
        radios: Radios,
        tunnel: Option<Tunnel>,
        disk: Disk<Mark>,
        events: broadcast::Sender<api::Event>,
        sequence: u64,
        money: Money,
    ) -> Self {
        Self {
            node,
            radios,
            tunnel,
            disk,
            events,
            pending: BTreeMap::new(),
            next_request: 1,
            sequence,
            fetching: BTreeMap::new(),
            deferred: VecDeque::new(),
            started: clock::monotonic(),
            money,
        }
    }

    /// Whether the disk's queue is full; then nothing new is taken in until it has room.
    pub(crate) fn waits_for_disk(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Carries out everything the node wants at this moment.
    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Persist { id, records } => {
                    self.write(Write::Records(records), Some(Mark::Persist(id)));
                }
                Output::Transmit { radio, to, train } => self.radios.transmit(radio, to, train),
                Output::Tunnel(packet) => {
                    if let Some(tunnel) = &mut self.tunnel {
                        tunnel.queue(&packet);
                    }
                }
                Output::StoreChunk { address, bytes } => {
                    self.write(Write::Chunks(vec![(address, bytes)]), None);
                }
                Output::LoadChunk { address } => self.load_chunk(address),
                Output::Submit(call) => self.submit(call),
                Output::Event(event) => self.handle_event(event),
            }
        }
        self.radios.flush();
    }

    fn write(&mut self, write: Write, mark: Option<Mark>) {
        if self.waits_for_disk() {
            self.deferred.push_back(Deferred::Write(write, mark));
        } else if let Err(DiskBusy((write, mark))) = self.disk.write(write, mark) {
            self.deferred.push_back(Deferred::Write(write, mark));
        }
    }

    fn load_chunk(&mut self, address: [u8; 32]) {
        if self.waits_for_disk() || self.disk.load_chunk(address, Mark::Chunk(address)).is_err() {
            self.deferred.push_back(Deferred::Chunk(address));
        }
    }

    fn save(&mut self, write: Write, saved: Saved) {
        self.write(write, Some(Mark::Saved(Box::new(saved))));
    }

    pub(crate) fn handle_radio(&mut self, event: RadioEvent) {
        let input = match event {
            RadioEvent::Up { radio, info } => Input::RadioUp { radio, info },
            RadioEvent::Down { radio } => Input::RadioDown { radio },
            RadioEvent::CarrierLost { radio, peer } => Input::CarrierLost { radio, peer },
            RadioEvent::Train { radio, from, train } => Input::Train { radio, from, train },
        };
        self.node.handle(input, clock::now());
    }

    pub(crate) fn handle_disk(&mut self, reply: DiskReply<Mark>) {
        let now = clock::now();
        match reply {
            DiskReply::Written(Mark::Persist(id)) => self.node.handle(Input::Persisted(id), now),
            DiskReply::Written(Mark::Saved(saved)) => self.handle_saved(*saved),
            DiskReply::Chunk(Mark::Chunk(address), bytes) => {
                self.node.handle(Input::ChunkLoaded { address, bytes }, now);
            }
            DiskReply::Written(Mark::Chunk(_))
            | DiskReply::Chunk(Mark::Persist(_) | Mark::Saved(_), _) => {}
        }
        while let Some(job) = self.deferred.pop_front() {
            let back = match job {
                Deferred::Write(write, mark) => match self.disk.write(write, mark) {
                    Ok(()) => continue,
                    Err(DiskBusy((write, mark))) => Deferred::Write(write, mark),
                },
                Deferred::Chunk(address) => {
                    match self.disk.load_chunk(address, Mark::Chunk(address)) {
                        Ok(()) => continue,
                        Err(_) => Deferred::Chunk(address),
                    }
                }
            };
            self.deferred.push_front(back);
            return;
        }
    }

    fn handle_saved(&mut self, saved: Saved) {
        if let Some(message) = saved.confirm {
            let input = Input::Command(OWN_REQUEST, Command::Stored { message });
            self.node.handle(input, clock::now());
        }
        if let Some(event) = saved.publish {
            self.publish(event);
        }
        if let Some((client, answer)) = saved.answer {
            let _ = client.send(answer);
        }
    }

    fn publish(&self, event: api::Event) {
        // An error only says that nobody listens.
        let _ = self.events.send(event);
    }

    /// Takes in what the chain's thread tells.
    pub(crate) fn handle_chain(&mut self, report: &Report) {
        self.tell_chain(report);
        for movement in self.money.handle(report) {
            let publish = api::Event::Movement {
                movement: Box::new(movement.clone()),
            };
            self.save(
                Write::Movement(Box::new(movement)),
                Saved {
                    publish: Some(publish),
                    ..Saved::default()
                },
            );
        }
        for (name, outcome) in &report.ended {
            match outcome {
                Outcome::Done => tracing::debug!(%name, "a call is deep enough in the chain"),
                Outcome::Failed => {
                    tracing::warn!(%name, "a transaction came into a block and failed")
                }
                Outcome::Replaced => {
                    tracing::warn!(%name, "another transaction of this account took a call's place; is the wallet in use elsewhere?")
                }
            }
        }
        if let Some(value) = self.money.followed(report) {
            self.write(
                Write::Meta {
                    name: FOLLOWED,
                    value,
                },
                None,
            );
        }
    }

    pub(crate) fn handle_ask(&mut self, ask: Ask) -> Loop {
        let now = clock::now();
        match ask {
            Ask::Command(command, answer) => self.handle_command(*command, answer),
            Ask::Snapshot(answer) => {
                let snapshot = Snapshot {
                    status: self.node.status(now),
                    radios: self.radios.states(),
                    tunnel: self.tunnel.as_ref().map(|tunnel| tunnel.name().to_owned()),
                    uptime: now.instant.since(self.started),
                };
                let _ = answer.send(snapshot);
            }
            Ask::Nearby(answer) => drop(answer.send(self.node.nearby(now))),
            Ask::Contacts(answer) => drop(answer.send(self.node.contacts())),
            Ask::Fetching(reference, answer) => {
                let _ = answer.send(self.fetching.get(&reference).copied());
            }
            Ask::Look(look) => (look.0)(&self.node),
            Ask::Channels(answer) => drop(answer.send(self.node.channels())),
            Ask::Stop => return Loop::Stop,
        }
        Loop::GoOn
    }

    fn handle_command(&mut self, command: Command, answer: oneshot::Sender<Answer>) {
        if self.pending.len() >= PENDING_MAX {
            self.pending
                .retain(|_, pending| !pending.answer.is_closed());
        }
        if self.pending.len() >= PENDING_MAX {
            let reason = smartmesh_node::RefusedReason::Full("commands");
            let _ = answer.send(Answer::Refused(reason));
            return;
        }
        let mut sent = None;
        let mut fetch = None;
        match &command {
            Command::SendText { to, text } => sent = Some(history::sent_text(*to, text)),
            Command::OfferFile { to, offer, .. } => sent = Some(history::sent_file(*to, offer)),
            Command::SendContent { to, content } => {
                sent = history::sent_content(*to, self.node.address(), content);
            }
            Command::FetchFile { offer, .. } => {
                let reference = hex::encode(&offer.reference);
                self.fetching.insert(reference.clone(), 0);
                fetch = Some(reference);
            }
            Command::CancelFetch { reference } => {
                self.fetching.remove(&hex::encode(reference));
            }
            Command::AddContact { .. }
            | Command::RenameContact { .. }
            | Command::BlockContact { .. }
            | Command::VerifyContact { .. }
            | Command::ForgetContact { .. }
            | Command::MakeInvite
            | Command::MarkRead { .. }
            | Command::Stored { .. }
            | Command::Cancel { .. }
            | Command::Ping { .. }
            | Command::Trace { .. }
            | Command::Perf { .. }
            | Command::Board(_)
            | Command::SetName { .. }
            | Command::Money(_)
            | Command::SetVisible { .. } => {}
        }
        let request = RequestId(self.next_request);
        self.next_request = self.next_request.saturating_add(1);
        self.pending.insert(
            request,
            Pending {
                answer,
                sent,
                fetch,
                hops: Vec::new(),
            },
        );
        self.note_order(request, &command);
        self.node
            .handle(Input::Command(request, command), clock::now());
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        if let Some(pending) = self.pending.remove(&request) {
            let _ = pending.answer.send(answer);
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            // No wallet is given to the node yet, so there are none.
            Event::Money(event) => self.handle_money(event),
            Event::Done(request) => self.handle_done(request),
            Event::Refused { request, reason } => {
                if let Some(fetch) = self
                    .pending
                    .get(&request)
                    .and_then(|pending| pending.fetch.as_ref())
                {
                    self.fetching.remove(fetch);
                }
                // The relays that did answer are worth more than the word that one did not.
                let hops = self
                    .pending
                    .get_mut(&request)
                    .map(|pending| std::mem::take(&mut pending.hops));
                match hops {
                    Some(hops) if !hops.is_empty() => self.answer(request, Answer::Trace(hops)),
                    Some(_) | None => self.answer(request, Answer::Refused(reason)),
                }
            }
            Event::Invite { request, text } => self.answer(request, Answer::Invite(text)),
            Event::ContactAdded { request, address } => {
                self.answer(request, Answer::Added(address));
                self.publish(api::Event::ContactChanged {
                    address: address.to_string(),
                });
            }
            Event::ContactChanged { address } => {
                self.publish(api::Event::ContactChanged {
                    address: address.to_string(),
                });
            }
            Event::Queued { request, message } => self.handle_queued(request, message),
            Event::MessageState { message, state } => {
                let (id, state) = (message.to_string(), convert::message_state(state));
                let publish = api::Event::MessageState {
                    id: id.clone(),
                    state: state.clone(),
                };
                self.save(
                    Write::MessageState { id, state },
                    Saved {
                        publish: Some(publish),
                        ..Saved::default()
                    },
                );
            }
            Event::TextReceived(text) => {
                self.handle_received(text.message, convert::received_text(&text));
            }
            Event::FileReceived(file) => {
                self.handle_received(file.message, convert::received_file(&file));
            }
            Event::ContentReceived(received) => self.handle_content(received),
            Event::FetchProgress { reference, bytes } => {
                let reference = hex::encode(reference);
                self.fetching.insert(reference.clone(), bytes);
                self.publish(api::Event::FetchProgress { reference, bytes });
            }
            Event::FetchComplete { reference, holders } => {
                self.handle_complete(&reference, &holders)
            }
            Event::FetchFailed { reference, reason } => {
                let reference = hex::encode(reference);
                self.fetching.remove(&reference);
                let publish = api::Event::FetchFailed {
                    reference: reference.clone(),
                    reason: reason.clone(),
                };
                let state = api::FetchState::Stopped { reason };
                self.save(
                    Write::File { reference, state },
                    Saved {
                        publish: Some(publish),
                        ..Saved::default()
                    },
                );
            }
            Event::Pong { request, rtt, hops } => self.answer(request, Answer::Pong { rtt, hops }),
            Event::TraceHop { request, hop, rtt } => {
                if let Some(pending) = self.pending.get_mut(&request) {
                    pending.hops.push((hop, rtt));
                }
            }
            Event::PerfReport {
                request,
                bytes_received,
                packets_sent,
                packets_received,
                elapsed,
            } => {
                let answer = Answer::Perf {
                    bytes_received,
                    packets_sent,
                    packets_received,
                    elapsed,
                };
                self.answer(request, answer);
            }
            Event::Board(event) => self.handle_board(&event),
            Event::Seen {
                address,
                key: _,
                name,
            } => {
                self.publish(api::Event::Seen {
                    address: address.to_string(),
                    name,
                });
            }
        }
    }

    fn handle_board(&mut self, event: &BoardEvent) {
        if let BoardEvent::Answer { request, post } = event {
            match post {
                Some(post) => self.answer(*request, Answer::Posted(*post)),
                None => self.answer(*request, Answer::Done),
            }
            return;
        }
        let contacts = self.node.contacts().into_iter();
        let names = convert::board::Names {
            own: self.node.address(),
            contacts: contacts
                .filter_map(|contact| Some((contact.address.to_string(), contact.name?)))
                .collect(),
        };
        if let Some(event) = convert::board::board_event(event, &names) {
            self.publish(event);
        }
    }

    fn handle_done(&mut self, request: RequestId) {
        if let Some(pending) = self.pending.remove(&request) {
            let answer = match pending.hops {
                hops if hops.is_empty() => Answer::Done,
                hops => Answer::Trace(hops),
            };
            let _ = pending.answer.send(answer);
        }
    }

    fn handle_complete(&mut self, reference: &[u8], holders: &[(Address, u64)]) {
        let reference = hex::encode(reference);
        self.fetching.remove(&reference);
        let holders = holders
            .iter()
            .map(|(address, chunks)| (address.to_string(), *chunks))
            .collect();
        let publish = api::Event::FetchComplete {
            reference: reference.clone(),
            holders,
        };
        let write = Write::File {
            reference,
            state: api::FetchState::Complete,
        };
        self.save(
            write,
            Saved {
                publish: Some(publish),
                ..Saved::default()
            },
        );
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence = self.sequence.saturating_add(1);
        self.sequence
    }

    /// Keeps the wall time on disk, so that the next start notices a clock that was set back.
    pub(crate) fn remember_time(&mut self) {
        let value = wall_time().as_secs().to_be_bytes().to_vec();
        self.write(
            Write::Meta {
                name: "time",
                value,
            },
            None,
        );
    }
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    GoOn,
    Stop,
}

fn wall_time() -> UnixTime {
    clock::now().unix
}
