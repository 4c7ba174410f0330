//! Real chains: Ethereum's main network from Capella to Electra, and a devnet of six periods.

use alloy_primitives::{B256, b256};
use serde_json::Value;
use smartmesh_light_client::ssz::{self, Kind};
use smartmesh_light_client::{Header, Network, Store, Update, UpdateError, json};

use crate::fixtures::{bytes, load, node};

pub(crate) fn mainnet_data() -> Value {
    load(include_bytes!("../../testdata/mainnet.json.zst"))
}

/// After every update's signature.
pub(crate) const LATER: u64 = 20_000_000;

fn apply_all(store: &mut Store, network: &Network, updates: &[Update]) {
    for update in updates {
        store.apply(network, update, LATER).unwrap();
    }
}

pub(crate) fn split(value: &Value, network: &Network) -> Vec<Update> {
    let bytes = bytes(value);
    ssz::split_updates(&bytes)
        .unwrap()
        .into_iter()
        .map(|message| ssz::update(message, Kind::Update, network).unwrap())
        .collect()
}

#[test]
fn helios_capella_from_bootstrap_to_optimistic() {
    let network = Network::mainnet();
    let data = &mainnet_data()["helios_capella"];
    let bootstrap = json::bootstrap(&data["bootstrap"], &network).unwrap();
    let mut store = Store::bootstrap(&network, node(&data["root"]), bootstrap).unwrap();
    let updates = json::updates(&data["updates"], &network).unwrap();
    assert_eq!(updates.len(), 6);
    apply_all(&mut store, &network, &updates);
    let finality = json::update(&data["finality"], Kind::Finality, &network).unwrap();
    let optimistic = json::update(&data["optimistic"], Kind::Optimistic, &network).unwrap();
    apply_all(&mut store, &network, &[finality, optimistic]);
    assert_eq!(store.finalized().beacon.slot, 7_109_344);
    // The execution block inside the beacon block of that slot, as the source published it.
    assert_eq!(
        store.finalized().block_hash(),
        Some(b256!(
            "0xbc8499537876e5406c7a65e25f99063f1cd85a17014a3aa5ade38271b1fbf64f"
        ))
    );
}

#[test]
fn nimbus_capella_through_21_periods_in_ssz() {
    let network = Network::mainnet();
    let data = &mainnet_data()["nimbus_capella"];
    let bootstrap = ssz::bootstrap(&bytes(&data["bootstrap"]), &network).unwrap();
    let mut store = Store::bootstrap(&network, node(&data["root"]), bootstrap).unwrap();
    let updates = split(&data["updates"], &network);
    assert_eq!(updates.len(), 21);
    apply_all(&mut store, &network, &updates);
    assert_eq!(store.finalized().beacon.slot / 8192, 820);
    // Signed soon after, one of them given in SSZ and one in JSON.
    let data = &data;
    let heads = [
        ssz::update(&bytes(&data["finality"]), Kind::Finality, &network).unwrap(),
        ssz::update(&bytes(&data["optimistic"]), Kind::Optimistic, &network).unwrap(),
        ssz::update(&bytes(&data["optimistic_2"]), Kind::Optimistic, &network).unwrap(),
        json::update(&data["finality_json"], Kind::Finality, &network).unwrap(),
        json::update(&data["optimistic_json"], Kind::Optimistic, &network).unwrap(),
    ];
    for head in &heads {
        match store.apply(&network, head, LATER) {
            Ok(_) | Err(UpdateError::Irrelevant) => {}
            Err(error) => panic!("slot {}: {error}", head.attested.beacon.slot),
        }
    }
    assert_eq!(network.period(store.finalized().beacon.slot), 821);
}

/// A store that begins with the next committee of an update of the period before.
pub(crate) fn store_after(update: &Update) -> Store {
    let next = update.next_committee.as_ref().unwrap().committee.clone();
    let header = Header {
        beacon: update.attested.beacon,
        execution: None,
    };
    Store::from_parts(
        header.clone(),
        header,
        // Nothing is signed by this one in the test.
        next.clone(),
        Some(next),
        [0, 0],
    )
}

