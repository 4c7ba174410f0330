//! The public room nearby.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use smartmesh_api::{MuteList, MutePerson, Muted, Posted, RoomMessage, SayInRoom};
use smartmesh_node::{BoardCommand, Command};
use utoipa::IntoParams;

use super::{Api, Failure};
use crate::convert::board;

/// Lines in one answer.
const LIMIT_MAX: usize = 1_000;
const LIMIT: usize = 100;

/// How much to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Newest {
    /// At most so many, up to 1,000.
    limit: Option<usize>,
}

/// The newest lines of the room, oldest first, without those of muted people.
#[utoipa::path(get, path = "/v1/room", params(Newest), responses((status = 200, body = Vec<RoomMessage>)))]
pub(super) async fn list(
    State(api): State<Api>,
    Query(newest): Query<Newest>,
) -> Result<Json<Vec<RoomMessage>>, Failure> {
    let limit = newest.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let lines = api.look(move |node| node.board().room(limit)).await?;
    let names = api.board_names().await?;
    Ok(Json(
        lines.iter().map(|line| board::room(line, &names)).collect(),
    ))
}

/// Says something in the room: everybody within a few links can read it.
#[utoipa::path(post, path = "/v1/room", request_body = SayInRoom, responses((status = 200, body = Posted)))]
pub(super) async fn say(
    State(api): State<Api>,
    Json(body): Json<SayInRoom>,
) -> Result<Json<Posted>, Failure> {
    let text = body.text;
    api.post(BoardCommand::Say { text }).await
}

/// Whom the user does not want to hear in the room.
#[utoipa::path(get, path = "/v1/mutes", responses((status = 200, body = Vec<Muted>)))]
pub(super) async fn mutes(State(api): State<Api>) -> Result<Json<Vec<Muted>>, Failure> {
    let muted: Vec<_> = api.look(|node| node.board().muted().collect()).await?;
    let names = api.names().await?;
    let muted = muted.into_iter().map(|address: smartmesh_types::Address| {
        let address = address.to_string();
        let name = names.get(&address).cloned();
        Muted { address, name }
    });
    Ok(Json(muted.collect()))
}

/// Mutes somebody.
#[utoipa::path(post, path = "/v1/mutes", request_body = MutePerson, responses((status = 200)))]
pub(super) async fn mute(
    State(api): State<Api>,
    Json(body): Json<MutePerson>,
) -> Result<(), Failure> {
    let address = api.person(&body.who).await?;
    let command = Command::Board(BoardCommand::Mute { address });
    api.command(command).await.map(drop)
}

/// Hears somebody again.
#[utoipa::path(delete, path = "/v1/mutes/{address}", params(("address" = String, Path, description = "an address or a contact's name")), responses((status = 200)))]
pub(super) async fn unmute(State(api): State<Api>, Path(who): Path<String>) -> Result<(), Failure> {
    let address = api.person(&who).await?;
    let command = Command::Board(BoardCommand::Unmute { address });
    api.command(command).await.map(drop)
}

/// The list as a signed text, to be given to others or taken to another phone.
#[utoipa::path(get, path = "/v1/mutes/list", responses((status = 200, body = MuteList)))]
pub(super) async fn mute_list(State(api): State<Api>) -> Result<Json<MuteList>, Failure> {
    let text = api.look(|node| node.board().mute_list()).await?;
    Ok(Json(MuteList { text }))
}

/// Mutes everybody on somebody's list but the user's contacts.
#[utoipa::path(post, path = "/v1/mutes/list", request_body = MuteList, responses((status = 200)))]
pub(super) async fn adopt(
    State(api): State<Api>,
    Json(body): Json<MuteList>,
) -> Result<(), Failure> {
    let command = BoardCommand::AdoptMutes { text: body.text };
    api.command(Command::Board(command)).await.map(drop)
}
