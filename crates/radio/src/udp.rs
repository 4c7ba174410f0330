//! One UDP socket with segmentation offload: trains out, trains in, a bounded queue while the medium is full.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use smartmesh_types::Train;
use socket2::{Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::address::{canonical, link_addr};
use crate::netlink::force_buffer_bytes;
use crate::radio::{EVENTS_PER_POLL, LinkEvent, QUEUE_BYTES_MAX, RadioCounters};

/// What the kernel should hold for one socket; a train of 64 full frames with its bookkeeping takes about 150 KiB.
const KERNEL_BUFFER_BYTES: usize = 4 << 20;
/// The largest UDP payload that both IP versions can carry without jumbograms, less some headers of tunnels.
const SEND_BYTES_MAX: usize = 65_000;
/// Bytes one received batch may fill: receive offload hands over up to 64 KiB a message.
const MESSAGE_BYTES: usize = 65_536;
/// Messages read in one system call. Each needs 64 KiB of address space, so fewer than [`BATCH_SIZE`].
const MESSAGES: usize = if BATCH_SIZE < 8 { BATCH_SIZE } else { 8 };

/// A socket, what waits for it, and what it has done.
pub(crate) struct UdpLink {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    queue: VecDeque<(SocketAddr, Train)>,
    queued_bytes: usize,
    buffer: Vec<u8>,
    pub(crate) counters: RadioCounters,
}

/// Makes an unbound, non-blocking UDP socket for this address's family; IPv6 sockets carry IPv6 only.
pub(crate) fn udp_socket(local: SocketAddr) -> io::Result<Socket> {
    let domain = socket2::Domain::for_address(local);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl UdpLink {
    /// Takes a bound socket.
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        force_buffer_bytes(&socket, KERNEL_BUFFER_BYTES);
        let socket = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&socket).into())?;
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            state,
            local,
            queue: VecDeque::new(),
            queued_bytes: 0,
            // Untouched pages cost no memory, so a quiet radio stays small.
            buffer: vec![0; MESSAGE_BYTES.saturating_mul(MESSAGES)],
            counters: RadioCounters::default(),
        })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Queues a train; joins it to the last one where both can leave as one.
    pub(crate) fn queue(&mut self, to: SocketAddr, train: Train) {
        if train.bytes.is_empty() {
            return;
        }
        if self.queued_bytes.saturating_add(train.bytes.len()) > QUEUE_BYTES_MAX {
            self.counters.count_full(&train);
            return;
        }
        self.queued_bytes = self.queued_bytes.saturating_add(train.bytes.len());
        if let Some((last_to, last)) = self.queue.back_mut()
            && *last_to == to
            && continues(last, &train)
        {
            last.bytes.extend_from_slice(&train.bytes);
            return;
        }
        self.queue.push_back((to, train));
    }

    /// Sends what the socket takes now.
    pub(crate) fn flush(&mut self) {
        while let Some((to, train)) = self.queue.pop_front() {
            let left = self.send(to, &train);
            let sent = train.bytes.len().saturating_sub(left);
            self.queued_bytes = self.queued_bytes.saturating_sub(sent);
            if left > 0 {
                let bytes = train.bytes.get(sent..).unwrap_or_default().to_vec();
                self.queue.push_front((to, Train { bytes, ..train }));
                return;
            }
        }
    }

    /// Sends as many frames as the socket takes and returns how many bytes are left over.
    fn send(&mut self, to: SocketAddr, train: &Train) -> usize {
        let segment = train.segment_bytes.max(1);
        let mut rest = train.bytes.as_slice();
        while !rest.is_empty() {
            let frames = SEND_BYTES_MAX
                .div_euclid(segment)
                .clamp(1, self.state.max_gso_segments().max(1));
            let (part, after) = rest.split_at(segment.saturating_mul(frames).min(rest.len()));
            let part_train = || Train {
                bytes: part.to_vec(),
                segment_bytes: segment,
            };
            match self.try_send(to, part, segment) {
                Ok(()) => self.count_sent(part.len(), segment),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return rest.len(),
                // Segmentation offload has just been switched off by this error: send the frames one by one.
                Err(_) if part.len() > segment && self.state.max_gso_segments() <= 1 => continue,
                Err(error) => {
                    tracing::trace!(%to, %error, bytes = part.len(), "frame refused");
                    self.counters.count_refused(&part_train());
                }
            }
            rest = after;
        }
        0
    }

    fn try_send(&self, to: SocketAddr, contents: &[u8], segment: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents,
            segment_size: (contents.len() > segment).then_some(segment),
            src_ip: None,
        };
        self.socket.try_io(Interest::WRITABLE, || {
            self.state.try_send((&self.socket).into(), &transmit)
        })
    }

    fn count_sent(&mut self, bytes: usize, segment: usize) {
        let frames = u64::try_from(bytes.div_ceil(segment)).unwrap_or(u64::MAX);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.counters.sent_frames = self.counters.sent_frames.saturating_add(frames);
        self.counters.sent_bytes = self.counters.sent_bytes.saturating_add(bytes);
    }

    /// Goes on sending when the socket has room, and reads up to [`EVENTS_PER_POLL`] trains.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        self.flush();
        while !self.queue.is_empty() {
            if self.socket.poll_send_ready(cx).is_pending() {
                break;
            }
            self.flush();
        }
        let start = events.len();
        for _ in 0..EVENTS_PER_POLL {
            match self.socket.poll_recv_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) | Poll::Pending => {
                    return if events.len() > start {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    };
                }
            }
            // An empty socket clears its readiness, so that the next check registers the waker.
            let _ = self.receive(events);
            if events.len().saturating_sub(start) >= EVENTS_PER_POLL {
                break;
            }
        }
        cx.waker().wake_by_ref();
        if events.len() > start {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn receive(&mut self, events: &mut Vec<LinkEvent>) -> io::Result<()> {
        let mut meta = [RecvMeta::default(); MESSAGES];
        let (socket, state) = (&self.socket, &self.state);
        let mut slices: Vec<IoSliceMut<'_>> = self
            .buffer
            .chunks_mut(MESSAGE_BYTES)
            .map(IoSliceMut::new)
            .collect();
        let count = socket.try_io(Interest::READABLE, || {
            state.recv(socket.into(), &mut slices, &mut meta)
        })?;
        for (meta, message) in meta
            .iter()
            .take(count)
            .zip(self.buffer.chunks(MESSAGE_BYTES))
        {
            let bytes = message.get(..meta.len).unwrap_or_default().to_vec();
            let from = canonical(meta.addr);
            if bytes.is_empty() || from == self.local {
                self.counters.dropped_received = self.counters.dropped_received.saturating_add(1);
                continue;
            }
            let train = Train {
                segment_bytes: meta.stride.clamp(1, bytes.len()),
                bytes,
            };
            self.counters.count_received(&train);
            events.push(LinkEvent::Train {
                from: link_addr(from),
                train,
            });
        }
        Ok(())
    }
}

