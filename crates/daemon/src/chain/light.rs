//! The phone's light node: heads from Beacon APIs, everything else by proofs from execution nodes. No source is trusted; the
//! next one is asked when one lies, stalls or lacks what is needed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::B256;
use serde_json::Value;
use smartmesh_light_client::execution::Need;
use smartmesh_light_client::rpc::{Heads, RpcError, Step, Task, Trust, Verifier};
use smartmesh_light_client::ssz::Kind;
use smartmesh_light_client::{Network, Store, Update, UpdateError, json};
use smartmesh_types::Instant;

use super::beacon::BeaconApi;
use super::endpoint::{Endpoint, EndpointError};
use crate::clock;

/// Updates asked for at once, as many as servers give.
const UPDATES_MAX: u64 = 128;
/// How often heads are looked at on a chain with a block every twelve seconds.
const LOOK: Duration = Duration::from_secs(6);
/// The same on a devnet.
const LOOK_DEVNET: Duration = Duration::from_millis(100);
/// The oldest checkpoint that is taken without a word, in epochs (weak subjectivity, Electra's table at 8.4 M ETH and more).
const CHECKPOINT_EPOCHS_MAX: u64 = 3_532;

/// Where the light node begins.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// At a block root that the user trusts, on a network that is known.
    At(Box<Network>, B256),
    /// A development chain says itself where it begins; only for chains of this machine.
    AsToldByDevnet,
}

/// Somebody who is asked.
struct Source {
    name: String,
    execution: Endpoint,
    beacon: BeaconApi,
    /// What it did last that was wrong.
    fault: Option<String>,
    faults: u64,
}

/// How it goes with a source.
#[derive(Clone, Debug)]
pub(crate) struct SourceState {
    pub(crate) name: String,
    pub(crate) in_use: bool,
    pub(crate) fault: Option<String>,
    pub(crate) faults: u64,
}

/// What the light node believes, in numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct LightState {
    pub(crate) network: String,
    /// Slot and execution block of the newest signed head.
    pub(crate) head: Option<(u64, Option<B256>)>,
    /// The same of the newest final one.
    pub(crate) finalized: Option<(u64, Option<B256>)>,
    pub(crate) period: u64,
    pub(crate) committee: Option<B256>,
    pub(crate) knows_next: bool,
    /// Of how many members how many signed at best, in this period.
    pub(crate) participation: (u64, u64),
    pub(crate) sources: Vec<SourceState>,
    pub(crate) trouble: Option<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The question was wrong, or cannot be proved.
    Rpc(RpcError),
    /// No source helped.
    Source(EndpointError),
}

impl From<RpcError> for NoAnswer {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

struct Inner {
    start: Start,
    network: Option<Network>,
    store: Option<Store>,
    verifier: Verifier,
    sources: Vec<Source>,
    current: usize,
    looked: Option<Instant>,
    every: Duration,
    trouble: Option<String>,
}

/// A handle to the light node; questions are answered one after another.
#[derive(Clone)]
pub(crate) struct Light(Arc<Mutex<Inner>>);

impl std::fmt::Debug for Light {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Light")
    }
}

impl Light {
    /// A light node over these sources; it asks nobody yet.
    pub(crate) fn new(
        chain_id: u64,
        start: Start,
        sources: Vec<(String, Endpoint, BeaconApi)>,
    ) -> Self {
        let every = match &start {
            Start::At(..) => LOOK,
            Start::AsToldByDevnet => LOOK_DEVNET,
        };
        let network = match &start {
            Start::At(network, _) => Some((**network).clone()),
            Start::AsToldByDevnet => None,
        };
        let sources = sources
            .into_iter()
            .map(|(name, execution, beacon)| Source {
                name,
                execution,
                beacon,
                fault: None,
                faults: 0,
            })
            .collect();
        Self(Arc::new(Mutex::new(Inner {
            start,
            network,
            store: None,
            verifier: Verifier::new(chain_id),
            sources,
            current: 0,
            looked: None,
            every,
            trouble: None,
        })))
    }

    /// Answers a question from what is proved.
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Result<(Value, Trust), NoAnswer> {
        let began = clock::monotonic();
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.answer(method, params) {
            // What an older head refuses the newest may allow.
            Err(NoAnswer::Rpc(_)) if inner.looked.is_some_and(|looked| looked < began) => {
                inner.looked = None;
                inner.answer(method, params)
            }
            answer => answer,
        }
    }

