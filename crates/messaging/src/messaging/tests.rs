//! Phones joined by a network that loses, doubles and reorders, with carriers and a disk that may be torn at any record.

mod bad_input;
mod carried;
mod crashes;
mod live;
mod lost;
mod properties;
mod stored;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{Answer, Command, Content, MessageId, MessageState, Urgency, sealed_commitment};
use smartmesh_types::{RequestId, UnixTime};

const START: UnixTime = UnixTime::from_secs(1_795_400_000);

struct Phone {
    identity: Identity,
    core: Option<Messaging>,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    starts: u8,
    /// How many records are written before the phone dies.
    dies_after: Option<usize>,
    records_written: usize,
    /// What the shell's database holds, in order of arrival.
    stored: Vec<Message>,
    confirms: bool,
    states: BTreeMap<MessageId, Vec<MessageState>>,
    answers: Vec<Answer>,
    events: Vec<Event>,
    published: Vec<Vec<u8>>,
    packets_sent: usize,
    reveals: usize,
    /// Seconds by which its wall clock is ahead.
    clock_ahead: u64,
}

#[derive(Clone, PartialEq, Eq)]
struct Carried {
    from: usize,
    to: Address,
    sealed: Vec<u8>,
    commitment: [u8; 32],
    delivered: bool,
}

struct World {
    phones: Vec<Phone>,
    now: Now,
    /// Pairs that can reach each other.
    live: BTreeSet<(usize, usize)>,
    air: BTreeMap<(Instant, u64), (usize, usize, Vec<u8>)>,
    sent: u64,
    carried: Vec<Carried>,
    rng: Rng,
    loss_percent: u64,
    double_percent: u64,
    jitter_ms: u64,
    payload_bytes: usize,
}

impl World {
    fn new(phones: u8) -> Self {
        let now = Now {
            instant: Instant::from_millis(1_000),
            unix: START,
        };
        let mut world = Self {
            phones: Vec::new(),
            now,
            live: BTreeSet::new(),
            air: BTreeMap::new(),
            sent: 0,
            carried: Vec::new(),
            rng: Seed::new([99; 32]).rng(),
            loss_percent: 0,
            double_percent: 0,
            jitter_ms: 0,
            payload_bytes: 1_200,
        };
        for n in 0..phones {
            let identity = Identity::from_secret([n + 1; 32]);
            world.phones.push(Phone {
                identity,
                core: None,
                disk: BTreeMap::new(),
                starts: 0,
                dies_after: None,
                records_written: 0,
                stored: Vec::new(),
                confirms: true,
                states: BTreeMap::new(),
                answers: Vec::new(),
                events: Vec::new(),
                published: Vec::new(),
                packets_sent: 0,
                reveals: 0,
                clock_ahead: 0,
            });
            world.start(usize::from(n));
        }
        world
    }

    /// Two phones that know each other's address and can reach each other.
    fn pair() -> Self {
        let mut world = Self::new(2);
        world.add(0, 1);
        world.add(1, 0);
        world.meet(0, 1);
        world
    }

    fn now_of(&self, phone: usize) -> Now {
        let ahead = Duration::from_secs(self.phones[phone].clock_ahead);
        Now {
            instant: self.now.instant,
            unix: self.now.unix + ahead,
        }
    }

    /// Starts a phone from its disk.
    fn start(&mut self, phone: usize) {
        let now = self.now_of(phone);
        let it = &mut self.phones[phone];
        it.starts += 1;
        let number = u8::try_from(phone).unwrap();
        let seed = Seed::new([number; 32]).split(&it.starts.to_string());
        let records = it.disk.iter().map(|(key, value)| Record {
            key: key.clone(),
            value: Some(value.clone()),
        });
        let core = Messaging::restore(Config::default(), &it.identity, &seed, records, now);
        it.core = Some(core.unwrap());
        self.drain(phone);
    }

