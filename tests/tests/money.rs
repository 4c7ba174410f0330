//! Real phones and a real chain: money on the chain and over the mesh, while batteries die and the way to the chain misbehaves.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use smartmesh_tests::phones::{Gateway, Manners, Town};
use smartmesh_tests::wait;

/// One SMT in base units.
const ONE: u128 = 1_000_000_000_000_000_000;

fn smt(amount: u128) -> String {
    amount.saturating_mul(ONE).to_string()
}

/// A field of `smartmesh wallet`.
fn wallet(town: &Town, phone: usize, field: &str) -> Option<Value> {
    town.ask(phone, &["wallet"]).ok()?.get(field).cloned()
}

fn wait_for_balance(town: &Town, phone: usize, amount: u128) {
    let wanted = json!(smt(amount));
    wait::until(&format!("phone {phone} to have {amount} SMT"), || {
        (wallet(town, phone, "on_chain")? == wanted).then_some(())
    });
}

/// The state of the chain in a phone's eyes.
fn wait_for_state(town: &Town, phone: usize, state: &str) {
    wait::until(&format!("phone {phone} to find the chain {state}"), || {
        (wallet(town, phone, "chain")?.get("state")? == state).then_some(())
    });
}

fn account(town: &Town, phone: usize) -> Result<String> {
    let wallet = town.ask(phone, &["wallet"])?;
    let account = wallet.get("account").and_then(Value::as_str);
    Ok(account.context("no account")?.to_owned())
}

#[test]
fn tokens_are_sent_once_whatever_the_endpoint_does() -> Result<()> {
    let mut town = Town::line(2)?;
    let gateway = Gateway::open(town.chain_address)?;
    town.start(0, Some(&gateway.url()))?;
    town.start(1, None)?;
    town.fund(0, &smt(100))?;
    wait_for_balance(&town, 0, 100);
    let payee = account(&town, 1)?;
    let none = wallet(&town, 1, "chain");
    assert_eq!(none, Some(json!({ "state": "none" })));

    // Nobody is at the terminal to be asked.
    assert!(town.ask(0, &["wallet", "send", &payee, "5"]).is_err());
    town.ask(0, &["wallet", "send", &payee, "5", "--yes"])?;
    wait_for_balance(&town, 0, 95);
    let too_much = town.ask(0, &["wallet", "send", &payee, "96", "--yes"]);
    assert!(too_much.is_err_and(|error| error.to_string().contains("95 SMT")));

    for manners in [Manners::Closed, Manners::Rubbish] {
        gateway.set(manners);
        wait_for_state(&town, 0, "silent");
        assert!(
            town.ask(0, &["wallet", "send", &payee, "1", "--yes"])
                .is_err()
        );
        // What was known stays known, and the rest of the phone lives.
        assert_eq!(wallet(&town, 0, "on_chain"), Some(json!(smt(95))));
        gateway.set(Manners::Good);
        wait_for_state(&town, 0, "online");
    }

    // The battery dies with a payment in no block, and the block that would have held it is replaced.
    town.chain("evm_setAutomine", &json!([false]))?;
    town.ask(0, &["wallet", "send", &payee, "7", "--yes"])?;
    town.kill(0)?;
    town.chain("anvil_dropAllTransactions", &json!([]))?;
    town.mine(3)?;
    town.start(0, Some(&gateway.url()))?;
    wait::until("the payment to be sent again", || {
        let waiting = town.chain("txpool_status", &json!([])).ok()?;
        (waiting.get("pending")? == "0x1").then_some(())
    });
    town.mine(1)?;
    wait_for_balance(&town, 0, 88);
    town.chain("anvil_reorg", &json!([1, []]))?;
    town.mine(4)?;
    wait_for_balance(&town, 0, 88);
    let history = town.ask(0, &["wallet", "history"])?;
    let amounts: Vec<&Value> = history
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|movement| movement.get("amount"))
        .collect();
    assert_eq!(amounts, [&json!(smt(7)), &json!(smt(5)), &json!(smt(100))]);

    gateway.set(Manners::Stalls);
    wait_for_state(&town, 0, "silent");
    gateway.set(Manners::Good);
    wait_for_state(&town, 0, "online");
    Ok(())
}

#[test]
fn a_payer_without_ether_is_helped_by_an_agent() -> Result<()> {
    let mut town = Town::line(3)?;
    let url = format!("http://{}", town.chain_address);
    town.start(0, None)?;
    town.start(1, Some(&url))?;
    town.start(2, Some(&url))?;
    town.fund(1, &smt(0))?;
    let poor = account(&town, 0)?;
    town.chain("smartmesh_fund", &json!([poor, "0", smt(50)]))?;
    let payee = account(&town, 2)?;
    let signed = town.ask(
        0,
        &["wallet", "authorise", &payee, "20", "--fee", "0.5", "--yes"],
    )?;
    let text = signed
        .get("text")
        .and_then(Value::as_str)
        .context("no text")?;
    town.ask(1, &["agent", "submit", text, "--yes"])?;
    wait_for_balance(&town, 2, 20);
    let half = json!((ONE / 2).to_string());
    wait::until("the agent to have its fee", || {
        (wallet(&town, 1, "on_chain")? == half).then_some(())
    });
    // It pays once.
    town.mine(4)?;
    wait::until("the agent's call to be forgotten", || {
        let again = town.ask(1, &["agent", "submit", text, "--yes"]);
        again
            .is_err_and(|error| error.to_string().contains("refuses"))
            .then_some(())
    });
    let changed = format!(
        "{}00",
        text.get(..text.len().saturating_sub(2)).unwrap_or_default()
    );
    assert!(
        town.ask(1, &["agent", "submit", &changed, "--yes"])
            .is_err()
    );
    Ok(())
}

#[test]
fn words_bring_the_account_back() -> Result<()> {
    let mut town = Town::line(2)?;
    town.start(0, None)?;
    town.start(1, None)?;
    let words = town.ask(0, &["wallet", "backup"])?;
    let words = words
        .get("words")
        .and_then(Value::as_str)
        .context("no words")?;
    let file = std::env::temp_dir().join(format!("smartmesh-words-{}", std::process::id()));
    std::fs::write(&file, words)?;
    let path = file.to_string_lossy().into_owned();
    town.ask(1, &["wallet", "restore", "--file", &path])?;
    std::fs::remove_file(&file)?;
    town.kill(1)?;
    town.start(1, None)?;
    assert_eq!(account(&town, 0)?, account(&town, 1)?);
    let key = |phone| wallet(&town, phone, "channel_key");
    assert_ne!(
        key(0),
        key(1),
        "two installations never share a channel key"
    );
    Ok(())
}