    /// Tells what is believed now.
    pub(crate) fn state(&self) -> LightState {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = inner.heads();
        inner.state()
    }

    /// Asks the source in use what nobody needs to believe, such as where a devnet's contracts are.
    pub(crate) fn ask_plainly(&self, method: &str, params: &Value) -> Result<Value, EndpointError> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = inner.sources.get(inner.current);
        source.ok_or_else(no_source)?.execution.ask(method, params)
    }
}

fn no_source() -> EndpointError {
    EndpointError::Silent("there is no source".to_owned())
}

fn rubbish(error: impl std::fmt::Display) -> EndpointError {
    EndpointError::Rubbish(error.to_string())
}

impl Inner {
    /// Answers from the newest heads that are known, fetching what the proof lacks.
    fn answer(&mut self, method: &str, params: &Value) -> Result<(Value, Trust), NoAnswer> {
        let heads = self.heads().map_err(NoAnswer::Source)?;
        let mut task = self.verifier.begin(method, params, heads);
        loop {
            match self.verifier.step(&mut task)? {
                Step::Done(value, trust) => return Ok((value, trust)),
                Step::Fetch(needs) => {
                    for need in &needs {
                        self.fetch(&mut task, need)?;
                    }
                }
            }
        }
    }

    /// The heads, looked at again if the last look is old. While no source answers there are none: an old head would pass
    /// for the newest.
    fn heads(&mut self) -> Result<Heads, EndpointError> {
        let now = clock::monotonic();
        let is_fresh = self
            .looked
            .is_some_and(|looked| now.since(looked) < self.every);
        if !is_fresh {
            let looked = self.look();
            self.trouble = looked.as_ref().err().map(ToString::to_string);
            looked?;
            self.looked = Some(now);
        }
        let store = self.store.as_ref().ok_or_else(no_source)?;
        let hash = |hash: Option<B256>| {
            hash.ok_or_else(|| rubbish("the signed head does not name its execution block"))
        };
        Ok(Heads {
            latest: hash(store.optimistic().block_hash())?,
            finalized: hash(store.finalized().block_hash())?,
        })
    }

