//! Starts a node, runs its one loop, and stops it.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use smartmesh_api::Connection;
use smartmesh_crypto::PassphraseCost;
use smartmesh_node::{Config, Input, Node};
use smartmesh_radio::{RadioSettings, Radios, Tunnel};
use smartmesh_types::{Address, Duration, Instant, Now};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc};

use crate::ask::{ASKS_MAX, Ask};
use crate::chain::{ChainOpened, Report};
use crate::database::{self, Database, Write};
use crate::disk::{Disk, DiskReply, JOBS_MAX};
use crate::folder::Folder;
use crate::keystore::{self, Protection};
use crate::money::{Money, MoneyInfo};
use crate::server::{self, Door, Info, Lines, Name};
use crate::settings::{RunError, Settings};
use crate::shell::{Loop, Mark, Shell};
use crate::wallet::WalletFile;
use crate::{clock, entropy};

/// Events that a slow client of the event stream may be behind; then it is told how many it missed.
const EVENTS_MAX: usize = 1_024;
/// Replies of the disk taken in one turn of the loop.
const REPLIES_A_TURN: usize = 256;
/// Batches of IP packets taken in one turn; each has at most 64 KiB.
const TUNNEL_BATCHES_A_TURN: usize = 4;
/// Reports of the chain's thread that may wait; then it waits.
const REPORTS_MAX: usize = 16;
/// How often the wall time is kept on disk.
const REMEMBER_TIME: Duration = Duration::from_secs(3_600);
/// How far the clock may be behind its last known time before the user is told.
const CLOCK_BACK_MAX: Duration = Duration::from_secs(3_600);

/// Runs a node until it is told to stop; `started` is told, once it is up, an address that opens its app once.
///
/// # Errors
/// If it can't start; each error says what to do.
pub fn run(settings: Settings, started: impl FnOnce(&str)) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Names of configured peers are looked up there, and nothing else.
        .max_blocking_threads(2)
        .build()
        .map_err(RunError::Runtime)?;
    let result = runtime.block_on(run_node(settings, started));
    runtime.shutdown_background();
    result
}

async fn run_node(settings: Settings, started: impl FnOnce(&str)) -> Result<(), RunError> {
    let folder = Arc::new(Folder::open(&settings.data)?);
    let seed = entropy::seed();
    let passphrase = settings
        .passphrase
        .as_ref()
        .map(|passphrase| passphrase.as_slice());
    let mut rng = seed.split("keystore").rng();
    let keys = keystore::open(&folder, passphrase, PassphraseCost::default(), &mut rng)?;
    let address = keys.identity.address();
    let key = keys.identity.key();
    let database = Database::open(
        &folder.file(database::FILE),
        keys.store,
        seed.split("database").rng(),
    )?;
    let now = clock::now();
    let clock_warning = clock_warning(&database, now)?;
    let wallet_file = WalletFile::new(Arc::clone(&folder), keys.wallet);
    let wallet_keys = wallet_file.open(&mut seed.split("wallet").rng())?;
    let opened = ChainOpened::open(&settings, &database)?;
    let name = choose_name(&settings, &database, address)?;
    let browsers = browsers_token(&database)?;
    let sequence = database.last_sequence()?;
    let records = database.records()?;
    let config = Config {
        name: name.text.clone(),
        origin: clock::origin(),
    };
    let mut node = Node::restore(config, keys.identity, &seed.split("node"), records, now)?;
    if let Some(deployment) = &opened.deployment {
        let config = wallet_keys.channel_config(deployment, settings.confirmations);
        let key = wallet_keys.channel_key()?;
        node.enable_money(config, key, &seed.split("channels"), now)?;
    }
    let tunnel = settings
        .tunnel
        .as_deref()
        .map(|name| Tunnel::open(name, address))
        .transpose()?;
    let radios = Radios::open(RadioSettings {
        links: settings.links.clone(),
        peers: settings.peers.clone(),
        listen: settings.listen,
        tunnel: tunnel.as_ref().map(|tunnel| tunnel.name().to_owned()),
        clock: clock::monotonic,
    })?;
    let (listener, api) = bind_api(settings.api).await?;
    // The disk never waits for the loop, so that neither can wait for the other.
    let (replies, from_disk) = mpsc::channel(JOBS_MAX.saturating_mul(2));
    let (disk, disk_thread) = Disk::start(database, replies);
    for (name, value) in [
        ("name", name.text.clone().into_bytes()),
        ("named", vec![u8::from(name.chosen)]),
        (server::BROWSERS, browsers.clone().into_bytes()),
    ] {
        let _ = disk.write(Write::Meta { name, value }, None);
    }
    let (events, _) = broadcast::channel(EVENTS_MAX);
    let (asks, from_api) = mpsc::channel(ASKS_MAX);
    let token = hex::encode(seed.split("api token").rng().bytes::<32>());
    let info = Info {
        address,
        key,
        framed_by: settings.framed_by.clone(),
        data: folder.path().to_owned(),
        protection: keys.protection,
        clock_warning,
    };
    let (reports, from_chain) = mpsc::channel(REPORTS_MAX);
    let account = wallet_keys.account.clone();
    let (access, chain_thread) = opened
        .start(
            account,
            node.chain_cursor(),
            &settings,
            disk.clone(),
            reports,
        )
        .unzip();
    let info_money = Arc::new(MoneyInfo {
        keys: wallet_keys,
        file: wallet_file,
        deployment: opened.deployment,
        access,
        confirmations: settings.confirmations,
    });
    let (money, money_state) = Money::new(Arc::clone(&info_money));
    let lines = Lines {
        asks,
        disk: disk.clone(),
        events: events.clone(),
        money: info_money,
        money_state,
        light: opened.light(),
    };
    let door = Arc::new(Door::new(token.clone(), browsers));
    let app = server::router(info, name, door.clone(), api, lines);
    let server = tokio::spawn(server::serve(listener, app));
    let vanishing = tokio::spawn(server::remove_vanished(disk.clone(), events.clone()));
    folder.write_connection(&Connection {
        url: format!("http://{api}"),
        token,
        pid: std::process::id(),
    })?;
    tell_started(address, api, keys.protection);
    started(&server::app_address(
        &format!("http://{api}"),
        &door.new_key(),
    ));
    let mut shell = Shell::new(node, radios, tunnel, disk.clone(), events, sequence, money);
    let result = drive(&mut shell, from_disk, from_api, from_chain).await;
    folder.remove_connection();
    shell.remember_time();
    shell.drain();
    disk.stop().await;
    server.abort();
    vanishing.abort();
    drop(shell);
    let _ = disk_thread.join();
    // Whatever it waits for, it hears that nobody listens; a silent endpoint is not waited for.
    drop(chain_thread);
    drop(opened);
    tracing::info!("stopped");
    result
}

