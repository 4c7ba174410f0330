//! The verified JSON-RPC against the devnet's own: the same answers where it tells the truth, none where it lies.

#![cfg(test)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "test code: small numbers, and lies that concern one kind of answer"
)]

use alloy_primitives::{Address, B256, U256, hex};
use serde_json::{Value, json};
use smartmesh_devnet::beacon::Beacon;
use smartmesh_devnet::{DEV_ACCOUNTS, Devnet, ETHER, Genesis};
use smartmesh_light_client::execution::{Lie, Need};
use smartmesh_light_client::rpc::{Heads, RpcError, Step, Trust, Verifier};
use smartmesh_light_client::{Fork, Store};

const NOW: u64 = 1_800_000_000;
const ALICE: Address = Address::repeat_byte(0xa1);

/// Changes an answer before the verifier sees it.
type Lying = fn(&Need, Value) -> Value;

/// What it is, the question, the lie, and whether an error names it.
type Case = (&'static str, &'static str, Value, Lying, fn(&Lie) -> bool);

struct World {
    chain: Devnet,
    beacon: Beacon,
    store: Store,
    verifier: Verifier,
    /// What the source was asked.
    asked: usize,
}

impl World {
    fn new() -> Self {
        let mut chain = Devnet::new(&Genesis::dev(NOW));
        chain.deploy_contracts(NOW).unwrap();
        chain.fund(ALICE, ETHER, U256::from(500), NOW).unwrap();
        let beacon = Beacon::new(&chain, Fork::Electra);
        let root = beacon.checkpoint();
        let bootstrap = beacon.bootstrap(root).unwrap();
        let store = Store::bootstrap(beacon.network(), root, bootstrap).unwrap();
        let verifier = Verifier::new(chain.chain_id());
        let mut world = Self {
            chain,
            beacon,
            store,
            verifier,
            asked: 0,
        };
        world.follow();
        world
    }

    fn follow(&mut self) {
        self.beacon.follow(&self.chain);
        let (_, newest) = self.beacon.periods();
        let updates = self.beacon.update(newest).into_iter();
        for update in updates.chain(self.beacon.finality_update()) {
            let _ = self.store.apply(self.beacon.network(), &update, NOW);
        }
    }

    fn heads(&self) -> Heads {
        Heads {
            latest: self.store.optimistic().block_hash().unwrap(),
            finalized: self.store.finalized().block_hash().unwrap(),
        }
    }

    fn ask_through(
        &mut self,
        method: &str,
        params: &Value,
        lying: Lying,
    ) -> Result<(Value, Trust), Result<RpcError, Lie>> {
        let mut task = self.verifier.begin(method, params, self.heads());
        loop {
            match self.verifier.step(&mut task) {
                Ok(Step::Done(value, trust)) => return Ok((value, trust)),
                Ok(Step::Fetch(needs)) => {
                    for need in needs {
                        self.asked += 1;
                        let (method, params) = need.request();
                        let answer = self.chain.call(method, &params, NOW).unwrap_or_default();
                        let answer = lying(&need, answer);
                        self.verifier
                            .accept(&mut task, &need, answer)
                            .map_err(Err)?;
                    }
                }
                Err(error) => return Err(Ok(error)),
            }
        }
    }

    fn ask(&mut self, method: &str, params: Value) -> (Value, Trust) {
        self.ask_through(method, &params, |_, answer| answer)
            .unwrap()
    }

    /// Asks both; they must agree.
    fn same(&mut self, method: &str, params: Value) -> Trust {
        let (mut proved, trust) = self.ask(method, params.clone());
        let mut plain = self.chain.call(method, &params, NOW).unwrap();
        // What the root of a block does not bind.
        for shown in [&mut proved, &mut plain] {
            if let Some(shown) = shown.as_object_mut() {
                shown.remove("withdrawals");
            }
        }
        assert_eq!(proved, plain, "{method} {params}");
        trust
    }

    fn smt(&self) -> Address {
        self.chain.deployment().unwrap().smt
    }

    fn balance_call(&self) -> Value {
        let data = format!("0x70a08231{}", hex::encode(ALICE.into_word()));
        json!({ "to": self.smt(), "data": data })
    }
}

