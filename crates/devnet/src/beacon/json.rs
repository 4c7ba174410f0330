//! Light-client data as the Beacon API answers it, in the form of Gloas.

use alloy_primitives::{B256, hex};
use serde_json::{Map, Value, json};
use smartmesh_light_client::{Bootstrap, Committee, Header, HeaderForm, Network, Update};

fn text(bytes: &[u8]) -> Value {
    Value::from(format!("0x{}", hex::encode(bytes)))
}

fn header(header: &Header) -> Value {
    let beacon = &header.beacon;
    let mut shown = json!({
        "beacon": {
            "slot": beacon.slot.to_string(),
            "proposer_index": beacon.proposer_index.to_string(),
            "parent_root": beacon.parent_root,
            "state_root": beacon.state_root,
            "body_root": beacon.body_root,
        },
    });
    if let (Some(proof), Some(shown)) = (&header.execution, shown.as_object_mut()) {
        shown.insert("execution_block_hash".to_owned(), json!(proof.block_hash));
        shown.insert("execution_branch".to_owned(), json!(proof.branch));
    }
    shown
}

fn committee(committee: &Committee) -> Value {
    let keys: Vec<Value> = committee.known().values().map(|key| text(key)).collect();
    json!({ "pubkeys": keys, "aggregate_pubkey": text(&committee.aggregate) })
}

fn envelope(data: &Value) -> Value {
    json!({ "version": "gloas", "data": data })
}

/// Shows a bootstrap.
#[must_use]
pub fn bootstrap_json(bootstrap: &Bootstrap) -> Value {
    envelope(&json!({
        "header": header(&bootstrap.header),
        "current_sync_committee": committee(&bootstrap.committee),
        "current_sync_committee_branch": bootstrap.branch,
    }))
}

/// Shows an update; one without a committee as a finality update.
#[must_use]
pub fn update_json(update: &Update, network: &Network) -> Value {
    let mut shown = Map::new();
    shown.insert("attested_header".to_owned(), header(&update.attested));
    if let Some(next) = &update.next_committee {
        shown.insert("next_sync_committee".to_owned(), committee(&next.committee));
        shown.insert("next_sync_committee_branch".to_owned(), json!(next.branch));
    }
    let empty = Header::default();
    let finalized = update
        .finality
        .as_ref()
        .and_then(|finality| finality.header.as_ref());
    let mut finalized_shown = header(finalized.unwrap_or(&empty));
    let rules = network.rules(update.attested.beacon.slot);
    if finalized.is_none()
        && rules.header == HeaderForm::BlockHash
        && let Some(shown) = finalized_shown.as_object_mut()
    {
        let depth = smartmesh_light_client::merkle::depth(rules.block_hash);
        shown.insert("execution_block_hash".to_owned(), json!(B256::ZERO));
        shown.insert(
            "execution_branch".to_owned(),
            json!(vec![B256::ZERO; depth]),
        );
    }
    let depth = smartmesh_light_client::merkle::depth(rules.finalized_root);
    let branch = match &update.finality {
        Some(finality) => finality.branch.clone(),
        None => vec![B256::ZERO; depth],
    };
    shown.insert("finalized_header".to_owned(), finalized_shown);
    shown.insert("finality_branch".to_owned(), json!(branch));
    shown.insert(
        "sync_aggregate".to_owned(),
        json!({
            "sync_committee_bits": text(update.participation.as_bytes()),
            "sync_committee_signature": text(&update.signature),
        }),
    );
    shown.insert(
        "signature_slot".to_owned(),
        json!(update.signature_slot.to_string()),
    );
    envelope(&Value::Object(shown))
}

/// Shows what a light client must know of the network (`config/spec` and `genesis` in one).
#[must_use]
pub fn config_json(network: &Network) -> Value {
    let preset = &network.preset;
    let mut shown = Map::new();
    for (name, value) in [
        ("CONFIG_NAME", json!(network.name)),
        ("PRESET_BASE", json!("minimal")),
        (
            "SYNC_COMMITTEE_SIZE",
            json!(preset.committee_size.to_string()),
        ),
        ("SLOTS_PER_EPOCH", json!(preset.slots_per_epoch.to_string())),
        (
            "EPOCHS_PER_SYNC_COMMITTEE_PERIOD",
            json!(preset.epochs_per_period.to_string()),
        ),
        (
            "SECONDS_PER_SLOT",
            json!(network.seconds_per_slot.to_string()),
        ),
        ("GENESIS_TIME", json!(network.genesis_time.to_string())),
        (
            "GENESIS_VALIDATORS_ROOT",
            json!(network.genesis_validators_root),
        ),
    ] {
        shown.insert(name.to_owned(), value);
    }
    for line in &network.schedule {
        let name = line.fork.name();
        shown.insert(format!("{name}_FORK_VERSION"), text(&line.version));
        shown.insert(format!("{name}_FORK_EPOCH"), json!(line.epoch.to_string()));
    }
    json!({ "data": shown })
}