/// The loop: carry out, wait for the first thing to happen, take it in.
async fn drive(
    shell: &mut Shell,
    mut from_disk: mpsc::Receiver<DiskReply<Mark>>,
    mut from_api: mpsc::Receiver<Ask>,
    mut from_chain: mpsc::Receiver<Report>,
) -> Result<(), RunError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
    let mut remember = tokio::time::interval(REMEMBER_TIME);
    let mut radio_events = Vec::new();
    let mut packets = Vec::new();
    loop {
        shell.drain();
        if let Some(tunnel) = &mut shell.tunnel
            && let Err(error) = tunnel.flush().await
        {
            tracing::error!(%error, "the TUN interface is gone; the node goes on without it");
            shell.tunnel = None;
        }
        let open = !shell.waits_for_disk();
        let timeout = shell.node.next_timeout();
        tokio::select! {
            () = shell.radios.wait(&mut radio_events), if open => {
                for event in radio_events.drain(..) {
                    shell.handle_radio(event);
                }
            }
            () = read_tunnel(&mut shell.tunnel, &mut packets), if open => {
                let now = clock::now();
                for packet in packets.drain(..) {
                    shell.node.handle(Input::Tunnel(packet), now);
                }
            }
            Some(reply) = from_disk.recv() => {
                shell.handle_disk(reply);
                for _ in 0..REPLIES_A_TURN {
                    let Ok(reply) = from_disk.try_recv() else { break };
                    shell.handle_disk(reply);
                }
            }
            Some(ask) = from_api.recv(), if open => {
                if shell.handle_ask(ask) == Loop::Stop {
                    return Ok(());
                }
            }
            Some(report) = from_chain.recv(), if open => shell.handle_chain(&report),
            () = sleep_until(timeout), if open => shell.node.handle(Input::Tick, clock::now()),
            _ = remember.tick() => shell.remember_time(),
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
    }
}

async fn sleep_until(timeout: Option<Instant>) {
    match timeout {
        Some(at) => tokio::time::sleep(at.since(clock::monotonic())).await,
        None => pending().await,
    }
}

