//! Phones with disks that lose what was not synced, on a network that does what it is told.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::Address as Account;
use smartmesh_channel::{
    Answer, ChannelId, ChannelInfo, Channels, Command, CommandError, Config, ContractCall, Event,
    Input, Output, Record, Start,
};
use smartmesh_crypto::{AccountKey, Seed};
use smartmesh_types::{Address, Duration, Instant, Now, RequestId, UnixTime};
use smartmesh_wire::payment::PaymentMessage;

use super::chain::{BLOCK_SECONDS, Chain};

/// Base units of one SMT.
pub(crate) const ONE: u128 = 1_000_000_000_000_000_000;
/// Who holds the supply.
pub(crate) const HOLDER: Account = Account::repeat_byte(0x77);

/// What is on a disk.
pub(crate) type Disk = BTreeMap<Vec<u8>, Vec<u8>>;

/// One phone.
pub(crate) struct Phone {
    pub(crate) core: Channels,
    pub(crate) address: Address,
    pub(crate) wallet: Account,
    pub(crate) disk: Disk,
    /// Outputs that wait for the disk, in order, with the records among them.
    pub(crate) held: VecDeque<Output>,
    pub(crate) events: Vec<Event>,
    /// Calls asked for and not brought to the chain yet.
    pub(crate) calls: Vec<ContractCall>,
    /// Up to which block it was told, and how many reorganisations.
    told: u64,
    reorgs: usize,
    starts: u8,
    /// Whether it hears of the chain.
    pub(crate) online: bool,
    requests: u64,
}

/// A message under way.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) bytes: Vec<u8>,
}

/// Everything.
pub(crate) struct World {
    pub(crate) chain: Chain,
    pub(crate) phones: Vec<Phone>,
    pub(crate) letters: VecDeque<Letter>,
    pub(crate) now: Now,
    /// Whether writes are durable at once.
    pub(crate) syncs_at_once: bool,
    /// Everything ever sent, for those who see all.
    pub(crate) seen: Vec<Letter>,
    pub(crate) config: fn(&mut Config),
    /// Nobody finds a path to anybody.
    pub(crate) apart: bool,
}

pub(crate) fn mesh(index: usize) -> Address {
    Address::from_key_hash([index as u8 + 1; 13])
}

pub(crate) fn secret(index: usize) -> [u8; 32] {
    [index as u8 + 0x11; 32]
}

pub(crate) fn wallet(index: usize) -> Account {
    Account::repeat_byte(index as u8 + 0x21)
}

impl World {
    pub(crate) fn new(phones: usize) -> Self {
        Self::with(phones, |_| {})
    }

    pub(crate) fn with(phones: usize, config: fn(&mut Config)) -> Self {
        let mut chain = Chain::new(HOLDER);
        for index in 0..phones {
            chain.fund(HOLDER, wallet(index), 1_000 * ONE);
        }
        let now = Now {
            instant: Instant::from_millis(1_000),
            unix: UnixTime::from_secs(chain.now),
        };
        let mut world = Self {
            chain,
            phones: Vec::new(),
            letters: VecDeque::new(),
            now,
            syncs_at_once: true,
            seen: Vec::new(),
            config,
            apart: false,
        };
        for index in 0..phones {
            let core = world.core(index, 0, Start::Continued, Disk::new());
            world.phones.push(Phone {
                core,
                address: mesh(index),
                wallet: wallet(index),
                disk: Disk::new(),
                held: VecDeque::new(),
                events: Vec::new(),
                calls: Vec::new(),
                told: 0,
                reorgs: 0,
                starts: 0,
                online: true,
                requests: 0,
            });
            world.drain(index);
        }
        world
    }

