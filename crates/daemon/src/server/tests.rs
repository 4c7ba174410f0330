use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use smartmesh_crypto::{Identity, Seed, StoreKey};
use tower::ServiceExt;

use super::*;
use crate::ask::ASKS_MAX;
use crate::database::{Database, Write};
use crate::disk::JOBS_MAX;

const TOKEN: &str = "5a5a";
const HOST: &str = "127.0.0.1:21326";

struct Test {
    app: Router,
    disk: Disk<Mark>,
    asks: mpsc::Receiver<Ask>,
    _replies: mpsc::Receiver<crate::disk::DiskReply<Mark>>,
    _folder: tempfile::TempDir,
}

fn test() -> Test {
    let folder = tempfile::tempdir().unwrap();
    let seed = Seed::new([1; 32]);
    let database =
        Database::open(&folder.path().join("d"), StoreKey::new([2; 32]), seed.rng()).unwrap();
    let (replies, heard) = mpsc::channel(JOBS_MAX * 2);
    let (disk, _) = Disk::start(database, replies);
    let identity = Identity::from_secret([1; 32]);
    let info = Info {
        address: identity.address(),
        key: identity.key(),
        framed_by: None,
        data: folder.path().into(),
        protection: Protection::Device,
        clock_warning: None,
    };
    let (asks, from_api) = mpsc::channel(ASKS_MAX);
    let (events, _) = broadcast::channel(16);
    let (money, money_state) = money(folder.path(), &seed);
    let lines = Lines {
        light: None,
        asks,
        disk: disk.clone(),
        events,
        money,
        money_state,
    };
    let app = router(
        info,
        Name {
            text: "Ann".into(),
            chosen: true,
        },
        Arc::new(Door::new(TOKEN.into(), "6b6b".into())),
        HOST.parse().unwrap(),
        lines,
    );
    Test {
        app,
        disk,
        asks: from_api,
        _replies: heard,
        _folder: folder,
    }
}

/// A wallet without access to a chain.
fn money(path: &std::path::Path, seed: &Seed) -> (Arc<MoneyInfo>, watch::Receiver<MoneyState>) {
    let folder = Arc::new(crate::folder::Folder::open(path).unwrap());
    let file = crate::wallet::WalletFile::new(folder, StoreKey::new([3; 32]));
    let info = Arc::new(MoneyInfo {
        keys: file.open(&mut seed.rng()).unwrap(),
        file,
        deployment: None,
        access: None,
        confirmations: 6,
    });
    let (_, seen) = crate::money::Money::new(Arc::clone(&info));
    (info, seen)
}

fn get(path: &str) -> axum::http::request::Builder {
    Request::get(path)
        .header(header::HOST, HOST)
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
}

impl Test {
    async fn ask(&self, request: Request<Body>) -> Response {
        self.app.clone().oneshot(request).await.unwrap()
    }

    async fn status(&self, request: axum::http::request::Builder) -> StatusCode {
        self.ask(request.body(Body::empty()).unwrap())
            .await
            .status()
    }
}

