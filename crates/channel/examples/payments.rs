//! Payments a second between two cores, each with its own thread, socket on the loopback and journal: on disk before sent, real
//! signatures. Every rate stands beside the limit measured in the same run.
//!
//! `cargo xtask bench payments`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a measuring program asks the clock and may stop at a surprise"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration as Wait, Instant as Clock};

use smartmesh_channel::{
    Account, Answer, B256, Chain, ChainFact, ChannelId, Channels, Command, Config, Event, Input,
    Output,
};
use smartmesh_contracts::channels::Channels as Abi;
use smartmesh_contracts::channels::Channels::ChannelsEvents;
use smartmesh_contracts::{ContractEvent, Word, WordPhase};
use smartmesh_crypto::{AccountKey, Seed, recover};
use smartmesh_types::{Address, Instant, Now, RequestId, UnixTime};
use smartmesh_wire::payment::PaymentMessage;

const ONE: u128 = 1_000_000_000_000_000_000;
/// Where the journal begins anew: it is a ring that is written over.
const RING_BYTES: u64 = 64 << 20;
/// The most bytes of one datagram.
const DATAGRAM_BYTES: usize = 1_400;

struct Phone {
    core: Channels,
    journal: File,
    at: u64,
    socket: UdpSocket,
    began: Clock,
    arrived: Vec<(RequestId, ChannelId)>,
    other: Address,
    bytes: Vec<u8>,
    messages: u64,
}

fn mesh(index: u8) -> Address {
    Address::from_key_hash([index; 13])
}

impl Phone {
    fn new(index: u8, began: Clock) -> Self {
        let account = Account::repeat_byte;
        let chain = Chain {
            chain_id: 1,
            token: account(1),
            conditions: account(2),
            channels: account(3),
            chequebook: account(4),
        };
        let mut config = Config::new(chain, account(5), [index; 32]);
        config.resend = Wait::from_secs(2);
        config.confirmations = 1;
        let key = AccountKey::from_bytes([index + 1; 32]).unwrap();
        let now = Now {
            instant: Instant::ZERO,
            unix: UnixTime::from_secs(1_800_000_000),
        };
        let core = Channels::new(config, mesh(index), key, &Seed::new([index; 32]), now);
        let name = format!("smartmesh-payments-{}-{index}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut journal = File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..RING_BYTES >> 20 {
            journal.write_all(&zeros).unwrap();
        }
        journal.sync_all().unwrap();
        Self {
            core,
            journal,
            at: 0,
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            began,
            arrived: Vec::new(),
            other: mesh(3 - index),
            bytes: Vec::new(),
            messages: 0,
        }
    }

    fn handle(&mut self, input: Input) {
        let now = Now {
            instant: Instant::from_micros(self.began.elapsed().as_micros() as u64),
            unix: UnixTime::from_secs(1_800_000_000),
        };
        self.core.handle(input, now).unwrap();
    }

    /// Everything the core wants: one write and one sync for all its records, then what depends on them.
    fn drain(&mut self) {
        let (mut records, mut letters) = (Vec::new(), Vec::<PaymentMessage>::new());
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Persist(record) => {
                    let value = record.value.unwrap_or_default();
                    records.extend((record.key.len() as u16).to_be_bytes());
                    records.extend((value.len() as u16).to_be_bytes());
                    records.extend(record.key);
                    records.extend(value);
                }
                Output::Send { message, .. } => letters.push(message),
                Output::Event(Event::Answer {
                    request,
                    answer: Answer::Arrived { channel, .. },
                }) => self.arrived.push((request, channel)),
                Output::Event(_) | Output::OpenPath { .. } | Output::Submit(_) => {}
            }
        }
        if !records.is_empty() {
            if self.at + records.len() as u64 > RING_BYTES {
                self.at = 0;
            }
            self.journal.seek(SeekFrom::Start(self.at)).unwrap();
            self.journal.write_all(&records).unwrap();
            self.journal.sync_data().unwrap();
            self.at += records.len() as u64;
        }
        let mut packed = Vec::new();
        for letter in letters {
            let bytes = letter.encode();
            self.messages += 1;
            if packed.len() + bytes.len() + 2 > DATAGRAM_BYTES {
                self.socket.send(&packed).unwrap();
                packed.clear();
            }
            packed.extend((bytes.len() as u16).to_be_bytes());
            packed.extend(bytes);
        }
        if !packed.is_empty() {
            self.socket.send(&packed).unwrap();
        }
    }

    /// Takes what has come; waits for the first a little.
    fn receive(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(65_536, 0);
        self.socket.set_nonblocking(false).unwrap();
        for _ in 0..64 {
            let Ok(length) = self.socket.recv(&mut bytes) else {
                break;
            };
            let mut rest = &bytes[..length];
            while let Some((size, after)) = rest.split_first_chunk::<2>() {
                let (one, after) = after.split_at(usize::from(u16::from_be_bytes(*size)));
                let message = PaymentMessage::decode(one).unwrap();
                let from = self.other;
                self.handle(Input::Received { from, message });
                rest = after;
            }
            self.socket.set_nonblocking(true).unwrap();
        }
        self.bytes = bytes;
    }
}

