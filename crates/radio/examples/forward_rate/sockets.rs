//! The relay through UDP sockets: a thread with the daemon's radios and the mesh's cores, or with a bare forwarder; the two
//! ends run on another thread and are not counted.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use smartmesh_mesh::flow::{FlowEvent, PayloadKind};
use smartmesh_mesh::{Mesh, MeshInput, MeshOutput};
use smartmesh_radio::{LinkSpec, RadioEvent, RadioSettings, Radios, link_addr, socket_addr};
use smartmesh_types::{Destination, FlowId, LinkAddr, Now, RadioId, Train};
use tokio::io::Interest;

use crate::bare::{FRAME_BYTES, keys, open, seal};
use crate::row::{cable, node, send_packets};
use crate::{Failure, PACKET_BYTES, TRAIN_FRAMES, clock, thread_time};

type Result<T> = std::result::Result<T, Failure>;

/// Trains on their way at a time; more would not fit the receiver's buffer.
const TRAINS_ON_THE_WAY: u64 = 2;
/// How long to wait for a train before it is taken for lost.
const PATIENCE: Duration = Duration::from_millis(50);
/// Messages read in one system call, and bytes of each, as the daemon's radios do it.
const MESSAGES: usize = 8;
const MESSAGE_BYTES: usize = 65_536;
const RADIO: RadioId = RadioId(0);

/// What relay and ends tell each other.
#[derive(Default)]
struct Board {
    measuring: AtomicBool,
    done: AtomicBool,
    relayed: AtomicU64,
    busy_nanos: AtomicU64,
}

/// A socket of one of the ends.
struct Socket {
    socket: std::net::UdpSocket,
    state: UdpSocketState,
    buffer: Vec<u8>,
}

impl Socket {
    fn new() -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        let buffer = vec![0; MESSAGES * MESSAGE_BYTES];
        Ok(Self {
            socket,
            state,
            buffer,
        })
    }

    fn send(&self, to: SocketAddr, bytes: &[u8], segment: usize) {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: bytes,
            segment_size: (bytes.len() > segment).then_some(segment),
            src_ip: None,
        };
        // A full buffer loses the train, as the air would.
        let _ = self.state.try_send((&self.socket).into(), &transmit);
    }

    fn receive(&mut self) -> Vec<Train> {
        let mut meta = [RecvMeta::default(); MESSAGES];
        let chunks = self.buffer.chunks_mut(MESSAGE_BYTES);
        let mut slices: Vec<IoSliceMut<'_>> = chunks.map(IoSliceMut::new).collect();
        let read = self
            .state
            .recv((&self.socket).into(), &mut slices, &mut meta);
        trains(read.unwrap_or(0), &meta, &self.buffer)
    }
}

fn trains(count: usize, meta: &[RecvMeta], buffer: &[u8]) -> Vec<Train> {
    let messages = meta.iter().take(count).zip(buffer.chunks(MESSAGE_BYTES));
    let trains = messages.filter_map(|(meta, message)| {
        let bytes = message.get(..meta.len).filter(|bytes| !bytes.is_empty())?;
        Some(Train {
            segment_bytes: meta.stride.clamp(1, bytes.len()),
            bytes: bytes.to_vec(),
        })
    });
    trains.collect()
}

/// Keeps trains on their way until enough packets have gone through the relay; returns its time for one.
fn measure(
    board: &Board,
    packets: u64,
    mut send: impl FnMut(),
    mut arrived: impl FnMut() -> u64,
) -> Result<Duration> {
    board.measuring.store(true, Ordering::Release);
    let train = u64::try_from(TRAIN_FRAMES)?;
    let (mut sent, mut came, mut heard_at) = (0, 0, clock());
    while came < packets {
        while sent < came + TRAINS_ON_THE_WAY * train {
            send();
            sent += train;
        }
        let more = arrived();
        came += more;
        if more > 0 {
            heard_at = clock();
        } else if clock().since(heard_at) > PATIENCE {
            (sent, heard_at) = (came, clock());
        } else {
            std::thread::yield_now();
        }
    }
    board.done.store(true, Ordering::Release);
    Ok(Duration::ZERO)
}

/// Time for one packet, from what the relay's thread wrote down.
fn result(board: &Board) -> Result<Duration> {
    let relayed = u32::try_from(board.relayed.load(Ordering::Acquire))?;
    let busy = Duration::from_nanos(board.busy_nanos.load(Ordering::Acquire));
    Ok(busy.checked_div(relayed).ok_or("nothing was relayed")?)
}

