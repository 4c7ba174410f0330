//! A part of the phones with its own event queue; shards run side by side within one hop's delay.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use smartmesh_crypto::Rng;
use smartmesh_node::{Command, Event, Input, Node, Output, PersistId};
use smartmesh_types::{
    Destination, Duration, Instant, LinkAddr, MessageId, Now, RadioId, RequestId, Train, UnixTime,
};

use crate::medium::index;
use crate::{Disk, Medium};

/// Names what the simulated shell asks for by itself.
const SHELL: RequestId = RequestId(u64::MAX);

/// The only radio of a simulated phone.
pub(crate) const RADIO: RadioId = RadioId(1);

/// Bytes of Ethernet, IPv6 and UDP headers that a frame would carry on Wi-Fi; counted, not sent.
const HEADER_BYTES: u64 = 62;

/// An event that a node reported, with when and who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Virtual time.
    pub at: Instant,
    /// Which phone.
    pub node: u32,
    /// What it reported.
    pub event: Event,
}

/// What one phone put on the air.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames sent.
    pub frames: u64,
    /// Bytes sent, with the headers they would carry on Wi-Fi.
    pub bytes: u64,
}

/// One simulated phone.
pub(crate) struct Phone {
    pub(crate) node: Option<Node>,
    pub(crate) disk: Disk,
    pub(crate) rng: Rng,
    pub(crate) traffic: Traffic,
    /// What the phone's wall clock shows at virtual time zero, in seconds.
    pub(crate) wall_start: u64,
    /// Messages that the shell has stored, as the daemon's database would.
    pub(crate) inbox: BTreeSet<MessageId>,
    /// What has happened here, as one number; equal for equal runs.
    pub(crate) trace: u64,
    /// Whether it has died since it was made: then a message may be reported again.
    pub(crate) has_died: bool,
    /// Messages reported again without that.
    pub(crate) repeats: u64,
    wake_at: Instant,
    sequence: u64,
    busy_until: Instant,
}

impl Phone {
    pub(crate) fn new(node: Node, rng: Rng, wall_start: u64) -> Self {
        Self {
            node: Some(node),
            disk: Disk::default(),
            rng,
            traffic: Traffic::default(),
            wall_start,
            inbox: BTreeSet::new(),
            trace: 0,
            has_died: false,
            repeats: 0,
            wake_at: Instant::NEVER,
            sequence: 0,
            busy_until: Instant::ZERO,
        }
    }

    pub(crate) fn now(&self, at: Instant) -> Now {
        Now {
            instant: at,
            unix: UnixTime::from_secs(self.wall_start.saturating_add(at.as_micros() / 1_000_000)),
        }
    }

    fn note(&mut self, at: Instant, what: u64) {
        for word in [at.as_micros(), what] {
            self.trace = (self.trace ^ word)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(23);
        }
    }
}

/// What happens to a phone at some moment. Ordered by time, then by who caused it and that one's own count, so that the
/// order does not depend on how phones are spread over shards.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Happening {
    pub(crate) at: Instant,
    pub(crate) cause: u32,
    pub(crate) sequence: u64,
    pub(crate) node: u32,
    pub(crate) what: What,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Frames {
        from: u32,
        bytes: Vec<u8>,
        segment_bytes: usize,
    },
    Wake,
    Synced(u64),
}

/// The phones whose number leaves one remainder, and their future.
pub(crate) struct Shard {
    pub(crate) number: usize,
    pub(crate) shards: usize,
    pub(crate) phones: Vec<Phone>,
    pub(crate) queue: BinaryHeap<Reverse<Happening>>,
    pub(crate) log: Vec<Logged>,
    pub(crate) airtime: BTreeMap<(i64, i64), u64>,
    pub(crate) outbox: Vec<Happening>,
    pub(crate) happenings: u64,
    pub(crate) sync_time: Duration,
    /// Byte strings that must never be seen on the air, and how often they were.
    pub(crate) forbidden: Vec<Vec<u8>>,
    pub(crate) leaks: u64,
}