fn token(index: usize) -> Account {
    let mut bytes = [0x40; 20];
    bytes[..8].copy_from_slice(&(index as u64).to_be_bytes());
    Account::new(bytes)
}

/// Letters by hand, without socket and disk: what one wants to say, the other hears, and back.
fn exchange(a: &mut Phone, b: &mut Phone) {
    for _ in 0..6 {
        talk(a, b);
        talk(b, a);
    }
}

fn talk(from: &mut Phone, to: &mut Phone) {
    let mut letters = Vec::new();
    while let Some(output) = from.core.poll_output() {
        if let Output::Send { message, .. } = output {
            letters.push(message);
        }
    }
    let sender = to.other;
    for message in letters {
        to.handle(Input::Received {
            from: sender,
            message,
        });
    }
}

/// Opens channels by what the chain would tell; both sides put a million in.
fn open(
    a: &mut Phone,
    b: &mut Phone,
    tokens: std::ops::Range<usize>,
    block: &mut u64,
) -> Vec<ChannelId> {
    let mut ids = Vec::new();
    for chunk in tokens.collect::<Vec<_>>().chunks(50) {
        for index in chunk {
            let open = Command::Open {
                peer: a.other,
                token: token(*index),
                deposit: 0,
            };
            a.handle(Input::Command(RequestId(0), open));
        }
        exchange(a, b);
        *block += 20;
        for (place, index) in chunk.iter().enumerate() {
            let id = a.core.channel_with(a.other, token(*index)).unwrap();
            let terms = a.core.channel(id).unwrap().terms;
            let word = Word {
                low: (1_000_000 * ONE) as i128,
                high: (1_000_000 * ONE) as i128,
                phase: WordPhase::Open,
                ..Word::default()
            };
            let log = ChannelsEvents::Opened(Abi::Opened {
                channel: id.0,
                locatorLow: B256::ZERO,
                locatorHigh: B256::ZERO,
                token: terms.token,
                low: terms.low,
                high: terms.high,
                terms: terms.terms,
                word: word.pack(),
            });
            for phone in [&mut *a, &mut *b] {
                phone.handle(Input::Chain(ChainFact::Log {
                    block: *block,
                    index: place as u32,
                    event: Box::new(ContractEvent::Channels(log.clone())),
                }));
            }
            ids.push(id);
        }
        // Far enough that nothing is left above the last final block.
        *block += 20;
        for phone in [&mut *a, &mut *b] {
            phone.handle(Input::Chain(ChainFact::Head {
                block: *block,
                time: 1_800_000_000,
            }));
        }
        exchange(a, b);
    }
    ids
}

/// What nothing can beat with one payment at a time: two syncs, a signature made and checked, a round trip.
fn limit(a: &mut Phone, b: &Phone) -> (f64, f64, f64) {
    let rounds = 300_u32;
    let key = AccountKey::from_bytes([9; 32]).unwrap();
    let mut digest = [0; 32];
    let began = Clock::now();
    for round in 0..rounds {
        digest[..4].copy_from_slice(&round.to_be_bytes());
        let signature = key.sign(&digest);
        assert!(recover(&digest, &signature).is_some());
    }
    let curve = began.elapsed().as_secs_f64() / f64::from(rounds);
    let began = Clock::now();
    for round in 0..rounds {
        let place = SeekFrom::Start(u64::from(round) * 256);
        a.journal.seek(place).unwrap();
        a.journal.write_all(&[1; 200]).unwrap();
        a.journal.sync_data().unwrap();
    }
    let sync = began.elapsed().as_secs_f64() / f64::from(rounds);
    let echo = b.socket.try_clone().unwrap();
    let answering = std::thread::spawn(move || {
        let mut bytes = [0; 256];
        for _ in 0..rounds {
            let length = echo.recv(&mut bytes).unwrap();
            echo.send(&bytes[..length]).unwrap();
        }
    });
    let mut bytes = [0; 256];
    let began = Clock::now();
    for _ in 0..rounds {
        a.socket.send(&[0; 96]).unwrap();
        a.socket.recv(&mut bytes).unwrap();
    }
    let trip = began.elapsed().as_secs_f64() / f64::from(rounds);
    answering.join().unwrap();
    (curve, sync, trip)
}

struct Outcome {
    rate: f64,
    p50: f64,
    p99: f64,
    messages: f64,
}

