//! `smartmesh light`: the light client's judgement of files, without a node and without a network.

use std::collections::BTreeMap;
use std::path::Path;

use alloy_primitives::{B256, hex};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use smartmesh_daemon::clock;
use smartmesh_light_client::compact::{self, Carry};
use smartmesh_light_client::ssz::{self, Kind};
use smartmesh_light_client::{
    Bootstrap, Header, Network, Store, Update, UpdateError, json as beacon_json,
};

use crate::cli::light::{Chain, Execution, Light};
use crate::output;

/// The largest file that is read: 128 updates in JSON.
const FILE_BYTES_MAX: u64 = 16 << 20;

pub(crate) fn light(command: Light) -> anyhow::Result<()> {
    match command {
        Light::Verify(chain) => verify(&chain),
        Light::Compact { chain, out, carry } => write_compact(&chain, &out, carry),
        Light::Expand(chain) => expand(&chain),
        // Asks the node, not a file.
        Light::Status => Ok(()),
    }
}

/// One update as it stands in its file.
enum Item {
    Full(Box<Update>),
    Compact(Vec<u8>),
}

struct Session {
    network: Network,
    store: Store,
    slot: u64,
    refused: Vec<String>,
    applied: usize,
}

impl Session {
    fn start(chain: &Chain) -> anyhow::Result<Self> {
        let network = network(&chain.config)?;
        let trusted = chain
            .root
            .parse()
            .context("--root takes a hash of 32 bytes, 0x and 64 hex digits")?;
        let bootstrap = read_bootstrap(&chain.bootstrap, &network)?;
        let store = Store::bootstrap(&network, trusted, bootstrap)
            .with_context(|| format!("{} is refused", chain.bootstrap.display()))?;
        let now = clock::now().unix.as_secs();
        let slot = chain.slot.unwrap_or_else(|| network.slot_at(now));
        Ok(Self {
            network,
            store,
            slot,
            refused: Vec::new(),
            applied: 0,
        })
    }

    fn read(&self, item: &Item) -> anyhow::Result<Update> {
        match item {
            Item::Full(update) => Ok((**update).clone()),
            Item::Compact(bytes) => Ok(compact::decode(bytes, &self.network, &self.store)?),
        }
    }

    /// Judges and applies an update; one that is merely old is reported and left out.
    fn apply(&mut self, update: &Update, name: &str) -> anyhow::Result<()> {
        match self.store.apply(&self.network, update, self.slot) {
            Ok(_) => self.applied = self.applied.saturating_add(1),
            Err(error @ UpdateError::Irrelevant) => {
                self.refused.push(format!("{name}: {error}"));
            }
            Err(error) => bail!("{name} is refused: {error}"),
        }
        Ok(())
    }

    /// Applies everything the command line names, after showing each update to `before`.
    fn follow(
        &mut self,
        chain: &Chain,
        mut before: impl FnMut(&Self, &Update) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let heads = [
            (chain.finality.as_ref(), Kind::Finality),
            (chain.optimistic.as_ref(), Kind::Optimistic),
        ];
        let updates = chain.updates.iter().map(|path| (path, Kind::Update));
        let heads = heads
            .into_iter()
            .filter_map(|(path, kind)| path.map(|path| (path, kind)));
        for (path, kind) in updates.chain(heads) {
            let items = read_updates(path, kind, &self.network)?;
            for (at, item) in items.iter().enumerate() {
                let name = format!("{}, update {}", path.display(), at.saturating_add(1));
                let update = self.read(item).with_context(|| name.clone())?;
                before(self, &update)?;
                self.apply(&update, &name)?;
            }
        }
        Ok(())
    }
}

fn verify(chain: &Chain) -> anyhow::Result<()> {
    let mut session = Session::start(chain)?;
    session.follow(chain, |_, _| Ok(()))?;
    for reason in &session.refused {
        output::note(reason);
    }
    let store = &session.store;
    output::json(&json!({
        "network": session.network.name,
        "finalized_header": header_json(store.finalized()),
        "optimistic_header": header_json(store.optimistic()),
        "period": session.network.period(store.finalized().beacon.slot),
        "current_sync_committee": text(&store.current_committee().root()),
        "next_sync_committee": store.next_committee().map(|next| text(&next.root())),
        "updates_applied": session.applied,
        "updates_left_out": session.refused,
    }));
    Ok(())
}

fn text(node: &B256) -> String {
    format!("0x{}", hex::encode(node))
}

fn texts(nodes: &[B256]) -> Vec<String> {
    nodes.iter().map(text).collect()
}

fn header_json(header: &Header) -> Value {
    json!({
        "slot": header.beacon.slot,
        "root": text(&header.beacon.root()),
        "state_root": text(&header.beacon.state_root),
        "execution_block_hash": header.block_hash().as_ref().map(text),
    })
}

