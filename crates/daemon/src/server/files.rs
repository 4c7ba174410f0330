//! Files: cut into chunks as they come in, put together as they go out; never whole in memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use smartmesh_api::{FetchState, File, FileOffer, Message, Shared};
use smartmesh_node::{Command, INLINE_BYTES_MAX};
use smartmesh_storage::{Chunk, Reader, Reference, Splitter};
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::messages::find;
use super::{Api, Failure};
use crate::ask::{Answer, Ask};
use crate::convert;
use crate::database::{Page, Write};
use crate::entropy;

/// The largest file that is taken in, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// File name, as in the offer.
const NAME_BYTES_MAX: usize = 255;
/// Chunks given to the disk at a time.
const CHUNKS_A_WRITE: usize = 64;
/// Hex digits of a plain reference.
const PLAIN_DIGITS: usize = 64;
/// Pieces of a file on their way to a client.
const PIECES_MAX: usize = 16;

/// What a file is and for whom.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Upload {
    /// File name without a path.
    name: String,
    /// Media type.
    #[serde(default)]
    media_type: String,
    /// To whom to offer it: an address, a contact's name, or an invite; nobody if it is missing.
    to: Option<String>,
    /// Stores it under a plain Swarm reference; otherwise each upload is encrypted under its own key.
    #[serde(default)]
    plain: bool,
}

/// Stores the body as a file and offers it.
#[utoipa::path(post, path = "/v1/files", params(Upload), request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses((status = 200, body = Shared)))]
pub(super) async fn share(
    State(api): State<Api>,
    Query(upload): Query<Upload>,
    mut body: Body,
) -> Result<Json<Shared>, Failure> {
    if upload.name.is_empty()
        || upload.name.len() > NAME_BYTES_MAX
        || upload.name.contains(['/', '\0'])
    {
        return Err(Failure::bad_request(
            "a file name has 1 to 255 bytes and no slash",
        ));
    }
    // Asked before the bytes come: a wrong name should not cost an upload.
    let to = match &upload.to {
        Some(who) => Some(api.correspondent(who).await?),
        None => None,
    };
    let mut splitter = if upload.plain {
        Splitter::plain()
    } else {
        Splitter::encrypted(entropy::seed().split("file").rng())
    };
    let mut chunks = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame
            .map_err(|error| Failure::bad_request(format!("the upload broke off: {error}")))?;
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        splitter.push(&bytes, &mut chunks);
        if splitter.length() > FILE_BYTES_MAX {
            return Err(Failure::too_large("files have at most 4 GiB"));
        }
        if chunks.len() >= CHUNKS_A_WRITE {
            store(&api, &mut chunks).await?;
        }
    }
    let size = splitter.length();
    let reference = splitter.finish(&mut chunks).to_bytes();
    store(&api, &mut chunks).await?;
    let offer = smartmesh_node::FileOffer {
        reference,
        size,
        name: upload.name,
        media_type: upload.media_type,
    };
    let file = convert::file_offer(&offer);
    api.disk
        .save(Write::File {
            reference: file.reference.clone(),
            state: FetchState::Complete,
        })
        .await?;
    let Some(to) = to else {
        return Ok(Json(Shared {
            message: None,
            file,
        }));
    };
    let command = Command::OfferFile { to, offer };
    let Answer::Queued(message) = api.command(command).await? else {
        return Err(Failure::unexpected());
    };
    Ok(Json(Shared {
        message: Some(message.to_string()),
        file,
    }))
}

/// Has chunks on disk before it returns.
async fn store(api: &Api, chunks: &mut Vec<Chunk>) -> Result<(), Failure> {
    let chunks = chunks
        .drain(..)
        .map(|chunk| (chunk.address().0, chunk.into_bytes()));
    api.disk.save(Write::Chunks(chunks.collect())).await?;
    Ok(())
}

/// All files of the history, newest last.
#[utoipa::path(get, path = "/v1/files", responses((status = 200, body = Vec<File>)))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Vec<File>>, Failure> {
    let messages = api
        .disk
        .read(|database| database.messages(Page::After(0), usize::MAX, None))
        .await??;
    let mut files = Vec::new();
    for message in messages {
        if let Some(file) = &message.file {
            let fetch = fetch_state(&api, &file.reference).await?;
            files.push(File {
                message: message.id.clone(),
                from: message.peer.clone(),
                file: file.clone(),
                fetch,
            });
        }
    }
    Ok(Json(files))
}

async fn fetch_state(api: &Api, reference: &str) -> Result<FetchState, Failure> {
    let asked = reference.to_owned();
    if let Some(bytes) = api.ask(|answer| Ask::Fetching(asked, answer)).await? {
        return Ok(FetchState::Fetching { bytes });
    }
    let wanted = reference.to_owned();
    let state = api
        .disk
        .read(move |database| database.file(&wanted))
        .await??;
    Ok(state.unwrap_or(FetchState::Offered))
}

