//! The wallet: balance, receive, send, history, backup, restore.

use std::io::Read;

use serde_json::json;
use smartmesh_api::{
    Amount, Authorise, Chain, Done, MoneyFlow, Movement, Pay, SignedPayment, Wallet, Words,
};

use super::money::{self, Consent};
use super::{Format, pay};
use crate::cli::WalletCommand;
use crate::client::Client;
use crate::output;

pub(super) fn run(
    client: &Client,
    format: Format,
    command: Option<WalletCommand>,
) -> anyhow::Result<()> {
    match command {
        None | Some(WalletCommand::Balance) => balance(client, format),
        Some(WalletCommand::Receive) => receive(client, format),
        Some(WalletCommand::Send { to, amount, yes }) => {
            let pay = |preview| Pay {
                to: to.clone(),
                amount: Some(amount),
                memo: String::new(),
                preview,
            };
            money::sign(client, format, Consent::from(yes), "/v1/pay", pay)
        }
        Some(WalletCommand::History) => history(client, format),
        Some(WalletCommand::Backup) => backup(client, format),
        Some(WalletCommand::Restore { file }) => restore(client, format, file.as_deref()),
        Some(WalletCommand::Authorise {
            to,
            amount,
            fee,
            agent,
            yes,
        }) => {
            let ask = |preview| Authorise {
                to: to.clone(),
                amount,
                fee,
                agent: agent.clone(),
                preview,
            };
            authorise(client, format, Consent::from(yes), ask)
        }
    }
}

fn balance(client: &Client, format: Format) -> anyhow::Result<()> {
    let wallet: Wallet = client.get("/v1/wallet")?;
    if format == Format::Json {
        output::json(&wallet);
        return Ok(());
    }
    let smt = wallet
        .on_chain
        .map_or("unknown".to_owned(), |amount| format!("{amount} SMT"));
    output::line(format!("on the chain   {smt}   account {}", wallet.account));
    output::line(format!(
        "in channels    {} SMT, of which {} can be spent now",
        wallet.in_channels, wallet.spendable
    ));
    if let Some(wei) = wallet.wei.as_deref().and_then(|wei| wei.parse().ok()) {
        output::line(format!("for gas        {} ether", Amount(wei)));
    }
    if let Chain::Online {
        chain_id, block, ..
    } = wallet.chain
    {
        output::line(format!("chain {chain_id}, block {block}"));
    }
    for note in wallet.notes {
        output::line(format!("note: {note}"));
    }
    Ok(())
}

fn receive(client: &Client, format: Format) -> anyhow::Result<()> {
    let wallet: Wallet = client.get("/v1/wallet")?;
    if format == Format::Json {
        output::json(&json!({ "account": wallet.account }));
        return Ok(());
    }
    pay::show_code(&wallet.account);
    output::line(format!("Send SMT on the chain to {}", wallet.account));
    output::line("To be paid over the mesh, show what `smartmesh request` makes.");
    Ok(())
}

fn history(client: &Client, format: Format) -> anyhow::Result<()> {
    let movements: Vec<Movement> = client.get("/v1/wallet/history")?;
    if format == Format::Json {
        output::json(&movements);
        return Ok(());
    }
    if movements.is_empty() {
        output::line("Nothing has moved yet.");
    }
    for one in movements {
        let sign = match one.flow {
            MoneyFlow::In => '+',
            MoneyFlow::Out => '-',
        };
        let with = one.peer_name.unwrap_or(one.peer);
        let memo = if one.memo.is_empty() {
            String::new()
        } else {
            format!("  \"{}\"", one.memo)
        };
        let when = output::moment(one.at);
        output::line(format!(
            "{when}  {sign}{} SMT  {with}  {}{memo}",
            one.amount, one.state
        ));
    }
    Ok(())
}

fn backup(client: &Client, format: Format) -> anyhow::Result<()> {
    let words: Words = client.post("/v1/wallet/backup", &json!({}))?;
    if format == Format::Json {
        output::json(&words);
        return Ok(());
    }
    output::line(
        "Write these words down on paper, in this order. Whoever has them has the money.\n",
    );
    let words: Vec<&str> = words.words.split(' ').collect();
    for (row, chunk) in words.chunks(4).enumerate() {
        let first = row.saturating_mul(4);
        let row: Vec<String> = chunk
            .iter()
            .enumerate()
            .map(|(at, word)| {
                let place = first.saturating_add(at).saturating_add(1);
                format!("{place:>2} {word:<10}")
            })
            .collect();
        output::line(row.join("  ").trim_end());
    }
    output::line(
        "\nThey bring back the account and every channel; the newest payments in open channels come back from the partners.",
    );
    Ok(())
}

fn restore(client: &Client, format: Format, file: Option<&std::path::Path>) -> anyhow::Result<()> {
    let words = match file {
        Some(path) => std::fs::read_to_string(path)?,
        None => {
            output::note("Type the words, then Ctrl-D:");
            let mut words = String::new();
            std::io::stdin().read_to_string(&mut words)?;
            words
        }
    };
    let done: Done = client.post("/v1/wallet/restore", &Words { words })?;
    match format {
        Format::Json => output::json(&done),
        Format::Text => output::line(done.state),
    }
    Ok(())
}

fn authorise(
    client: &Client,
    format: Format,
    consent: Consent,
    body: impl Fn(bool) -> Authorise,
) -> anyhow::Result<()> {
    let path = "/v1/wallet/authorise";
    let shown: SignedPayment = client.post(path, &body(true))?;
    if format == Format::Text {
        money::show(&shown.preview);
    }
    money::ask(consent)?;
    let signed: SignedPayment = client.post(path, &body(false))?;
    match format {
        Format::Json => output::json(&signed),
        Format::Text => {
            output::line("Give this line to whoever brings it to the chain:");
            output::line(format!(
                "smartmesh agent submit {}",
                signed.text.unwrap_or_default()
            ));
        }
    }
    Ok(())
}
