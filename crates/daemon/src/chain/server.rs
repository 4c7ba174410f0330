//! A devnet with HTTP before it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use smartmesh_contracts::Deployment;
use smartmesh_devnet::{Devnet, Genesis};
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
                    () = serve(listener, Arc::clone(&shared)) => {}
                    () = tick(shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
    Ok(DevnetServer {
        address,
        deployment,
        chain,
        thread: Some(thread),
        stop: Some(stop),
    })
}

async fn serve(listener: TcpListener, chain: Arc<Mutex<Devnet>>) {
    let app = Router::new()
        .route("/", post(answer))
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

async fn answer(State(chain): State<Arc<Mutex<Devnet>>>, body: Bytes) -> impl IntoResponse {
    std::future::ready(()).await;
    let now = clock::now().unix.as_secs();
    let mut chain = chain.lock().unwrap_or_else(PoisonError::into_inner);
    (
        [(CONTENT_TYPE, "application/json")],
        chain.handle(&body, now),
    )
}
