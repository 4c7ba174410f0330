//! Who keeps the rules never loses: one honest phone, all others malicious and all-seeing, a network and a chain that fail
//! as bytes say.
//!
//! The bound (docs/payments.md): what was last acknowledged, less only, after a restore, what was received since the image and
//! a tenth of its share. `SCHEDULES` sets how many schedules are run, `SEED` runs one.

use alloy_primitives::{Address as Account, U256};
use alloy_sol_types::SolCall;
use smartmesh_channel::{ChannelId, ChannelPhase, Command, Input, Start};
use smartmesh_contracts::channels::{Channels as Abi, IChannels};
use smartmesh_contracts::typed::{SolStruct, Verifier, channels as typed, digest};
use smartmesh_crypto::{AccountKey, Rng, Seed};
use smartmesh_types::Duration;
use smartmesh_wire::payment::{PaymentMessage, State, Update};

use super::chain::{CHAIN_ID, Tx};
use super::world::{Disk, Letter, ONE, World, mesh, secret, wallet};

/// Schedules in the ordinary tests.
const SCHEDULES: u64 = 2_000;
/// The honest phone.
const HONEST: usize = 0;
/// Hold of the channels, seconds.
const HOLD: u64 = 24 * 3_600;

/// A message that a thief has, with who signed it.
#[derive(Clone, Copy)]
struct Held {
    payer: usize,
    state: State,
    signature: [u8; 64],
}

