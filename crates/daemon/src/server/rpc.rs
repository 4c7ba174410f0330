//! Ethereum's JSON-RPC for DApps, wallets and scripts of this machine, answered from proofs alone; and what the light node
//! believes.
//!
//! It reads the public chain and takes along what is signed already, so it wants no token; pages of other origins are
//! refused like everywhere. With `?trust=1` each answer says how far it can be trusted.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use smartmesh_api::{LightHead, LightSource, LightStatus};
use smartmesh_light_client::rpc::RpcError;

use super::{Api, Failure};
use crate::chain::{Light, NoAnswer};

/// Requests of one batch.
const BATCH_MAX: usize = 100;
/// Bytes of a request: a transaction of 128 KiB in hex, and room.
pub(super) const REQUEST_BYTES_MAX: usize = 512 << 10;

/// What the light node believes.
pub(super) async fn status(State(api): State<Api>) -> Result<Json<LightStatus>, Failure> {
    let Some(light) = api.light.clone() else {
        return Err(Failure::conflict("this node has no light node").advise(
            "start it with --chain devnet, or with --chain URL --beacon URL --checkpoint 0x…",
        ));
    };
    let state = tokio::task::spawn_blocking(move || light.state())
        .await
        .map_err(|_| Failure::stopping())?;
    let head = |head: Option<(u64, Option<alloy_primitives::B256>)>| {
        head.map(|(slot, block)| LightHead {
            slot,
            block: block.map(|hash| hash.to_string()),
        })
    };
    let (signed, members) = state.participation;
    Ok(Json(LightStatus {
        network: state.network,
        head: head(state.head),
        finalized: head(state.finalized),
        period: state.period,
        committee: state.committee.map(|root| root.to_string()),
        next_committee_known: state.knows_next,
        signed,
        members,
        sources: state
            .sources
            .into_iter()
            .map(|source| LightSource {
                name: source.name,
                in_use: source.in_use,
                faults: source.faults,
                last_fault: source.fault,
            })
            .collect(),
        trouble: state.trouble,
    }))
}

/// One request or a batch.
pub(super) async fn answer(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> impl IntoResponse {
    let with_trust = query.as_deref() == Some("trust=1");
    let answer = match api.light.clone() {
        None => failed(
            &Value::Null,
            &plain(
                -32_000,
                "this node has no light node; start it with --chain devnet, or with --chain URL --beacon URL --checkpoint 0x…",
            ),
        ),
        Some(light) => tokio::task::spawn_blocking(move || handle(&light, &body, with_trust))
            .await
            .unwrap_or_else(|_| failed(&Value::Null, &plain(-32_603, "the node is stopping"))),
    };
    let text = serde_json::to_vec(&answer).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], text)
}

fn plain(code: i64, message: &str) -> RpcError {
    RpcError {
        code,
        message: message.to_owned(),
        data: None,
    }
}

fn handle(light: &Light, body: &[u8], with_trust: bool) -> Value {
    match serde_json::from_slice(body) {
        Ok(Value::Array(batch)) if batch.is_empty() || batch.len() > BATCH_MAX => {
            failed(&Value::Null, &plain(-32_600, "batch empty or too large"))
        }
        Ok(Value::Array(batch)) => batch
            .iter()
            .map(|one| handle_one(light, one, with_trust))
            .collect(),
        Ok(one) => handle_one(light, &one, with_trust),
        Err(error) => failed(
            &Value::Null,
            &plain(-32_700, &format!("parse error: {error}")),
        ),
    }
}

fn handle_one(light: &Light, request: &Value, with_trust: bool) -> Value {
    let id = request.get("id").unwrap_or(&Value::Null);
    let Some(method) = request.get("method").and_then(Value::as_str) else {
        return failed(id, &plain(-32_600, "invalid request"));
    };
    let params = request.get("params").unwrap_or(&Value::Null);
    match light.ask(method, params) {
        Ok((result, trust)) => {
            let mut answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
            if let (true, Some(answer)) = (with_trust, answer.as_object_mut()) {
                answer.insert("trust".to_owned(), json!(trust.word()));
            }
            answer
        }
        Err(NoAnswer::Rpc(error)) => failed(id, &error),
        Err(NoAnswer::Source(error)) => failed(id, &plain(-32_000, &error.to_string())),
    }
}

fn failed(id: &Value, error: &RpcError) -> Value {
    let mut body = json!({ "code": error.code, "message": error.message });
    if let (Some(data), Some(body)) = (&error.data, body.as_object_mut()) {
        body.insert("data".to_owned(), json!(data));
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": body })
}
