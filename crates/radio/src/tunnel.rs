//! The TUN interface: unchanged programs speak IPv6 over the mesh.

use std::io;
use std::task::{Context, Poll, ready};

use smartmesh_types::Address;
use thiserror::Error;
use tun_rs::{AsyncDevice, DeviceBuilder, GROTable, IDEAL_BATCH_SIZE, VIRTIO_NET_HDR_LEN};

/// MTU of the interface in bytes: what IPv6 requires of every link (RFC 8200 §5), so that it never needs to shrink.
pub const TUNNEL_MTU: u16 = 1_280;
/// Length of the mesh's IPv6 prefix; the kernel routes all of it into the interface.
const PREFIX_BITS: u8 = 24;
/// Packets that wait for the kernel; new ones are dropped when full, as in any interface queue.
const QUEUE_PACKETS_MAX: usize = 1_024;
/// The largest batch that the kernel hands over, and its header.
const BATCH_BYTES: usize = 65_535 + VIRTIO_NET_HDR_LEN;

/// Why there is no TUN interface.
#[derive(Debug, Error)]
pub enum TunnelError {
    /// The system does not let us.
    #[error(
        "not allowed to make the network interface {name}: run as root or give the program CAP_NET_ADMIN, or leave --tun out"
    )]
    Permission {
        /// The interface's name.
        name: String,
    },
    /// Something else.
    #[error("can't make the network interface {name}: {cause}")]
    Other {
        /// The interface's name.
        name: String,
        /// What the system said.
        cause: io::Error,
    },
}

/// An open TUN interface that carries the node's mesh address.
pub struct Tunnel {
    device: AsyncDevice,
    name: String,
    batch: Vec<u8>,
    split: Vec<Vec<u8>>,
    sizes: Vec<usize>,
    merge: GROTable,
    queue: Vec<Vec<u8>>,
    /// Packets to the kernel dropped because it took none.
    pub dropped_full: u64,
}

impl Tunnel {
    /// Makes the interface, with this address on it, and switches it on.
    ///
    /// # Errors
    /// If the system refuses, mostly for lack of permission.
    pub fn open(name: &str, address: Address) -> Result<Self, TunnelError> {
        let wanted = name.to_owned();
        let device = Self::build(name, address).map_err(|cause| {
            if cause.kind() == io::ErrorKind::PermissionDenied {
                TunnelError::Permission { name: wanted }
            } else {
                TunnelError::Other {
                    name: wanted,
                    cause,
                }
            }
        })?;
        let name = device.name().unwrap_or_else(|_| name.to_owned());
        Ok(Self {
            device,
            name,
            batch: vec![0; BATCH_BYTES],
            split: vec![vec![0; TUNNEL_MTU.into()]; IDEAL_BATCH_SIZE],
            sizes: vec![0; IDEAL_BATCH_SIZE],
            merge: GROTable::default(),
            queue: Vec::new(),
            dropped_full: 0,
        })
    }

    fn build(name: &str, address: Address) -> io::Result<AsyncDevice> {
        DeviceBuilder::new()
            .name(name)
            .ipv6(std::net::Ipv6Addr::from(address.octets()), PREFIX_BITS)
            .mtu(TUNNEL_MTU)
            .with(|builder| {
                builder.offload(true);
            })
            .build_async()
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads what programs have sent, already split into packets of at most [`TUNNEL_MTU`] bytes.
    pub fn poll_packets(
        &mut self,
        cx: &mut Context<'_>,
        packets: &mut Vec<Vec<u8>>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.device.poll_readable(cx))?;
            let read =
                self.device
                    .try_recv_multiple(&mut self.batch, &mut self.split, &mut self.sizes, 0);
            match read {
                Ok(count) => {
                    for (packet, size) in self.split.iter().zip(&self.sizes).take(count) {
                        packets.push(packet.get(..*size).unwrap_or_default().to_vec());
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Queues one IP packet for the programs of this machine; [`Self::flush`] hands it over.
    pub fn queue(&mut self, packet: &[u8]) {
        if self.queue.len() >= QUEUE_PACKETS_MAX {
            self.dropped_full = self.dropped_full.saturating_add(1);
            return;
        }
        // Room before the packet for the header by which the kernel takes many packets as one.
        let mut bytes = Vec::with_capacity(VIRTIO_NET_HDR_LEN.saturating_add(packet.len()));
        bytes.resize(VIRTIO_NET_HDR_LEN, 0);
        bytes.extend_from_slice(packet);
        self.queue.push(bytes);
    }

    /// Hands all queued packets to the kernel, consecutive ones of a TCP connection as one.
    ///
    /// # Errors
    /// If the interface is gone. A packet that the kernel refuses is dropped without an error.
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.queue.is_empty() {
            return Ok(());
        }
        let mut packets = std::mem::take(&mut self.queue);
        let sent = self
            .device
            .send_multiple(&mut self.merge, &mut packets, VIRTIO_NET_HDR_LEN)
            .await;
        packets.clear();
        self.queue = packets;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBADFD) => Err(error),
            Err(error) => {
                tracing::trace!(%error, "the kernel refused a packet");
                Ok(())
            }
        }
    }
}
