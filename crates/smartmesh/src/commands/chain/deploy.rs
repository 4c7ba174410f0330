//! Makes the contracts on a chain.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use smartmesh_contracts::{Creation, DeploymentPlan, deployment};
use smartmesh_wallet::{Fees, Key, Mnemonic, Transaction, Wallet};
use ureq::Agent;

use crate::cli::chain::Deploy;
use crate::commands::Format;
use crate::output;

/// Between two looks for a receipt.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks for one receipt, together ten minutes: a transaction that takes longer needs a higher fee, not more patience.
const LOOKS_MAX: u32 = 3_000;
/// A node that does not answer for so long is gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Tip where the node suggests none, in wei: one gwei.
const TIP: u64 = 1_000_000_000;

/// Deploys the five contracts and prints the deployment as JSON.
pub(super) fn deploy(options: &Deploy, format: Format) -> anyhow::Result<()> {
    let key = read_key(&options.key)?;
    let node = Node::new(&options.rpc);
    let chain_id = node.number("eth_chainId", json!([]))?;
    if let Some(known) = deployment(chain_id).filter(|_| !options.anyway) {
        bail!(
            "chain {chain_id} has SMT at {} already; --anyway makes another, separate one",
            known.smt
        );
    }
    let sender = key.address();
    let nonce = node.number("eth_getTransactionCount", json!([sender, "pending"]))?;
    let plan = DeploymentPlan::new(sender, nonce, options.holder.unwrap_or(sender));
    let fees = node.fees()?;
    let mut transactions = Vec::new();
    for creation in &plan.creations {
        transactions.push(node.transaction(&key, chain_id, fees, creation)?);
    }
    node.can_pay(&key, &transactions)?;

    let mut block = None;
    for (creation, transaction) in plan.creations.iter().zip(&transactions) {
        let mined_in = node.make(&key, creation, transaction)?;
        block.get_or_insert(mined_in);
        output::note(format!("{:<11} {}", creation.name, creation.address));
    }
    let made = plan.deployment(chain_id, block.unwrap_or_default());
    match format {
        Format::Json => output::json(&made),
        Format::Text => output::line(serde_json::to_string_pretty(&made)?),
    }
    Ok(())
}

/// A file whose first line is a private key in hex, or a mnemonic, of which the first account pays.
fn read_key(path: &Path) -> anyhow::Result<Key> {
    let content = zeroize::Zeroizing::new(
        fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?,
    );
    let line = content.lines().next().unwrap_or_default().trim();
    if line.contains(' ') {
        let mnemonic = Mnemonic::parse(line)
            .with_context(|| format!("{} holds no valid mnemonic", path.display()))?;
        return Ok(Wallet::new(&mnemonic)?.account(0)?);
    }
    let digits = line.strip_prefix("0x").unwrap_or(line);
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, bytes.as_mut())
        .ok()
        .and_then(|()| Key::from_bytes(&bytes))
        .with_context(|| {
            format!(
                "{} must begin with a private key (64 hex digits) or a mnemonic",
                path.display()
            )
        })
}

/// A node of the chain, by its JSON-RPC. What it says is believed: this is for who deploys, not for phones.
struct Node<'a> {
    url: &'a str,
    agent: Agent,
}

impl<'a> Node<'a> {
    fn new(url: &'a str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_WITHIN))
            .build()
            .into();
        Self { url, agent }
    }

    fn ask(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer: Value = self
            .agent
            .post(self.url)
            .send_json(request)
            .and_then(|mut response| response.body_mut().read_json())
            .with_context(|| format!("no answer from {}", self.url))?;
        if let Some(error) = answer.get("error") {
            let message = error.get("message").and_then(Value::as_str);
            bail!("{method}: {}", message.unwrap_or("refused"));
        }
        Ok(answer
            .get_mut("result")
            .map(Value::take)
            .unwrap_or_default())
    }

    fn number(&self, method: &str, params: Value) -> anyhow::Result<u64> {
        number(&self.ask(method, params)?).with_context(|| format!("{method} gave no number"))
    }

