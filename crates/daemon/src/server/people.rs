//! Who we are, whom we know, who is near.

use axum::Json;
use axum::extract::{Path, State};
use smartmesh_api::{
    AddContact, Added, BlockContact, Contact, Identity, Invite, Nearby, RenameContact,
};
use smartmesh_node::Command;

use super::{Api, Failure};
use crate::ask::{Answer, Ask};
use crate::convert;

/// Who this node is.
#[utoipa::path(get, path = "/v1/id", responses((status = 200, body = Identity)))]
pub(super) async fn id(State(api): State<Api>) -> Json<Identity> {
    std::future::ready(()).await;
    Json(Identity {
        address: api.info.address.to_string(),
        key: hex::encode(api.info.key.0),
        name: api.info.name.clone(),
    })
}

/// Makes an invite that somebody else can add.
#[utoipa::path(post, path = "/v1/invite", responses((status = 200, body = Invite)))]
pub(super) async fn invite(State(api): State<Api>) -> Result<Json<Invite>, Failure> {
    let Answer::Invite(invite) = api.command(Command::MakeInvite).await? else {
        return Err(Failure::unexpected());
    };
    Ok(Json(Invite { invite }))
}

/// Who can be reached, nearest first.
#[utoipa::path(get, path = "/v1/nearby", responses((status = 200, body = Vec<Nearby>)))]
pub(super) async fn nearby(State(api): State<Api>) -> Result<Json<Vec<Nearby>>, Failure> {
    let nearby = api.ask(Ask::Nearby).await?;
    Ok(Json(nearby.into_iter().map(convert::nearby).collect()))
}

/// All contacts.
#[utoipa::path(get, path = "/v1/contacts", responses((status = 200, body = Vec<Contact>)))]
pub(super) async fn contacts(State(api): State<Api>) -> Result<Json<Vec<Contact>>, Failure> {
    let contacts = api.contact_list().await?;
    Ok(Json(contacts.into_iter().map(convert::contact).collect()))
}

/// Adds a contact from an address or an invite.
#[utoipa::path(post, path = "/v1/contacts", request_body = AddContact, responses((status = 200, body = Added)))]
pub(super) async fn add(
    State(api): State<Api>,
    Json(body): Json<AddContact>,
) -> Result<Json<Added>, Failure> {
    let address = api.add_contact(body.who.trim(), body.name).await?;
    Ok(Json(Added {
        address: address.to_string(),
    }))
}

/// Removes a contact and its keys.
#[utoipa::path(delete, path = "/v1/contacts/{address}", params(("address" = String, Path, description = "an address or a contact's name")), responses((status = 200)))]
pub(super) async fn forget(State(api): State<Api>, Path(who): Path<String>) -> Result<(), Failure> {
    let address = api.person(&who).await?;
    api.command(Command::ForgetContact { address })
        .await
        .map(drop)
}

/// Gives a contact another local name.
#[utoipa::path(post, path = "/v1/contacts/{address}/name", params(("address" = String, Path, description = "an address or a contact's name")), request_body = RenameContact, responses((status = 200)))]
pub(super) async fn rename(
    State(api): State<Api>,
    Path(who): Path<String>,
    Json(body): Json<RenameContact>,
) -> Result<(), Failure> {
    let address = api.person(&who).await?;
    api.command(Command::RenameContact {
        address,
        name: body.name,
    })
    .await
    .map(drop)
}

/// Refuses or accepts again what a contact sends.
#[utoipa::path(post, path = "/v1/contacts/{address}/block", params(("address" = String, Path, description = "an address or a contact's name")), request_body = BlockContact, responses((status = 200)))]
pub(super) async fn block(
    State(api): State<Api>,
    Path(who): Path<String>,
    Json(body): Json<BlockContact>,
) -> Result<(), Failure> {
    let address = api.person(&who).await?;
    api.command(Command::BlockContact {
        address,
        blocked: body.blocked,
    })
    .await
    .map(drop)
}