#[test]
fn every_answer_is_the_chains_own_and_proved() {
    let mut world = World::new();
    let smt = world.smt();
    let call = world.balance_call();
    let newest = world.chain.head().header.number;
    let with_logs = (0..=newest)
        .rev()
        .find(|number| !world.chain.block(*number).unwrap().transactions.is_empty())
        .unwrap();
    let block = world.chain.block(with_logs).unwrap().clone();
    let tx = block.transactions[0].hash;
    let number = format!("0x{with_logs:x}");
    for (method, params) in [
        ("eth_blockNumber", json!([])),
        ("eth_chainId", json!([])),
        ("net_version", json!([])),
        ("eth_getBalance", json!([ALICE, "latest"])),
        (
            "eth_getBalance",
            json!([Address::repeat_byte(0x77), "latest"]),
        ),
        ("eth_getBalance", json!([DEV_ACCOUNTS[0], number])),
        (
            "eth_getTransactionCount",
            json!([DEV_ACCOUNTS[0], "latest"]),
        ),
        (
            "eth_getTransactionCount",
            json!([DEV_ACCOUNTS[0], "pending"]),
        ),
        ("eth_getCode", json!([smt, "latest"])),
        ("eth_getCode", json!([ALICE, "latest"])),
        ("eth_getStorageAt", json!([smt, "0x2", "latest"])),
        ("eth_getStorageAt", json!([smt, "0x999", "latest"])),
        ("eth_call", json!([call, "latest"])),
        ("eth_call", json!([call])),
        (
            "eth_estimateGas",
            json!([{ "from": DEV_ACCOUNTS[1], "to": ALICE, "value": "0x1" }]),
        ),
        ("eth_createAccessList", json!([call, "latest"])),
        ("eth_getBlockByNumber", json!([number, true])),
        ("eth_getBlockByNumber", json!(["latest", false])),
        ("eth_getBlockByNumber", json!(["earliest", false])),
        ("eth_getBlockByNumber", json!(["0xffffff", false])),
        ("eth_getBlockByHash", json!([block.hash, false])),
        ("eth_getBlockTransactionCountByNumber", json!([number])),
        ("eth_getBlockReceipts", json!([number])),
        ("eth_getTransactionByHash", json!([tx])),
        ("eth_getTransactionReceipt", json!([tx])),
        ("eth_getRawTransactionByHash", json!([tx])),
        (
            "eth_getTransactionByBlockNumberAndIndex",
            json!([number, "0x0"]),
        ),
        ("eth_getTransactionByHash", json!([B256::repeat_byte(9)])),
        (
            "eth_getLogs",
            json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": smt }]),
        ),
        ("eth_getLogs", json!([{ "blockHash": block.hash }])),
        ("eth_maxPriorityFeePerGas", json!([])),
    ] {
        world.same(method, params);
    }
    assert!(world.asked > 0);
    let before = world.asked;
    let (_, trust) = world.ask("eth_call", json!([call, "latest"]));
    assert_eq!(trust, Trust::Optimistic);
    assert_eq!(world.asked, before, "what is proved is not fetched again");
}

#[test]
fn trust_is_said_as_it_is() {
    let mut world = World::new();
    for _ in 0..70 {
        world.chain.call("evm_mine", &json!([]), NOW).unwrap();
    }
    world.follow();
    let trust = |world: &mut World, method: &str, params: Value| world.ask(method, params).1;
    let tags = [
        trust(&mut world, "eth_getBalance", json!([ALICE, "finalized"])),
        trust(&mut world, "eth_getBalance", json!([ALICE, "safe"])),
        trust(&mut world, "eth_getBalance", json!([ALICE, "latest"])),
        trust(&mut world, "eth_getBlockByNumber", json!(["0x2", false])),
        trust(&mut world, "eth_chainId", json!([])),
        trust(&mut world, "eth_gasPrice", json!([])),
        trust(
            &mut world,
            "eth_getTransactionReceipt",
            json!([B256::repeat_byte(9)]),
        ),
    ];
    assert_eq!(
        tags,
        [
            Trust::Finalized,
            Trust::Finalized,
            Trust::Optimistic,
            Trust::Finalized,
            Trust::Local,
            Trust::Hint,
            Trust::Unknown,
        ]
    );
}

#[test]
fn filters_tell_what_is_new_and_what_left() {
    let mut world = World::new();
    let smt = world.smt();
    let (blocks, _) = world.ask("eth_newBlockFilter", json!([]));
    let (logs, _) = world.ask("eth_newFilter", json!([{ "address": smt }]));
    assert_eq!(
        world.ask("eth_getFilterChanges", json!([logs])).0,
        json!([])
    );
    world.chain.fund(ALICE, ETHER, U256::from(7), NOW).unwrap();
    world.follow();
    let (news, _) = world.ask("eth_getFilterChanges", json!([blocks]));
    let head = world.chain.head().hash;
    assert_eq!(news.as_array().unwrap().last(), Some(&json!(head)));
    let (news, _) = world.ask("eth_getFilterChanges", json!([logs]));
    assert_eq!(news.as_array().unwrap().len(), 1);
    assert_eq!(news[0]["removed"], false);
    assert_eq!(
        world.ask("eth_getFilterChanges", json!([logs])).0,
        json!([])
    );
    assert_eq!(
        world.ask("eth_uninstallFilter", json!([logs])).0,
        json!(true)
    );
}