    fn core(&self, index: usize, starts: u8, start: Start, disk: Disk) -> Channels {
        let mut config = Config::new(self.chain.addresses(), wallet(index), [index as u8; 32]);
        config.start = start;
        config.confirmations = 3;
        config.terms = 0x0403;
        (self.config)(&mut config);
        let key = AccountKey::from_bytes(secret(index)).unwrap();
        let seed = Seed::new([starts.wrapping_add(index as u8 * 37); 32]);
        let records = disk.into_iter().map(|(key, value)| Record {
            key,
            value: Some(value),
        });
        Channels::restore(config, mesh(index), key, &seed, records, self.now).unwrap()
    }

    /// The process ends; what was not synced is lost; it starts from `disk`, or from what the disk kept.
    pub(crate) fn restart(&mut self, index: usize, start: Start, disk: Option<Disk>) {
        let disk = disk.unwrap_or_else(|| self.phones[index].disk.clone());
        let starts = self.phones[index].starts.wrapping_add(1);
        let core = self.core(index, starts, start, disk.clone());
        let told = core.chain_cursor();
        let reorgs = self.chain.reorgs.len();
        let phone = &mut self.phones[index];
        phone.core = core;
        phone.disk = disk;
        phone.held.clear();
        phone.starts = starts;
        phone.told = told;
        phone.reorgs = reorgs;
        self.drain(index);
        self.watch(index);
    }

    pub(crate) fn handle(&mut self, index: usize, input: Input) -> Result<(), CommandError> {
        let outcome = self.phones[index].core.handle(input, self.now);
        self.drain(index);
        outcome
    }

    pub(crate) fn command(
        &mut self,
        index: usize,
        command: Command,
    ) -> Result<RequestId, CommandError> {
        self.phones[index].requests += 1;
        let request = RequestId(self.phones[index].requests);
        self.handle(index, Input::Command(request, command))?;
        Ok(request)
    }

    fn drain(&mut self, index: usize) {
        while let Some(output) = self.phones[index].core.poll_output() {
            self.phones[index].held.push_back(output);
        }
        if self.syncs_at_once {
            self.sync(index);
        }
    }

    /// The disk has everything written so far; what waited goes out.
    pub(crate) fn sync(&mut self, index: usize) {
        while self.step(index) {}
    }

    /// Carries out the next output; false if there is none.
    pub(crate) fn step(&mut self, index: usize) -> bool {
        let Some(output) = self.phones[index].held.pop_front() else {
            return false;
        };
        match output {
            Output::Persist(record) => {
                // Records that come together are one write.
                let phone = &mut self.phones[index];
                let mut next = Some(record);
                while let Some(record) = next.take() {
                    match record.value {
                        Some(value) => phone.disk.insert(record.key, value),
                        None => phone.disk.remove(&record.key),
                    };
                    if let Some(Output::Persist(_)) = phone.held.front()
                        && let Some(Output::Persist(record)) = phone.held.pop_front()
                    {
                        next = Some(record);
                    }
                }
            }
            Output::OpenPath { to } => {
                let found = self.phones.iter().position(|phone| phone.address == to);
                if let Some(peer) = found.filter(|_| !self.apart) {
                    self.meet(index, peer);
                }
            }
            Output::Send { to, message } => {
                if let Some(to) = self.phones.iter().position(|phone| phone.address == to) {
                    let letter = Letter {
                        from: index,
                        to,
                        bytes: message.encode(),
                    };
                    self.seen.push(letter.clone());
                    self.letters.push_back(letter);
                }
            }
            Output::Submit(call) => self.phones[index].calls.push(call),
            Output::Event(event) => self.phones[index].events.push(event),
        }
        true
    }

    pub(crate) fn meet(&mut self, a: usize, b: usize) {
        let (to, from) = (mesh(b), mesh(a));
        self.handle(a, Input::PathUp { peer: to }).unwrap();
        self.handle(b, Input::PathUp { peer: from }).unwrap();
    }

    /// Hands a letter over.
    pub(crate) fn deliver(&mut self, letter: &Letter) {
        let message = PaymentMessage::decode(&letter.bytes).unwrap();
        let from = mesh(letter.from);
        self.handle(letter.to, Input::Received { from, message })
            .unwrap();
    }

