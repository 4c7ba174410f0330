//! The node itself: its state, measurements, advice, and its end.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use smartmesh_api::{Doctor, Perf, PerfReport, Pong, Status, TraceHop, Visibility, Whom};
use smartmesh_node::Command;

use super::{Api, Failure};
use crate::ask::{Answer, Ask};
use crate::keystore::Protection;
use crate::{convert, doctor};

/// The longest measurement.
const PERF_MILLIS_MAX: u64 = 60_000;

/// The node's state.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
pub(super) async fn status(State(api): State<Api>) -> Result<Json<Status>, Failure> {
    let snapshot = api.ask(Ask::Snapshot).await?;
    let names: BTreeMap<_, _> = snapshot
        .radios
        .iter()
        .map(|radio| (radio.radio, radio.name.clone()))
        .collect();
    let status = snapshot.status;
    Ok(Json(Status {
        address: status.address.to_string(),
        name: api.name().text,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_secs: snapshot.uptime.as_secs(),
        data: api.info.data.display().to_string(),
        protection: match api.info.protection {
            Protection::Passphrase => "passphrase",
            Protection::Device => "device",
        }
        .to_owned(),
        tunnel: snapshot.tunnel,
        epoch: status.epoch,
        radios: snapshot.radios.iter().map(convert::radio).collect(),
        neighbours: status
            .neighbours
            .iter()
            .map(|one| convert::neighbour(one, &names))
            .collect(),
        destinations: status.destinations,
        flows: status.flows.iter().map(convert::flow).collect(),
        relayed_labels: status.relayed_labels,
        bundles: convert::bundles(status.bundles),
        counters: status.counters.into_iter().collect(),
    }))
}

/// What works and what does not, with advice.
#[utoipa::path(get, path = "/v1/doctor", responses((status = 200, body = Doctor)))]
pub(super) async fn doctor(State(api): State<Api>) -> Result<Json<Doctor>, Failure> {
    let snapshot = api.ask(Ask::Snapshot).await?;
    let contacts = api.contact_list().await?.len();
    Ok(Json(doctor::examine(
        &api.info,
        &snapshot,
        contacts,
        api.disk.trouble(),
    )))
}

/// Measures the round trip to somebody once.
#[utoipa::path(post, path = "/v1/ping", request_body = Whom, responses((status = 200, body = Pong)))]
pub(super) async fn ping(
    State(api): State<Api>,
    Json(body): Json<Whom>,
) -> Result<Json<Pong>, Failure> {
    let to = api.person(&body.to).await?;
    let Answer::Pong { rtt, hops } = api.command(Command::Ping { to }).await? else {
        return Err(Failure::unexpected());
    };
    Ok(Json(Pong {
        rtt_us: convert::micros(rtt),
        hops,
    }))
}

/// Asks each relay on the path for its round trip.
#[utoipa::path(post, path = "/v1/trace", request_body = Whom, responses((status = 200, body = Vec<TraceHop>)))]
pub(super) async fn trace(
    State(api): State<Api>,
    Json(body): Json<Whom>,
) -> Result<Json<Vec<TraceHop>>, Failure> {
    let to = api.person(&body.to).await?;
    let hops = match api.command(Command::Trace { to }).await? {
        Answer::Trace(hops) => hops,
        Answer::Done
        | Answer::Refused(_)
        | Answer::Invite(_)
        | Answer::Added(_)
        | Answer::Queued(_)
        | Answer::Posted(_)
        | Answer::Money(_)
        | Answer::Pong { .. }
        | Answer::Perf { .. } => Vec::new(),
    };
    let hops = hops.into_iter().map(|(hop, rtt)| TraceHop {
        hop,
        rtt_us: rtt.map(convert::micros),
    });
    Ok(Json(hops.collect()))
}

/// Measures throughput and loss end to end.
#[utoipa::path(post, path = "/v1/perf", request_body = Perf, responses((status = 200, body = PerfReport)))]
pub(super) async fn perf(
    State(api): State<Api>,
    Json(body): Json<Perf>,
) -> Result<Json<PerfReport>, Failure> {
    let to = api.person(&body.to).await?;
    let millis = body.millis.clamp(1, PERF_MILLIS_MAX);
    let Answer::Perf {
        bytes_received,
        packets_sent,
        packets_received,
        elapsed,
    } = api.command(Command::Perf { to, millis }).await?
    else {
        return Err(Failure::unexpected());
    };
    let elapsed_us = convert::micros(elapsed);
    let bits = u128::from(bytes_received).saturating_mul(8_000_000);
    let rate = bits.checked_div(elapsed_us.into()).unwrap_or(0);
    Ok(Json(PerfReport {
        bits_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
        bytes_received,
        packets_sent,
        packets_received,
        elapsed_us,
    }))
}

/// Lets people within a few hops see this node's name, or stops it.
#[utoipa::path(post, path = "/v1/visibility", request_body = Visibility, responses((status = 200, body = Visibility)))]
pub(super) async fn visibility(
    State(api): State<Api>,
    Json(body): Json<Visibility>,
) -> Result<Json<Visibility>, Failure> {
    api.command(Command::SetVisible {
        visible: body.visible,
    })
    .await?;
    Ok(Json(body))
}

/// Stops the node.
#[utoipa::path(post, path = "/v1/shutdown", responses((status = 200)))]
pub(super) async fn shutdown(State(api): State<Api>) -> Result<(), Failure> {
    api.asks
        .send(Ask::Stop)
        .await
        .map_err(|_| Failure::stopping())
}
