//! The local API from the outside: the only thing the commands use.

use std::fs::File;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use smartmesh_api::{Connection, ErrorBody, Event};
use smartmesh_daemon::{ConnectionError, read_connection};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};
use ureq::http::Response;
use ureq::{Agent, Body, SendBody};

/// Why the node did not do it.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// There is none.
    NoNode(ConnectionError),
    /// There was one.
    Gone {
        /// Where its API was.
        url: String,
    },
    /// It said no.
    Refused {
        error: String,
        advice: Option<String>,
    },
    /// Somebody was not reached.
    NotReached(String),
    /// Its answer makes no sense.
    Answer(String),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoNode(error) => error.fmt(f),
            Self::Gone { url } => write!(
                f,
                "the node at {url} does not answer any more; start it again with `smartmesh up`"
            ),
            Self::Refused { error, .. } | Self::NotReached(error) => f.write_str(error),
            Self::Answer(reason) => write!(
                f,
                "the node's answer can't be read ({reason}); are both of the same version?"
            ),
        }
    }
}

impl std::error::Error for ClientError {}

/// A connection to the running node.
pub(crate) struct Client {
    connection: Connection,
    agent: Agent,
}

impl Client {
    /// Finds the node of this data folder.
    pub(crate) fn connect(folder: &Path) -> Result<Self, ClientError> {
        let connection = read_connection(folder).map_err(ClientError::NoNode)?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        Ok(Self { connection, agent })
    }

    /// Where the API is.
    pub(crate) fn url(&self) -> &str {
        &self.connection.url
    }

    /// The node's process.
    pub(crate) fn pid(&self) -> u32 {
        self.connection.pid
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.connection.token)
    }

    fn full(&self, path: &str) -> String {
        format!("{}{path}", self.connection.url)
    }

    fn gone(&self) -> ClientError {
        ClientError::Gone {
            url: self.connection.url.clone(),
        }
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        read(self.get_raw(path)?)
    }

    fn get_raw(&self, path: &str) -> Result<Response<Body>, ClientError> {
        let request = self
            .agent
            .get(self.full(path))
            .header("Authorization", self.bearer());
        check(request.call().map_err(|_| self.gone())?)
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        read(self.post_raw(path, body)?)
    }

    /// Posts where the answer has no body.
    pub(crate) fn tell(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        self.post_raw(path, body).map(drop)
    }

    fn post_raw(&self, path: &str, body: &impl Serialize) -> Result<Response<Body>, ClientError> {
        let request = self
            .agent
            .post(self.full(path))
            .header("Authorization", self.bearer());
        check(request.send_json(body).map_err(|_| self.gone())?)
    }

    pub(crate) fn delete(&self, path: &str) -> Result<(), ClientError> {
        let request = self
            .agent
            .delete(self.full(path))
            .header("Authorization", self.bearer());
        check(request.call().map_err(|_| self.gone())?).map(drop)
    }

    /// Deletes where the answer has a body.
    pub(crate) fn delete_for<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self
            .agent
            .delete(self.full(path))
            .header("Authorization", self.bearer());
        read(check(request.call().map_err(|_| self.gone())?)?)
    }

    /// Sends a file as it is read.
    pub(crate) fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        file: File,
    ) -> Result<T, ClientError> {
        let request = self
            .agent
            .post(self.full(path))
            .header("Authorization", self.bearer())
            .header("Content-Type", "application/octet-stream");
        let response = request
            .send(SendBody::from_owned_reader(file))
            .map_err(|_| self.gone())?;
        read(check(response)?)
    }

    /// The bytes of an answer, as they come.
    pub(crate) fn download(&self, path: &str) -> Result<impl Read + use<>, ClientError> {
        Ok(self.get_raw(path)?.into_body().into_reader())
    }

    /// All events from now on.
    pub(crate) fn events(&self) -> Result<Events, ClientError> {
        let authority = self.connection.url.trim_start_matches("http://");
        let stream = TcpStream::connect(authority).map_err(|_| self.gone())?;
        let mut request = format!("ws://{authority}/v1/events")
            .into_client_request()
            .map_err(|error| ClientError::Answer(error.to_string()))?;
        let token = self
            .bearer()
            .parse()
            .map_err(|_| ClientError::Answer("a token that is no header".to_owned()))?;
        request.headers_mut().insert("Authorization", token);
        let (socket, _) = tungstenite::client(request, stream)
            .map_err(|error| ClientError::Answer(error.to_string()))?;
        Ok(Events {
            socket,
            url: self.connection.url.clone(),
        })
    }
}

/// The event stream.
pub(crate) struct Events {
    socket: WebSocket<TcpStream>,
    url: String,
}

impl Events {
    /// Waits for the next event, or for so long; `None` if nothing came.
    pub(crate) fn next(&mut self, wait: Duration) -> Result<Option<Event>, ClientError> {
        let gone = || ClientError::Gone {
            url: self.url.clone(),
        };
        self.socket
            .get_ref()
            .set_read_timeout(Some(wait))
            .map_err(|_| gone())?;
        match self.socket.read() {
            Ok(Message::Text(text)) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| ClientError::Answer(error.to_string())),
            Ok(Message::Close(_)) => Err(gone()),
            Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {
                Ok(None)
            }
            Err(tungstenite::Error::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                Ok(None)
            }
            Err(_) => Err(gone()),
        }
    }
}

fn check(mut response: Response<Body>) -> Result<Response<Body>, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.body_mut().read_to_string().unwrap_or_default();
    let body = serde_json::from_str(&text).unwrap_or(ErrorBody {
        error: format!("{status}: {text}"),
        advice: None,
    });
    Err(match status.as_u16() {
        502 | 504 => ClientError::NotReached(match body.advice {
            Some(advice) => format!("{}; {advice}", body.error),
            None => body.error,
        }),
        _ => ClientError::Refused {
            error: body.error,
            advice: body.advice,
        },
    })
}

fn read<T: DeserializeOwned>(mut response: Response<Body>) -> Result<T, ClientError> {
    let body = response.body_mut().with_config().limit(64 << 20);
    body.read_json()
        .map_err(|error| ClientError::Answer(error.to_string()))
}

/// A value as part of a query, percent-encoded (RFC 3986 §2.1).
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("Zoë & co/1.jpg"), "Zo%C3%AB%20%26%20co%2F1.jpg");
    }

    #[test]
    fn no_node_is_told_with_what_to_do() {
        let error = Client::connect(Path::new("/nonexistent")).err().unwrap();
        assert!(error.to_string().contains("smartmesh up"), "{error}");
    }
}
