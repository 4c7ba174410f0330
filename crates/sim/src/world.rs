//! The simulated world: phones, air and time, from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};

use smartmesh_crypto::{Identity, Rng, Seed};
use smartmesh_node::{Config, Input, Node, RestoreError, Sabotage};
use smartmesh_types::{Address, Broadcast, Duration, Instant, RadioInfo};

use crate::medium::index;
use crate::shard::{Happening, Phone, RADIO, Shard};
use crate::{Logged, Loss, Medium, Traffic, Walked, checks};

/// What a run is made of besides its phones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldConfig {
    /// The number every random choice follows from.
    pub seed: u64,
    /// Threads; changes nothing but the time a run takes.
    pub threads: usize,
    /// How long a write takes to become durable.
    pub sync_time: Duration,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            threads: 1,
            sync_time: Duration::from_millis(3),
        }
    }
}

/// One phone at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSetup {
    /// Its name.
    pub name: String,
    /// How far its wall clock is off, in seconds.
    pub clock_skew_secs: i64,
}

/// Wall time at virtual time zero on a phone whose clock is right: 2026-01-01T00:00:00Z.
const WALL_START: u64 = 1_767_225_600;

/// How often the air's load is measured and the scenario may act.
const STEP: Duration = Duration::from_millis(100);

/// All phones, the air between them, and the time.
pub struct World {
    /// The air; scenarios move phones and cut links here between steps.
    pub medium: Medium,
    shards: Vec<Shard>,
    identities: Vec<[u8; 32]>,
    setups: Vec<NodeSetup>,
    now: Instant,
    rng: Rng,
    starts: u64,
    walked: Walked,
    cheats: BTreeSet<u32>,
    walk_at: Instant,
}

impl World {
    /// Puts phones into the air; they start when [`World::start`] is called.
    pub fn new(config: &WorldConfig, medium: Medium, setups: Vec<NodeSetup>) -> Self {
        let mut seed = [0; 32];
        seed.iter_mut()
            .zip(config.seed.to_be_bytes())
            .for_each(|(to, from)| *to = from);
        let seed = Seed::new(seed);
        let threads = config.threads.max(1);
        let shards = (0..threads)
            .map(|number| Shard {
                number,
                shards: threads,
                phones: Vec::new(),
                queue: BinaryHeap::new(),
                log: Vec::new(),
                airtime: BTreeMap::new(),
                outbox: Vec::new(),
                happenings: 0,
                sync_time: config.sync_time,
                forbidden: Vec::new(),
                leaks: 0,
            })
            .collect();
        let mut world = Self {
            medium,
            shards,
            identities: Vec::new(),
            setups: Vec::new(),
            now: Instant::from_millis(1_000),
            rng: seed.split("world").rng(),
            starts: 0,
            walked: Walked::default(),
            cheats: BTreeSet::new(),
            walk_at: Instant::ZERO,
        };
        for setup in setups {
            world.add_phone(setup);
        }
        // Who one phone is must not be seen on the air; one is enough, for every frame is searched.
        let watched = world.identities.first().copied().unwrap_or_default();
        let identity = Identity::from_secret(watched);
        let address = identity.address().octets().to_vec();
        world.forbid(&[identity.key().0.to_vec(), address]);
        world
    }

    fn add_phone(&mut self, setup: NodeSetup) {
        let secret = self.rng.bytes();
        let node = Node::new(
            config_of(&setup),
            Identity::from_secret(secret),
            &self.fresh_seed(),
            self.wall(&setup),
        );
        let wall_start = WALL_START.saturating_add_signed(setup.clock_skew_secs);
        let mut phone = Phone::new(node, Seed::new(self.rng.bytes()).rng(), wall_start);
        // Phones are off until they are started.
        let running = phone.node.take();
        drop(running);
        let slot = self
            .identities
            .len()
            .checked_rem(self.shards.len())
            .unwrap_or(0);
        if let Some(shard) = self.shards.get_mut(slot) {
            shard.phones.push(phone);
        }
        self.identities.push(secret);
        self.setups.push(setup);
    }

