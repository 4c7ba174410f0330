//! Every light-client vector of the consensus specification: none is skipped, and the number of them is asserted.

use std::collections::BTreeMap;

use serde_json::Value;
use smartmesh_light_client::ssz::{self, Kind};
use smartmesh_light_client::{Fork, Header, Network, Store, Update, UpdateError, merkle};

use crate::fixtures::{bytes, load, node, number};

fn cases() -> Vec<Value> {
    let cases = load(include_bytes!("../../testdata/spec-vectors.json.zst"));
    cases.as_array().unwrap().clone()
}

/// The network of a case: its configuration, or every fork up to its own at epoch 0.
fn network(case: &Value) -> Network {
    let root = case["meta"]["genesis_validators_root"]
        .as_str()
        .unwrap_or("0x0000000000000000000000000000000000000000000000000000000000000000");
    let genesis = format!("GENESIS_VALIDATORS_ROOT: {root}");
    if case["config"].is_object() {
        return Network::from_config(&[&case["config"].to_string(), &genesis]).unwrap();
    }
    let mut config = "PRESET_BASE: minimal\n".to_owned();
    for fork in Fork::ALL {
        config += &format!(
            "{0}_FORK_VERSION: 0x00000000\n{0}_FORK_EPOCH: 0\n",
            fork.name()
        );
        if fork.name().to_lowercase() == case["fork"].as_str().unwrap() {
            break;
        }
    }
    Network::from_config(&[&config, &genesis]).unwrap()
}

/// What the specification calls `get_lc_execution_root`, from this crate's normalised header.
fn execution_root(header: &Header, network: &Network) -> alloy_primitives::B256 {
    let Some(proof) = &header.execution else {
        return alloy_primitives::B256::ZERO;
    };
    if network.fork(header.beacon.slot) == Fork::Gloas {
        return proof.block_hash;
    }
    // The part of the branch inside the payload header; four more levels lead to the body.
    let inside = proof.branch.len() - 4;
    let index = network.rules(header.beacon.slot).block_hash & ((1 << inside) - 1);
    merkle::branch_root(
        proof.block_hash,
        &proof.branch[..inside],
        (1 << inside) | index,
    )
}

fn check_header(header: &Header, expected: &Value, network: &Network, place: &str) {
    assert_eq!(
        header.beacon.slot,
        number(&expected["slot"]),
        "{place}: slot"
    );
    assert_eq!(
        header.beacon.root(),
        node(&expected["beacon_root"]),
        "{place}: beacon root"
    );
    assert_eq!(
        execution_root(header, network),
        node(&expected["execution_root"]),
        "{place}: execution root"
    );
}

fn sync(case: &Value) -> usize {
    let network = network(case);
    let name = format!("{} {}", case["fork"], case["case"]);
    let trusted = node(&case["meta"]["trusted_block_root"]);
    let bootstrap = ssz::bootstrap(&bytes(&case["files"]["bootstrap"]), &network).unwrap();
    let mut store = Store::bootstrap(&network, trusted, bootstrap).unwrap();
    let steps = case["steps"].as_array().unwrap();
    for (at, step) in steps.iter().enumerate() {
        let (kind, body) = step.as_object().unwrap().iter().next().unwrap();
        let place = format!("{name}, step {at}, {kind}");
        match kind.as_str() {
            "process_update" => {
                let file = &case["files"][body["update"].as_str().unwrap()];
                let update = ssz::update(&bytes(file), Kind::Update, &network).unwrap();
                let result = store.apply(&network, &update, number(&body["current_slot"]));
                assert!(result.is_ok(), "{place}: {result:?}");
            }
            "force_update" => {
                store.force_update(&network, number(&body["current_slot"]));
            }
            // The store has one form for all forks.
            "upgrade_store" => {}
            other => panic!("{name}: unknown step {other}"),
        }
        let checks = &body["checks"];
        check_header(
            store.finalized(),
            &checks["finalized_header"],
            &network,
            &place,
        );
        check_header(
            store.optimistic(),
            &checks["optimistic_header"],
            &network,
            &place,
        );
    }
    steps.len()
}

fn update_ranking(case: &Value) -> usize {
    let network = network(case);
    let count = usize::try_from(number(&case["meta"]["updates_count"])).unwrap();
    let updates: Vec<Update> = (0..count)
        .map(|at| {
            let file = &case["files"][format!("updates_{at}")];
            ssz::update(&bytes(file), Kind::Update, &network).unwrap()
        })
        .collect();
    for (at, better) in updates.iter().enumerate() {
        for worse in &updates[at + 1..] {
            assert!(better.is_better(worse, &network), "update {at}");
            assert!(!worse.is_better(better, &network), "update {at}");
        }
    }
    count
}

fn single_merkle_proof(case: &Value) -> usize {
    let proof = &case["proof"];
    let branch: Vec<_> = proof["branch"]
        .as_array()
        .unwrap()
        .iter()
        .map(node)
        .collect();
    let index = number(&proof["leaf_index"]);
    let leaf = node(&proof["leaf"]);
    assert!(merkle::verify_branch(
        leaf,
        &branch,
        index,
        node(&case["object_root"])
    ));
    let rules = network(case).rules(0);
    let expected = match case["case"].as_str().unwrap() {
        "current_sync_committee_merkle_proof" => rules.current_committee,
        "next_sync_committee_merkle_proof" => rules.next_committee,
        "finality_root_merkle_proof" => rules.finalized_root,
        "execution_block_hash_merkle_proof" => rules.block_hash,
        // The whole payload header, of which the block hash is proved by this crate.
        "execution_merkle_proof" => {
            let inside = merkle::depth(rules.block_hash) - 4;
            rules.block_hash >> inside
        }
        other => panic!("unknown proof {other}"),
    };
    assert_eq!(index, expected);
    1
}

#[test]
fn every_vector_of_the_specification_passes() {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for case in cases() {
        let handler = case["handler"].as_str().unwrap().to_owned();
        let items = match handler.as_str() {
            "sync" => sync(&case),
            "update_ranking" => update_ranking(&case),
            "single_merkle_proof" => single_merkle_proof(&case),
            other => panic!("unknown handler {other}"),
        };
        let count = counts.entry(handler).or_default();
        count.0 += 1;
        count.1 += items;
    }
    let counts: Vec<_> = counts.into_iter().collect();
    assert_eq!(
        counts,
        [
            ("single_merkle_proof".to_owned(), (20, 20)),
            ("sync".to_owned(), (33, 129)),
            ("update_ranking".to_owned(), (5, 285)),
        ]
    );
}

#[test]
fn a_refused_update_changes_nothing() {
    let cases = cases();
    let case = cases
        .iter()
        .find(|case| case["handler"] == "sync" && case["fork"] == "electra")
        .unwrap();
    let network = network(case);
    let trusted = node(&case["meta"]["trusted_block_root"]);
    let bootstrap = ssz::bootstrap(&bytes(&case["files"]["bootstrap"]), &network).unwrap();
    let mut store = Store::bootstrap(&network, trusted, bootstrap).unwrap();
    let before = store.clone();
    let step = &case["steps"][0]["process_update"];
    let file = &case["files"][step["update"].as_str().unwrap()];
    let mut update = ssz::update(&bytes(file), Kind::Update, &network).unwrap();
    update.signature_slot = u64::MAX;
    let result = store.apply(&network, &update, number(&step["current_slot"]));
    assert!(matches!(result, Err(UpdateError::Future { .. })));
    assert_eq!(store, before);
}