/// Every lie of a source about execution, and the error that names it.
#[test]
fn lies_about_execution_have_names() {
    fn set(mut answer: Value, path: &str, value: Value) -> Value {
        if let Some(place) = answer.pointer_mut(path) {
            *place = value;
        }
        answer
    }
    let smt = World::new().smt();
    let call = World::new().balance_call();
    let receipts_of = json!([{ "fromBlock": "0x0", "address": smt }]);
    let cases: Vec<Case> = vec![
        (
            "a header with another state root",
            "eth_blockNumber",
            json!([]),
            |_, a| set(a, "/stateRoot", json!(B256::ZERO)),
            |l| matches!(l, Lie::Header { .. }),
        ),
        (
            "a header of another time",
            "eth_blockNumber",
            json!([]),
            |_, a| set(a, "/timestamp", json!("0x1")),
            |l| matches!(l, Lie::Header { .. }),
        ),
        (
            "a header of another base fee",
            "eth_blockNumber",
            json!([]),
            |_, a| set(a, "/baseFeePerGas", json!("0x1")),
            |l| matches!(l, Lie::Header { .. }),
        ),
        (
            "no header",
            "eth_blockNumber",
            json!([]),
            |_, _| Value::Null,
            |l| *l == Lie::Nothing,
        ),
        (
            "a header that is a word",
            "eth_blockNumber",
            json!([]),
            |_, _| json!("no"),
            |l| matches!(l, Lie::Shape(_)),
        ),
        (
            "an account without proof",
            "eth_getBalance",
            json!([ALICE]),
            |n, a| match n {
                Need::State { .. } => set(a, "/accountProof", json!([])),
                _ => a,
            },
            |l| matches!(l, Lie::Account(_)),
        ),
        (
            "an account with a cut proof",
            "eth_getBalance",
            json!([ALICE]),
            |n, mut a| {
                if let Need::State { .. } = n {
                    a["accountProof"].as_array_mut().unwrap().pop();
                }
                a
            },
            |l| matches!(l, Lie::Account(_)),
        ),
        (
            "an account with the proof of another",
            "eth_getBalance",
            json!([ALICE]),
            |n, a| match n {
                Need::State { .. } => set(a, "/accountProof/0", json!("0xc0")),
                _ => a,
            },
            |l| matches!(l, Lie::Account(_)),
        ),
        (
            "proofs that are no list",
            "eth_getBalance",
            json!([ALICE]),
            |n, a| match n {
                Need::State { .. } => set(a, "/accountProof", json!(7)),
                _ => a,
            },
            |l| matches!(l, Lie::Shape(_)),
        ),
        (
            "a slot with a cut proof",
            "eth_call",
            json!([call]),
            |n, mut a| {
                if let Need::State { .. } = n {
                    for proof in a["storageProof"].as_array_mut().unwrap() {
                        proof["proof"].as_array_mut().unwrap().pop();
                    }
                }
                a
            },
            |l| matches!(l, Lie::Slot { .. }),
        ),
        (
            "more slots than were asked for",
            "eth_call",
            json!([call]),
            |n, mut a| {
                if let Need::State { .. } = n {
                    let extra = json!({ "key": "0x0", "value": "0x0", "proof": [] });
                    for _ in 0..9 {
                        a["storageProof"]
                            .as_array_mut()
                            .unwrap()
                            .push(extra.clone());
                    }
                }
                a
            },
            |l| *l == Lie::TooMuch,
        ),
        (
            "other code",
            "eth_call",
            json!([call]),
            |n, a| match n {
                Need::Code { .. } => json!("0x600160005260206000f3"),
                _ => a,
            },
            |l| matches!(l, Lie::Code { .. }),
        ),
        (
            "oversize code",
            "eth_call",
            json!([call]),
            |n, a| match n {
                Need::Code { .. } => json!(format!("0x{}", "00".repeat(300_000))),
                _ => a,
            },
            |l| *l == Lie::TooMuch,
        ),
        (
            "a block without a transaction",
            "eth_getLogs",
            receipts_of.clone(),
            |n, mut a| {
                if let Need::Body(_) = n {
                    a["transactions"].as_array_mut().unwrap().pop();
                }
                a
            },
            |l| *l == Lie::Body,
        ),
        (
            "a transaction of another value",
            "eth_getLogs",
            receipts_of.clone(),
            |n, a| match n {
                Need::Body(_) => set(a, "/transactions/0/gas", json!("0x1")),
                _ => a,
            },
            |l| matches!(l, Lie::Body | Lie::Shape(_)),
        ),
        (
            "a log left out",
            "eth_getLogs",
            receipts_of.clone(),
            |n, mut a| {
                if let Need::Receipts(_) = n {
                    a[0]["logs"].as_array_mut().unwrap().pop();
                }
                a
            },
            |l| *l == Lie::Receipts,
        ),
        (
            "a log of another amount",
            "eth_getLogs",
            receipts_of.clone(),
            |n, a| match n {
                Need::Receipts(_) => set(a, "/0/logs/0/data", json!("0x01")),
                _ => a,
            },
            |l| *l == Lie::Receipts,
        ),
        (
            "a log of another contract",
            "eth_getLogs",
            receipts_of.clone(),
            |n, a| match n {
                Need::Receipts(_) => set(a, "/0/logs/0/address", json!(ALICE)),
                _ => a,
            },
            |l| *l == Lie::Receipts,
        ),
        (
            "a failure shown as success",
            "eth_getLogs",
            receipts_of.clone(),
            |n, a| match n {
                Need::Receipts(_) => set(a, "/0/status", json!("0x0")),
                _ => a,
            },
            |l| *l == Lie::Receipts,
        ),
        (
            "other gas",
            "eth_getLogs",
            receipts_of.clone(),
            |n, a| match n {
                Need::Receipts(_) => set(a, "/0/cumulativeGasUsed", json!("0x1")),
                _ => a,
            },
            |l| *l == Lie::Receipts,
        ),
        (
            "no receipts",
            "eth_getLogs",
            receipts_of.clone(),
            |n, a| match n {
                Need::Receipts(_) => json!([]),
                _ => a,
            },
            |l| *l == Lie::Receipts,
        ),
        (
            "a receipt of an unknown type",
            "eth_getLogs",
            receipts_of,
            |n, a| match n {
                Need::Receipts(_) => set(a, "/0/type", json!("0x63")),
                _ => a,
            },
            |l| matches!(l, Lie::Shape(_)),
        ),
    ];
    for (name, method, params, lying, expected) in cases {
        let mut world = World::new();
        match world.ask_through(method, &params, lying) {
            Err(Err(lie)) => assert!(expected(&lie), "{name}: {lie:?}"),
            other => panic!("{name} was believed: {other:?}"),
        }
        // The same question to an honest source succeeds: nothing false was remembered.
        world.same(method, params);
    }
}

