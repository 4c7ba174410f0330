//! How a browser comes to a token: by a key that opens once.
//!
//! `smartmesh open` asks for a key and shows an address with it in the fragment, which a browser sends to nobody. The page
//! changes the key for the browsers' token and forgets it, so that neither the history of the browser nor the list of
//! processes holds anything that still opens. The browsers' token survives restarts, else an installed app would be shut
//! out each night; it can be changed, which signs all browsers out.

use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use smartmesh_api::OpenKey;
use smartmesh_crypto::verify_mac;
use smartmesh_types::{Duration, Instant};

use super::{Api, Failure};
use crate::database::Write;
use crate::{clock, entropy};

/// Where the database keeps the browsers' token.
pub(crate) const BROWSERS: &str = "browsers";
/// Long enough to carry an address from a terminal to a browser by hand.
const KEY_LIFE: Duration = Duration::from_secs(600);
/// Keys that wait to be used; the oldest gives way.
const KEYS_MAX: usize = 16;

/// Tokens and keys.
pub(crate) struct Door {
    /// The token of `api.json`.
    programs: String,
    state: Mutex<Open>,
}

struct Open {
    browsers: String,
    keys: Vec<(String, Instant)>,
}

/// 256 random bits as hex.
pub fn secret() -> String {
    hex::encode(entropy::seed().split("door").rng().bytes::<32>())
}

impl Door {
    pub(crate) fn new(programs: String, browsers: String) -> Self {
        let state = Mutex::new(Open {
            browsers,
            keys: Vec::new(),
        });
        Self { programs, state }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this token may use the API; takes the same time wherever the tokens differ.
    pub(crate) fn admits(&self, token: &str) -> bool {
        let program = verify_mac(self.programs.as_bytes(), token.as_bytes());
        let browser = verify_mac(self.open().browsers.as_bytes(), token.as_bytes());
        program | browser
    }

    /// A key that opens once.
    pub(crate) fn new_key(&self) -> String {
        let key = secret();
        let mut open = self.open();
        if open.keys.len() >= KEYS_MAX {
            open.keys.remove(0);
        }
        open.keys.push((key.clone(), clock::monotonic() + KEY_LIFE));
        key
    }

    /// The browsers' token, if the key opens; it does not open again.
    fn enter(&self, key: &str) -> Option<String> {
        let now = clock::monotonic();
        let mut open = self.open();
        open.keys.retain(|(_, until)| *until > now);
        let place = open
            .keys
            .iter()
            .position(|(known, _)| verify_mac(known.as_bytes(), key.as_bytes()))?;
        open.keys.remove(place);
        Some(open.browsers.clone())
    }
}

/// The address of the app with a key in its fragment.
pub(crate) fn address(url: &str, key: &str) -> String {
    format!("{url}/#open={key}")
}

/// Makes an address that opens the app in a browser, once, within ten minutes.
#[utoipa::path(post, path = "/v1/browsers/key", responses((status = 200, body = OpenKey)))]
pub(super) async fn key(State(api): State<Api>) -> Json<OpenKey> {
    std::future::ready(()).await;
    let url = format!("http://{}", api.address);
    Json(OpenKey {
        url: address(&url, &api.door.new_key()),
        valid_secs: KEY_LIFE.as_secs(),
    })
}

/// Signs all browsers out.
#[utoipa::path(delete, path = "/v1/browsers", responses((status = 200)))]
pub(super) async fn sign_out(State(api): State<Api>) -> Result<(), Failure> {
    let token = secret();
    api.disk
        .save(Write::Meta {
            name: BROWSERS,
            value: token.clone().into_bytes(),
        })
        .await?;
    let mut open = api.door.open();
    open.browsers = token;
    open.keys.clear();
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    key: String,
}

#[derive(Serialize)]
pub(super) struct Token {
    token: String,
}

/// Changes a key for the browsers' token. Needs no token, but the same host and origin as everything.
pub(super) async fn enter(
    State(api): State<Api>,
    Json(body): Json<Key>,
) -> Result<Json<Token>, Failure> {
    std::future::ready(()).await;
    match api.door.enter(&body.key) {
        Some(token) => Ok(Json(Token { token })),
        None => Err(Failure::unauthorized().advise("`smartmesh open` makes a new address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_once_and_old_ones_give_way() {
        let door = Door::new("aa".into(), "bb".into());
        assert!(door.admits("aa") && door.admits("bb"));
        assert!(!door.admits("a") && !door.admits("") && !door.admits("cc"));
        let key = door.new_key();
        assert_eq!(door.enter("00"), None);
        assert_eq!(door.enter(&key).as_deref(), Some("bb"));
        assert_eq!(door.enter(&key), None);
        let first = door.new_key();
        for _ in 0..KEYS_MAX {
            door.new_key();
        }
        assert_eq!(door.enter(&first), None);
    }
}
