//! The page of the village: the phones side by side, a picture of who hears whom, and what a visitor may change.
//!
//! It is served by the demo itself, on loopback, behind the same guards as a node: the host and the origin must be its own,
//! and everything but the page's files wants the token of the address that the demo shows.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use smartmesh_api::OpenKey;
use smartmesh_daemon::{app_file, new_secret};
use tokio::net::TcpListener;

use super::air::{Air, HEIGHT, REACH, Spot, WIDTH};
use super::village::Person;
use crate::client::Client;

/// Wishes that may wait; the story's thread looks ten times a second.
const WISHES_MAX: usize = 16;

/// What the page asks of the story's thread, which owns the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Switch a phone on or off.
    Power { person: Person, on: bool },
}

/// What the page shows and the story changes.
#[derive(Debug, Default)]
struct Told {
    running: BTreeMap<Person, bool>,
    story: Vec<Telling>,
    /// Whether the story is at its end, and the visitor may change things.
    is_over: bool,
}

/// One sentence of the story.
#[derive(Clone, Debug, Serialize)]
struct Telling {
    /// How long it took, if that was measured.
    millis: Option<u64>,
    text: String,
}

/// The page, from the story's side.
#[derive(Clone)]
pub(super) struct Stage {
    told: Arc<Mutex<Told>>,
    address: SocketAddr,
    token: Arc<str>,
}

#[derive(Clone)]
struct Served {
    stage: Stage,
    air: Air,
    folders: Arc<BTreeMap<Person, PathBuf>>,
    wishes: mpsc::SyncSender<Wish>,
    policy: HeaderValue,
}

impl Stage {
    /// Serves the page on a free port of loopback; what it wishes comes out of the channel.
    pub(super) async fn serve(
        air: Air,
        folders: BTreeMap<Person, PathBuf>,
    ) -> io::Result<(Self, mpsc::Receiver<Wish>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let stage = Self {
            told: Arc::default(),
            address: listener.local_addr()?,
            token: new_secret().into(),
        };
        let (wishes, heard) = mpsc::sync_channel(WISHES_MAX);
        let served = Served {
            stage: stage.clone(),
            air,
            folders: Arc::new(folders),
            wishes,
            policy: policy(),
        };
        tokio::spawn(async move {
            let _ = axum::serve(listener, router(served)).await;
        });
        Ok((stage, heard))
    }