impl Shard {
    pub(crate) fn phone_mut(&mut self, node: u32) -> Option<&mut Phone> {
        let slot = index(node).checked_div(self.shards)?;
        self.phones.get_mut(slot)
    }

    pub(crate) fn phone(&self, node: u32) -> Option<&Phone> {
        let slot = index(node).checked_div(self.shards)?;
        self.phones.get(slot)
    }

    pub(crate) fn next_at(&self) -> Instant {
        self.queue
            .peek()
            .map_or(Instant::NEVER, |Reverse(happening)| happening.at)
    }

    /// Runs everything before `end`; what concerns other shards waits in the outbox.
    pub(crate) fn run_until(&mut self, end: Instant, medium: &Medium) {
        while self.next_at() < end {
            let Some(Reverse(happening)) = self.queue.pop() else {
                break;
            };
            self.happenings = self.happenings.saturating_add(1);
            self.happen(happening, medium);
        }
    }

    fn happen(&mut self, happening: Happening, medium: &Medium) {
        let Happening { at, node, what, .. } = happening;
        let Some(phone) = self.phone_mut(node) else {
            return;
        };
        match what {
            What::Wake => {
                if phone.wake_at != at {
                    return;
                }
                phone.wake_at = Instant::NEVER;
                self.feed(node, Input::Tick, at, medium);
            }
            What::Synced(id) => {
                if phone.disk.complete(PersistId(id)) {
                    self.feed(node, Input::Persisted(PersistId(id)), at, medium);
                }
            }
            What::Frames {
                from,
                bytes,
                segment_bytes,
            } => {
                let Ok(from) = LinkAddr::new(&from.to_be_bytes()) else {
                    return;
                };
                let train = Train {
                    bytes,
                    segment_bytes,
                };
                self.feed(
                    node,
                    Input::Train {
                        radio: RADIO,
                        from,
                        train,
                    },
                    at,
                    medium,
                );
            }
        }
    }

    /// Gives a phone one input and carries out what it asks for.
    pub(crate) fn feed(&mut self, node: u32, input: Input, at: Instant, medium: &Medium) {
        let Some(phone) = self.phone_mut(node) else {
            return;
        };
        let now = phone.now(at);
        let Some(running) = phone.node.as_mut() else {
            return;
        };
        running.handle(input, now);
        while let Some(output) = self
            .phone_mut(node)
            .and_then(|phone| phone.node.as_mut()?.poll_output())
        {
            self.carry_out(node, output, at, medium);
        }
        let Some(phone) = self.phone_mut(node) else {
            return;
        };
        let Some(timeout) = phone.node.as_ref().and_then(Node::next_timeout) else {
            return;
        };
        // A timer in the past fires a microsecond from now, so that time always goes on.
        let timeout = timeout.max(at + Duration::from_micros(1));
        if timeout < phone.wake_at {
            phone.wake_at = timeout;
            phone.sequence = phone.sequence.saturating_add(1);
            let sequence = phone.sequence;
            self.queue.push(Reverse(Happening {
                at: timeout,
                cause: node,
                sequence,
                node,
                what: What::Wake,
            }));
        }
    }

    fn carry_out(&mut self, node: u32, output: Output, at: Instant, medium: &Medium) {
        let sync_time = self.sync_time;
        let Some(phone) = self.phone_mut(node) else {
            return;
        };
        match output {
            Output::Transmit { to, train, .. } => self.transmit(node, to, &train, at, medium),
            Output::Persist { id, records } => {
                phone.note(at, 2);
                phone.disk.begin(id, records);
                phone.sequence = phone.sequence.saturating_add(1);
                let what = What::Synced(id.0);
                let sequence = phone.sequence;
                self.queue.push(Reverse(Happening {
                    at: at + sync_time,
                    cause: node,
                    sequence,
                    node,
                    what,
                }));
            }
            Output::StoreChunk { address, bytes } => phone.disk.store_chunk(address, bytes),
            Output::LoadChunk { address } => {
                let bytes = phone.disk.chunk(&address);
                let now = phone.now(at);
                if let Some(running) = phone.node.as_mut() {
                    running.handle(Input::ChunkLoaded { address, bytes }, now);
                }
            }
            Output::Tunnel(_) | Output::Submit(_) => {}
            Output::Event(event) => {
                phone.note(at, 3);
                let received = if let Event::TextReceived(text) = &event {
                    Some(text.message)
                } else if let Event::FileReceived(file) = &event {
                    Some(file.message)
                } else {
                    None
                };
                if let Some(message) = received {
                    let now = phone.now(at);
                    if let Some(running) = phone.node.as_mut() {
                        running.handle(Input::Command(SHELL, Command::Stored { message }), now);
                    }
                    // Stored by its id: what comes again after a restart is shown once.
                    if !phone.inbox.insert(message) {
                        phone.repeats = phone.repeats.saturating_add(u64::from(!phone.has_died));
                        return;
                    }
                }
                self.log.push(Logged { at, node, event });
            }
        }
    }

