//! A devnet with HTTP before it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use smartmesh_contracts::Deployment;
use smartmesh_devnet::beacon::Beacon;
use smartmesh_devnet::{Devnet, Genesis};
use smartmesh_light_client::Fork;
use tokio::net::TcpListener;

use crate::clock;

/// Bytes of one request.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// How often blocks that are due by the clock are looked for.
const TICK: Duration = Duration::from_millis(250);

/// A devnet that answers on a port of this machine until it is dropped.
#[derive(Debug)]
pub struct DevnetServer {
    /// Where.
    pub address: SocketAddr,
    /// The contracts on it.
    pub deployment: Deployment,
    /// The chain itself.
    pub chain: Arc<Mutex<Devnet>>,
    /// The beacon chain that signs it.
    pub beacon: Arc<Mutex<Beacon>>,
    thread: Option<std::thread::JoinHandle<()>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Drop for DevnetServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes a new chain with SmartMesh's contracts and serves its JSON-RPC on a thread of its own.
///
/// # Errors
/// If the port can't be had.
pub fn serve_devnet(address: SocketAddr) -> std::io::Result<DevnetServer> {
    if !address.ip().is_loopback() {
        return Err(std::io::Error::other(
            "a development chain is for this machine alone: use a loopback address",
        ));
    }
    let now = clock::now().unix.as_secs();
    let mut devnet = Devnet::new(&Genesis::dev(now));
    let deployment = devnet
        .deploy_contracts(now)
        .map_err(std::io::Error::other)?;
    let beacon = Arc::new(Mutex::new(Beacon::new(&devnet, Fork::Gloas)));
    let chain = Arc::new(Mutex::new(devnet));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // A node calls this from within its own runtime, where another one's can't be waited for.
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shared = Arc::clone(&chain);
    let both = (Arc::clone(&chain), Arc::clone(&beacon));
    let thread = std::thread::Builder::new()
        .name("devnet".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let listener = match TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => {
                        tracing::error!(%error, "the development chain can't listen");
                        return;
                    }
                };
                tokio::select! {
                    () = serve(listener, both) => {}
                    () = tick(shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
    Ok(DevnetServer {
        address,
        deployment,
        chain,
        beacon,
        thread: Some(thread),
        stop: Some(stop),
    })
}

/// The devnet and the beacon chain over it; whoever wants both locks them in this order.
type Both = (Arc<Mutex<Devnet>>, Arc<Mutex<Beacon>>);

async fn serve(listener: TcpListener, chain: Both) {
    let app = Router::new()
        .route("/", post(answer))
        .route("/eth/v1/{*path}", get(answer_beacon))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(chain);
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "the development chain has stopped");
    }
}

async fn tick(chain: Arc<Mutex<Devnet>>) {
    loop {
        tokio::time::sleep(TICK).await;
        let now = clock::now().unix.as_secs();
        chain
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .tick(now);
    }
}

async fn answer_beacon(State((chain, beacon)): State<Both>, uri: Uri) -> impl IntoResponse {
    std::future::ready(()).await;
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let chain = chain.lock().unwrap_or_else(PoisonError::into_inner);
    let mut beacon = beacon.lock().unwrap_or_else(PoisonError::into_inner);
    let found = path
        .strip_prefix("/eth/v1/")
        .and_then(|path| beacon.answer(&chain, path));
    match found {
        Some(value) => (StatusCode::OK, axum::Json(value)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn answer(State((chain, _)): State<Both>, body: Bytes) -> impl IntoResponse {
    std::future::ready(()).await;
    let now = clock::now().unix.as_secs();
    let mut chain = chain.lock().unwrap_or_else(PoisonError::into_inner);
    (
        [(CONTENT_TYPE, "application/json")],
        chain.handle(&body, now),
    )
}