async fn offer_of(api: &Api, id: &str) -> Result<(Message, FileOffer), Failure> {
    let message = find(api, id).await?;
    match message.file.clone() {
        Some(file) => Ok((message, file)),
        None => Err(Failure::bad_request(format!(
            "the message {id} offers no file"
        ))),
    }
}

/// Fetches an offered file's chunks from whoever has them; progress comes as events.
#[utoipa::path(post, path = "/v1/files/{message}/fetch", params(("message" = String, Path)), responses((status = 200, body = File)))]
pub(super) async fn fetch(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<File>, Failure> {
    let (message, file) = offer_of(&api, &id).await?;
    let mut state = fetch_state(&api, &file.reference).await?;
    let (Ok(from), Some(offer)) = (message.peer.parse(), convert::node_offer(&file)) else {
        return Err(Failure::bad_request("the offer is damaged"));
    };
    match state {
        FetchState::Complete | FetchState::Fetching { .. } => {}
        FetchState::Offered | FetchState::Stopped { .. } => {
            let stopped = FetchState::Stopped {
                reason: "the node was stopped".to_owned(),
            };
            api.disk
                .save(Write::File {
                    reference: file.reference.clone(),
                    state: stopped,
                })
                .await?;
            api.command(Command::FetchFile { from, offer }).await?;
            state = fetch_state(&api, &file.reference).await?;
        }
    }
    Ok(Json(File {
        message: message.id,
        from: message.peer,
        file,
        fetch: state,
    }))
}

/// Stops a fetch; what arrived stays.
#[utoipa::path(delete, path = "/v1/files/{message}/fetch", params(("message" = String, Path)), responses((status = 200)))]
pub(super) async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Result<(), Failure> {
    let (_, file) = offer_of(&api, &id).await?;
    let reference =
        hex::decode(&file.reference).map_err(|_| Failure::bad_request("the offer is damaged"))?;
    api.command(Command::CancelFetch { reference })
        .await
        .map(drop)
}

/// The bytes of a file that is here; each chunk is verified once more on the way.
#[utoipa::path(get, path = "/v1/files/{message}/content", params(("message" = String, Path)), responses((status = 200, content_type = "application/octet-stream")))]
pub(super) async fn content(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let (_, file) = offer_of(&api, &id).await?;
    let reference = hex::decode(&file.reference)
        .ok()
        .and_then(|bytes| Reference::from_bytes(&bytes).ok())
        .ok_or_else(|| Failure::bad_request("the offer is damaged"))?;
    if fetch_state(&api, &file.reference).await? != FetchState::Complete {
        return Err(Failure::not_found_thing("the file is not here yet").advise("fetch it first"));
    }
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        if let Err(failure) = send_pieces(&api, reference, &pieces).await {
            let _ = pieces.send(Err(std::io::Error::other(failure))).await;
        }
    });
    let mut response = Response::new(Body::new(Pieces(receiver)));
    let headers = response.headers_mut();
    // Always as a download: a page or a picture from somebody else must not become part of this origin.
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.size));
    Ok(response)
}

/// The whole of a file that is small enough to ride inside a message, if its reference is plain.
///
/// # Errors
/// If the file is not here.
pub(super) async fn small(api: &Api, file: &FileOffer) -> Result<Option<Vec<u8>>, Failure> {
    if fetch_state(api, &file.reference).await? != FetchState::Complete {
        return Err(Failure::not_found_thing("this file is not stored here")
            .advise("store it with `POST /v1/files` first"));
    }
    let reference = hex::decode(&file.reference)
        .ok()
        .and_then(|bytes| Reference::from_bytes(&bytes).ok())
        .ok_or_else(|| Failure::bad_request("the file's reference is damaged"))?;
    let size = usize::try_from(file.size).unwrap_or(usize::MAX);
    if size > INLINE_BYTES_MAX || file.reference.len() != PLAIN_DIGITS {
        return Ok(None);
    }
    let (pieces, mut receiver) = mpsc::channel(PIECES_MAX);
    send_pieces(api, reference, &pieces)
        .await
        .map_err(Failure::not_found_thing)?;
    drop(pieces);
    let mut bytes = Vec::new();
    while let Some(piece) = receiver.recv().await {
        bytes.extend_from_slice(&piece.unwrap_or_default());
    }
    Ok((bytes.len() == size).then_some(bytes))
}

async fn send_pieces(
    api: &Api,
    reference: Reference,
    pieces: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), String> {
    let mut reader = Reader::new(reference);
    while let Some(address) = reader.wanted() {
        let chunk = api
            .disk
            .read(move |database| database.chunk(&address.0))
            .await
            .map_err(|gone| gone.to_string())?;
        let chunk = chunk
            .map_err(|error| error.to_string())?
            .ok_or("a chunk is missing")?;
        let bytes = reader.supply(chunk).map_err(|error| error.to_string())?;
        if !bytes.is_empty() && pieces.send(Ok(bytes.into())).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A file on its way out.
struct Pieces(mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let piece = std::task::ready!(self.0.poll_recv(cx));
        Poll::Ready(piece.map(|piece| piece.map(http_body::Frame::data)))
    }
}
