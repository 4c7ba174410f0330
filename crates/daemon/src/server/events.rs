//! The event stream: one JSON text a WebSocket message.

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use smartmesh_api::Event;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Api;

/// What clients may send: nothing but pings and the end.
const CLIENT_BYTES_MAX: usize = 4_096;

/// All events from now on, as a WebSocket.
#[utoipa::path(get, path = "/v1/events", responses((status = 101, description = "a WebSocket; each message is an Event"), (status = 200, body = Event)))]
pub(super) async fn stream(State(api): State<Api>, upgrade: WebSocketUpgrade) -> Response {
    std::future::ready(()).await;
    // Subscribed before the answer: a client that has the answer misses nothing.
    let events = api.events.subscribe();
    upgrade
        .max_message_size(CLIENT_BYTES_MAX)
        .protocols(["smartmesh"])
        .on_upgrade(|socket| forward(socket, events))
}

async fn forward(mut socket: WebSocket, mut events: broadcast::Receiver<Event>) {
    loop {
        let event = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => event,
                Err(RecvError::Lagged(count)) => Event::Missed { count },
                Err(RecvError::Closed) => return,
            },
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => continue,
            },
        };
        let Ok(text) = serde_json::to_string(&event) else {
            continue;
        };
        if socket.send(Message::Text(text.into())).await.is_err() {
            return;
        }
    }
}