#[test]
fn colibri_deneb_chains_into_a_bootstrap() {
    let network = Network::mainnet();
    let data = &mainnet_data()["colibri_deneb"];
    let first = split(&data["update_1392"], &network);
    let updates = split(&data["updates"], &network);
    assert_eq!(updates.len(), 14);
    let mut store = store_after(&first[0]);
    apply_all(&mut store, &network, &updates);
    let bootstrap = ssz::bootstrap(&bytes(&data["bootstrap"])[4..], &network)
        .or_else(|_| ssz::bootstrap(&bytes(&data["bootstrap"]), &network))
        .unwrap();
    assert_eq!(bootstrap.header.beacon.slot, 11_526_688);
    let fresh =
        Store::bootstrap(&network, bootstrap.header.beacon.root(), bootstrap.clone()).unwrap();
    assert!(
        fresh
            .current_committee()
            .is_same(store.next_committee().unwrap())
    );
}

#[test]
fn colibri_electra_chains() {
    let network = Network::mainnet();
    let data = &mainnet_data()["colibri_electra"];
    let updates: Vec<Update> = data["updates"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|update| split(update, &network))
        .collect();
    assert_eq!(updates.len(), 4);
    // The first three finalize a header of the period before, so each is judged by a store of its own period.
    for pair in updates.windows(2) {
        let mut store = store_after(&pair[0]);
        store.apply(&network, &pair[1], LATER).unwrap();
    }
    let mut store = store_after(&updates[2]);
    apply_all(&mut store, &network, &updates[3..]);
    assert_eq!(network.period(store.finalized().beacon.slot), 1574);
}

#[test]
fn portal_capella_verifies() {
    let network = Network::mainnet();
    let data = &mainnet_data()["portal_capella"];
    let bootstrap = bytes(&data["bootstrap"]["content_value"]);
    let bootstrap = ssz::bootstrap(&bootstrap[4..], &network).unwrap();
    let trusted = B256::from_slice(&bytes(&data["bootstrap"]["content_key"])[1..]);
    let mut store = Store::bootstrap(&network, trusted, bootstrap).unwrap();
    let list = bytes(&data["updates"]["content_value"]);
    let offset = |at: usize| {
        usize::try_from(u32::from_le_bytes(list[at..at + 4].try_into().unwrap())).unwrap()
    };
    let starts: Vec<usize> = (0..offset(0) / 4).map(|at| offset(at * 4)).collect();
    assert_eq!(starts.len(), 4);
    let updates: Vec<Update> = starts
        .iter()
        .enumerate()
        .map(|(at, start)| {
            let end = starts.get(at + 1).copied().unwrap_or(list.len());
            ssz::update(&list[start + 4..end], Kind::Update, &network).unwrap()
        })
        .collect();
    let mut before = store_after(&updates[0]);
    apply_all(&mut before, &network, &updates[1..]);
    assert!(
        store
            .current_committee()
            .is_same(before.next_committee().unwrap())
    );
    for (kind, name) in [
        (Kind::Finality, "finality_update"),
        (Kind::Optimistic, "optimistic_update"),
    ] {
        let update = bytes(&data[name]["content_value"]);
        let update = ssz::update(&update[4..], kind, &network).unwrap();
        apply_all(&mut store, &network, &[update]);
    }
    assert_eq!(store.optimistic().beacon.slot, 6_718_463);
}

#[test]
fn the_devnet_verifies_through_six_periods() {
    let data = load(include_bytes!("../../testdata/devnet.json.zst"));
    let network = Network::from_config(&[
        &data["config_spec"].to_string(),
        &data["genesis"].to_string(),
    ])
    .unwrap();
    let trusted = &data["bootstrap_slot8"];
    let bootstrap = json::bootstrap(trusted, &network).unwrap();
    let root = bootstrap.header.beacon.root();
    let mut store = Store::bootstrap(&network, root, bootstrap).unwrap();
    let mut updates = json::updates(&data["updates"], &network).unwrap();
    assert_eq!(updates.len(), 6);
    updates.extend([
        json::update(&data["finality_update_later"], Kind::Finality, &network).unwrap(),
        json::update(&data["optimistic_update_later"], Kind::Optimistic, &network).unwrap(),
    ]);
    apply_all(&mut store, &network, &updates);
    assert_eq!(store.finalized().beacon.slot, 328);
    assert_eq!(store.optimistic().beacon.slot, 344);
}