struct Play {
    world: World,
    rng: Rng,
    channels: Vec<(usize, ChannelId)>,
    /// Per channel: all messages that were ever signed, by anybody.
    held: Vec<Vec<Held>>,
    images: Vec<(Disk, Vec<u128>)>,
    /// The most that the honest phone ever signed away, per channel.
    signed_away: Vec<u128>,
    restored: bool,
    /// What the honest phone holds of the partner's, per channel, in the first epoch.
    held_now: Vec<u128>,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut rng = Seed::new(bytes).rng();
        let thieves = 1 + rng.below(2) as usize;
        let mut world = World::new(1 + thieves);
        let mut channels = Vec::new();
        for thief in 1..=thieves {
            let id = world.open(HONEST, thief, (100 * ONE, 100 * ONE));
            channels.push((thief, id));
        }
        let count = channels.len();
        Self {
            world,
            rng,
            channels,
            held: vec![Vec::new(); count],
            images: Vec::new(),
            signed_away: vec![0; count],
            restored: false,
            held_now: vec![0; count],
        }
    }

    fn pick(&mut self) -> (usize, usize, ChannelId) {
        let at = self.rng.below(self.channels.len() as u64) as usize;
        let (thief, id) = self.channels[at];
        (at, thief, id)
    }

    /// All see everything that was sent.
    fn watch_air(&mut self) {
        for letter in std::mem::take(&mut self.world.seen) {
            let Ok(message) = PaymentMessage::decode(&letter.bytes) else {
                continue;
            };
            let (tag, state, signature, payer) = if let PaymentMessage::Update(m) = message {
                (m.channel, m.state, m.signature, letter.from)
            } else if let PaymentMessage::Restate(m) = message {
                {
                    let payer = match m.whose {
                        smartmesh_wire::payment::Whose::Mine => letter.from,
                        smartmesh_wire::payment::Whose::Yours => letter.to,
                    };
                    (m.channel, m.state, m.signature, payer)
                }
            } else {
                continue;
            };
            for (at, (thief, id)) in self.channels.iter().enumerate() {
                let is_here = letter.from == *thief || letter.to == *thief;
                if is_here && id.0.0[..6] == tag.0 {
                    self.held[at].push(Held {
                        payer,
                        state,
                        signature,
                    });
                    if payer == HONEST {
                        self.signed_away[at] = self.signed_away[at].max(state.paid);
                    }
                }
            }
        }
        for (at, (_, id)) in self.channels.iter().enumerate() {
            let info = self.world.info(HONEST, *id);
            if info.epoch == 0 {
                self.held_now[at] = info.received;
            }
        }
    }

    fn sign_state(&self, at: usize, thief: usize, state: &State) -> [u8; 64] {
        let (_, id) = self.channels[at];
        let key = AccountKey::from_bytes(secret(thief)).unwrap();
        let typed = typed_state(id, Account::from(key.address()), state);
        sign(&key, &typed, self.world.chain.at.channels)
    }

    fn step(&mut self) {
        let (at, thief, id) = self.pick();
        let amount = u128::from(1 + self.rng.below(20)) * ONE;
        match self.rng.below(26) {
            0..=3 => {
                let _ = self.world.pay(HONEST, id, amount);
            }
            4..=7 => {
                let _ = self.world.pay(thief, id, amount);
            }
            8 => {
                // Lost, doubled, late.
                if let Some(letter) = self.world.letters.pop_front()
                    && self.rng.below(2) == 0
                {
                    self.world.letters.push_back(letter.clone());
                    self.world.letters.push_back(letter);
                }
            }
            9 => self.world.letters.clear(),
            10 => self.world.restart(HONEST, Start::Continued, None),
            11 => {
                let received = self.received();
                let disk = self.world.phones[HONEST].disk.clone();
                self.images.push((disk, received));
            }
            12 => self.restore(),
            13 => {
                // A thief starts from an old disk, or simply starts.
                self.world.restart(thief, Start::Continued, None);
            }
            14 => self.forge(at, thief),
            15 => self.post_any_close(at, thief),
            16 => self.replay(thief),
            17 => {
                let depth = 1 + self.rng.below(12) as usize;
                let lost = self.rng.below(4) == 0;
                // The deployment and the deposits of both stay: who opened knows the risk of shallow blocks.
                let most = self.world.chain.height().saturating_sub(12) as usize;
                self.world.chain.reorganise(depth.min(most), lost);
                self.world.block();
            }
            18 => {
                let share = self.rng.below(HOLD / 3);
                self.world.skip(share);
            }
            19 => {
                let withdraw = Command::Withdraw {
                    channel: id,
                    amount,
                    to: wallet(HONEST),
                    agent: Account::ZERO,
                    fee: 0,
                };
                let _ = self.world.command(HONEST, withdraw);
            }
            20 => {
                let withdraw = Command::Withdraw {
                    channel: id,
                    amount,
                    to: wallet(thief),
                    agent: Account::ZERO,
                    fee: 0,
                };
                let _ = self.world.command(thief, withdraw);
            }
            21 if self.rng.below(3) == 0 => {
                let who = if self.rng.below(2) == 0 {
                    HONEST
                } else {
                    thief
                };
                let close = Command::CloseTogether {
                    channel: id,
                    agent: Account::ZERO,
                    fee: 0,
                };
                let _ = self.world.command(who, close);
            }
            22 => self.world.meet(HONEST, thief),
            23 => self.world.wait(Duration::from_secs(1 + self.rng.below(30))),
            24 => {
                self.world.block();
            }
            _ => {
                for _ in 0..self.rng.below(12) {
                    if let Some(letter) = self.world.letters.pop_front() {
                        self.world.deliver(&letter);
                    }
                }
            }
        }
        self.watch_air();
    }

    fn received(&self) -> Vec<u128> {
        self.channels
            .iter()
            .map(|(_, id)| self.world.info(HONEST, *id).received)
            .collect()
    }

    /// The honest phone is restored from an old image; its shell knows, and says so.
    fn restore(&mut self) {
        if self.images.is_empty() {
            return;
        }
        let at = self.rng.below(self.images.len() as u64) as usize;
        let (disk, _) = self.images[at].clone();
        self.world.restart(HONEST, Start::Restored, Some(disk));
        self.restored = true;
    }

    /// A thief signs something else than its core would: another content for a number, too much, a jump.
    fn forge(&mut self, at: usize, thief: usize) {
        let (_, id) = self.channels[at];
        let own: Vec<Held> = self.held[at]
            .iter()
            .filter(|held| held.payer == thief)
            .copied()
            .collect();
        let newest = own.last().map(|held| held.state).unwrap_or_default();
        let state = State {
            seq: newest.seq + self.rng.below(3),
            paid: newest.paid + u128::from(self.rng.below(300)) * ONE,
            ..newest
        };
        let signature = self.sign_state(at, thief, &state);
        let info = self.world.info(HONEST, id);
        let mut session = [0; 4];
        for letter in &self.world.letters {
            if let Ok(PaymentMessage::Update(m)) = PaymentMessage::decode(&letter.bytes) {
                session = m.session.0;
            }
        }
        let update = Update {
            channel: smartmesh_wire::payment::ChannelTag(info.id.0.0[..6].try_into().unwrap()),
            session: smartmesh_wire::payment::SessionTag(session),
            state,
            signature,
            changes: Vec::new(),
            memo: Vec::new(),
        };
        self.held[at].push(Held {
            payer: thief,
            state,
            signature,
        });
        self.world.deliver(&Letter {
            from: thief,
            to: HONEST,
            bytes: PaymentMessage::Update(update).encode(),
        });
    }

    /// A thief closes with any message of its own, true or invented, and any of the honest phone's.
    fn post_any_close(&mut self, at: usize, thief: usize) {
        if self.rng.below(4) != 0 {
            return;
        }
        let (_, id) = self.channels[at];
        let info = self.world.info(HONEST, id);
        let key = AccountKey::from_bytes(secret(thief)).unwrap();
        let me = Account::from(key.address());
        let choose = |rng: &mut Rng, payer: usize, held: &[Held]| {
            let of: Vec<Held> = held
                .iter()
                .filter(|held| held.payer == payer)
                .copied()
                .collect();
            match of.len() as u64 {
                0 => None,
                count => Some(of[rng.below(count) as usize]),
            }
        };
        let own = choose(&mut self.rng, thief, &self.held[at]);
        let mut own = own.map(|held| held.state).unwrap_or_default();
        if self.rng.below(3) == 0 {
            // Its own message is not signed, so it may say anything.
            own = State {
                seq: own.seq + self.rng.below(5),
                paid: own.paid / 2,
                ..State::default()
            };
            if own.seq == 0 {
                own = State::default();
            }
        }
        let theirs = choose(&mut self.rng, HONEST, &self.held[at]);
        let unknown = self.rng.below(2) == 0;
        let partner = theirs.map(|held| held.state).unwrap_or_default();
        let hash =
            |payer: Account, state: &State| typed_state(id, payer, state).eip712_hash_struct();
        let honest = if me == info.terms.low {
            info.terms.high
        } else {
            info.terms.low
        };
        let deadline = self.world.chain.now + 86_400 * 30;
        let order = typed::Close {
            channel: id.0,
            epoch: info.epoch,
            closer: me,
            unknown,
            own: hash(me, &own),
            partner: hash(honest, &partner),
            agent: Account::ZERO,
            fee: U256::ZERO.wrapping_to(),
            deadline: U256::from(deadline).wrapping_to(),
        };
        let mandate = vec![IChannels::Mandate {
            agent: Account::ZERO,
            fee: U256::ZERO.wrapping_to(),
            deadline: U256::from(deadline).wrapping_to(),
            signature: abi_signature(&sign(&key, &order, self.world.chain.at.channels)),
        }];
        let c = IChannels::Channel {
            token: info.terms.token,
            low: info.terms.low,
            high: info.terms.high,
            terms: info.terms.terms,
        };
        let signature = abi_signature(&theirs.map_or([0; 64], |held| held.signature));
        let closer_high = me == info.terms.high;
        let data = if unknown {
            Abi::closeUnknownCall {
                c,
                closerHigh: closer_high,
                own: abi_state(&own),
                partner: abi_state(&partner),
                partnerSignature: signature,
                mandate,
            }
            .abi_encode()
        } else {
            Abi::closeCall {
                c,
                closerHigh: closer_high,
                own: abi_state(&own),
                partner: abi_state(&partner),
                partnerSignature: signature,
                mandate,
            }
            .abi_encode()
        };
        self.world.chain.mempool.push(Tx {
            from: wallet(thief),
            to: self.world.chain.at.channels,
            data,
        });
        self.world.block();
    }

    /// A thief sends anything it ever saw, damaged or whole.
    fn replay(&mut self, thief: usize) {
        if self.world.letters.is_empty() {
            return;
        }
        let at = self.rng.below(self.world.letters.len() as u64) as usize;
        let mut letter = self.world.letters[at].clone();
        letter.from = thief;
        letter.to = HONEST;
        if self.rng.below(2) == 0 {
            let place = self.rng.below(letter.bytes.len() as u64) as usize;
            letter.bytes[place] ^= 1 << self.rng.below(8);
        }
        if let Ok(message) = PaymentMessage::decode(&letter.bytes) {
            let from = mesh(thief);
            let _ = self.world.handle(HONEST, Input::Received { from, message });
        }
    }

    /// The honest phone ends everything and waits out every hold; then it has at least its due.
    fn finish(mut self, seed: u64) {
        self.world.letters.clear();
        let held = self.held_now.clone();
        let mut due = Vec::new();
        for (at, (_, id)) in self.channels.clone().into_iter().enumerate() {
            let info = self.world.info(HONEST, id);
            let close = Command::Close {
                channel: id,
                agent: Account::ZERO,
                fee: 0,
            };
            let _ = self.world.command(HONEST, close);
            self.watch_air();
            due.push((at, info));
        }
        self.world.blocks(16);
        for _ in 0..8 {
            self.world.skip(HOLD * 4 / 6);
            self.world.blocks(5);
        }
        self.world.blocks(16);
        let have = self.world.balance(HONEST) + self.world.settled(HONEST);
        let mut least = 1_000 * ONE;
        for (at, info) in due {
            // Deposited 100; what it took out is in its wallet and so in `have`.
            let share = (100 * ONE + held[at]).saturating_sub(self.signed_away[at]);
            let fine = if self.restored { share / 10 + 1 } else { 0 };
            least = least - 100 * ONE + share - fine;
            let after = self.world.info(HONEST, info.id);
            assert!(
                after.epoch > 0
                    || matches!(after.phase, ChannelPhase::Opening | ChannelPhase::Settled),
                "seed {seed}: {:?} hangs",
                after.phase
            );
        }
        assert!(
            have >= least,
            "seed {seed}: has {have}, due {least} (restored: {})",
            self.restored
        );
    }
}

