//! The wallet: what it holds, where its tokens went, payments on the chain and those that an agent brings there.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use axum::Json;
use axum::extract::State;
use smartmesh_api::{
    Amount, Authorise, Chain, Done, Movement, Pay, PaymentRequest, Preview, RequestPayment, Signed,
    SignedPayment, SubmitPayment, Wallet, Way, Words,
};
use smartmesh_contracts::Deployment;
use smartmesh_contracts::token::SMT;
use smartmesh_contracts::typed::token::Transfer;
use smartmesh_wallet::{AuthorisedTransfer, Mnemonic};
use tokio::sync::oneshot;

use super::{Api, Failure, channels, payment_request};
use crate::ask::Ask;
use crate::chain::{Access, Job, Sent, Status, Wish};
use crate::{clock, entropy};

/// Movements that one answer lists.
const HISTORY_MAX: usize = 1_000;
/// Bytes of a memo.
const MEMO_BYTES_MAX: usize = 128;
/// For how long a signed payment can be brought to the chain, in seconds: a week, for those who see it rarely.
const AUTHORISED_SECONDS: u64 = 7 * 86_400;
/// Seconds between two blocks of Ethereum.
const BLOCK_SECONDS: u64 = 12;

/// What the wallet holds, and what is uncertain.
#[utoipa::path(get, path = "/v1/wallet", responses((status = 200, body = Wallet)))]
pub(super) async fn wallet(State(api): State<Api>) -> Result<Json<Wallet>, Failure> {
    let channels = api.ask(Ask::Channels).await?;
    let sum = |amount: fn(&smartmesh_channel::ChannelInfo) -> u128| {
        Amount(channels.iter().map(amount).fold(0, u128::saturating_add))
    };
    let state = api.money_state.borrow().clone();
    let money = &api.money;
    let mut notes = Vec::new();
    if money.deployment.is_none() {
        notes.push("it is not known where SMT's contracts are: give an endpoint of a chain with --chain, or their list with --contracts".to_owned());
    }
    let chain = chain(&api, &state.chain);
    match &chain {
        Chain::None => notes.push("no access to the chain: what is on it can't be seen, and nothing can be deposited or settled until there is".to_owned()),
        Chain::Silent { reason, block, .. } if *block > 0 => notes.push(format!(
            "{reason}; the balance on the chain is that of block {block}"
        )),
        Chain::Silent { reason, .. } => notes.push(reason.clone()),
        Chain::Online { .. } => {}
    }
    if state.chain.waiting > 0 {
        notes.push(format!(
            "{} transactions are on their way",
            state.chain.waiting
        ));
    }
    Ok(Json(Wallet {
        account: money.keys.account.address().to_string(),
        channel_key: money.keys.channel.address().to_string(),
        chain,
        on_chain: state.chain.smt.map(|smt| Amount(smt.saturating_to())),
        in_channels: sum(|one| one.balance),
        spendable: sum(|one| one.spendable),
        wei: state.chain.wei.map(|wei| wei.to_string()),
        notes,
    }))
}

fn chain(api: &Api, status: &Status) -> Chain {
    let chain_id = api.money.deployment.map(|deployment| deployment.chain_id);
    if api.money.access.is_none() {
        return Chain::None;
    }
    match (&status.trouble, status.head, chain_id) {
        (None, Some((block, block_time)), Some(chain_id)) => Chain::Online {
            chain_id,
            block,
            block_time,
            confirmed: block.saturating_sub(api.money.confirmations),
        },
        (trouble, head, _) => {
            let (block, block_time) = head.unwrap_or_default();
            let reason = trouble.clone();
            Chain::Silent {
                chain_id,
                block,
                block_time,
                reason: reason.unwrap_or_else(|| "the chain has not answered yet".to_owned()),
            }
        }
    }
}