/// Waits for IP packets and takes the batches that are there.
async fn read_tunnel(tunnel: &mut Option<Tunnel>, packets: &mut Vec<Vec<u8>>) {
    let Some(open) = tunnel else {
        return pending().await;
    };
    let mut batches = 0;
    let failed = std::future::poll_fn(|cx| {
        while batches < TUNNEL_BATCHES_A_TURN {
            match open.poll_packets(cx, packets) {
                std::task::Poll::Ready(Ok(())) => batches = batches.saturating_add(1),
                std::task::Poll::Ready(Err(error)) => return std::task::Poll::Ready(Some(error)),
                std::task::Poll::Pending if batches == 0 => return std::task::Poll::Pending,
                std::task::Poll::Pending => break,
            }
        }
        std::task::Poll::Ready(None)
    })
    .await;
    if let Some(error) = failed {
        tracing::debug!(%error, "a batch from the TUN interface is lost");
    }
}

/// Binds the API to the wanted address, or to the usual port, or to any.
async fn bind_api(wanted: Option<SocketAddr>) -> Result<(TcpListener, SocketAddr), RunError> {
    let address = wanted.unwrap_or_else(Settings::default_api);
    if !address.ip().is_loopback() {
        return Err(RunError::ApiNotLocal(address));
    }
    let listener = match TcpListener::bind(address).await {
        Err(_) if wanted.is_none() => TcpListener::bind((address.ip(), 0)).await,
        result => result,
    };
    let explain = |cause| RunError::Api { address, cause };
    let listener = listener.map_err(explain)?;
    let bound = listener.local_addr().map_err(explain)?;
    Ok((listener, bound))
}

/// The name given now, that of the last start, or one made from the address.
fn choose_name(
    settings: &Settings,
    database: &Database,
    address: Address,
) -> Result<Name, RunError> {
    if let Some(name) = &settings.name {
        return Ok(Name {
            text: name.clone(),
            chosen: true,
        });
    }
    let chosen = database.meta("named")?.as_deref() == Some(&[1]);
    let kept = database
        .meta("name")?
        .and_then(|name| String::from_utf8(name).ok());
    let text = kept.unwrap_or_else(|| {
        let [.., a, b] = address.octets();
        format!("phone-{a:02x}{b:02x}")
    });
    Ok(Name { text, chosen })
}

/// The browsers' token of the last start, or a new one.
fn browsers_token(database: &Database) -> Result<String, RunError> {
    let kept = database.meta(server::BROWSERS)?;
    Ok(kept
        .and_then(|token| String::from_utf8(token).ok())
        .unwrap_or_else(server::secret))
}

/// What to tell the user if this phone's clock has been set back since the last start.
fn clock_warning(database: &Database, now: Now) -> Result<Option<String>, RunError> {
    let Some(last) = database.last_time()? else {
        return Ok(None);
    };
    if now.unix + CLOCK_BACK_MAX >= last {
        return Ok(None);
    }
    let behind = last.as_secs().saturating_sub(now.unix.as_secs());
    let warning = format!(
        "this device's clock is at least {} minutes behind the time of the last start; set it, or mail may expire too late or too early",
        behind / 60
    );
    tracing::warn!("{warning}");
    Ok(Some(warning))
}

fn tell_started(address: Address, api: SocketAddr, protection: Protection) {
    tracing::info!(%address, %api, "the node is up");
    if protection == Protection::Device {
        tracing::info!(
            "no passphrase: the keys lie in the data folder, and who can read it can read everything; set one with --passphrase-file"
        );
    }
}

#[cfg(test)]
mod tests {
    use smartmesh_crypto::{Seed, StoreKey};
    use smartmesh_types::UnixTime;

    use super::*;
    use crate::database::Write;

    /// What a start at this moment says after a last start at second 2,000,000.
    fn warning_at(secs: u64) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let rng = Seed::new([9; 32]).rng();
        let mut database = Database::open(&path, StoreKey::new([1; 32]), rng).unwrap();
        let now = Now {
            unix: UnixTime::from_secs(secs),
            ..Now::default()
        };
        assert_eq!(
            clock_warning(&database, now).unwrap(),
            None,
            "a first start"
        );
        let write = Write::Meta {
            name: "time",
            value: 2_000_000_u64.to_be_bytes().to_vec(),
        };
        database.apply(&[write]).unwrap();
        clock_warning(&database, now).unwrap()
    }

    #[test]
    fn a_clock_that_was_set_back_by_a_day_is_told_with_what_to_do() {
        let warning = warning_at(2_000_000 - 24 * 3_600).unwrap();
        assert!(warning.contains("1440 minutes behind"), "{warning}");
        assert!(warning.contains("set it"), "{warning}");
        assert_eq!(warning_at(2_000_000 - 3_600), None, "an hour is tolerated");
        assert_eq!(
            warning_at(2_000_000 + 24 * 3_600),
            None,
            "it was off for a day"
        );
    }
}