/// A socket that only listens for greetings to a group; one packet at a time, because greetings are rare and short.
pub(crate) struct GroupListener {
    socket: UdpSocket,
    frame: Vec<u8>,
}

impl GroupListener {
    pub(crate) fn new(socket: Socket, frame_bytes: usize) -> io::Result<Self> {
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            frame: vec![0; frame_bytes],
        })
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(SocketAddr, Vec<u8>)> {
        loop {
            if ready!(self.socket.poll_recv_ready(cx)).is_err() {
                return Poll::Pending;
            }
            if let Ok((length, from)) = self.socket.try_recv_from(&mut self.frame) {
                let frame = self.frame.get(..length).unwrap_or_default().to_vec();
                return Poll::Ready((canonical(from), frame));
            }
        }
    }
}

/// Whether `next` can follow `last` in one train: the frames before the end must all be full.
fn continues(last: &Train, next: &Train) -> bool {
    let segment = last.segment_bytes;
    let fits = next.segment_bytes == segment || next.bytes.len() <= segment.min(next.segment_bytes);
    fits && last.bytes.len().checked_rem(segment) == Some(0)
        && last.bytes.len().saturating_add(next.bytes.len()) <= SEND_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn bound() -> UdpLink {
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket = udp_socket(local).unwrap();
        socket.bind(&local.into()).unwrap();
        UdpLink::new(socket).unwrap()
    }

    /// Flushes until the socket has taken all; it takes nothing before the runtime has seen it once.
    async fn send_all(link: &mut UdpLink) {
        while !link.queue.is_empty() {
            link.socket.writable().await.unwrap();
            link.flush();
        }
    }

    async fn frames_at(link: &mut UdpLink, wanted: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while frames.len() < wanted {
            let mut events = Vec::new();
            poll_fn(|cx| link.poll(cx, &mut events)).await;
            for event in events {
                let LinkEvent::Train { train, .. } = event else {
                    panic!("{event:?}")
                };
                frames.extend(train.frames().map(<[u8]>::to_vec));
            }
        }
        frames
    }

    #[tokio::test]
    async fn a_train_arrives_frame_by_frame_in_order() {
        let (mut a, mut b) = (bound(), bound());
        let sent: Vec<Vec<u8>> = (0..100_u8)
            .map(|n| vec![n; if n == 99 { 7 } else { 1_200 }])
            .collect();
        for frame in &sent {
            a.queue(b.local(), Train::single(frame.clone()));
        }
        assert!(
            a.queue.len() < 5,
            "equal frames leave as trains: {}",
            a.queue.len()
        );
        send_all(&mut a).await;
        assert_eq!(frames_at(&mut b, 100).await, sent);
        assert_eq!(a.counters.sent_frames, 100);
        assert_eq!(b.counters.received_frames, 100);
    }

    #[tokio::test]
    async fn frames_of_other_sizes_and_places_keep_apart() {
        let (mut a, mut b, mut c) = (bound(), bound(), bound());
        for (to, frame) in [
            (&b, vec![1; 10]),
            (&c, vec![2; 10]),
            (&b, vec![3; 20]),
            (&b, vec![4; 5]),
            (&b, vec![5; 20]),
        ] {
            a.queue(to.local(), Train::single(frame));
        }
        send_all(&mut a).await;
        assert_eq!(
            frames_at(&mut b, 4).await,
            [vec![1; 10], vec![3; 20], vec![4; 5], vec![5; 20]]
        );
        assert_eq!(frames_at(&mut c, 1).await, [vec![2; 10]]);
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let (mut a, b) = (bound(), bound());
        let train = Train {
            bytes: vec![0; 60_000],
            segment_bytes: 1_000,
        };
        for _ in 0..20 {
            a.queue(b.local(), train.clone());
        }
        assert!(a.queued_bytes <= QUEUE_BYTES_MAX);
        assert_eq!(
            a.counters.dropped_full, 180,
            "three trains of 60 frames are over 1 MiB"
        );
    }

    #[tokio::test]
    async fn a_refused_frame_is_counted_and_does_not_block_the_next() {
        let (mut a, mut b) = (bound(), bound());
        a.queue("[::1]:9".parse().unwrap(), Train::single(vec![1; 9]));
        a.queue(b.local(), Train::single(vec![2; 9]));
        send_all(&mut a).await;
        assert_eq!(frames_at(&mut b, 1).await, [vec![2; 9]]);
        assert_eq!(a.counters.dropped_refused, 1);
    }
}
