//! Who we are, whom we know, who is near.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;
use smartmesh_api::{
    AddContact, Added, BlockContact, Contact, Identity, Invite, Nearby, RenameContact, SetName,
};

use super::Format;
use crate::cli::ContactChange;
use crate::client::{Client, encode};
use crate::output;

pub(super) fn id(client: &Client, format: Format) -> anyhow::Result<()> {
    let identity: Identity = client.get("/v1/id")?;
    let invite: Option<Invite> = client.post("/v1/invite", &json!({})).ok();
    let invite = invite.map(|invite| invite.invite);
    if format == Format::Json {
        let Identity {
            address,
            key,
            name,
            name_chosen: _,
        } = identity;
        output::json(&json!({ "address": address, "key": key, "name": name, "invite": invite }));
        return Ok(());
    }
    output::line(format!("{} ({})", identity.address, identity.name));
    let text = invite.unwrap_or(identity.address);
    if let Ok(code) = QrCode::new(&text) {
        output::line(code.render::<Dense1x2>().quiet_zone(true).build());
    }
    output::line("Let a friend scan this, or send them this line:");
    output::line(format!("smartmesh add {text}"));
    Ok(())
}

pub(super) fn nearby(client: &Client, format: Format) -> anyhow::Result<()> {
    let nearby: Vec<Nearby> = client.get("/v1/nearby")?;
    if format == Format::Json {
        output::json(&nearby);
        return Ok(());
    }
    if nearby.is_empty() {
        output::line("Nobody is in reach yet. `smartmesh doctor` says why that may be.");
        return Ok(());
    }
    let strangers = nearby.iter().filter(|one| one.address.is_none()).count();
    for one in nearby.iter().filter(|one| one.address.is_some()) {
        let name = one.name.as_deref().unwrap_or("(no name)");
        let hops = if one.hops == 1 {
            "next to you".to_owned()
        } else {
            format!("{} hops away", one.hops)
        };
        let address = one.address.as_deref().unwrap_or_default();
        let fresh = output::span_ms(one.fresh_ms);
        output::line(format!(
            "{name:20}  {hops:13}  confirmed {fresh} ago  {address}"
        ));
    }
    if strangers > 0 {
        output::line(format!(
            "{strangers} others can be reached who don't show who they are."
        ));
    }
    Ok(())
}

pub(super) fn add(
    client: &Client,
    format: Format,
    who: String,
    name: Option<String>,
) -> anyhow::Result<()> {
    let added: Added = client.post(
        "/v1/contacts",
        &AddContact {
            who,
            name: name.clone(),
        },
    )?;
    match (format, name) {
        (Format::Json, _) => output::json(&added),
        (Format::Text, Some(name)) => {
            output::line(format!("{name} ({}) is a contact now.", added.address))
        }
        (Format::Text, None) => output::line(format!("{} is a contact now.", added.address)),
    }
    Ok(())
}

pub(super) fn name(client: &Client, format: Format, name: String) -> anyhow::Result<()> {
    let identity: Identity = client.post("/v1/id", &SetName { name })?;
    match format {
        Format::Json => output::json(&identity),
        Format::Text => output::line(format!("You are called {} now.", identity.name)),
    }
    Ok(())
}

pub(super) fn contacts(client: &Client, format: Format) -> anyhow::Result<()> {
    let contacts: Vec<Contact> = client.get("/v1/contacts")?;
    if format == Format::Json {
        output::json(&contacts);
        return Ok(());
    }
    if contacts.is_empty() {
        output::line(
            "No contacts yet. Show your code with `smartmesh id`, add somebody with `smartmesh add`.",
        );
    }
    for contact in contacts {
        let name = contact.name.as_deref().unwrap_or("(no name)");
        let state = match (contact.blocked, contact.keys_known) {
            (true, _) => "blocked",
            (false, true) => "ready",
            (false, false) => "keys not known yet",
        };
        output::line(format!("{name:20}  {state:18}  {}", contact.address));
    }
    Ok(())
}

pub(super) fn change(client: &Client, change: ContactChange) -> anyhow::Result<()> {
    let path = |who: &str, what: &str| format!("/v1/contacts/{}{what}", encode(who));
    match change {
        ContactChange::Rename { who, name } => {
            client.tell(&path(&who, "/name"), &RenameContact { name })?
        }
        ContactChange::Block { who } => {
            client.tell(&path(&who, "/block"), &BlockContact { blocked: true })?
        }
        ContactChange::Unblock { who } => {
            client.tell(&path(&who, "/block"), &BlockContact { blocked: false })?
        }
        ContactChange::Forget { who } => client.delete(&path(&who, ""))?,
    }
    output::note("done");
    Ok(())
}
