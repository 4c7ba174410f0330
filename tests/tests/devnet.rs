//! The development chain beside anvil: the same transactions and questions to both, and the same answers expected, but for
//! what must differ (times, and hashes that follow from them).
//!
//! `cargo xtask contracts` runs it, and says where anvil is by `SMARTMESH_ANVIL`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use alloy_trie::Nibbles;
use alloy_trie::proof::verify_proof;
use serde_json::{Value, json};
use smartmesh_contracts::token::SMT;
use smartmesh_contracts::{channels, conditions, token};
use smartmesh_devnet::{DEV_ACCOUNTS, Devnet, Genesis};
use smartmesh_tests::wait::until;
use smartmesh_wallet::{Fees, Key, Mnemonic, Transaction, Wallet};

const NOW: u64 = 1_800_000_000;
const GAS_LIMIT: u64 = 36_000_000;
const PAYEE: Address = Address::repeat_byte(0x99);

/// A node that is asked.
trait Chain {
    fn ask(&mut self, method: &str, params: Value) -> Result<Value, Value>;

    fn get(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params.clone())
            .unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }
}

struct Ours(Devnet);

impl Chain for Ours {
    fn ask(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.0.handle(request.to_string().as_bytes(), NOW + 1);
        unwrap(serde_json::from_slice(&answer).unwrap())
    }
}

struct Anvil {
    process: Child,
    url: String,
}