    /// Ends a phone without warning and starts it again; its flows are gone.
    fn restart(&mut self, phone: usize) {
        self.phones[phone].core = None;
        self.air.retain(|_, (_, to, _)| *to != phone);
        self.start(phone);
        let pairs: Vec<_> = self.live.iter().copied().collect();
        for (a, b) in pairs {
            if a == phone || b == phone {
                self.part(a, b);
                self.meet(a, b);
            }
        }
    }

    fn address(&self, phone: usize) -> Address {
        self.phones[phone].identity.address()
    }

    fn index(&self, address: Address) -> usize {
        let position = self
            .phones
            .iter()
            .position(|it| it.identity.address() == address);
        position.unwrap()
    }

    fn core(&mut self, phone: usize) -> &mut Messaging {
        self.phones[phone].core.as_mut().unwrap()
    }

    fn input(&mut self, phone: usize, input: Input) -> Result<(), CommandError> {
        let now = self.now_of(phone);
        let Some(core) = self.phones[phone].core.as_mut() else {
            return Ok(());
        };
        let result = core.handle(input, now);
        self.drain(phone);
        result
    }

    fn command(&mut self, phone: usize, command: Command) -> Result<Option<Answer>, CommandError> {
        let before = self.phones[phone].answers.len();
        self.input(phone, Input::Command(RequestId(7), command))?;
        Ok(self.phones[phone].answers.get(before).cloned())
    }

    fn add(&mut self, phone: usize, other: usize) {
        let text = self.address(other).to_string();
        self.command(phone, Command::AddContact { text, name: None })
            .unwrap();
    }

    /// One phone shows an invite, the other scans it.
    fn scan(&mut self, phone: usize, other: usize) {
        let name = "Brandon".to_owned();
        let invite = self.command(other, Command::Invite { name }).unwrap();
        let Some(Answer::Invite(text)) = invite else {
            panic!("{invite:?}");
        };
        self.command(phone, Command::AddContact { text, name: None })
            .unwrap();
    }