fn typed_state(id: ChannelId, payer: Account, state: &State) -> typed::State {
    typed::State {
        channel: id.0,
        epoch: 0,
        payer,
        seq: state.seq,
        paid: U256::from(state.paid).wrapping_to(),
        root: state.root.into(),
        locked: U256::from(state.locked).wrapping_to(),
        lastExpiry: U256::from(state.last_expiry).wrapping_to(),
        tip: state.tip.into(),
        unit: state.unit,
        max: state.max,
    }
}

fn abi_state(state: &State) -> IChannels::State {
    IChannels::State {
        seq: state.seq,
        paid: U256::from(state.paid).wrapping_to(),
        root: state.root.into(),
        locked: U256::from(state.locked).wrapping_to(),
        lastExpiry: U256::from(state.last_expiry).wrapping_to(),
        tip: state.tip.into(),
        unit: state.unit,
        max: state.max,
    }
}

fn abi_signature(signature: &[u8; 64]) -> IChannels::Signature {
    IChannels::Signature {
        r: alloy_primitives::B256::from_slice(&signature[..32]),
        vs: alloy_primitives::B256::from_slice(&signature[32..]),
    }
}

fn sign(key: &AccountKey, message: &impl SolStruct, contract: Account) -> [u8; 64] {
    let domain = Verifier::Channels.domain(CHAIN_ID, contract);
    key.sign(&digest(message, &domain).0).0
}

fn play(seed: u64) {
    let mut play = Play::new(seed);
    let steps = 20 + play.rng.below(60);
    for _ in 0..steps {
        play.step();
    }
    play.finish(seed);
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn honest_never_loses() {
    if let Some(seed) = from_environment("SEED") {
        play(seed);
        return;
    }
    let schedules = from_environment("SCHEDULES").unwrap_or(SCHEDULES);
    for seed in 0..schedules {
        play(seed);
    }
}
