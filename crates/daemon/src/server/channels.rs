//! Channels: open, deposit, withdraw, close, settle; and payments in them.

use alloy_primitives::Address as Account;
use axum::Json;
use axum::extract::{Path, State};
use smartmesh_api::{
    Amount, Channel, ChannelPhase, Done, EndChannel, MoveFunds, OpenChannel, Preview, Signed, Way,
};
use smartmesh_channel::{Answer as Paid, ChannelInfo, ChannelPhase as Phase, Command as Order};
use smartmesh_contracts::hold_seconds;
use smartmesh_node::Command;
use smartmesh_types::Address;

use super::{Api, Failure};
use crate::ask::{Answer, Ask};

/// Every channel.
#[utoipa::path(get, path = "/v1/channels", responses((status = 200, body = Vec<Channel>)))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Vec<Channel>>, Failure> {
    let names = api.names().await?;
    let me = api.money.keys.channel.address();
    let channels = api.ask(Ask::Channels).await?;
    let shown = channels.into_iter().map(|one| {
        let name = names.get(&one.peer.to_string()).cloned();
        show(&one, me, name)
    });
    Ok(Json(shown.collect()))
}

/// Opens a channel with somebody in reach, by a deposit from the account on the chain.
#[utoipa::path(post, path = "/v1/channels", request_body = OpenChannel, responses((status = 200, body = Signed)))]
pub(super) async fn open(
    State(api): State<Api>,
    Json(body): Json<OpenChannel>,
) -> Result<Json<Signed>, Failure> {
    let (deployment, _) = api.chain()?;
    let peer = api.person(&body.with).await?;
    let amount = body.deposit;
    let preview = Preview {
        action: format!("Open a channel with {} and put {amount} SMT in", body.with),
        give: amount,
        get: amount,
        when_final: format!(
            "{} blocks after the deposit; to close alone takes a week from then",
            api.money.confirmations
        ),
        notes: vec![
            "they must be in reach; the deposit stays yours until you pay with it".to_owned(),
        ],
        ..plain()
    };
    let order = Order::Open {
        peer,
        token: deployment.smt,
        deposit: amount.0,
    };
    carry_out(&api, preview, order, body.preview).await
}

/// Puts more into a channel.
#[utoipa::path(post, path = "/v1/channels/{id}/deposit", request_body = MoveFunds, responses((status = 200, body = Signed)))]
pub(super) async fn deposit(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(body): Json<MoveFunds>,
) -> Result<Json<Signed>, Failure> {
    api.chain()?;
    let channel = api.channel(&id).await?;
    let preview = Preview {
        action: format!("Put {} SMT more into the channel", body.amount),
        give: body.amount,
        get: body.amount,
        when_final: format!("{} blocks after the deposit", api.money.confirmations),
        ..plain()
    };
    let order = Order::Deposit {
        channel: channel.id,
        amount: body.amount.0,
    };
    carry_out(&api, preview, order, body.preview).await
}

/// Takes something out of a channel that stays open, if the partner agrees.
#[utoipa::path(post, path = "/v1/channels/{id}/withdraw", request_body = MoveFunds, responses((status = 200, body = Signed)))]
pub(super) async fn withdraw(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(body): Json<MoveFunds>,
) -> Result<Json<Signed>, Failure> {
    let channel = api.channel(&id).await?;
    let preview = Preview {
        action: format!(
            "Take {} SMT out of the channel, to your account",
            body.amount
        ),
        give: body.amount,
        get: body.amount,
        when_final: "when the partner has agreed and somebody brought it to the chain".to_owned(),
        ..plain()
    };
    let order = Order::Withdraw {
        channel: channel.id,
        amount: body.amount.0,
        to: api.money.keys.account.address(),
        agent: Account::ZERO,
        fee: 0,
    };
    carry_out(&api, preview, order, body.preview).await
}