impl Anvil {
    fn start() -> Self {
        let program = std::env::var("SMARTMESH_ANVIL")
            .expect("SMARTMESH_ANVIL says where anvil is; `cargo xtask contracts` sets it");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new(program)
            .args(["--hardfork", "osaka", "--silent", "--port"])
            .arg(port.to_string())
            .args(["--gas-limit", &GAS_LIMIT.to_string()])
            .args(["--timestamp", &NOW.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let mut anvil = Self { process, url };
        until("anvil answers", || anvil.ask("eth_chainId", json!([])).ok());
        anvil
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Chain for Anvil {
    fn ask(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut response = ureq::post(&self.url)
            .send_json(&request)
            .map_err(|error| json!(error.to_string()))?;
        unwrap(response.body_mut().read_json().unwrap())
    }
}

fn unwrap(mut answer: Value) -> Result<Value, Value> {
    match answer.get_mut("error") {
        Some(error) => Err(error.take()),
        None => Ok(answer["result"].take()),
    }
}

fn dev_key() -> Key {
    let words = "test test test test test test test test test test test junk";
    let wallet = Wallet::new(&Mnemonic::parse(words).unwrap()).unwrap();
    wallet.account(0).unwrap()
}

/// What was asked and what came, in order.
struct Script<'a> {
    chain: &'a mut dyn Chain,
    key: Key,
    nonce: u64,
    seen: Vec<(String, Value)>,
}

impl Script<'_> {
    fn note(&mut self, what: &str, value: Value) {
        self.seen.push((what.to_owned(), value));
    }

    fn question(&mut self, method: &str, params: Value) {
        let answer = self.chain.get(method, params.clone());
        self.note(&format!("{method} {params}"), answer);
    }

    /// A question that must fail: the code, and the data of a revert.
    fn failure(&mut self, method: &str, params: Value) {
        let error = self.chain.ask(method, params.clone()).unwrap_err();
        let kept = json!([error["code"], error["data"]]);
        self.note(&format!("{method} {params}"), kept);
    }

    fn send(&mut self, what: &str, to: Option<Address>, data: Vec<u8>, value: u64) -> Value {
        let transaction = Transaction {
            chain_id: 31_337,
            nonce: self.nonce,
            gas_limit: 8_000_000,
            fees: Fees {
                most: 50_000_000_000,
                tip: 1_000_000_000,
            },
            to,
            value: U256::from(value),
            data: data.into(),
        };
        self.nonce += 1;
        let signed = transaction.sign(&self.key);
        let hash = self
            .chain
            .get("eth_sendRawTransaction", json!([signed.raw]));
        assert_eq!(hash, json!(signed.hash));
        // Anvil answers before it has mined.
        let receipt = until("the receipt", || {
            let receipt = self.chain.get("eth_getTransactionReceipt", json!([hash]));
            (!receipt.is_null()).then_some(receipt)
        });
        let shown = self.chain.get("eth_getTransactionByHash", json!([hash]));
        self.note(
            &format!("receipt of {what}"),
            without_times(receipt.clone()),
        );
        self.note(&format!("transaction {what}"), without_times(shown));
        receipt
    }

    /// Proves accounts and slots against the header's root.
    fn proof(&mut self, address: Address, slots: &[U256]) {
        let proof = self.chain.get(
            "eth_getProof",
            json!([
                address,
                slots.iter().copied().map(B256::from).collect::<Vec<_>>(),
                "latest"
            ]),
        );
        let block = self
            .chain
            .get("eth_getBlockByNumber", json!(["latest", false]));
        let word = |value: &Value| -> B256 { serde_json::from_value(value.clone()).unwrap() };
        let number = |value: &Value| -> U256 { serde_json::from_value(value.clone()).unwrap() };
        let nodes =
            |value: &Value| -> Vec<Bytes> { serde_json::from_value(value.clone()).unwrap() };
        let account = alloy_trie::TrieAccount::new(
            number(&proof["nonce"]).to(),
            number(&proof["balance"]),
            word(&proof["storageHash"]),
            word(&proof["codeHash"]),
        );
        let absent = account == alloy_trie::TrieAccount::default();
        let expected = (!absent).then(|| alloy_rlp::encode(account));
        let key = Nibbles::unpack(keccak256(address));
        verify_proof(
            word(&block["stateRoot"]),
            key,
            expected,
            &nodes(&proof["accountProof"]),
        )
        .unwrap();
        for one in proof["storageProof"].as_array().unwrap() {
            let value = number(&one["value"]);
            let key = number(&one["key"]).to_be_bytes::<32>();
            let expected = (!value.is_zero()).then(|| alloy_rlp::encode(value));
            let key = Nibbles::unpack(keccak256(key));
            verify_proof(account.storage_root, key, expected, &nodes(&one["proof"])).unwrap();
            self.note("a proved slot", one["value"].clone());
        }
        self.note("storage root", proof["storageHash"].clone());
        self.note("code hash", proof["codeHash"].clone());
    }
}

/// Removes what depends on the wall clock or on the randomness of blocks.
fn without_times(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            for name in [
                "blockHash",
                "hash",
                "parentHash",
                "timestamp",
                "blockTimestamp",
                "mixHash",
                "stateRoot",
                "parentBeaconBlockRoot",
                "extraData",
                "size",
                "totalDifficulty",
                // anvil tells these of some blocks only.
                "blobGasPrice",
                "blobGasUsed",
                "requestsHash",
                "targetBlobsPerBlock",
                "nonceHash",
            ] {
                fields.remove(name);
            }
            for field in fields.values_mut() {
                *field = without_times(field.take());
            }
        }
        Value::Array(values) => {
            for one in values {
                *one = without_times(one.take());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

fn run(chain: &mut dyn Chain) -> Vec<(String, Value)> {
    let key = dev_key();
    let dev = key.address();
    assert_eq!(dev, DEV_ACCOUNTS[0]);
    let mut script = Script {
        chain,
        key,
        nonce: 0,
        seen: Vec::new(),
    };
    let code = |code: &Bytes, arguments: Vec<u8>| [code.to_vec(), arguments].concat();
    let (smt, registry) = (dev.create(0), dev.create(1));
    script.send(
        "the token",
        None,
        code(&token::SMT::BYTECODE, dev.abi_encode()),
        0,
    );
    script.send(
        "conditions",
        None,
        code(&conditions::Conditions::BYTECODE, Vec::new()),
        0,
    );
    let arguments = registry.abi_encode();
    script.send(
        "channels",
        None,
        code(&channels::Channels::BYTECODE, arguments),
        0,
    );
    let transfer = |value: U256| SMT::transferCall { to: PAYEE, value }.abi_encode();
    script.send("a payment", Some(smt), transfer(U256::from(5)), 0);
    script.send("a payment that fails", Some(smt), transfer(U256::MAX), 0);
    script.send("ether", Some(PAYEE), Vec::new(), 7);

    let balance = SMT::balanceOfCall { account: PAYEE }.abi_encode();
    let call = json!({ "to": smt, "data": Bytes::from(balance) });
    script.question("eth_call", json!([call, "latest"]));
    script.question("eth_call", json!([call, "0x3"]));
    let pay = json!({ "from": dev, "to": smt, "data": Bytes::from(transfer(U256::from(1))) });
    script.question("eth_estimateGas", json!([pay]));
    script.question("eth_createAccessList", json!([pay, "latest"]));
    let fail = json!({ "from": PAYEE, "to": smt, "data": Bytes::from(transfer(U256::MAX)) });
    script.failure("eth_call", json!([fail, "latest"]));
    script.failure("eth_estimateGas", json!([fail]));
    for block in ["latest", "earliest", "0x2"] {
        script.question("eth_getTransactionCount", json!([dev, block]));
        script.question("eth_getCode", json!([smt, block]));
        script.question("eth_getBalance", json!([PAYEE, block]));
    }
    script.question("eth_getTransactionCount", json!([dev, "pending"]));
    let slot: U256 = keccak256((PAYEE, U256::ZERO).abi_encode()).into();
    script.question("eth_getStorageAt", json!([smt, B256::from(slot), "latest"]));
    script.proof(smt, &[slot, U256::from(999)]);
    script.proof(PAYEE, &[]);
    script.proof(Address::repeat_byte(0xee), &[U256::from(1)]);
    for (address, topics) in [
        (json!(smt), json!([])),
        (json!([smt, registry]), json!([null, dev.into_word()])),
        (
            json!(smt),
            json!([null, null, [PAYEE.into_word(), B256::ZERO]]),
        ),
        (json!(registry), json!([])),
    ] {
        let filter = json!([{ "fromBlock": "earliest", "toBlock": "latest", "address": address, "topics": topics }]);
        let logs = script.chain.get("eth_getLogs", filter.clone());
        script.note(&format!("logs {filter}"), without_times(logs));
    }
    for number in 1..=6 {
        let block = script.chain.get(
            "eth_getBlockByNumber",
            json!([format!("0x{number:x}"), true]),
        );
        script.note(&format!("block {number}"), without_times(block));
    }
    script.question("eth_getBlockByNumber", json!(["0xffff", false]));
    script.question("eth_getTransactionReceipt", json!([B256::ZERO]));
    let fees = script
        .chain
        .get("eth_feeHistory", json!(["0x6", "latest", []]));
    script.note("base fees", fees["baseFeePerGas"].clone());
    let filter = script
        .chain
        .get("eth_newFilter", json!([{ "address": smt }]));
    script.send(
        "a payment for the filter",
        Some(smt),
        transfer(U256::from(2)),
        0,
    );
    let news = script.chain.get("eth_getFilterChanges", json!([filter]));
    script.note("news", without_times(news));
    let news = script.chain.get("eth_getFilterChanges", json!([filter]));
    script.note("no more news", news);
    let snapshot = script.chain.get("evm_snapshot", json!([]));
    script.send(
        "a payment that is taken back",
        Some(smt),
        transfer(U256::from(3)),
        0,
    );
    script.question("evm_revert", json!([snapshot]));
    script.nonce -= 1;
    script.question("eth_call", json!([call, "latest"]));
    let before = script
        .chain
        .get("eth_getBlockByNumber", json!(["latest", false]));
    script.chain.get("evm_increaseTime", json!([86_400]));
    script.chain.get("evm_mine", json!([]));
    let after = script
        .chain
        .get("eth_getBlockByNumber", json!(["latest", false]));
    let time =
        |block: &Value| -> U256 { serde_json::from_value(block["timestamp"].clone()).unwrap() };
    script.note(
        "a day passed",
        json!(time(&after) - time(&before) >= U256::from(86_000)),
    );
    script.failure("eth_nonsense", json!([]));
    script.seen
}

#[test]
fn answers_are_anvils() {
    let mut genesis = Genesis::dev(NOW);
    genesis.gas_limit = GAS_LIMIT;
    let ours = run(&mut Ours(Devnet::new(&genesis)));
    let theirs = run(&mut Anvil::start());
    assert_eq!(ours.len(), theirs.len());
    let mut differences = Vec::new();
    for ((what, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        if ours != theirs {
            differences.push(format!("{what}\n   ours {ours}\n anvil {theirs}"));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {} differ:\n{}",
        differences.len(),
        ours.len(),
        differences.join("\n")
    );
}
