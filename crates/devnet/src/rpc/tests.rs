//! The JSON-RPC from the outside.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::Nibbles;
use alloy_trie::proof::verify_proof;
use serde_json::{Value, json};

use crate::{DEV_ACCOUNTS, Devnet, ETHER, Genesis, Mining, Orphans};

const NOW: u64 = 1_800_000_000;
const ALICE: Address = Address::repeat_byte(0xa1);

struct Test {
    chain: Devnet,
}

fn test() -> Test {
    let mut chain = Devnet::new(&Genesis::dev(NOW));
    chain.deploy_contracts(NOW).unwrap();
    Test { chain }
}

impl Test {
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.chain.call(method, &params, NOW).unwrap()
    }

    fn fails(&mut self, method: &str, params: Value) -> i64 {
        self.chain.call(method, &params, NOW).unwrap_err().code
    }

    fn fund(&mut self, smt: u64) {
        self.chain.fund(ALICE, ETHER, U256::from(smt), NOW).unwrap();
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
fn tokens_arrive_and_their_log_is_found() {
    let mut test = test();
    test.fund(500);
    let call = test.balance_call();
    let word = test.ask("eth_call", json!([call, "latest"]));
    assert_eq!(word, json!(B256::from(U256::from(500))));
    let to = json!(ALICE.into_word());
    let criteria =
        json!([{ "fromBlock": "0x0", "address": test.smt(), "topics": [null, null, [to]] }]);
    let logs = test.ask("eth_getLogs", criteria);
    assert_eq!(logs.as_array().unwrap().len(), 1);
    let hash = logs[0]["transactionHash"].clone();
    let receipt = test.ask("eth_getTransactionReceipt", json!([hash]));
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["logs"], logs);
    let other = json!([{ "fromBlock": "0x0", "topics": [null, null, json!(B256::ZERO)] }]);
    assert_eq!(test.ask("eth_getLogs", other), json!([]));
}

#[test]
fn proofs_verify_against_the_header() {
    let mut test = test();
    test.fund(7);
    let slot: U256 = keccak256([ALICE.into_word().0, [0; 32]].concat()).into();
    let proof = test.ask("eth_getProof", json!([test.smt(), [slot], "latest"]));
    let block = test.ask("eth_getBlockByNumber", json!(["latest", false]));
    let nodes = |value: &Value| -> Vec<alloy_primitives::Bytes> {
        serde_json::from_value(value.clone()).unwrap()
    };
    let root: B256 = serde_json::from_value(block["stateRoot"].clone()).unwrap();
    let storage: B256 = serde_json::from_value(proof["storageHash"].clone()).unwrap();
    let account = alloy_trie::TrieAccount::new(
        1,
        U256::ZERO,
        storage,
        serde_json::from_value(proof["codeHash"].clone()).unwrap(),
    );
    verify_proof(
        root,
        Nibbles::unpack(keccak256(test.smt())),
        Some(alloy_rlp::encode(account)),
        &nodes(&proof["accountProof"]),
    )
    .unwrap();
    let one = &proof["storageProof"][0];
    assert_eq!(one["value"], "0x7");
    verify_proof(
        storage,
        Nibbles::unpack(keccak256(B256::from(slot))),
        Some(alloy_rlp::encode(U256::from(7))),
        &nodes(&one["proof"]),
    )
    .unwrap();
}

#[test]
fn headers_hash_to_their_hash_and_chain() {
    let mut test = test();
    test.fund(1);
    for number in 1..=test.chain.head().header.number {
        let block = test.chain.block(number).unwrap();
        assert_eq!(block.header.hash_slow(), block.hash);
        let parent = test.chain.block(number - 1).unwrap().hash;
        assert_eq!(block.header.parent_hash, parent);
        let raw = test.ask("debug_getRawHeader", json!([format!("0x{number:x}")]));
        let raw: alloy_primitives::Bytes = serde_json::from_value(raw).unwrap();
        assert_eq!(keccak256(raw), test.chain.block(number).unwrap().hash);
    }
    // EIP-2935: the contract of history knows the parent's hash.
    let head = test.chain.head().header.clone();
    let slot = format!("0x{:x}", (head.number - 1) % 8_191);
    let history = json!(["0x0000F90827F1C53a10cb7A02335B175320002935", slot, "latest"]);
    assert_eq!(
        test.ask("eth_getStorageAt", history),
        json!(head.parent_hash)
    );
}