    /// Asks one source after another for the heads until one tells the truth.
    fn look(&mut self) -> Result<(), EndpointError> {
        let mut last = no_source();
        for _ in 0..self.sources.len() {
            match self.follow() {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.blame(&error.to_string());
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Notes what the source in use did wrong and takes the next one.
    fn blame(&mut self, fault: &str) {
        let count = self.sources.len().max(1);
        if let Some(source) = self.sources.get_mut(self.current) {
            if source.fault.as_deref() != Some(fault) {
                tracing::warn!(source = %source.name, fault, "a chain source is of no use; the next one is asked");
            }
            source.fault = Some(fault.to_owned());
            source.faults = source.faults.saturating_add(1);
        }
        self.current = self
            .current
            .saturating_add(1)
            .checked_rem(count)
            .unwrap_or(0);
    }

    fn follow(&mut self) -> Result<(), EndpointError> {
        let beacon = self
            .sources
            .get(self.current)
            .ok_or_else(no_source)?
            .beacon
            .clone();
        self.begin(&beacon)?;
        let head = beacon.get("light_client/finality_update")?;
        let (Some(network), Some(store)) = (&self.network, &mut self.store) else {
            return Err(no_source());
        };
        let head = json::update(&head, Kind::Finality, network).map_err(rubbish)?;
        let period = network.period(store.finalized().beacon.slot);
        let newest = network.period(head.signature_slot);
        if newest > period || store.next_committee().is_none() {
            let mut start = period;
            while start <= newest {
                let count = newest
                    .saturating_sub(start)
                    .saturating_add(1)
                    .min(UPDATES_MAX);
                let path = format!("light_client/updates?start_period={start}&count={count}");
                let updates = json::updates(&beacon.get(&path)?, network).map_err(rubbish)?;
                if updates.is_empty() {
                    break;
                }
                for update in &updates {
                    apply(store, network, update)?;
                }
                start = start.saturating_add(count);
            }
        }
        apply(store, network, &head)?;
        let newest = beacon.get("light_client/optimistic_update")?;
        let newest = json::update(&newest, Kind::Optimistic, network).map_err(rubbish)?;
        apply(store, network, &newest)
    }

    /// Begins at the checkpoint, if that has not happened.
    fn begin(&mut self, beacon: &BeaconApi) -> Result<(), EndpointError> {
        if self.store.is_some() {
            return Ok(());
        }
        let (network, root) = match &self.start {
            Start::At(network, root) => ((**network).clone(), *root),
            Start::AsToldByDevnet => {
                let config = beacon.get_config()?;
                let network = Network::from_config(&[&config.to_string()]).map_err(rubbish)?;
                let header = beacon.get("headers/finalized")?;
                let root = json::data(&header).get("root").and_then(Value::as_str);
                let root = root.and_then(|root| root.parse().ok());
                let root = root.ok_or_else(|| rubbish("no finalized header"))?;
                (network, root)
            }
        };
        let bootstrap = beacon.get(&format!("light_client/bootstrap/{root}"))?;
        let bootstrap = json::bootstrap(&bootstrap, &network).map_err(rubbish)?;
        let store = Store::bootstrap(&network, root, bootstrap).map_err(rubbish)?;
        if let Start::At(..) = self.start {
            let slot = store.finalized().beacon.slot;
            let now = network.slot_at(clock::now().unix.as_secs());
            let age = network.epoch(now).saturating_sub(network.epoch(slot));
            if age > CHECKPOINT_EPOCHS_MAX {
                return Err(rubbish(format!(
                    "the checkpoint is {age} epochs old, more than the {CHECKPOINT_EPOCHS_MAX} for which it can be trusted; give a newer one with --checkpoint"
                )));
            }
        }
        tracing::info!(network = %network.name, %root, "the light node begins at its checkpoint");
        self.network = Some(network);
        self.store = Some(store);
        Ok(())
    }

    /// Fetches one thing; a source that lies about it is left for the next.
    fn fetch(&mut self, task: &mut Task, need: &Need) -> Result<(), NoAnswer> {
        let (method, params) = need.request();
        let mut last = no_source();
        for _ in 0..self.sources.len() {
            let source = self
                .sources
                .get(self.current)
                .ok_or_else(|| NoAnswer::Source(no_source()))?;
            let fault = match source.execution.ask(method, &params) {
                Ok(answer) => match self.verifier.accept(task, need, answer) {
                    Ok(()) => return Ok(()),
                    Err(lie) => EndpointError::Rubbish(format!("to {method}: {lie}")),
                },
                // What it thinks of a transaction is for the sender to hear.
                Err(EndpointError::Refused { code, message }) if need.is_hint() => {
                    return Err(NoAnswer::Rpc(RpcError {
                        code,
                        message,
                        data: None,
                    }));
                }
                Err(error) => error,
            };
            self.blame(&fault.to_string());
            last = fault;
        }
        Err(NoAnswer::Source(last))
    }

    fn state(&self) -> LightState {
        let mut state = LightState {
            trouble: self.trouble.clone(),
            sources: self
                .sources
                .iter()
                .enumerate()
                .map(|(at, source)| SourceState {
                    name: source.name.clone(),
                    in_use: at == self.current,
                    fault: source.fault.clone(),
                    faults: source.faults,
                })
                .collect(),
            ..LightState::default()
        };
        let (Some(network), Some(store)) = (&self.network, &self.store) else {
            return state;
        };
        let [_, participants] = store.participants_max();
        state.network = network.name.clone();
        state.head = Some((
            store.optimistic().beacon.slot,
            store.optimistic().block_hash(),
        ));
        state.finalized = Some((
            store.finalized().beacon.slot,
            store.finalized().block_hash(),
        ));
        state.period = network.period(store.finalized().beacon.slot);
        state.committee = Some(store.current_committee().root());
        state.knows_next = store.next_committee().is_some();
        state.participation = (participants, u64::from(network.preset.committee_size));
        state
    }
}

/// Judges an update and takes it over; one that says nothing new is no fault.
fn apply(store: &mut Store, network: &Network, update: &Update) -> Result<(), EndpointError> {
    let known = update.attested == *store.optimistic()
        && update.next_committee.is_none()
        && update.finalized_slot() <= store.finalized().beacon.slot;
    if known {
        return Ok(());
    }
    let slot = network.slot_at(clock::now().unix.as_secs());
    match store.apply(network, update, slot) {
        Ok(_) | Err(UpdateError::Irrelevant) => Ok(()),
        Err(error) => Err(rubbish(error)),
    }
}
