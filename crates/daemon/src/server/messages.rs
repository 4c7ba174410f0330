//! Messages: sending, history, where each one is.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use smartmesh_api::{
    Conversation, Direction, EditText, Event, Message, MessageState, Queued, React, SendText,
};
use smartmesh_node::{Change, Command, Content};
use smartmesh_types::{Address, Duration};
use utoipa::IntoParams;

use super::{Api, Failure, files};
use crate::ask::Answer;
use crate::database::{Page, Write};
use crate::{clock, convert};

/// Messages in one answer.
const LIMIT_MAX: usize = 1_000;
const LIMIT: usize = 100;
/// How often messages that are to vanish are looked for.
const VANISH_EVERY: Duration = Duration::from_secs(5);
/// How long a client may wait for a message to arrive.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Which messages to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only those with a larger sequence: the first ones behind it.
    #[serde(default)]
    after: u64,
    /// Only those with a smaller sequence: the last ones before it. Not together with `after`.
    before: Option<u64>,
    /// At most so many, up to 1,000.
    limit: Option<usize>,
    /// Only those with this person (an address or a contact's name) or in this group.
    peer: Option<String>,
}

/// Messages of the history, oldest first.
#[utoipa::path(get, path = "/v1/messages", params(Filter), responses((status = 200, body = Vec<Message>)))]
pub(super) async fn list(
    State(api): State<Api>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<Message>>, Failure> {
    let peer = match &filter.peer {
        Some(who) => Some(api.conversation(who).await?),
        None => None,
    };
    let limit = filter.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let page = filter
        .before
        .map_or(Page::After(filter.after), Page::Before);
    let messages = api
        .disk
        .read(move |database| database.messages(page, limit, peer.as_deref()))
        .await??;
    api.named(messages).await.map(Json)
}

/// What to search for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Words {
    /// Words or parts of words; all of them must be in a message.
    query: String,
    /// At most so many, up to 1,000.
    limit: Option<usize>,
    /// Only with this person or in this group.
    peer: Option<String>,
}

/// Messages with these words, newest first.
#[utoipa::path(get, path = "/v1/search", params(Words), responses((status = 200, body = Vec<Message>)))]
pub(super) async fn search(
    State(api): State<Api>,
    Query(words): Query<Words>,
) -> Result<Json<Vec<Message>>, Failure> {
    let peer = match &words.peer {
        Some(who) => Some(api.conversation(who).await?),
        None => None,
    };
    let limit = words.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let messages = api
        .disk
        .read(move |database| database.search(&words.query, peer.as_deref(), limit))
        .await??;
    api.named(messages).await.map(Json)
}

/// All conversations with their newest message, the newest first.
#[utoipa::path(get, path = "/v1/conversations", responses((status = 200, body = Vec<Conversation>)))]
pub(super) async fn conversations(
    State(api): State<Api>,
) -> Result<Json<Vec<Conversation>>, Failure> {
    let mut conversations = api.disk.read(|database| database.conversations()).await??;
    let names = api.names().await?;
    for conversation in &mut conversations {
        conversation.name = names.get(&conversation.peer).cloned();
        conversation.last.peer_name = conversation.name.clone();
    }
    Ok(Json(conversations))
}

/// Tells the other person that all that came from them was read.
#[utoipa::path(post, path = "/v1/conversations/{peer}/read", params(("peer" = String, Path)), responses((status = 200)))]
pub(super) async fn read_all(
    State(api): State<Api>,
    Path(peer): Path<String>,
) -> Result<(), Failure> {
    let peer = api.conversation(&peer).await?;
    let ids = api
        .disk
        .read(move |database| database.unread(&peer))
        .await??;
    for id in ids {
        tell_read(&api, id).await?;
    }
    Ok(())
}

/// Removes all that was said with somebody from this phone.
#[utoipa::path(delete, path = "/v1/conversations/{peer}", params(("peer" = String, Path)), responses((status = 200)))]
pub(super) async fn clear(State(api): State<Api>, Path(peer): Path<String>) -> Result<(), Failure> {
    let peer = api.conversation(&peer).await?;
    let ids = api
        .disk
        .read(move |database| database.ids_of(&peer))
        .await??;
    remove_here(&api, ids).await
}

async fn remove_here(api: &Api, ids: Vec<String>) -> Result<(), Failure> {
    api.disk.save(Write::Remove { ids: ids.clone() }).await?;
    let _ = api.events.send(Event::MessagesRemoved { ids });
    Ok(())
}

/// Removes what was to vanish by now; runs while the node does.
pub(crate) async fn remove_vanished(
    disk: crate::disk::Disk<crate::shell::Mark>,
    events: tokio::sync::broadcast::Sender<Event>,
) {
    let mut ticks = tokio::time::interval(VANISH_EVERY);
    loop {
        ticks.tick().await;
        let now = clock::now().unix.as_secs();
        let Ok(found) = disk.read(move |database| database.vanished(now)).await else {
            return;
        };
        match found {
            Ok(ids) if !ids.is_empty() => {
                if disk.save(Write::Remove { ids: ids.clone() }).await.is_err() {
                    return;
                }
                let _ = events.send(Event::MessagesRemoved { ids });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "messages that should vanish can't be looked for"),
        }
    }
}