/// Ends a channel: together with the partner, or alone with the newest messages of both.
#[utoipa::path(post, path = "/v1/channels/{id}/close", request_body = EndChannel, responses((status = 200, body = Signed)))]
pub(super) async fn close(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(body): Json<EndChannel>,
) -> Result<Json<Signed>, Failure> {
    let info = api.channel(&id).await?;
    let (channel, agent, fee) = (info.id, Account::ZERO, 0);
    let hold = hold_seconds(info.terms.terms).unwrap_or_default() / 3_600;
    let (action, when_final, order) = match (body.alone, info.recovering) {
        (false, _) => (
            "End the channel together; both get what is theirs".to_owned(),
            "when the partner has agreed and somebody brought it to the chain".to_owned(),
            Order::CloseTogether {
                channel,
                agent,
                fee,
            },
        ),
        (true, false) => (
            "Close the channel alone, with the newest payments of both".to_owned(),
            format!("after {hold} hours in which the partner can object"),
            Order::Close {
                channel,
                agent,
                fee,
            },
        ),
        (true, true) => (
            "Close the channel as a phone that may have forgotten payments".to_owned(),
            format!(
                "after several times {hold} hours; a tenth goes to the partner if it shows a newer payment"
            ),
            Order::CloseUnknown {
                channel,
                agent,
                fee,
            },
        ),
    };
    let preview = Preview {
        action,
        give: Amount(0),
        notes: vec![format!("you get {} SMT", Amount(info.balance))],
        when_final,
        ..plain()
    };
    carry_out(&api, preview, order, body.preview).await
}

/// Pays a closed channel out, when its time has come.
#[utoipa::path(post, path = "/v1/channels/{id}/settle", request_body = EndChannel, responses((status = 200, body = Signed)))]
pub(super) async fn settle(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(body): Json<EndChannel>,
) -> Result<Json<Signed>, Failure> {
    let info = api.channel(&id).await?;
    let preview = Preview {
        action: "Have the closed channel paid out".to_owned(),
        give: Amount(0),
        notes: vec![format!("you get {} SMT", Amount(info.balance))],
        when_final: format!(
            "{} blocks after the one it comes in",
            api.money.confirmations
        ),
        ..plain()
    };
    let order = Order::Settle { channel: info.id };
    carry_out(&api, preview, order, body.preview).await
}

/// Pays somebody with whom there is a channel.
pub(super) async fn pay(
    api: &Api,
    to: Address,
    amount: Amount,
    memo: &str,
    preview: bool,
) -> Result<Json<Signed>, Failure> {
    let channels = api.ask(Ask::Channels).await?;
    let best = channels
        .into_iter()
        .filter(|one| one.peer == to && one.phase == Phase::Open)
        .max_by_key(|one| one.spendable);
    let Some(channel) = best else {
        return Err(
            Failure::conflict(format!("there is no open channel with {to}"))
                .advise("open one with `smartmesh channel open`, or pay an account of the chain"),
        );
    };
    if channel.spendable < amount.0 {
        return Err(Failure::conflict(format!(
            "of the channel with {to} {} SMT can be spent now",
            Amount(channel.spendable)
        ))
        .advise("put more in with `smartmesh channel deposit`"));
    }
    let shown = Preview {
        action: format!("Pay {amount} SMT to {to}, in your channel"),
        give: amount,
        get: amount,
        way: Way::Channel,
        when_final: "at once between the two of you, when it has arrived; on the chain when the channel is settled".to_owned(),
        ..plain()
    };
    let order = Order::Pay {
        channel: channel.id,
        amount: amount.0,
        memo: memo.as_bytes().to_vec(),
    };
    carry_out(api, shown, order, preview).await
}

fn plain() -> Preview {
    Preview {
        action: String::new(),
        give: Amount(0),
        get: Amount(0),
        fee: Amount(0),
        wei_max: "0".to_owned(),
        way: Way::Chain,
        when_final: String::new(),
        notes: Vec::new(),
    }
}