/// Counts what the relay's thread uses while it is measured.
struct Meter {
    board: Arc<Board>,
    since: Option<Duration>,
}

impl Meter {
    /// Returns whether to go on.
    fn turn(&mut self, relayed: u64) -> bool {
        if self.since.is_none() && self.board.measuring.load(Ordering::Acquire) {
            self.since = Some(thread_time());
        }
        if let Some(since) = self.since {
            let busy = u64::try_from((thread_time() - since).as_nanos()).unwrap_or(u64::MAX);
            self.board.busy_nanos.store(busy, Ordering::Release);
            self.board.relayed.fetch_add(relayed, Ordering::AcqRel);
        }
        !self.board.done.load(Ordering::Acquire)
    }
}

/// The bare forwarder.
pub(crate) fn plain(packets: u64) -> Result<Duration> {
    let board = Arc::new(Board::default());
    let (source, mut sink) = (Socket::new()?, Socket::new()?);
    let target = sink.socket.local_addr()?;
    let relay = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let place = relay.local_addr()?;
    relay.set_nonblocking(true)?;
    let meter = Meter {
        board: Arc::clone(&board),
        since: None,
    };
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(forward(relay, target, meter))
    });
    let (sealing, _) = keys();
    let mut counter = 0;
    let send = || {
        let mut train = vec![5; FRAME_BYTES * TRAIN_FRAMES];
        for frame in train.chunks_mut(FRAME_BYTES) {
            seal(&sealing, counter, frame);
            counter += 1;
        }
        source.send(place, &train, FRAME_BYTES);
    };
    let arrived = || {
        let frames = sink.receive();
        let frames = frames.iter().map(|train| train.frames().count());
        u64::try_from(frames.sum::<usize>()).unwrap_or(0)
    };
    measure(&board, packets, send, arrived)?;
    // Wakes the relay, that it sees the end.
    source.send(place, &[0; FRAME_BYTES], FRAME_BYTES);
    thread.join().map_err(|_| "the forwarder panicked")??;
    result(&board)
}

/// Receives, opens, seals and sends, and nothing else.
async fn forward(relay: std::net::UdpSocket, target: SocketAddr, mut meter: Meter) -> Result<()> {
    let state = UdpSocketState::new((&relay).into())?;
    let socket = tokio::net::UdpSocket::from_std(relay)?;
    let (sealing, opening) = keys();
    let mut buffer = vec![0; MESSAGES * MESSAGE_BYTES];
    let mut counter = 0;
    let mut relayed = 0;
    while meter.turn(std::mem::take(&mut relayed)) {
        socket.readable().await?;
        let mut meta = [RecvMeta::default(); MESSAGES];
        let chunks = buffer.chunks_mut(MESSAGE_BYTES);
        let mut slices: Vec<IoSliceMut<'_>> = chunks.map(IoSliceMut::new).collect();
        let read = socket.try_io(Interest::READABLE, || {
            state.recv((&socket).into(), &mut slices, &mut meta)
        });
        for mut train in trains(read.unwrap_or(0), &meta, &buffer) {
            for frame in train.bytes.chunks_mut(train.segment_bytes) {
                if open(&opening, frame) {
                    seal(&sealing, counter, frame);
                    counter += 1;
                    relayed += 1;
                }
            }
            let transmit = Transmit {
                destination: target,
                ecn: None,
                contents: &train.bytes,
                segment_size: Some(train.segment_bytes),
                src_ip: None,
            };
            let _ = socket.try_io(Interest::WRITABLE, || {
                state.try_send((&socket).into(), &transmit)
            });
        }
    }
    Ok(())
}

/// An end of the row: the mesh's cores on a plain socket.
struct End {
    mesh: Mesh,
    socket: Socket,
    received: u64,
    up: Option<FlowId>,
}

impl End {
    fn new(number: u8, relay: SocketAddr) -> Result<(Self, smartmesh_types::Address)> {
        let (mut mesh, address) = node(number, now());
        let info = cable(vec![link_addr(relay)]);
        mesh.handle(MeshInput::RadioUp { radio: RADIO, info }, now());
        let end = Self {
            mesh,
            socket: Socket::new()?,
            received: 0,
            up: None,
        };
        Ok((end, address))
    }