    fn wall(&self, setup: &NodeSetup) -> smartmesh_types::Now {
        let wall = WALL_START.saturating_add_signed(setup.clock_skew_secs);
        let unix = smartmesh_types::UnixTime::from_secs(
            wall.saturating_add(self.now.as_micros() / 1_000_000),
        );
        smartmesh_types::Now {
            instant: self.now,
            unix,
        }
    }

    fn fresh_seed(&mut self) -> Seed {
        self.starts = self.starts.saturating_add(1);
        Seed::new(self.rng.bytes())
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The world's own generator, for scenarios.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Number of phones.
    pub fn len(&self) -> usize {
        self.identities.len()
    }

    /// Whether there is no phone.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }

    /// Who a phone is.
    pub fn address(&self, node: u32) -> Address {
        let secret = self
            .identities
            .get(index(node))
            .copied()
            .unwrap_or_default();
        Identity::from_secret(secret).address()
    }

    /// Switches a phone on; it finds what its disk has kept.
    ///
    /// # Errors
    /// If its records cannot be read, which is a defect that a scenario reports.
    pub fn start(&mut self, node: u32) -> Result<(), RestoreError> {
        let (Some(secret), Some(setup)) = (
            self.identities.get(index(node)).copied(),
            self.setups.get(index(node)).cloned(),
        ) else {
            return Ok(());
        };
        let seed = self.fresh_seed();
        let now = self.wall(&setup);
        let radio = self.medium.radio;
        let Some(phone) = self.phone_mut(node) else {
            return Ok(());
        };
        let records: Vec<_> = phone.disk.records().collect();
        phone.node = Some(Node::restore(
            config_of(&setup),
            Identity::from_secret(secret),
            &seed,
            records,
            now,
        )?);
        let info = RadioInfo {
            frame_bytes: radio.frame_bytes,
            bits_per_second: radio.bits_per_second,
            broadcast: Broadcast::Yes,
            peers: Vec::new(),
        };
        self.feed(node, Input::RadioUp { radio: RADIO, info });
        Ok(())
    }

    /// Kills a phone at this moment.
    pub fn crash(&mut self, node: u32, loss: Loss) {
        if let Some(phone) = self.phone_mut(node) {
            phone.node = None;
            phone.has_died = true;
            phone.disk.crash(loss);
        }
    }

    /// Gives a phone one input now.
    pub fn feed(&mut self, node: u32, input: Input) {
        let (now, medium) = (self.now, &self.medium);
        let slot = index(node).checked_rem(self.shards.len()).unwrap_or(0);
        if let Some(shard) = self.shards.get_mut(slot) {
            shard.feed(node, input, now, medium);
        }
        self.exchange();
    }

    /// A running phone's node.
    pub fn node(&self, node: u32) -> Option<&Node> {
        self.phone(node).and_then(|phone| phone.node.as_ref())
    }

    /// Makes a running phone cheat from now on. What a cheat does with a packet is not held against routing.
    pub fn sabotage(&mut self, node: u32, how: Sabotage) {
        self.cheats.insert(node);
        if let Some(running) = self.phone_mut(node).and_then(|phone| phone.node.as_mut()) {
            running.sabotage(how);
        }
    }

    /// Whether a phone cheats.
    pub fn is_cheat(&self, node: u32) -> bool {
        self.cheats.contains(&node)
    }

    /// The phones that a phone keeps as neighbours now.
    pub fn kept(&self, node: u32) -> Vec<u32> {
        let status = self
            .node(node)
            .map(|node| node.status(smartmesh_types::Now::default()));
        let neighbours = status.into_iter().flat_map(|status| status.neighbours);
        let number = |addr: smartmesh_types::LinkAddr| {
            let bytes = addr.as_bytes().first_chunk()?;
            Some(u32::from_be_bytes(*bytes))
        };
        neighbours.filter_map(|one| number(one.link_addr)).collect()
    }

    /// A phone's disk, to put a file on it.
    pub fn disk_mut(&mut self, node: u32) -> Option<&mut crate::Disk> {
        self.phone_mut(node).map(|phone| &mut phone.disk)
    }

    /// A phone's disk.
    pub fn disk(&self, node: u32) -> Option<&crate::Disk> {
        self.phone(node).map(|phone| &phone.disk)
    }

    /// What a phone sent since the start.
    pub fn traffic(&self, node: u32) -> Traffic {
        self.phone(node)
            .map(|phone| phone.traffic)
            .unwrap_or_default()
    }

    /// What has happened so far, as one number: equal for equal seeds.
    pub fn trace(&self) -> u64 {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        (0..count)
            .filter_map(|node| self.phone(node))
            .fold(0, |hash: u64, phone| {
                (hash ^ phone.trace)
                    .wrapping_mul(0x0000_0100_0000_01b3)
                    .rotate_left(17)
            })
    }

    /// Simulated events so far.
    pub fn happenings(&self) -> u64 {
        self.shards.iter().map(|shard| shard.happenings).sum()
    }

    /// Byte strings that must never be seen on the air.
    pub fn forbid(&mut self, needles: &[Vec<u8>]) {
        for shard in &mut self.shards {
            shard.forbidden.extend_from_slice(needles);
        }
    }

    /// The ways walked so far for loops.
    pub fn walked(&self) -> Walked {
        self.walked
    }

    /// Messages that a node reported twice although it had not died.
    pub fn repeats(&self) -> u64 {
        let phones = self.shards.iter().flat_map(|shard| &shard.phones);
        phones.map(|phone| phone.repeats).sum()
    }

    /// How many sent trains held a forbidden string.
    pub fn leaks(&self) -> u64 {
        self.shards.iter().map(|shard| shard.leaks).sum()
    }

    /// Lets time pass, and returns what the nodes reported, in order.
    pub fn run_for(&mut self, duration: Duration) -> Vec<Logged> {
        let end = self.now + duration;
        while self.now < end {
            let step_end = end.min(self.now + STEP);
            self.step(step_end);
            let mut airtime: BTreeMap<(i64, i64), u64> = BTreeMap::new();
            for shard in &mut self.shards {
                for (square, busy) in std::mem::take(&mut shard.airtime) {
                    let sum = airtime.entry(square).or_default();
                    *sum = sum.saturating_add(busy);
                }
            }
            self.medium.set_load(&airtime, step_end.since(self.now));
            self.now = step_end;
            if self.now >= self.walk_at {
                self.walk_at = self.now + Duration::from_secs(1);
                let mut walked = self.walked;
                checks::walk(self, &mut walked);
                self.walked = walked;
            }
        }
        let mut log: Vec<Logged> = self
            .shards
            .iter_mut()
            .flat_map(|shard| std::mem::take(&mut shard.log))
            .collect();
        log.sort_by_key(|logged| (logged.at, logged.node));
        log
    }

    /// Runs all shards to `end`, in windows no longer than one hop's delay, after each of which frames change shards.
    fn step(&mut self, end: Instant) {
        let medium = &self.medium;
        if let [shard] = self.shards.as_mut_slice() {
            shard.run_until(end, medium);
            return;
        }
        let window = medium.radio.latency;
        let barrier = Barrier::new(self.shards.len());
        let next: Vec<AtomicU64> = self
            .shards
            .iter()
            .map(|_| AtomicU64::new(u64::MAX))
            .collect();
        let mail: Vec<Mutex<Vec<Happening>>> =
            self.shards.iter().map(|_| Mutex::new(Vec::new())).collect();
        std::thread::scope(|scope| {
            for shard in &mut self.shards {
                let (barrier, next, mail) = (&barrier, &next, &mail);
                scope.spawn(move || run_shard(shard, end, window, medium, barrier, next, mail));
            }
        });
    }

    fn exchange(&mut self) {
        let outbox: Vec<Happening> = self
            .shards
            .iter_mut()
            .flat_map(|shard| std::mem::take(&mut shard.outbox))
            .collect();
        let count = self.shards.len();
        for happening in outbox {
            let slot = index(happening.node).checked_rem(count).unwrap_or(0);
            if let Some(shard) = self.shards.get_mut(slot) {
                shard.queue.push(Reverse(happening));
            }
        }
    }

    fn phone(&self, node: u32) -> Option<&Phone> {
        let slot = index(node).checked_rem(self.shards.len())?;
        self.shards.get(slot)?.phone(node)
    }

    fn phone_mut(&mut self, node: u32) -> Option<&mut Phone> {
        let slot = index(node).checked_rem(self.shards.len())?;
        self.shards.get_mut(slot)?.phone_mut(node)
    }
}

fn config_of(setup: &NodeSetup) -> Config {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "any moment does: the QUIC library only adds virtual time to it"
    )]
    let origin = *ORIGIN.get_or_init(std::time::Instant::now);
    Config {
        name: setup.name.clone(),
        origin,
    }
}

