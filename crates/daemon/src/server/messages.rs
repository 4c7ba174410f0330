//! Messages: sending, history, where each one is.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use smartmesh_api::{Direction, Event, Message, MessageState, Queued, SendText};
use smartmesh_node::Command;
use smartmesh_types::Duration;
use utoipa::IntoParams;

use super::{Api, Failure};
use crate::ask::Answer;
use crate::convert;
use crate::database::Write;

/// Messages in one answer.
const LIMIT_MAX: usize = 1_000;
const LIMIT: usize = 100;
/// How long a client may wait for a message to arrive.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Which messages to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only those with a larger sequence.
    #[serde(default)]
    after: u64,
    /// At most so many, up to 1,000.
    limit: Option<usize>,
    /// Only those with this person: an address or a contact's name.
    peer: Option<String>,
}

/// Messages of the history, oldest first.
#[utoipa::path(get, path = "/v1/messages", params(Filter), responses((status = 200, body = Vec<Message>)))]
pub(super) async fn list(
    State(api): State<Api>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<Message>>, Failure> {
    let peer = match &filter.peer {
        Some(who) => Some(api.person(who).await?.to_string()),
        None => None,
    };
    let limit = filter.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let after = filter.after;
    let mut messages = api
        .disk
        .read(move |database| database.messages(after, limit, peer.as_deref()))
        .await??;
    let names = api.names().await?;
    for message in &mut messages {
        message.peer_name = names.get(&message.peer).cloned();
    }
    Ok(Json(messages))
}

/// Sends a text; the answer comes when it is stored and will survive a restart.
#[utoipa::path(post, path = "/v1/messages", request_body = SendText, responses((status = 200, body = Queued)))]
pub(super) async fn send(
    State(api): State<Api>,
    Json(body): Json<SendText>,
) -> Result<Json<Queued>, Failure> {
    let to = api.correspondent(&body.to).await?;
    let command = Command::SendText {
        to,
        text: body.text,
    };
    let Answer::Queued(message) = api.command(command).await? else {
        return Err(Failure::unexpected());
    };
    Ok(Json(Queued {
        id: message.to_string(),
        to: to.to_string(),
    }))
}

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Patience {
    /// Answers when the message has arrived, or failed, or after so many milliseconds.
    #[serde(default)]
    wait_ms: u64,
}

/// One message; can wait for its arrival.
#[utoipa::path(get, path = "/v1/messages/{id}", params(("id" = String, Path), Patience), responses((status = 200, body = Message)))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(patience): Query<Patience>,
) -> Result<Json<Message>, Failure> {
    // Subscribed before the first look, so that no change falls in between.
    let mut events = api.events.subscribe();
    let wait = Duration::from_millis(patience.wait_ms).min(WAIT_MAX);
    let deadline = tokio::time::sleep(wait);
    tokio::pin!(deadline);
    loop {
        let message = find(&api, &id).await?;
        if is_settled(&message) {
            return Ok(Json(message));
        }
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(Event::MessageState { id: changed, .. }) if changed == id => break,
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return Err(Failure::stopping()),
                    Ok(_) | Err(_) => {}
                },
                () = &mut deadline => return Ok(Json(message)),
            }
        }
    }
}

fn is_settled(message: &Message) -> bool {
    match (message.direction, &message.state) {
        (Direction::In, _) => true,
        (Direction::Out, Some(MessageState::Failed { .. })) => true,
        (Direction::Out, Some(state)) => state.has_arrived(),
        (Direction::Out, None) => false,
    }
}

pub(super) async fn find(api: &Api, id: &str) -> Result<Message, Failure> {
    let wanted = id.to_owned();
    let found = api
        .disk
        .read(move |database| database.message(&wanted))
        .await??;
    found.ok_or_else(|| Failure::not_found_thing(format!("there is no message {id}")))
}

/// Tells the sender that a message was read.
#[utoipa::path(post, path = "/v1/messages/{id}/read", params(("id" = String, Path)), responses((status = 200)))]
pub(super) async fn read(State(api): State<Api>, Path(id): Path<String>) -> Result<(), Failure> {
    let message = find(&api, &id).await?;
    if message.direction == Direction::Out || message.read {
        return Ok(());
    }
    if let Some(message) = convert::message_id(&id) {
        // Somebody who was forgotten hears nothing any more, and that is no failure.
        match api.command(Command::MarkRead { message }).await {
            Ok(_) | Err(_) => {}
        }
    }
    api.disk.save(Write::Read { id }).await?;
    Ok(())
}

/// Gives up a message that has not arrived yet.
#[utoipa::path(post, path = "/v1/messages/{id}/cancel", params(("id" = String, Path)), responses((status = 200)))]
pub(super) async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Result<(), Failure> {
    let message = convert::message_id(&id)
        .ok_or_else(|| Failure::bad_request("a message's id has 32 hex digits"))?;
    api.command(Command::Cancel { message }).await.map(drop)
}