    /// Hands every letter over until there are none.
    pub(crate) fn exchange(&mut self) {
        for _ in 0..10_000 {
            let Some(letter) = self.letters.pop_front() else {
                return;
            };
            self.deliver(&letter);
        }
        panic!("they never stop talking");
    }

    /// Time passes, with what falls due in it.
    pub(crate) fn wait(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        for index in 0..self.phones.len() {
            self.handle(index, Input::Tick).unwrap();
        }
    }

    /// Every phone on-line brings its calls; a block is mined and told.
    pub(crate) fn block(&mut self) -> usize {
        for phone in &mut self.phones {
            if phone.online {
                for call in std::mem::take(&mut phone.calls) {
                    self.chain.submit(phone.wallet, &call);
                }
            }
        }
        let refused = self.chain.mine();
        self.now = self.now.after(Duration::from_secs(BLOCK_SECONDS));
        self.now.unix = UnixTime::from_secs(self.chain.now);
        for index in 0..self.phones.len() {
            self.watch(index);
        }
        refused
    }

    pub(crate) fn blocks(&mut self, count: usize) {
        for _ in 0..count {
            self.block();
        }
    }

    /// Chain time jumps.
    pub(crate) fn skip(&mut self, seconds: u64) {
        self.chain.now += seconds;
        self.now = self.now.after(Duration::from_secs(seconds));
        self.now.unix = UnixTime::from_secs(self.chain.now);
        self.block();
    }

    /// Tells a phone of the chain what it does not know.
    pub(crate) fn watch(&mut self, index: usize) {
        if !self.phones[index].online {
            return;
        }
        let reorgs = self.chain.reorgs[self.phones[index].reorgs..].to_vec();
        self.phones[index].reorgs = self.chain.reorgs.len();
        if let Some(to) = reorgs.into_iter().min()
            && to < self.phones[index].told
        {
            self.phones[index].told = to;
            let fact = smartmesh_channel::ChainFact::Rollback { to };
            self.handle(index, Input::Chain(fact)).unwrap();
        }
        while self.phones[index].told < self.chain.height() {
            self.phones[index].told += 1;
            for fact in self.chain.facts(self.phones[index].told) {
                self.handle(index, Input::Chain(fact)).unwrap();
            }
        }
    }

    /// Opens a channel with deposits of both and confirms it.
    pub(crate) fn open(&mut self, a: usize, b: usize, deposits: (u128, u128)) -> ChannelId {
        self.meet(a, b);
        let open = Command::Open {
            peer: mesh(b),
            token: self.chain.at.smt,
            deposit: deposits.0,
        };
        self.command(a, open).unwrap();
        self.exchange();
        let id = self.phones[a]
            .core
            .channel_with(mesh(b), self.chain.at.smt)
            .unwrap();
        self.block();
        if deposits.1 > 0 {
            let deposit = Command::Deposit {
                channel: id,
                amount: deposits.1,
            };
            self.command(b, deposit).unwrap();
        }
        self.blocks(4);
        self.exchange();
        id
    }

    pub(crate) fn info(&self, index: usize, id: ChannelId) -> ChannelInfo {
        self.phones[index].core.channel(id).unwrap()
    }

    pub(crate) fn pay(
        &mut self,
        index: usize,
        channel: ChannelId,
        amount: u128,
    ) -> Result<RequestId, CommandError> {
        let memo = Vec::new();
        self.command(
            index,
            Command::Pay {
                channel,
                amount,
                memo,
            },
        )
    }

    pub(crate) fn has_answer(&self, index: usize, request: RequestId, answer: &Answer) -> bool {
        let wanted = Event::Answer {
            request,
            answer: answer.clone(),
        };
        self.phones[index].events.contains(&wanted)
    }

    pub(crate) fn balance(&self, index: usize) -> u128 {
        self.chain.balance(wallet(index))
    }

    /// What the contract paid out to the channel key itself.
    pub(crate) fn settled(&self, index: usize) -> u128 {
        self.chain.balance(self.phones[index].core.account())
    }
}