fn write_compact(chain: &Chain, out: &Path, carry: Execution) -> anyhow::Result<()> {
    let carry = match carry {
        Execution::Nothing => Carry::Nothing,
        Execution::Finalized => Carry::Finalized,
        Execution::Attested => Carry::Attested,
        Execution::Both => Carry::Both,
    };
    let mut session = Session::start(chain)?;
    let mut written = Vec::new();
    session.follow(chain, |session, update| {
        let known = BTreeMap::new();
        written.push(compact::encode(
            update,
            &session.network,
            &session.store,
            carry,
            &known,
        )?);
        Ok(())
    })?;
    let file = compact::join(&written);
    std::fs::write(out, &file).with_context(|| format!("cannot write {}", out.display()))?;
    output::json(&json!({
        "updates": written.len(),
        "bytes": written.iter().map(Vec::len).collect::<Vec<_>>(),
        "bytes_together": file.len(),
    }));
    Ok(())
}

fn expand(chain: &Chain) -> anyhow::Result<()> {
    let mut session = Session::start(chain)?;
    let mut all = Vec::new();
    session.follow(chain, |_, update| {
        all.push(update_json(update));
        Ok(())
    })?;
    output::json(&all);
    Ok(())
}

/// An update with its committees in their binding values, because the compact form does not carry their members' keys.
fn update_json(update: &Update) -> Value {
    let bytes_text = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    let header = |header: &Header| {
        json!({
            "beacon": {
                "slot": header.beacon.slot.to_string(),
                "proposer_index": header.beacon.proposer_index.to_string(),
                "parent_root": text(&header.beacon.parent_root),
                "state_root": text(&header.beacon.state_root),
                "body_root": text(&header.beacon.body_root),
            },
            "execution_block_hash": header.block_hash().as_ref().map(text),
            "execution_branch": header.execution.as_ref().map(|proof| texts(&proof.branch)),
        })
    };
    let next = update.next_committee.as_ref();
    let finality = update.finality.as_ref();
    json!({
        "attested_header": header(&update.attested),
        "next_sync_committee": next.map(|next| json!({
            "pubkeys_root": text(&next.committee.keys_root),
            "aggregate_pubkey": bytes_text(&next.committee.aggregate),
        })),
        "next_sync_committee_branch": next.map(|next| texts(&next.branch)),
        "finalized_header": finality.and_then(|finality| finality.header.as_ref()).map(header),
        "finality_branch": finality.map(|finality| texts(&finality.branch)),
        "sync_aggregate": {
            "sync_committee_bits": bytes_text(update.participation.as_bytes()),
            "sync_committee_signature": bytes_text(&update.signature),
        },
        "signature_slot": update.signature_slot.to_string(),
        "absent_members": update.members.keys.iter()
            .map(|(position, key)| (position.to_string(), Value::from(bytes_text(key))))
            .collect::<serde_json::Map<_, _>>(),
        "absent_members_proof": texts(&update.members.proof),
    })
}

fn network(config: &[String]) -> anyhow::Result<Network> {
    if let [name] = config
        && name == "mainnet"
    {
        return Ok(Network::mainnet());
    }
    let texts = config
        .iter()
        .map(|path| {
            let bytes = read(Path::new(path))?;
            String::from_utf8(bytes).with_context(|| format!("{path} is not text"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Network::from_config(&texts).context("--config does not describe a network")
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || format!("cannot read {}", path.display());
    let length = std::fs::metadata(path).with_context(context)?.len();
    if length > FILE_BYTES_MAX {
        bail!("{} is longer than {FILE_BYTES_MAX} bytes", path.display());
    }
    std::fs::read(path).with_context(context)
}

/// Returns the JSON value if the bytes look like JSON.
fn as_json(bytes: &[u8], path: &Path) -> anyhow::Result<Option<Value>> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if !matches!(first, Some(b'{' | b'[')) {
        return Ok(None);
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(Some(value)),
        // A binary file may begin with the same byte.
        Err(_) if std::str::from_utf8(bytes).is_err() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} is no JSON", path.display())),
    }
}

fn read_bootstrap(path: &Path, network: &Network) -> anyhow::Result<Bootstrap> {
    let bytes = read(path)?;
    let result = match as_json(&bytes, path)? {
        Some(value) => beacon_json::bootstrap(&value, network),
        None => ssz::bootstrap(&bytes, network),
    };
    result.with_context(|| format!("{} is no bootstrap of {}", path.display(), network.name))
}

fn read_updates(path: &Path, kind: Kind, network: &Network) -> anyhow::Result<Vec<Item>> {
    let bytes = read(path)?;
    let context = || format!("{} holds no update of {}", path.display(), network.name);
    if let Some(parts) = compact::split(&bytes) {
        let parts = parts.with_context(context)?;
        return Ok(parts
            .into_iter()
            .map(|part| Item::Compact(part.to_vec()))
            .collect());
    }
    let updates = match as_json(&bytes, path)? {
        Some(value) if beacon_json::data(&value).is_array() => {
            beacon_json::updates(&value, network).with_context(context)?
        }
        Some(value) => vec![beacon_json::update(&value, kind, network).with_context(context)?],
        None => match ssz::update(&bytes, kind, network) {
            Ok(update) => vec![update],
            Err(error) => ssz::split_updates(&bytes)
                .map_err(|_| error)
                .with_context(context)?
                .into_iter()
                .map(|message| ssz::update(message, kind, network))
                .collect::<Result<_, _>>()
                .with_context(context)?,
        },
    };
    Ok(updates
        .into_iter()
        .map(|update| Item::Full(Box::new(update)))
        .collect())
}