    /// Takes in what has come and sends what is to be sent.
    fn turn(&mut self, relay: LinkAddr) {
        for train in self.socket.receive() {
            let input = MeshInput::Train {
                radio: RADIO,
                from: relay,
                train,
            };
            self.mesh.handle(input, now());
        }
        if self.mesh.next_timeout().is_some_and(|at| at <= clock()) {
            self.mesh.handle(MeshInput::Tick, now());
        }
        while let Some(output) = self.mesh.poll_output() {
            match output {
                MeshOutput::Transmit { to, train, .. } => {
                    if let Destination::Peer(to) = to
                        && let Some(to) = socket_addr(&to)
                    {
                        self.socket.send(to, &train.bytes, train.segment_bytes);
                    }
                }
                MeshOutput::Flow(FlowEvent::Received { .. }) => self.received += 1,
                MeshOutput::Flow(FlowEvent::Up { flow, .. }) => self.up = Some(flow),
                MeshOutput::Flow(_)
                | MeshOutput::Gossip(_)
                | MeshOutput::Custody(_)
                | MeshOutput::Identified { .. }
                | MeshOutput::RouteChanged { .. }
                | MeshOutput::Epoch { .. } => {}
            }
        }
    }
}

fn now() -> Now {
    Now {
        instant: clock(),
        ..Now::default()
    }
}

/// The mesh's cores on the daemon's radios.
pub(crate) fn mesh(packets: u64) -> Result<Duration> {
    let board = Arc::new(Board::default());
    // A port that is free now; the radio binds it.
    let place = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let meter = Meter {
        board: Arc::clone(&board),
        since: None,
    };
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(relay(place, meter))
    });
    let relay = link_addr(place);
    let ((mut first, _), (mut last, target)) = (End::new(1, place)?, End::new(3, place)?);
    let (started, mut flow, mut next) = (clock(), None, clock());
    while first.up.is_none() || last.received == 0 {
        first.turn(relay);
        last.turn(relay);
        if clock() >= next {
            next = clock() + Duration::from_millis(20);
            // The relay has to know both before a way can be found.
            if first.mesh.routes().destinations().count() >= 2 && flow.is_none() {
                flow = Some(first.mesh.open_flow(target, now()));
            }
            if let Some(flow) = first.up {
                first.mesh.send(flow, PayloadKind::Ip, &[1], now());
            }
        }
        if clock().since(started) > Duration::from_secs(20) || thread.is_finished() {
            return Err("the flow does not come up".into());
        }
        std::thread::yield_now();
    }
    let flow = first.up.ok_or("no flow")?;
    let first = std::cell::RefCell::new(first);
    let send = || {
        let mut first = first.borrow_mut();
        send_packets(&mut first.mesh, flow, now());
        first.turn(relay);
    };
    let arrived = || {
        let before = last.received;
        first.borrow_mut().turn(relay);
        last.turn(relay);
        last.received - before
    };
    measure(&board, packets, send, arrived)?;
    thread.join().map_err(|_| "the relay panicked")??;
    result(&board)
}

/// The daemon's loop with nothing but radios and mesh.
async fn relay(place: SocketAddr, mut meter: Meter) -> Result<()> {
    let settings = RadioSettings {
        links: vec![LinkSpec::Peers],
        peers: Vec::new(),
        listen: Some(place),
        tunnel: None,
        clock,
    };
    let mut radios = Radios::open(settings)?;
    let (mut mesh, _) = node(2, now());
    let mut events = Vec::new();
    let mut relayed = 0;
    while meter.turn(std::mem::take(&mut relayed)) {
        while let Some(output) = mesh.poll_output() {
            if let MeshOutput::Transmit { radio, to, train } = output {
                if train.segment_bytes > PACKET_BYTES {
                    relayed += u64::try_from(train.frames().count())?;
                }
                radios.transmit(radio, to, train);
            }
        }
        radios.flush();
        let wait = mesh
            .next_timeout()
            .map_or(PATIENCE, |at| at.since(clock()))
            .min(PATIENCE);
        tokio::select! {
            () = radios.wait(&mut events) => {}
            () = tokio::time::sleep(wait) => mesh.handle(MeshInput::Tick, now()),
        }
        for event in events.drain(..) {
            let input = match event {
                RadioEvent::Up { radio, info } => MeshInput::RadioUp { radio, info },
                RadioEvent::Down { radio } => MeshInput::RadioDown { radio },
                RadioEvent::CarrierLost { radio, peer } => MeshInput::CarrierLost { radio, peer },
                RadioEvent::Train { radio, from, train } => MeshInput::Train { radio, from, train },
            };
            mesh.handle(input, now());
        }
    }
    Ok(())
}