fn run_shard(
    shard: &mut Shard,
    end: Instant,
    window: Duration,
    medium: &Medium,
    barrier: &Barrier,
    next: &[AtomicU64],
    mail: &[Mutex<Vec<Happening>>],
) {
    loop {
        if let Some(own) = next.get(shard.number) {
            own.store(shard.next_at().as_micros(), Ordering::SeqCst);
        }
        barrier.wait();
        let earliest = next
            .iter()
            .map(|at| at.load(Ordering::SeqCst))
            .min()
            .unwrap_or(u64::MAX);
        let start = Instant::from_micros(earliest);
        // Nobody may store a new time before everybody has read the old ones.
        barrier.wait();
        if start >= end {
            return;
        }
        shard.run_until(end.min(start + window), medium);
        for happening in std::mem::take(&mut shard.outbox) {
            let slot = index(happening.node).checked_rem(shard.shards).unwrap_or(0);
            if let Some(Ok(mut inbox)) = mail.get(slot).map(Mutex::lock) {
                inbox.push(happening);
            }
        }
        barrier.wait();
        if let Some(Ok(mut inbox)) = mail.get(shard.number).map(Mutex::lock) {
            shard.queue.extend(inbox.drain(..).map(Reverse));
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, as it should"
)]
mod tests {
    use smartmesh_node::Command;
    use smartmesh_types::RequestId;

    use super::*;
    use crate::{Point, RadioModel};

    /// Nine phones start, ping and move; one dies with a torn write and comes back.
    fn story(seed: u64, threads: usize) -> (u64, Vec<Logged>) {
        let config = WorldConfig {
            seed,
            threads,
            ..WorldConfig::default()
        };
        let places = (0..9).map(|n| Point::metres(n % 3 * 80, n / 3 * 80));
        let radio = RadioModel {
            loss_permille: 50,
            ..RadioModel::WIFI
        };
        let medium = Medium::new(radio, places.collect());
        let mut world = World::new(&config, medium, vec![NodeSetup::default(); 9]);
        let mut log = Vec::new();
        for node in 0..9 {
            world.start(node).unwrap();
            log.extend(world.run_for(Duration::from_millis(70)));
        }
        for (request, from) in (1..).zip(0..8) {
            let to = world.address(8 - from);
            let ping = Input::Command(RequestId(request), Command::Ping { to });
            world.feed(from, ping);
            log.extend(world.run_for(Duration::from_millis(130)));
        }
        world.crash(4, Loss::Torn);
        world.medium.move_all([(0, Point::metres(240, 80))]);
        log.extend(world.run_for(Duration::from_secs(2)));
        world.start(4).unwrap();
        log.extend(world.run_for(Duration::from_secs(3)));
        (world.trace(), log)
    }

    #[test]
    fn one_seed_gives_one_run_whatever_the_number_of_threads() {
        let (trace, log) = story(7, 1);
        assert!(!log.is_empty());
        for threads in [1, 2, 3] {
            let again = story(7, threads);
            assert_eq!(again.1, log, "{threads} threads");
            assert_eq!(again.0, trace, "{threads} threads");
        }
        assert_ne!(story(8, 1).0, trace, "another seed gives another run");
    }
}