    /// Where the page is, without its token.
    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address to show to the visitor.
    pub(super) fn url(&self) -> String {
        format!("{}/village#village={}", self.origin(), self.token)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_running(&self, person: Person, running: bool) {
        self.told().running.insert(person, running);
    }

    /// From now on the visitor may change things.
    pub(super) fn end_story(&self) {
        self.told().is_over = true;
    }

    /// Adds a sentence to the story.
    pub(super) fn tell(&self, millis: Option<u64>, text: &str) {
        let text = text.trim().to_owned();
        self.told().story.push(Telling { millis, text });
    }
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/village/state", get(state))
        .route("/village/open/{name}", post(open))
        .route("/village/move", post(walk))
        .route("/village/cut", post(cut))
        .route("/village/power", post(power))
        .route_layer(from_fn_with_state(served.clone(), require_token))
        .fallback(file)
        .layer(from_fn_with_state(served.clone(), check_origin))
        .with_state(served)
}

/// The page runs and shows nothing but its own, and the phones in their frames.
fn policy() -> HeaderValue {
    let frames: Vec<String> = Person::ALL
        .iter()
        .map(|person| format!("http://{}:*", person.host()))
        .collect();
    let policy = format!(
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; frame-src {}",
        frames.join(" ")
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

async fn check_origin(State(served): State<Served>, request: Request, next: Next) -> Response {
    let ours = served.stage.address.to_string();
    let headers = request.headers();
    let is_host = text(headers, &header::HOST) == Some(ours.as_str());
    let origin = text(headers, &header::ORIGIN);
    let is_own = origin.is_none_or(|origin| origin == served.stage.origin());
    let mut response = if is_host && is_own {
        next.run(request).await
    } else {
        StatusCode::FORBIDDEN.into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, served.policy.clone());
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

async fn require_token(State(served): State<Served>, request: Request, next: Next) -> Response {
    let wanted = format!("Bearer {}", served.stage.token);
    if text(request.headers(), &header::AUTHORIZATION) == Some(wanted.as_str()) {
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

async fn file(request: Request) -> Response {
    std::future::ready(()).await;
    app_file(request.uri().path()).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

#[derive(Serialize)]
struct PhoneShown {
    name: &'static str,
    x: i32,
    y: i32,
    running: bool,
}

#[derive(Serialize)]
struct LineShown {
    a: &'static str,
    b: &'static str,
    cut: bool,
    bytes: u64,
}

#[derive(Serialize)]
struct Shown {
    width: i32,
    height: i32,
    reach: i32,
    phones: Vec<PhoneShown>,
    lines: Vec<LineShown>,
    story: Vec<Telling>,
    told: bool,
}

async fn state(State(served): State<Served>) -> Json<Shown> {
    std::future::ready(()).await;
    let told = served.stage.told();
    let phones = Person::ALL.iter().filter_map(|person| {
        let spot = served.air.spot(*person)?;
        Some(PhoneShown {
            name: person.name(),
            x: spot.x,
            y: spot.y,
            running: told.running.get(person).copied().unwrap_or(false),
        })
    });
    let lines = served.air.lines().into_iter().map(|line| LineShown {
        a: line.a.name(),
        b: line.b.name(),
        cut: line.is_cut,
        bytes: line.bytes,
    });
    Json(Shown {
        width: WIDTH,
        height: HEIGHT,
        reach: REACH,
        phones: phones.collect(),
        lines: lines.collect(),
        story: told.story.clone(),
        told: told.is_over,
    })
}

/// An address that opens somebody's app once, from their node.
async fn open(
    State(served): State<Served>,
    Path(name): Path<String>,
) -> Result<Json<OpenKey>, StatusCode> {
    let person = Person::named(&name).ok_or(StatusCode::NOT_FOUND)?;
    let folder = served.folders.get(&person).cloned();
    let folder = folder.ok_or(StatusCode::NOT_FOUND)?;
    let key = tokio::task::spawn_blocking(move || {
        Client::connect(&folder)?.post::<OpenKey>("/v1/browsers/key", &json!({}))
    });
    match key.await {
        Ok(Ok(key)) => Ok(Json(key)),
        Ok(Err(_)) | Err(_) => Err(StatusCode::CONFLICT),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Walk {
    name: String,
    x: i32,
    y: i32,
}

async fn walk(State(served): State<Served>, Json(walk): Json<Walk>) -> Result<(), StatusCode> {
    std::future::ready(()).await;
    let person = Person::named(&walk.name).ok_or(StatusCode::NOT_FOUND)?;
    served.air.place(
        person,
        Spot {
            x: walk.x,
            y: walk.y,
        },
    );
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cut {
    a: String,
    b: String,
    cut: bool,
}

async fn cut(State(served): State<Served>, Json(cut): Json<Cut>) -> Result<(), StatusCode> {
    std::future::ready(()).await;
    let (a, b) = Person::named(&cut.a)
        .zip(Person::named(&cut.b))
        .ok_or(StatusCode::NOT_FOUND)?;
    served.air.set_cut(a, b, cut.cut);
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Power {
    name: String,
    on: bool,
}

async fn power(State(served): State<Served>, Json(power): Json<Power>) -> Result<(), StatusCode> {
    std::future::ready(()).await;
    let person = Person::named(&power.name).ok_or(StatusCode::NOT_FOUND)?;
    let wish = Wish::Power {
        person,
        on: power.on,
    };
    served
        .wishes
        .try_send(wish)
        .map_err(|_| StatusCode::TOO_MANY_REQUESTS)
}