#[tokio::test]
async fn every_path_but_the_description_wants_the_token() {
    let test = test();
    let answer = test
        .ask(get("/openapi.json").body(Body::empty()).unwrap())
        .await;
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let description: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let mut checked = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            for token in [
                None,
                Some("Bearer 5a5b"),
                Some("Bearer "),
                Some("5a5a"),
                Some("Bearer 5a5a5a"),
            ] {
                let path = path.replace(['{', '}'], "");
                let mut request = Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(path.as_str())
                    .header(header::HOST, HOST);
                if let Some(token) = token {
                    request = request.header(header::AUTHORIZATION, token);
                }
                assert_eq!(
                    test.status(request).await,
                    StatusCode::UNAUTHORIZED,
                    "{method} {path} {token:?}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
    assert_eq!(test.status(get("/v1/id")).await, StatusCode::OK);
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_even_with_the_token() {
    let test = test();
    for path in ["/v1/id", "/openapi.json", "/", "/v1/events"] {
        let request = Request::get(path)
            .header(header::HOST, "evil.example")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        assert_eq!(test.status(request).await, StatusCode::FORBIDDEN, "{path}");
        let request = get(path).header(header::ORIGIN, "http://evil.example");
        assert_eq!(test.status(request).await, StatusCode::FORBIDDEN, "{path}");
    }
    let preflight = Request::options("/v1/messages")
        .header(header::HOST, HOST)
        .header(header::ORIGIN, format!("http://{HOST}"));
    let answer = test.ask(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(
        answer
            .headers()
            .get(header::ACCESS_CONTROL_ALLOW_ORIGIN)
            .is_none()
    );
    assert_eq!(
        test.status(get("/v1/id").header(header::ORIGIN, format!("http://{HOST}")))
            .await,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_browser_may_give_the_token_as_a_subprotocol() {
    let test = test();
    let request = Request::get("/v1/id").header(header::HOST, HOST).header(
        header::SEC_WEBSOCKET_PROTOCOL,
        format!("smartmesh, bearer.{TOKEN}"),
    );
    assert_eq!(test.status(request).await, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_carries_the_policy() {
    let test = test();
    for request in [
        get("/v1/id"),
        get("/nowhere"),
        Request::get("/").header(header::HOST, "evil.example"),
    ] {
        let answer = test.ask(request.body(Body::empty()).unwrap()).await;
        assert!(
            answer.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .contains("frame-ancestors 'none'")
        );
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    }
}

#[tokio::test]
async fn only_json_of_bounded_size_changes_anything() {
    let mut test = test();
    let post = |kind: &str, body: String| {
        Request::post("/v1/messages")
            .header(header::HOST, HOST)
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body))
            .unwrap()
    };
    let text = r#"{"to":"Ann","text":"hello"}"#.to_owned();
    for (request, status) in [
        (
            post("text/plain", text.clone()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            post("application/x-www-form-urlencoded", text),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            post("application/json", "{".into()),
            StatusCode::BAD_REQUEST,
        ),
        (
            post(
                "application/json",
                r#"{"to":"a","text":"b","admin":true}"#.into(),
            ),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            post(
                "application/json",
                format!("\"{}\"", "x".repeat(JSON_BYTES_MAX)),
            ),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ] {
        assert_eq!(test.ask(request).await.status(), status);
    }
    assert!(test.asks.try_recv().is_err(), "none of it reached the node");
}

#[tokio::test]
async fn files_come_in_and_go_out_in_chunks_and_not_under_this_origin() {
    let mut test = test();
    let content: Vec<u8> = (0..50_000_u32)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let upload = Request::post("/v1/files?name=photo.jpg")
        .header(header::HOST, HOST)
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(Body::from(content.clone()))
        .unwrap();
    let answer = test.ask(upload).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let shared: smartmesh_api::Shared = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (shared.file.size, shared.file.reference.len()),
        (50_000, 128)
    );
    let message = smartmesh_api::Message {
        id: "ab".into(),
        sequence: 1,
        peer: "fd53:4d00::1".into(),
        file: Some(shared.file),
        ..smartmesh_api::Message::default()
    };
    test.disk
        .save(Write::Message(Box::new(message)))
        .await
        .unwrap();
    let app = test.app.clone();
    let download = tokio::spawn(async move {
        app.oneshot(get("/v1/files/ab/content").body(Body::empty()).unwrap())
            .await
            .unwrap()
    });
    let Some(Ask::Fetching(_, answer)) = test.asks.recv().await else {
        panic!("the loop is asked whether it is coming")
    };
    answer.send(None).unwrap();
    let answer = download.await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        answer.headers()[header::CONTENT_TYPE],
        "application/octet-stream"
    );
    assert_eq!(answer.headers()[header::CONTENT_DISPOSITION], "attachment");
    assert_eq!(
        to_bytes(answer.into_body(), 1 << 20).await.unwrap(),
        content
    );
}

#[tokio::test]
async fn a_name_that_is_a_path_is_refused() {
    let test = test();
    for name in ["", "..%2Fx", "%00"] {
        let request = Request::post(format!("/v1/files?name={name}"))
            .header(header::HOST, HOST)
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        assert_eq!(
            test.status(request).await,
            StatusCode::BAD_REQUEST,
            "{name}"
        );
    }
}

/// The app's client is made from `web/openapi.json`; `cargo xtask describe` writes it anew when the API changes.
#[test]
fn the_app_is_built_with_the_served_description() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/openapi.json");
    let served = page::described().to_pretty_json().unwrap();
    if std::env::var_os("SMARTMESH_DESCRIBE").is_some() {
        std::fs::write(path, format!("{served}\n")).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    // As values: the order of members means nothing.
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    assert!(
        read(&kept) == read(&served),
        "web/openapi.json is not what the node serves; run `cargo xtask describe`"
    );
}

#[tokio::test]
async fn a_browser_enters_with_a_key_that_opens_once() {
    let test = test();
    let post = |path: &str, token: &str, body: String| {
        Request::post(path)
            .header(header::HOST, HOST)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap()
    };
    let json = async |answer: Response| -> serde_json::Value {
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    };
    let key = json(test.ask(post("/v1/browsers/key", TOKEN, "{}".into())).await).await;
    let (page, key) = key["url"].as_str().unwrap().split_once("/#open=").unwrap();
    assert_eq!(page, format!("http://{HOST}"));
    let body = serde_json::json!({ "key": key }).to_string();
    let entered = json(test.ask(post("/enter", "", body.clone())).await).await;
    let token = entered["token"].as_str().unwrap();
    assert_ne!(token, TOKEN);
    let id = || {
        Request::get("/v1/id")
            .header(header::HOST, HOST)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
    };
    assert_eq!(test.status(id()).await, StatusCode::OK);
    let again = test.ask(post("/enter", "", body)).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    let out = Request::delete("/v1/browsers")
        .header(header::HOST, HOST)
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    assert_eq!(test.status(out).await, StatusCode::OK);
    assert_eq!(test.status(id()).await, StatusCode::UNAUTHORIZED);
}
