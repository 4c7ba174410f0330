//! A radio whose frames are also written to a pcap file (draft-ietf-opsawg-pcap), as raw user data (link type 147).
//!
//! ```text
//! each packet  | direction 1 (0 out, 1 in) | address length 1 | address | frame |
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::task::{Context, Poll};

use smartmesh_types::{Destination, Train};

use crate::radio::{Clock, LinkEvent, Radio, RadioCounters};

/// LINKTYPE_USER0: the meaning is ours.
const LINK_TYPE: u32 = 147;
/// The largest frame, direction, and the longest address.
const SNAPSHOT_BYTES: u32 = 65_535 + 25;

/// A radio around a radio.
pub(crate) struct Trace {
    inner: Box<dyn Radio>,
    file: BufWriter<File>,
    clock: Clock,
}

impl Trace {
    /// Begins a new file.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn new(inner: Box<dyn Radio>, path: &Path, clock: Clock) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&0xa1b2_c3d4_u32.to_be_bytes())?;
        file.write_all(&[0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0])?;
        file.write_all(&SNAPSHOT_BYTES.to_be_bytes())?;
        file.write_all(&LINK_TYPE.to_be_bytes())?;
        Ok(Self { inner, file, clock })
    }

    fn write(&mut self, direction: u8, peer: Destination, train: &Train) {
        let micros = (self.clock)().as_micros();
        for frame in train.frames() {
            if let Err(error) = write_packet(&mut self.file, micros, direction, peer, frame) {
                tracing::warn!(%error, "the trace of frames has a hole: its file can't be written");
                return;
            }
        }
    }
}

fn write_packet(
    file: &mut impl Write,
    micros: u64,
    direction: u8,
    peer: Destination,
    frame: &[u8],
) -> io::Result<()> {
    let address = match &peer {
        Destination::Broadcast => &[],
        Destination::Peer(address) => address.as_bytes(),
    };
    let length = address.len().saturating_add(frame.len()).saturating_add(2);
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let secs = u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX);
    let rest = u32::try_from(micros % 1_000_000).unwrap_or(u32::MAX);
    file.write_all(&secs.to_be_bytes())?;
    file.write_all(&rest.to_be_bytes())?;
    file.write_all(&length)?;
    file.write_all(&length)?;
    file.write_all(&[direction, u8::try_from(address.len()).unwrap_or_default()])?;
    file.write_all(address)?;
    file.write_all(frame)
}

impl Radio for Trace {
    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        let start = events.len();
        let poll = self.inner.poll(cx, events);
        for event in events.iter().skip(start) {
            match event {
                LinkEvent::Train { from, train } => self.write(1, Destination::Peer(*from), train),
                LinkEvent::Up(_) | LinkEvent::Down | LinkEvent::CarrierLost(_) => {}
            }
        }
        poll
    }

    fn transmit(&mut self, to: Destination, train: Train) {
        self.write(0, to, &train);
        self.inner.transmit(to, train);
    }

    fn flush(&mut self) {
        self.inner.flush();
    }

    fn counters(&self) -> RadioCounters {
        self.inner.counters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smartmesh_types::LinkAddr;

    #[test]
    fn a_packet_has_time_lengths_direction_address_and_frame() {
        let mut out = Vec::new();
        let peer = Destination::Peer(LinkAddr::new(&[7, 8]).unwrap());
        write_packet(&mut out, 2_000_003, 1, peer, &[0xee; 3]).unwrap();
        let expected = [
            0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 7, 1, 2, 7, 8, 0xee, 0xee, 0xee,
        ];
        assert_eq!(out, expected);
    }
}