/// Sends a message; the answer comes when it is stored and will survive a restart.
#[utoipa::path(post, path = "/v1/messages", request_body = SendText, responses((status = 200, body = Queued)))]
pub(super) async fn send(
    State(api): State<Api>,
    Json(body): Json<SendText>,
) -> Result<Json<Queued>, Failure> {
    let to = api.correspondent(&body.to).await?;
    let command = send_command(&api, to, body).await?;
    queue(&api, to, command).await.map(Json)
}

async fn queue(api: &Api, to: Address, command: Command) -> Result<Queued, Failure> {
    let Answer::Queued(message) = api.command(command).await? else {
        return Err(Failure::unexpected());
    };
    Ok(Queued {
        id: message.to_string(),
        to: to.to_string(),
    })
}

async fn send_command(api: &Api, to: Address, body: SendText) -> Result<Command, Failure> {
    let is_bare = body.reply_to.is_none() && body.vanish_secs.is_none() && body.file.is_none();
    if is_bare && body.photo.is_none() && body.voice.is_none() {
        if body.text.trim().is_empty() {
            return Err(Failure::bad_request("a message has words or a file"));
        }
        let text = body.text;
        return Ok(Command::SendText { to, text });
    }
    let inline = match &body.file {
        Some(file) => files::small(api, file).await?,
        None => None,
    };
    let say = convert::content::say(&body, inline).map_err(Failure::bad_request)?;
    let content = Content::Say(Box::new(say));
    Ok(Command::SendContent { to, content })
}

/// Puts a sign on a message, or takes it back.
#[utoipa::path(post, path = "/v1/messages/{id}/react", params(("id" = String, Path)), request_body = React, responses((status = 200, body = Queued)))]
pub(super) async fn react(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(body): Json<React>,
) -> Result<Json<Queued>, Failure> {
    change(&api, &id, Change::React(body.emoji)).await.map(Json)
}

/// Gives a message of one's own other words, on both phones.
#[utoipa::path(post, path = "/v1/messages/{id}/edit", params(("id" = String, Path)), request_body = EditText, responses((status = 200, body = Queued)))]
pub(super) async fn edit(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(body): Json<EditText>,
) -> Result<Json<Queued>, Failure> {
    require_own(&api, &id).await?;
    change(&api, &id, Change::Edit(body.text)).await.map(Json)
}

/// For whom to remove a message.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Reach {
    /// On the other phone too; one's own messages only. A phone that has shown it may have kept it.
    #[serde(default)]
    everyone: bool,
}

/// Removes a message.
#[utoipa::path(delete, path = "/v1/messages/{id}", params(("id" = String, Path), Reach), responses((status = 200)))]
pub(super) async fn delete(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(reach): Query<Reach>,
) -> Result<(), Failure> {
    if reach.everyone {
        require_own(&api, &id).await?;
        return change(&api, &id, Change::Delete).await.map(drop);
    }
    find(&api, &id).await?;
    remove_here(&api, vec![id]).await
}

async fn require_own(api: &Api, id: &str) -> Result<(), Failure> {
    if find(api, id).await?.direction == Direction::In {
        return Err(Failure::bad_request(
            "only who wrote a message can edit it, or remove it for everyone",
        ));
    }
    Ok(())
}

async fn change(api: &Api, id: &str, change: Change) -> Result<Queued, Failure> {
    let message = find(api, id).await?;
    let target = convert::message_id(id)
        .ok_or_else(|| Failure::bad_request("a message's id has 32 hex digits"))?;
    let to = api.correspondent(&message.peer).await?;
    let content = Content::Change { target, change };
    queue(api, to, Command::SendContent { to, content }).await
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
    tell_read(&api, id).await
}

async fn tell_read(api: &Api, id: String) -> Result<(), Failure> {
    if let Some(message) = convert::message_id(&id) {
        // Somebody who was forgotten hears nothing any more, and that is no failure.
        match api.command(Command::MarkRead { message }).await {
            Ok(_) | Err(_) => {}
        }
    }
    let at = clock::now().unix.as_secs();
    api.disk.save(Write::Read { id, at }).await?;
    Ok(())
}

/// Gives up a message that has not arrived yet.
#[utoipa::path(post, path = "/v1/messages/{id}/cancel", params(("id" = String, Path)), responses((status = 200)))]
pub(super) async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Result<(), Failure> {
    let message = convert::message_id(&id)
        .ok_or_else(|| Failure::bad_request("a message's id has 32 hex digits"))?;
    api.command(Command::Cancel { message }).await.map(drop)
}