#[test]
fn a_source_cannot_invent_where_a_transaction_is() {
    let mut world = World::new();
    let wanted = B256::repeat_byte(9);
    let lying: Lying = |need, answer| match need {
        Need::Transaction(_) => json!({ "blockHash": B256::repeat_byte(1) }),
        _ => answer,
    };
    let result = world.ask_through("eth_getTransactionReceipt", &json!([wanted]), lying);
    assert_eq!(result, Err(Err(Lie::Nothing)));
    // A block of the chain that does not hold it.
    let head = world.chain.head().hash;
    assert_ne!(head, B256::ZERO);
    let metadata: Lying = |need, mut answer| {
        if let Need::Transaction(_) = need {
            answer["blockNumber"] = json!("0x1");
            answer["from"] = json!(ALICE);
        }
        answer
    };
    let tx = world.chain.head().transactions[0].hash;
    let (shown, _) = world
        .ask_through("eth_getTransactionByHash", &json!([tx]), metadata)
        .unwrap();
    let plain = world
        .chain
        .call("eth_getTransactionByHash", &json!([tx]), NOW);
    assert_eq!(shown, plain.unwrap(), "metadata come from the proved block");
}

#[test]
fn misuse_has_proper_codes_and_limits() {
    let mut world = World::new();
    let mut code = |method: &str, params: Value| match world.ask_through(
        method,
        &params,
        |_, answer| answer,
    ) {
        Err(Ok(error)) => error.code,
        other => panic!("{method}: {other:?}"),
    };
    assert_eq!(code("eth_mine", json!([])), -32_601);
    assert_eq!(
        code("eth_subscribe", json!(["newPendingTransactions"])),
        -32_601
    );
    assert_eq!(code("eth_getBalance", json!(["0x2"])), -32_602);
    assert_eq!(code("eth_getBalance", json!({ "a": 1 })), -32_602);
    assert_eq!(code("eth_getBalance", json!([ALICE, "0xffffff"])), -32_001);
    assert_eq!(code("eth_sendRawTransaction", json!(["0x01"])), -32_000);
    assert_eq!(code("eth_getFilterChanges", json!(["0x1"])), -32_000);
    assert_eq!(
        code("eth_call", json!([{ "to": ALICE }, "latest", {}])),
        -32_602
    );
    let revert =
        json!([{ "to": DEV_ACCOUNTS[0], "from": ALICE, "value": "0xffffffffffffffffffffffff" }]);
    assert_eq!(code("eth_call", revert), -32_000);
}
