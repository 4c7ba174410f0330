//! Who we are, whom we know, who is near.

use axum::Json;
use axum::extract::{Path, State};
use smartmesh_api::{
    AddContact, Added, BlockContact, Contact, Identity, Invite, Nearby, Phrase, RenameContact,
    SetName, VerifyContact,
};
use smartmesh_crypto::SafetyPhrase;
use smartmesh_node::Command;

use super::{Api, Failure, Name};
use crate::ask::{Answer, Ask};
use crate::convert;
use crate::database::Write;

/// Who this node is.
#[utoipa::path(get, path = "/v1/id", responses((status = 200, body = Identity)))]
pub(super) async fn id(State(api): State<Api>) -> Json<Identity> {
    std::future::ready(()).await;
    let name = api.name();
    Json(Identity {
        address: api.info.address.to_string(),
        key: hex::encode(api.info.key.0),
        name: name.text,
        name_chosen: name.chosen,
    })
}

/// Calls this node something else from now on.
#[utoipa::path(post, path = "/v1/id", request_body = SetName, responses((status = 200, body = Identity)))]
pub(super) async fn set_name(
    State(api): State<Api>,
    Json(body): Json<SetName>,
) -> Result<Json<Identity>, Failure> {
    let text = body.name.trim().to_owned();
    api.command(Command::SetName { name: text.clone() }).await?;
    for (name, value) in [("name", text.clone().into_bytes()), ("named", vec![1])] {
        api.disk.save(Write::Meta { name, value }).await?;
    }
    {
        let mut name = api
            .name
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *name = Name { text, chosen: true };
    }
    Ok(id(State(api)).await)
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

/// What two people read to each other to know that nobody stands between them.
#[utoipa::path(get, path = "/v1/contacts/{address}/phrase", params(("address" = String, Path, description = "an address or a contact's name")), responses((status = 200, body = Phrase)))]
pub(super) async fn phrase(
    State(api): State<Api>,
    Path(who): Path<String>,
) -> Result<Json<Phrase>, Failure> {
    let address = api.person(&who).await?;
    let contacts = api.contact_list().await?;
    let contact = contacts.iter().find(|contact| contact.address == address);
    let contact = contact.ok_or_else(|| Failure::not_found_thing("there is no such contact"))?;
    let key = contact.key.ok_or_else(|| {
        Failure::bad_request("their key is not known yet")
            .advise("meet them, so that both phones are in reach, or add their invite")
    })?;
    let phrase = SafetyPhrase::of(&api.info.key, &key);
    Ok(Json(Phrase {
        words: phrase.words,
        digits: phrase.digits,
        verified: contact.verified,
    }))
}

/// Notes whether the phrase is the same on both phones.
#[utoipa::path(post, path = "/v1/contacts/{address}/verified", params(("address" = String, Path, description = "an address or a contact's name")), request_body = VerifyContact, responses((status = 200)))]
pub(super) async fn verify(
    State(api): State<Api>,
    Path(who): Path<String>,
    Json(body): Json<VerifyContact>,
) -> Result<(), Failure> {
    let address = api.person(&who).await?;
    let verified = body.verified;
    let command = Command::VerifyContact { address, verified };
    api.command(command).await.map(drop)
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