/// Where the wallet's tokens came from and went, newest first.
#[utoipa::path(get, path = "/v1/wallet/history", responses((status = 200, body = Vec<Movement>)))]
pub(super) async fn history(State(api): State<Api>) -> Result<Json<Vec<Movement>>, Failure> {
    let mut movements = api.money_state.borrow().pending.clone();
    movements.extend(
        api.disk
            .read(|database| database.movements(HISTORY_MAX))
            .await??,
    );
    let names = api.names().await?;
    for movement in &mut movements {
        if movement.peer_name.is_none() {
            movement.peer_name = names.get(&movement.peer).cloned();
        }
    }
    Ok(Json(movements))
}

/// The words that give everything back. Whoever sees them has the money.
#[utoipa::path(post, path = "/v1/wallet/backup", responses((status = 200, body = Words)))]
pub(super) async fn backup(State(api): State<Api>) -> Result<Json<Words>, Failure> {
    std::future::ready(()).await;
    let words = api.money.file.words().map_err(Failure::wallet)?;
    Ok(Json(Words {
        words: words.to_string(),
    }))
}

/// Puts another wallet in the place of this one, from the next start on.
#[utoipa::path(post, path = "/v1/wallet/restore", request_body = Words, responses((status = 200, body = Done)))]
pub(super) async fn restore(
    State(api): State<Api>,
    Json(body): Json<Words>,
) -> Result<Json<Done>, Failure> {
    std::future::ready(()).await;
    let mnemonic =
        Mnemonic::parse(&body.words).map_err(|error| Failure::bad_request(error.to_string()))?;
    let mut rng = entropy::seed().rng();
    api.money
        .file
        .replace(&mnemonic, &mut rng)
        .map_err(Failure::wallet)?;
    Ok(Json(Done {
        id: String::new(),
        state: "restored; it counts from the next start, and what was replaced is kept in the file wallet.old".to_owned(),
    }))
}

/// Makes a text, good for a QR code, that somebody else can pay.
#[utoipa::path(post, path = "/v1/request", request_body = RequestPayment, responses((status = 200, body = PaymentRequest)))]
pub(super) async fn request(
    State(api): State<Api>,
    Json(body): Json<RequestPayment>,
) -> Result<Json<PaymentRequest>, Failure> {
    std::future::ready(()).await;
    check_memo(&body.memo)?;
    let request = payment_request::Request {
        address: Some(api.info.address),
        account: Some(api.money.keys.account.address()),
        amount: body.amount,
        memo: body.memo,
    };
    Ok(Json(PaymentRequest {
        text: request.to_string(),
    }))
}

/// Pays somebody; with `preview` only says how, for what fee, and when it is final.
#[utoipa::path(post, path = "/v1/pay", request_body = Pay, responses((status = 200, body = Signed)))]
pub(super) async fn pay(
    State(api): State<Api>,
    Json(body): Json<Pay>,
) -> Result<Json<Signed>, Failure> {
    check_memo(&body.memo)?;
    let to = body.to.trim();
    if let Ok(account) = to.parse::<Address>() {
        let amount = wanted(body.amount, None)?;
        return pay_on_chain(&api, account, amount, body.preview).await;
    }
    let parsed: Result<payment_request::Request, _> = to.parse();
    if let Ok(request) = parsed {
        let amount = wanted(body.amount, request.amount)?;
        let memo = if body.memo.is_empty() {
            &request.memo
        } else {
            &body.memo
        };
        if let Some(peer) = request.address {
            let paid = channels::pay(&api, peer, amount, memo, body.preview).await;
            if paid.is_ok() || request.account.is_none() {
                return paid;
            }
        }
        if let Some(account) = request.account {
            return pay_on_chain(&api, account, amount, body.preview).await;
        }
    }
    let peer = api.person(to).await?;
    let amount = wanted(body.amount, None)?;
    channels::pay(&api, peer, amount, &body.memo, body.preview).await
}