async fn carry_out(
    api: &Api,
    preview: Preview,
    order: Order,
    only_preview: bool,
) -> Result<Json<Signed>, Failure> {
    if only_preview {
        return Ok(Json(Signed {
            preview,
            done: None,
        }));
    }
    let Answer::Money(answer) = api.command(Command::Money(order)).await? else {
        return Err(Failure::unexpected());
    };
    let done = match answer {
        Paid::Begun(channel) => Done {
            id: channel.to_string(),
            state: "begun; it goes on by itself".to_owned(),
        },
        Paid::Ordered => Done {
            id: String::new(),
            state: "signed; it goes to the chain".to_owned(),
        },
        Paid::Signed { channel, seq } => Done {
            id: format!("{channel}:out:{seq}"),
            state: "signed; it may have arrived".to_owned(),
        },
        Paid::Arrived { channel, seq } => Done {
            id: format!("{channel}:out:{seq}"),
            state: "arrived".to_owned(),
        },
        Paid::Locked { .. } | Paid::Paid { .. } | Paid::NotTaken => {
            return Err(Failure::unexpected());
        }
        Paid::NotOpened { reason } | Paid::NotPaid { reason } | Paid::Failed { reason, .. } => {
            return Err(Failure::conflict(format!("they refuse: {reason}")));
        }
    };
    Ok(Json(Signed {
        preview,
        done: Some(done),
    }))
}

impl Api {
    /// The channel that a client means: its id, or the beginning of it.
    async fn channel(&self, id: &str) -> Result<ChannelInfo, Failure> {
        let channels = self.ask(Ask::Channels).await?;
        let wanted = id.to_lowercase();
        let mut found = channels
            .into_iter()
            .filter(|one| one.id.to_string().to_lowercase().starts_with(&wanted));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Failure::bad_request(
                "more than one channel begins like this",
            )),
            (None, _) => Err(Failure::not_found_thing("there is no such channel")
                .advise("`smartmesh channel` lists them")),
        }
    }
}

fn show(one: &ChannelInfo, me: Account, peer_name: Option<String>) -> Channel {
    let partner = if one.terms.low == me {
        one.terms.high
    } else {
        one.terms.low
    };
    let amount = |amount: i128| Amount(u128::try_from(amount).unwrap_or(0));
    let (phase, state, deadline) = match one.phase {
        Phase::Opening => (
            ChannelPhase::Opening,
            "the deposit is not confirmed yet".to_owned(),
            None,
        ),
        Phase::Open if one.recovering => (
            ChannelPhase::Open,
            "this phone forgot payments of it: it can only be closed".to_owned(),
            None,
        ),
        Phase::Open if one.established => (ChannelPhase::Open, "open".to_owned(), None),
        Phase::Open => (
            ChannelPhase::Resuming,
            "open; the partner has not been met since the start".to_owned(),
            None,
        ),
        Phase::Ending => (
            ChannelPhase::Closing,
            "an order to end it is signed".to_owned(),
            None,
        ),
        Phase::Challenge { until } => (
            ChannelPhase::Closing,
            "closed; it can be answered".to_owned(),
            Some(until),
        ),
        Phase::Unlocking { until } => (
            ChannelPhase::Unlocking,
            "conditional payments can be claimed".to_owned(),
            Some(until),
        ),
        Phase::Settling => (
            ChannelPhase::Settleable,
            "it can be settled".to_owned(),
            None,
        ),
        Phase::Settled => (
            ChannelPhase::Settled,
            "paid out; a new deposit opens it again".to_owned(),
            None,
        ),
    };
    Channel {
        id: one.id.to_string(),
        epoch: one.epoch,
        peer: one.peer.to_string(),
        peer_name,
        peer_key: partner.to_string(),
        phase,
        state,
        deposit: amount(one.our_deposit),
        peer_deposit: amount(one.their_deposit),
        paid: Amount(one.sent),
        received: Amount(one.received),
        spendable: Amount(one.spendable),
        locked: Amount(one.locked_out),
        mine: Amount(one.balance),
        hold_seconds: hold_seconds(one.terms.terms).unwrap_or_default(),
        deadline,
    }
}