#[test]
fn estimates_are_enough_and_not_more() {
    let mut test = test();
    test.fund(500);
    let data = format!(
        "0xa9059cbb{}{}",
        hex::encode(Address::repeat_byte(9).into_word()),
        hex::encode(B256::from(U256::from(3)))
    );
    let call = json!({ "from": ALICE, "to": test.smt(), "data": data });
    let gas = test.ask("eth_estimateGas", json!([call]));
    let gas: U256 = serde_json::from_value(gas).unwrap();
    let with = |gas: U256| {
        let mut call = call.clone();
        call["gas"] = json!(gas);
        json!([call])
    };
    test.ask("eth_call", with(gas));
    assert_eq!(test.fails("eth_call", with(gas - U256::from(1))), -32_000);
    let broke = json!([{ "from": Address::repeat_byte(0xb0), "to": test.smt(), "data": data }]);
    assert_eq!(test.fails("eth_estimateGas", broke), 3);
    let list = test.ask("eth_createAccessList", json!([call]));
    assert_eq!(list["accessList"][0]["address"], json!(test.smt()));
    assert_eq!(
        list["accessList"][0]["storageKeys"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn reorganisations_take_back_and_bring_again() {
    let mut test = test();
    let filter = test.ask("eth_newFilter", json!([{}]));
    test.fund(500);
    let told = test.ask("eth_getFilterChanges", json!([filter]));
    assert_eq!(told[0]["removed"], false);
    let before = test.chain.head().hash;
    test.chain.reorg(1, Orphans::Requeue, NOW);
    assert_ne!(test.chain.head().hash, before);
    let told = test.ask("eth_getFilterChanges", json!([filter]));
    let removed: Vec<&Value> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|log| &log["removed"])
        .collect();
    assert_eq!(removed, [&json!(true), &json!(false)]);
    let call = test.balance_call();
    assert_eq!(
        test.ask("eth_call", json!([call])),
        json!(B256::from(U256::from(500)))
    );
    test.chain.reorg(1, Orphans::Forget, NOW);
    assert_eq!(test.ask("eth_call", json!([call])), json!(B256::ZERO));
}

#[test]
fn snapshots_bring_everything_back() {
    let mut test = test();
    let head = test.chain.head().hash;
    let id = test.ask("evm_snapshot", json!([]));
    test.fund(500);
    test.ask("evm_increaseTime", json!([3_600]));
    test.ask("evm_mine", json!([]));
    assert!(test.chain.head().header.timestamp >= NOW + 3_600);
    assert_eq!(test.ask("evm_revert", json!([id])), true);
    assert_eq!(test.chain.head().hash, head);
    assert_eq!(test.ask("evm_revert", json!([id])), false);
    let call = test.balance_call();
    assert_eq!(test.ask("eth_call", json!([call])), json!(B256::ZERO));
}

#[test]
fn blocks_come_when_they_should() {
    let mut test = test();
    test.chain.set_mining(Mining::Interval(12));
    let head = test.chain.head().header.number;
    test.chain.tick(NOW + 11);
    assert_eq!(test.chain.head().header.number, head);
    test.chain.tick(NOW + 12);
    assert_eq!(test.chain.head().header.number, head + 1);
    test.ask("anvil_mine", json!(["0x40", 12]));
    assert_eq!(test.chain.head().header.number, head + 65);
    assert_eq!(test.chain.finalized(), head + 1);
    let safe = test.ask("eth_getBlockByNumber", json!(["finalized", false]));
    assert_eq!(safe["number"], format!("0x{:x}", head + 1));
}

#[test]
fn rubbish_is_refused_with_a_code() {
    let mut test = test();
    assert_eq!(
        test.fails("eth_sendRawTransaction", json!(["0x02c0"])),
        -32_000
    );
    assert_eq!(test.fails("eth_getBalance", json!(["0x12"])), -32_602);
    assert_eq!(
        test.fails("eth_getBalance", json!([DEV_ACCOUNTS[0], "0x999999"])),
        -32_001
    );
    assert_eq!(test.fails("eth_coinbase", json!([])), -32_601);
    let mut answer =
        |bytes: &[u8]| -> Value { serde_json::from_slice(&test.chain.handle(bytes, NOW)).unwrap() };
    assert_eq!(answer(b"{")["error"]["code"], -32_700);
    assert_eq!(answer(b"[]")["error"]["code"], -32_600);
    assert_eq!(answer(b"7")["error"]["code"], -32_600);
    let batch = answer(br#"[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},{"id":2}]"#);
    assert_eq!(
        batch[0],
        json!({ "jsonrpc": "2.0", "id": 1, "result": "0x7a69" })
    );
    assert_eq!(batch[1]["error"]["code"], -32_600);
}

proptest::proptest! {
    #[test]
    fn no_request_brings_it_down(method in "(eth|evm|anvil|debug)_[a-zA-Z]{0,24}", bytes: Vec<u8>, words: Vec<u64>) {
        let mut chain = Devnet::new(&Genesis::dev(NOW));
        let _ = chain.handle(&bytes, NOW);
        let _ = chain.call(&method, &json!(words), NOW);
        let _ = chain.call(&method, &json!([format!("0x{}", hex::encode(bytes))]), NOW);
    }
}