/// The payer keeps up to `batch` payments asked for in each channel, for some seconds.
fn pay(a: &mut Phone, ids: &[ChannelId], batch: usize, seconds: f64) -> Outcome {
    let (mut asked, mut next, mut done) = (BTreeMap::new(), 1_u64, 0_u32);
    let mut waits = Vec::new();
    let mut open: BTreeMap<ChannelId, usize> = BTreeMap::new();
    let sent = a.messages;
    let began = Clock::now();
    let mut ready: Vec<ChannelId> = ids.to_vec();
    while began.elapsed().as_secs_f64() < seconds {
        for channel in ready.drain(..) {
            for _ in 0..batch {
                asked.insert(next, Clock::now());
                let pay = Command::Pay {
                    channel,
                    amount: 1,
                    memo: Vec::new(),
                };
                a.handle(Input::Command(RequestId(next), pay));
                next += 1;
            }
            open.insert(channel, batch);
        }
        a.drain();
        a.receive();
        a.drain();
        for (request, channel) in std::mem::take(&mut a.arrived) {
            done += 1;
            if let Some(at) = asked.remove(&request.0) {
                waits.push(at.elapsed().as_secs_f64());
            }
            let left = open.get_mut(&channel).unwrap();
            *left -= 1;
            if *left == 0 {
                ready.push(channel);
            }
        }
    }
    let elapsed = began.elapsed().as_secs_f64();
    let messages = f64::from(u32::try_from(a.messages - sent).unwrap());
    // What is under way is answered before the next measurement.
    for _ in 0..20 {
        a.receive();
        a.drain();
    }
    a.arrived.clear();
    waits.sort_by(f64::total_cmp);
    let place = |share: usize| waits.get(waits.len() * share / 100).copied().unwrap_or(0.0);
    Outcome {
        rate: f64::from(done) / elapsed,
        p50: place(50) * 1e3,
        p99: place(99) * 1e3,
        messages: messages / elapsed,
    }
}

fn resident_kib() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn main() {
    let seconds = std::env::var("SECONDS_EACH")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3.0);
    let began = Clock::now();
    let (mut a, mut b) = (Phone::new(1, began), Phone::new(2, began));
    let (to_a, to_b) = (
        a.socket.local_addr().unwrap(),
        b.socket.local_addr().unwrap(),
    );
    a.socket.connect(to_b).unwrap();
    b.socket.connect(to_a).unwrap();
    let (curve, sync, trip) = limit(&mut a, &b);
    for phone in [&a, &b] {
        let patience = Some(Wait::from_millis(20));
        phone.socket.set_read_timeout(patience).unwrap();
    }
    for phone in [&mut a, &mut b] {
        let peer = phone.other;
        phone.handle(Input::PathUp { peer });
    }
    let before = resident_kib();
    let mut block = 100;
    let mut ids = open(&mut a, &mut b, 0..5_000, &mut block);
    // Both phones are in this process: 5,000 channels each.
    let grown = f64::from(resident_kib().saturating_sub(before)) / 1024.0;
    println!("memory                       {grown:>9.1} MiB for 10,000 channels (target 50)");
    ids.truncate(1_000);
    for id in &ids {
        assert!(a.core.channel(*id).unwrap().established);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let payee = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            b.receive();
            b.drain();
        }
    });
    let one = 1.0 / (2.0 * sync + curve + trip);
    let [sync, us, trip] = [sync, curve, trip].map(|seconds| seconds * 1e6);
    println!(
        "sync {sync:.0} us, sign and verify {us:.0} us, round trip {trip:.0} us: at most {one:.0}/s one at a time"
    );
    let sequential = pay(&mut a, &ids[..1], 1, seconds);
    let Outcome { rate, p50, p99, .. } = sequential;
    let share = rate / one * 100.0;
    println!(
        "one channel, one at a time   {rate:>9.0} payments/s  {share:.0} % of the limit (target 70); p50 {p50:.2} ms (1), p99 {p99:.2} ms (5)"
    );
    // One core signs, the other verifies: the slower of the two takes about half of both.
    let curve_limit = 2.0 / curve;
    let Outcome { rate, .. } = pay(&mut a, &ids, 1, seconds);
    let share = rate / curve_limit * 100.0;
    println!(
        "1,000 channels, each signed  {rate:>9.0} payments/s  {share:.0} % of the signature limit {curve_limit:.0}/s (target 80)"
    );
    let Outcome { rate, messages, .. } = pay(&mut a, &ids, 128, seconds);
    println!(
        "1,000 channels, cumulative   {rate:>9.0} payments/s  (target 100,000); {messages:.0} messages/s"
    );
    stop.store(true, Ordering::Relaxed);
    payee.join().unwrap();
    println!(
        "bytes of a direct payment    95 without locks and ticks (target 130), 188 with both (190)"
    );
}
