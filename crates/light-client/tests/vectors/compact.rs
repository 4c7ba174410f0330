//! The compact form leads to the same store as the full one, over every real chain there is data of.

use std::collections::BTreeMap;

use smartmesh_light_client::compact::{self, Carry, CompactError};
use smartmesh_light_client::ssz::{self, Kind};
use smartmesh_light_client::{Network, Store, Update, UpdateError, json};

use crate::fixtures::{bytes, load, node};
use crate::mainnet::{LATER, mainnet_data, split, store_after};

/// What both forms must agree on.
fn roots(store: &Store) -> [alloy_primitives::B256; 4] {
    [
        store.finalized().beacon.root(),
        store.optimistic().beacon.root(),
        store.current_committee().root(),
        store
            .next_committee()
            .map(|next| next.root())
            .unwrap_or_default(),
    ]
}

/// Runs both forms side by side and returns the compact lengths.
fn side_by_side(
    network: &Network,
    mut full: Store,
    updates: &[Update],
    carry: Carry,
) -> Vec<usize> {
    let mut small = full.clone();
    small.forget_keys();
    updates
        .iter()
        .map(|update| {
            let bytes = compact::encode(update, network, &full, carry, &BTreeMap::new()).unwrap();
            let read = compact::decode(&bytes, network, &small).unwrap();
            full.apply(network, update, LATER).unwrap();
            small.apply(network, &read, LATER).unwrap();
            assert_eq!(roots(&full), roots(&small));
            if carry == Carry::Both {
                assert_eq!(full.finalized(), small.finalized());
                assert_eq!(full.optimistic(), small.optimistic());
            }
            bytes.len()
        })
        .collect()
}

#[test]
fn capella_periods_cost_less_than_a_kilobyte() {
    let network = Network::mainnet();
    let data = &mainnet_data()["nimbus_capella"];
    let bootstrap = ssz::bootstrap(&bytes(&data["bootstrap"]), &network).unwrap();
    let store = Store::bootstrap(&network, node(&data["root"]), bootstrap).unwrap();
    let updates = split(&data["updates"], &network);
    let lengths = side_by_side(&network, store.clone(), &updates, Carry::Nothing);
    let total: usize = lengths.iter().sum();
    println!("compact steps of 21 Capella periods: {lengths:?}, {total} bytes together");
    assert_eq!(lengths.len(), 21);
    assert!(total <= 21 * 1024, "{total}");
    side_by_side(&network, store, &updates, Carry::Both);
}

#[test]
fn deneb_and_electra_periods_agree_too() {
    let network = Network::mainnet();
    let data = mainnet_data();
    let first = split(&data["colibri_deneb"]["update_1392"], &network);
    let updates = split(&data["colibri_deneb"]["updates"], &network);
    for carry in [Carry::Nothing, Carry::Both] {
        side_by_side(&network, store_after(&first[0]), &updates, carry);
    }
    let updates: Vec<Update> = data["colibri_electra"]["updates"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|update| split(update, &network))
        .collect();
    for pair in updates.windows(2) {
        for carry in [Carry::Finalized, Carry::Attested] {
            side_by_side(&network, store_after(&pair[0]), &pair[1..], carry);
        }
    }
}

#[test]
fn heads_agree_too() {
    let network = Network::mainnet();
    let data = &mainnet_data()["helios_capella"];
    let bootstrap = json::bootstrap(&data["bootstrap"], &network).unwrap();
    let store = Store::bootstrap(&network, node(&data["root"]), bootstrap).unwrap();
    let mut updates = json::updates(&data["updates"], &network).unwrap();
    updates.push(json::update(&data["finality"], Kind::Finality, &network).unwrap());
    updates.push(json::update(&data["optimistic"], Kind::Optimistic, &network).unwrap());
    let lengths = side_by_side(&network, store, &updates, Carry::Both);
    println!("six periods, finality, optimistic with execution: {lengths:?}");
}

#[test]
fn keys_that_are_known_are_left_out() {
    let data = load(include_bytes!("../../testdata/devnet.json.zst"));
    let network = Network::from_config(&[
        &data["config_spec"].to_string(),
        &data["genesis"].to_string(),
    ])
    .unwrap();
    let bootstrap = json::bootstrap(&data["bootstrap_slot8"], &network).unwrap();
    let root = bootstrap.header.beacon.root();
    let store = Store::bootstrap(&network, root, bootstrap).unwrap();
    let updates = json::updates(&data["updates"], &network).unwrap();
    side_by_side(&network, store, &updates, Carry::Both);
}

#[test]
fn lies_in_the_compact_form_are_caught() {
    let network = Network::mainnet();
    let data = &mainnet_data()["nimbus_capella"];
    let bootstrap = ssz::bootstrap(&bytes(&data["bootstrap"]), &network).unwrap();
    let store = Store::bootstrap(&network, node(&data["root"]), bootstrap).unwrap();
    let updates = split(&data["updates"], &network);
    let update = &updates[0];
    let good = compact::encode(update, &network, &store, Carry::Both, &BTreeMap::new()).unwrap();
    let mut small = store.clone();
    small.forget_keys();
    let judge = |bytes: &[u8]| -> Result<(), String> {
        let update = compact::decode(bytes, &network, &small).map_err(|e| e.to_string())?;
        small
            .verify(&network, &update, LATER)
            .map_err(|e| e.to_string())
    };
    judge(&good).unwrap();
    for at in 0..good.len() {
        // One pairing in sixteen bytes is enough for a test; the deep run flips every bit.
        if at % 16 != 0 && at > 64 {
            continue;
        }
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(judge(&bad).is_err(), "byte {at} may be changed");
        assert!(judge(&good[..at]).is_err(), "may be cut at {at}");
    }
    let longer = [good.clone(), vec![0]].concat();
    assert!(judge(&longer).is_err());
    let mut wrong = good.clone();
    wrong[0] = 2;
    assert_eq!(
        compact::decode(&wrong, &network, &small),
        Err(CompactError::Version(2))
    );
    let mut absent_unknown = compact::decode(&good, &network, &small).unwrap();
    absent_unknown.members.keys.clear();
    let result = small.verify(&network, &absent_unknown, LATER);
    assert!(
        result.is_ok() || matches!(result, Err(UpdateError::MissingKey(_))),
        "{result:?}"
    );
}