fn wanted(given: Option<Amount>, asked: Option<Amount>) -> Result<Amount, Failure> {
    match (given, asked) {
        (Some(given), Some(asked)) if given != asked => Err(Failure::bad_request(format!(
            "the request is for {asked} SMT, not {given}"
        ))),
        (Some(amount), _) | (None, Some(amount)) if amount.0 > 0 => Ok(amount),
        (_, _) => Err(Failure::bad_request("an amount above 0 is needed")),
    }
}

fn check_memo(memo: &str) -> Result<(), Failure> {
    if memo.len() > MEMO_BYTES_MAX {
        return Err(Failure::bad_request(format!(
            "a memo has at most {MEMO_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

async fn pay_on_chain(
    api: &Api,
    to: Address,
    amount: Amount,
    preview: bool,
) -> Result<Json<Signed>, Failure> {
    let (deployment, access) = api.chain()?;
    if let Some(have) = api.money_state.borrow().chain.smt
        && have < U256::from(amount.0)
    {
        let have = Amount(have.saturating_to());
        return Err(Failure::conflict(format!(
            "the account has {have} SMT on the chain"
        )));
    }
    let call = SMT::transferCall {
        to,
        value: U256::from(amount.0),
    };
    let wish = once(deployment.smt, call.abi_encode().into());
    let sent = carry_out(access, wish, preview).await?;
    let preview = Preview {
        action: format!("Pay {amount} SMT to the account {to}, by a transaction on the chain"),
        give: amount,
        get: amount,
        fee: Amount(0),
        wei_max: sent.wei_max.to_string(),
        way: Way::Chain,
        when_final: final_on_chain(api),
        notes: Vec::new(),
    };
    Ok(Json(signed(preview, sent)))
}

/// When a transaction of this moment counts, in words.
fn final_on_chain(api: &Api) -> String {
    let blocks = api.money.confirmations;
    let seconds = blocks.saturating_add(1).saturating_mul(BLOCK_SECONDS);
    format!("{blocks} blocks after the one it comes in, about {seconds} s from now on Ethereum")
}

fn signed(preview: Preview, sent: Sent) -> Signed {
    let done = sent.hash.map(|hash| Done {
        id: hash.to_string(),
        state: "on its way to the chain".to_owned(),
    });
    Signed { preview, done }
}

/// A call that is made once, however often the same is asked for elsewhere.
fn once(to: Address, data: Bytes) -> Wish {
    Wish {
        name: B256::from(entropy::seed().rng().bytes::<32>()),
        to,
        data,
        value: U256::ZERO,
    }
}

/// Asks for the price of a call, or sends it.
async fn carry_out(access: &Access, wish: Wish, preview: bool) -> Result<Sent, Failure> {
    let (answer, wait) = oneshot::channel();
    let job = if preview {
        Job::Quote(wish, answer)
    } else {
        Job::Send(wish, Some(answer))
    };
    access.ask(job).map_err(|_| {
        Failure::conflict("too many requests wait for the chain; try again in a moment")
    })?;
    wait.await
        .map_err(|_| Failure::stopping())?
        .map_err(Failure::conflict)
}

/// Signs a payment that somebody else brings to the chain for a fee in SMT, so that this account needs no ether.
#[utoipa::path(post, path = "/v1/wallet/authorise", request_body = Authorise, responses((status = 200, body = SignedPayment)))]
pub(super) async fn authorise(
    State(api): State<Api>,
    Json(body): Json<Authorise>,
) -> Result<Json<SignedPayment>, Failure> {
    std::future::ready(()).await;
    let deployment = api.deployment()?;
    let account = |text: &str| {
        text.trim()
            .parse::<Address>()
            .map_err(|_| Failure::bad_request(format!("{text} is no account of the chain")))
    };
    let to = account(&body.to)?;
    let agent = body.agent.as_deref().map_or(Ok(Address::ZERO), account)?;
    let total = body.amount.0.checked_add(body.fee.0);
    if body.amount.0 == 0 || total.is_none() {
        return Err(Failure::bad_request("an amount above 0 is needed"));
    }
    let until = clock::now()
        .unix
        .as_secs()
        .saturating_add(AUTHORISED_SECONDS);
    let preview = Preview {
        action: format!("Sign a payment of {} SMT to the account {to}", body.amount),
        give: Amount(total.unwrap_or_default()),
        get: body.amount,
        fee: body.fee,
        wei_max: "0".to_owned(),
        way: Way::Chain,
        when_final:
            "when an agent has brought it to the chain, within a week; after that it is void"
                .to_owned(),
        notes: vec!["whoever has the signed text can submit it; it pays once".to_owned()],
    };
    if body.preview {
        return Ok(Json(SignedPayment {
            preview,
            text: None,
        }));
    }
    // A random key of 192 bits has its own counter, which begins at 0: no look at the chain is needed.
    let key: [u8; 24] = entropy::seed().rng().bytes();
    let mut nonce = [0; 32];
    let (upper, _) = nonce.split_at_mut(24);
    upper.copy_from_slice(&key);
    let transfer = Transfer {
        from: api.money.keys.account.address(),
        to,
        value: U256::from(body.amount.0),
        fee: U256::from(body.fee.0),
        agent,
        nonce: U256::from_be_bytes(nonce),
        deadline: U256::from(until),
    };
    let payment = AuthorisedTransfer::sign(&deployment, transfer, &api.money.keys.account);
    Ok(Json(SignedPayment {
        preview,
        text: Some(hex::encode(payment.encode())),
    }))
}

/// Brings somebody's signed payment to the chain and earns its fee.
#[utoipa::path(post, path = "/v1/agent/submit", request_body = SubmitPayment, responses((status = 200, body = Signed)))]
pub(super) async fn submit(
    State(api): State<Api>,
    Json(body): Json<SubmitPayment>,
) -> Result<Json<Signed>, Failure> {
    let (deployment, access) = api.chain()?;
    let bytes = hex::decode(body.text.trim())
        .map_err(|_| Failure::bad_request("a signed payment is a text of hex digits"))?;
    let payment = AuthorisedTransfer::decode(&bytes)
        .map_err(|error| Failure::bad_request(error.to_string()))?;
    if (payment.chain_id, payment.token) != (deployment.chain_id, deployment.smt) {
        return Err(Failure::bad_request(
            "the payment is for another chain or token",
        ));
    }
    let wish = crate::chain::repeatable(deployment.smt, payment.call());
    let sent = carry_out(access, wish, body.preview).await?;
    let Transfer {
        from,
        to,
        value,
        fee,
        ..
    } = payment.transfer;
    let (value, fee) = (Amount(value.saturating_to()), Amount(fee.saturating_to()));
    let preview = Preview {
        action: format!("Bring the payment of {value} SMT from {from} to {to} to the chain"),
        give: Amount(0),
        get: fee,
        fee: Amount(0),
        wei_max: sent.wei_max.to_string(),
        way: Way::Chain,
        when_final: final_on_chain(&api),
        notes: vec!["gas is paid in ether; the fee comes in SMT".to_owned()],
    };
    Ok(Json(signed(preview, sent)))
}

impl Api {
    pub(super) fn deployment(&self) -> Result<Deployment, Failure> {
        self.money.deployment.ok_or_else(|| {
            Failure::conflict("it is not known where SMT's contracts are")
                .advise("start the node with --chain URL or --contracts FILE")
        })
    }

    pub(super) fn chain(&self) -> Result<(Deployment, &Access), Failure> {
        let deployment = self.deployment()?;
        let access = self.money.access.as_ref().ok_or_else(|| {
            Failure::conflict("this node has no access to the chain")
                .advise("start it with --chain URL where there is Internet, or sign the payment for an agent with `smartmesh wallet authorise`")
        })?;
        Ok((deployment, access))
    }
}