    fn transmit(
        &mut self,
        node: u32,
        to: Destination,
        train: &Train,
        at: Instant,
        medium: &Medium,
    ) {
        let receivers = match to {
            Destination::Broadcast => medium.hearers(node),
            Destination::Peer(addr) => {
                let peer = addr
                    .as_bytes()
                    .first_chunk()
                    .map(|bytes| u32::from_be_bytes(*bytes));
                peer.into_iter()
                    .filter(|peer| medium.hears(node, *peer))
                    .collect()
            }
        };
        if self
            .forbidden
            .iter()
            .any(|needle| contains(&train.bytes, needle))
        {
            self.leaks = self.leaks.saturating_add(1);
        }
        for frame in train.frames() {
            self.send_frame(node, &receivers, frame, at, medium);
        }
    }

    fn send_frame(
        &mut self,
        node: u32,
        receivers: &[u32],
        frame: &[u8],
        at: Instant,
        medium: &Medium,
    ) {
        let airtime = medium.radio.airtime_micros(frame.len());
        let load = medium.load_permille(node);
        let busy = self.airtime.entry(medium.square_of(node)).or_default();
        *busy = busy.saturating_add(airtime);
        let (shards, number) = (self.shards, self.number);
        let Some(phone) = self.phone_mut(node) else {
            return;
        };
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        phone.traffic.frames = phone.traffic.frames.saturating_add(1);
        phone.traffic.bytes = phone
            .traffic
            .bytes
            .saturating_add(length)
            .saturating_add(HEADER_BYTES);
        phone.note(at, length << 8 | 1);
        // The more the air is used by others, the longer each frame waits for its turn (M/M/1), up to tenfold.
        let free = 1_000_u64.saturating_sub(load.min(900)).max(1);
        let waits = airtime
            .saturating_mul(1_000)
            .checked_div(free)
            .unwrap_or(airtime);
        phone.busy_until = phone.busy_until.max(at) + Duration::from_micros(waits);
        let arrival = phone.busy_until + medium.radio.latency;
        // What is offered beyond the air's capacity is lost.
        let overload = load
            .saturating_sub(1_000)
            .saturating_mul(1_000)
            .checked_div(load.max(1))
            .unwrap_or(0);
        let loss = u64::from(medium.radio.loss_permille).saturating_add(overload);
        let mut happenings = Vec::with_capacity(receivers.len());
        for receiver in receivers {
            if loss > 0 && phone.rng.below(1_000) < loss {
                continue;
            }
            phone.sequence = phone.sequence.saturating_add(1);
            let what = What::Frames {
                from: node,
                bytes: frame.to_vec(),
                segment_bytes: frame.len().max(1),
            };
            let sequence = phone.sequence;
            happenings.push(Happening {
                at: arrival,
                cause: node,
                sequence,
                node: *receiver,
                what,
            });
        }
        for happening in happenings {
            if index(happening.node).checked_rem(shards) == Some(number) {
                self.queue.push(Reverse(happening));
            } else {
                self.outbox.push(happening);
            }
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty()
        && haystack
            .windows(needle.len())
            .any(|window| window == needle)
}