    /// Sends and returns the id if the phone lived to say so.
    fn send(&mut self, phone: usize, other: usize, text: &str) -> Option<MessageId> {
        let to = self.address(other);
        let command = Command::Send {
            to,
            text: text.to_owned(),
            lifetime: None,
            urgency: Urgency::Normal,
        };
        match self.command(phone, command).unwrap() {
            Some(Answer::Queued(id)) => Some(id),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    }

    fn pair_key(a: usize, b: usize) -> (usize, usize) {
        (a.min(b), a.max(b))
    }

    fn meet(&mut self, a: usize, b: usize) {
        self.live.insert(Self::pair_key(a, b));
        for (one, other) in [(a, b), (b, a)] {
            let address = self.address(other);
            self.input(one, Input::Nearby { address }).unwrap();
        }
    }

    fn part(&mut self, a: usize, b: usize) {
        self.live.remove(&Self::pair_key(a, b));
        for (one, other) in [(a, b), (b, a)] {
            let address = self.address(other);
            self.input(one, Input::PathDown { address }).unwrap();
        }
    }

    fn drain(&mut self, phone: usize) {
        let mut later = Vec::new();
        while let Some(core) = self.phones[phone].core.as_mut() {
            let Some(output) = core.poll_output() else {
                break;
            };
            if let Some(input) = self.carry_out(phone, output) {
                later.push(input);
            }
        }
        for (to, input) in later {
            self.input(to, input).unwrap();
        }
    }

    /// What is on disk is what is in memory when the phone is at rest.
    fn check_disk(&self, phone: usize) {
        let it = &self.phones[phone];
        let Some(core) = &it.core else {
            return;
        };
        assert!(core.outputs.is_empty());
        let mut facts = vec![records::account(&core.own)];
        for (address, peer) in &core.people.by_address {
            facts.push(records::person(*address, &peer.contact));
            let sessions = peer.sessions.iter();
            facts.extend(sessions.map(|slot| records::session(*address, slot)));
        }
        facts.extend(
            core.outbox
                .iter()
                .filter_map(|(id, item)| records::outbox(*id, item)),
        );
        let arrived = core.outbox.arrived();
        facts.extend(arrived.map(|(id, arrived)| records::arrived(*id, arrived)));
        for record in &facts {
            let key = record.key.escape_ascii();
            assert!(it.disk.get(&record.key) == record.value.as_ref(), "{key}");
        }
        let kept = it.disk.keys().filter(|key| !key.starts_with(b"inbox/"));
        assert_eq!(kept.count(), facts.len());
    }

    fn carry_out(&mut self, phone: usize, output: Output) -> Option<(usize, Input)> {
        match output {
            Output::Persist(record) => self.write(phone, record),
            Output::OpenPath { to } => {
                let other = self.index(to);
                if self.live.contains(&Self::pair_key(phone, other)) {
                    let up = self.path_up(phone);
                    self.input(other, up).unwrap();
                    return Some((phone, self.path_up(other)));
                }
                return Some((phone, Input::PathDown { address: to }));
            }
            Output::SendPacket { to, payload } => self.transmit(phone, to, payload),
            Output::Deposit {
                to,
                sealed,
                receipt,
                ..
            } => {
                let carried = Carried {
                    from: phone,
                    to,
                    sealed,
                    commitment: sealed_commitment(&receipt),
                    delivered: false,
                };
                if !self.carried.iter().any(|it| it.sealed == carried.sealed) {
                    self.carried.push(carried);
                }
            }
            Output::Reveal { receipt } => {
                self.phones[phone].reveals += 1;
                let commitment = sealed_commitment(&receipt);
                for it in &mut self.carried {
                    it.delivered |= it.commitment == commitment;
                }
            }
            Output::Publish { payload } => self.phones[phone].published.push(payload),
            Output::Event(event) => return self.note(phone, event),
        }
        None
    }

    fn path_up(&self, to: usize) -> Input {
        Input::PathUp {
            address: self.address(to),
            key: self.phones[to].identity.key(),
            payload_bytes: self.payload_bytes,
        }
    }

    fn write(&mut self, phone: usize, record: Record) {
        let it = &mut self.phones[phone];
        it.records_written += 1;
        match record.value {
            Some(value) => it.disk.insert(record.key, value),
            None => it.disk.remove(&record.key),
        };
        if let Some(left) = &mut it.dies_after {
            *left -= 1;
            if *left == 0 {
                it.dies_after = None;
                it.core = None;
            }
        }
    }

    fn transmit(&mut self, phone: usize, to: Address, payload: Vec<u8>) {
        assert!(payload.len() <= self.payload_bytes);
        self.phones[phone].packets_sent += 1;
        let other = self.index(to);
        if !self.live.contains(&Self::pair_key(phone, other)) {
            return;
        }
        let copies = 1 + u64::from(self.rng.below(100) < self.double_percent);
        for _ in 0..copies {
            if self.rng.below(100) >= self.loss_percent {
                let delay = Duration::from_millis(5 + self.rng.below(self.jitter_ms + 1));
                self.sent += 1;
                let at = (self.now.instant + delay, self.sent);
                self.air.insert(at, (phone, other, payload.clone()));
            }
        }
    }

    fn note(&mut self, phone: usize, event: Event) -> Option<(usize, Input)> {
        let it = &mut self.phones[phone];
        it.events.push(event.clone());
        match event {
            Event::Answer { answer, .. } => it.answers.push(answer),
            Event::StateChanged { message, state } => {
                it.states.entry(message).or_default().push(state);
            }
            Event::MessageReceived(message) => {
                // The shell's database keeps one row per id.
                let id = message.id;
                if !it.stored.iter().any(|stored| stored.id == id) {
                    it.stored.push(message);
                }
                if it.confirms {
                    let stored = Command::Stored { message: id };
                    return Some((phone, Input::Command(RequestId(0), stored)));
                }
            }
            Event::ContactAdded { .. } | Event::ContactChanged { .. } | Event::Seen { .. } => {}
        }
        None
    }

    /// Lets time pass, with all timers and packets in order.
    fn run(&mut self, duration: Duration) {
        let end = self.now.instant + duration;
        for _ in 0..200_000 {
            let timer = self
                .phones
                .iter()
                .filter_map(|it| it.core.as_ref()?.next_timeout())
                .min();
            let packet = self.air.first_key_value().map(|((at, _), _)| *at);
            let next = timer.into_iter().chain(packet).min();
            let next = next.unwrap_or(Instant::NEVER).max(self.now.instant);
            if next > end {
                self.now = self.now.after(end.since(self.now.instant));
                (0..self.phones.len()).for_each(|phone| self.check_disk(phone));
                return;
            }
            self.now = self.now.after(next.since(self.now.instant));
            let due = self
                .air
                .first_key_value()
                .filter(|((at, _), _)| *at <= next);
            if let Some(key) = due.map(|(key, _)| *key) {
                let (from, to, payload) = self.air.remove(&key).unwrap();
                if self.live.contains(&Self::pair_key(from, to)) {
                    let from = self.address(from);
                    self.input(to, Input::Packet { from, payload }).unwrap();
                }
            }
            for phone in 0..self.phones.len() {
                self.input(phone, Input::Tick).unwrap();
            }
        }
        panic!("the phones never come to rest");
    }

    fn run_secs(&mut self, secs: u64) {
        self.run(Duration::from_secs(secs));
    }

    /// People carry everything deposited so far to where it goes, in a random order, and some of it twice.
    fn carry(&mut self) {
        let mut bundles: Vec<_> = self
            .carried
            .iter()
            .filter(|it| !it.delivered)
            .cloned()
            .collect();
        let doubled: Vec<_> = bundles
            .iter()
            .filter(|_| self.rng.below(3) == 0)
            .cloned()
            .collect();
        bundles.extend(doubled);
        while !bundles.is_empty() {
            let choice = self.rng.below(bundles.len().try_into().unwrap());
            let choice = usize::try_from(choice).unwrap();
            let bundle = bundles.swap_remove(choice);
            let to = self.index(bundle.to);
            let sealed = bundle.sealed;
            self.input(to, Input::Bundle { sealed }).unwrap();
        }
    }

    /// Word of what was delivered comes back to who deposited it.
    fn carry_acks(&mut self) {
        let (done, left) = std::mem::take(&mut self.carried)
            .into_iter()
            .partition(|it: &Carried| it.delivered);
        self.carried = left;
        let done: Vec<Carried> = done;
        for it in done {
            let commitment = it.commitment;
            self.input(it.from, Input::BundleAcked { commitment })
                .unwrap();
        }
    }

    fn texts(&self, phone: usize) -> Vec<&str> {
        let texts = self.phones[phone]
            .stored
            .iter()
            .map(|message| match &message.content {
                Content::Text(text) => text.as_str(),
                Content::File(_)
                | Content::Say(_)
                | Content::Change { .. }
                | Content::Group(_)
                | Content::Receipt { .. }
                | Content::Renew
                | Content::Unsupported { .. } => panic!("not a text: {message:?}"),
            });
        texts.collect()
    }

    #[track_caller]
    fn check_texts(&self, phone: usize, expected: &[&str]) {
        let mut texts = self.texts(phone);
        let mut expected = expected.to_vec();
        texts.sort_unstable();
        expected.sort_unstable();
        assert_eq!(texts, expected);
    }

    #[track_caller]
    fn check_state(&self, phone: usize, id: MessageId, state: MessageState) {
        assert_eq!(self.phones[phone].states[&id].last(), Some(&state));
    }

    fn counters(&mut self, phone: usize) -> Counters {
        *self.core(phone).counters()
    }
}