    fn fees(&self) -> anyhow::Result<Fees> {
        let head = self.ask("eth_getBlockByNumber", json!(["latest", false]))?;
        let base = head.get("baseFeePerGas").and_then(number);
        let base = base.context("the chain has no base fee (EIP-1559), which is needed")?;
        let tip = self.number("eth_maxPriorityFeePerGas", json!([]));
        Ok(Fees::over(base.into(), tip.unwrap_or(TIP).into()))
    }

    /// The transaction that makes a contract, with a quarter more gas than the node thinks it takes.
    fn transaction(
        &self,
        key: &Key,
        chain_id: u64,
        fees: Fees,
        creation: &Creation,
    ) -> anyhow::Result<Transaction> {
        let call = json!([{"from": key.address(), "data": creation.code}]);
        let gas = self
            .number("eth_estimateGas", call)
            .with_context(|| format!("{} can't be made", creation.name))?;
        Ok(Transaction {
            chain_id,
            nonce: creation.nonce,
            gas_limit: gas.saturating_add(gas / 4),
            fees,
            to: None,
            value: Default::default(),
            data: creation.code.clone(),
        })
    }

    /// Refuses before anything is sent if the account cannot pay for all of it.
    fn can_pay(&self, key: &Key, transactions: &[Transaction]) -> anyhow::Result<()> {
        let sender = key.address();
        let answer = self.ask("eth_getBalance", json!([sender, "latest"]))?;
        let balance: alloy_primitives::U256 =
            serde_json::from_value(answer).context("eth_getBalance gave no number")?;
        let cost = transactions
            .iter()
            .fold(alloy_primitives::U256::ZERO, |sum, tx| {
                sum.saturating_add(tx.cost_max())
            });
        if balance < cost {
            bail!("{sender} has {balance} wei; deploying may take up to {cost}");
        }
        Ok(())
    }

    /// Sends one creation and waits until it is in a block, whose number it returns.
    fn make(&self, key: &Key, creation: &Creation, tx: &Transaction) -> anyhow::Result<u64> {
        let name = creation.name;
        let signed = tx.sign(key);
        self.ask("eth_sendRawTransaction", json!([signed.raw]))
            .with_context(|| format!("{name} was not sent"))?;
        for _ in 0..LOOKS_MAX {
            let receipt = self.ask("eth_getTransactionReceipt", json!([signed.hash]))?;
            if receipt.is_null() {
                thread::sleep(LOOK_EVERY);
                continue;
            }
            if receipt.get("status").and_then(number) != Some(1) {
                bail!("making {name} failed in transaction {}", signed.hash);
            }
            let code = self.ask("eth_getCode", json!([creation.address, "latest"]))?;
            if code.as_str().is_none_or(|code| code.len() <= 2) {
                bail!(
                    "{name} was made, but there is no code at {}",
                    creation.address
                );
            }
            let block = receipt.get("blockNumber").and_then(number);
            return block.context("the receipt names no block");
        }
        bail!(
            "{name} waits in no block for ten minutes: transaction {}",
            signed.hash
        )
    }
}

/// A quantity as the JSON-RPC writes it.
fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_key(content: &str, address: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, content).unwrap();
        let read = read_key(&path).ok().map(|key| key.address().to_string());
        assert_eq!(read.as_deref(), address);
    }

    #[test]
    fn keys_are_read_as_hex_or_mnemonic() {
        let first = Some("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        let digits = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        check_key(digits, first);
        check_key(&format!("0x{digits}\n"), first);
        let words = "test test test test test test test test test test test junk";
        check_key(words, first);
        check_key(&words.replace("junk", "test"), None);
        check_key(&digits[2..], None);
        check_key("", None);
        check_key(&"0".repeat(64), None);
    }

    #[test]
    fn quantities_are_hex() {
        assert_eq!(number(&json!("0x1f")), Some(31));
        for wrong in [json!("31"), json!(31), json!("0x"), Value::Null] {
            assert_eq!(number(&wrong), None);
        }
    }
}
