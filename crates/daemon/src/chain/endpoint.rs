//! Whom the chain is asked of: somebody's JSON-RPC over HTTP, or a devnet in this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use smartmesh_devnet::Devnet;
use thiserror::Error;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use super::light::{Light, NoAnswer};
use crate::clock;

/// How long one question may take before the endpoint counts as silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read: all receipts of a full block have a few MiB.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum EndpointError {
    /// It does not answer, or not in time.
    #[error("the chain's endpoint does not answer ({0})")]
    Silent(String),
    /// It answers what makes no sense.
    #[error("the chain's endpoint answers what makes no sense ({0})")]
    Rubbish(String),
    /// It says no.
    #[error("the chain refuses: {message}")]
    Refused {
        /// JSON-RPC's code.
        code: i64,
        /// In its words.
        message: String,
    },
}

/// A place to ask.
#[derive(Clone)]
pub(crate) enum Endpoint {
    /// By HTTP.
    Remote {
        /// Where.
        url: String,
        /// The client.
        agent: Agent,
    },
    /// In this process.
    Devnet(Arc<Mutex<Devnet>>),
    /// Through the light node, which believes nobody.
    Light(Light),
}

impl Endpoint {
    /// An endpoint at a URL, `http` or `https`.
    pub(crate) fn remote(url: &str) -> Self {
        Self::Remote {
            url: url.to_owned(),
            agent: agent(),
        }
    }

    /// Asks one question.
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Result<Value, EndpointError> {
        match self {
            Self::Remote { url, agent } => {
                let request =
                    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
                let mut response = agent
                    .post(url)
                    .send_json(&request)
                    .map_err(|error| EndpointError::Silent(error.to_string()))?;
                let status = response.status();
                let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
                let text = body
                    .read_to_vec()
                    .map_err(|error| EndpointError::Silent(error.to_string()))?;
                read_answer(&text).map_err(|error| match error {
                    EndpointError::Rubbish(_) if !status.is_success() => {
                        EndpointError::Silent(status.to_string())
                    }
                    error @ (EndpointError::Silent(_)
                    | EndpointError::Rubbish(_)
                    | EndpointError::Refused { .. }) => error,
                })
            }
            Self::Devnet(devnet) => {
                let now = clock::now().unix.as_secs();
                let mut devnet = devnet.lock().unwrap_or_else(PoisonError::into_inner);
                devnet.tick(now);
                devnet
                    .call(method, params, now)
                    .map_err(|error| EndpointError::Refused {
                        code: error.code,
                        message: error.message,
                    })
            }
            Self::Light(light) if method.starts_with("smartmesh_") => {
                light.ask_plainly(method, params)
            }
            Self::Light(light) => match light.ask(method, params) {
                Ok((value, _)) => Ok(value),
                Err(NoAnswer::Source(error)) => Err(error),
                Err(NoAnswer::Rpc(error)) => Err(EndpointError::Refused {
                    code: error.code,
                    message: error.message,
                }),
            },
        }
    }
}

/// An HTTP client that waits only so long and follows nobody elsewhere.
pub(super) fn agent() -> Agent {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build();
    Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .max_redirects(0)
        .tls_config(tls)
        .build()
        .into()
}

fn read_answer(text: &[u8]) -> Result<Value, EndpointError> {
    let rubbish = |reason: &str| EndpointError::Rubbish(reason.to_owned());
    let mut answer: Value = serde_json::from_slice(text).map_err(|_| rubbish("it is not JSON"))?;
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        let message = error.get("message").and_then(Value::as_str);
        return Err(EndpointError::Refused {
            code: error.get("code").and_then(Value::as_i64).unwrap_or(0),
            message: message
                .unwrap_or("no reason given")
                .chars()
                .take(300)
                .collect(),
        });
    }
    answer
        .get_mut("result")
        .map(Value::take)
        .ok_or_else(|| rubbish("it has neither result nor error"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Serves one connection with fixed bytes.
    fn serve(answer: &'static [u8]) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer);
        });
        Endpoint::remote(&url)
    }

    fn ask(answer: &'static [u8]) -> Result<Value, EndpointError> {
        serve(answer).ask("eth_chainId", &json!([]))
    }

    #[test]
    fn every_kind_of_bad_manners_has_its_name() {
        let good = ask(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"result\":\"0x1\"}");
        assert_eq!(good, Ok(json!("0x1")));
        let refused = ask(
            b"HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n{\"error\":{\"code\":-32601,\"message\":\"no such\"}}   ",
        );
        assert_eq!(
            refused,
            Err(EndpointError::Refused {
                code: -32_601,
                message: "no such".to_owned()
            })
        );
        for rubbish in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        ] {
            assert!(matches!(ask(rubbish), Err(EndpointError::Rubbish(_))));
        }
        for silent in [
            &b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"[..],
            b"",
            b"\x00\x01nonsense",
            b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
        ] {
            assert!(
                matches!(ask(silent), Err(EndpointError::Silent(_))),
                "{silent:?}"
            );
        }
    }
}
