//! Joins the framed local sockets of two or more nodes, as if the radios of these phones were in reach of one another.
//!
//! `cargo run -p smartmesh-radio --example radio_bridge -- a.sock b.sock`

use std::error::Error;

use smartmesh_radio::{PROTOCOL_VERSION, SocketMessage};
use smartmesh_types::{Broadcast, Destination, LinkAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Small frames and a slow rate, as of a Bluetooth LE connection.
const HELLO: SocketMessage = SocketMessage::Hello {
    version: PROTOCOL_VERSION,
    broadcast: Broadcast::Yes,
    frame_bytes: 244,
    bits_per_second: 1_000_000,
};

async fn say(phone: &mut OwnedWriteHalf, message: &SocketMessage) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    phone.write_all(&bytes).await
}

/// Reads one phone's messages and hands its frames over; ends when the node closes or says nonsense.
async fn listen(
    phone: usize,
    mut stream: OwnedReadHalf,
    frames: mpsc::Sender<(usize, Destination, Vec<u8>)>,
) {
    let mut input = Vec::new();
    while stream
        .read_buf(&mut input)
        .await
        .is_ok_and(|count| count > 0)
    {
        while let Ok(Some((message, used))) = SocketMessage::decode(&input) {
            drop(input.drain(..used));
            if let SocketMessage::Frame { peer, bytes } = message
                && frames.send((phone, peer, bytes)).await.is_err()
            {
                return;
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (frames, mut on_air) = mpsc::channel(64);
    let mut phones = Vec::new();
    for (number, path) in std::env::args().skip(1).enumerate() {
        let (read, mut write) = UnixStream::connect(path).await?.into_split();
        say(&mut write, &HELLO).await?;
        tokio::spawn(listen(number, read, frames.clone()));
        let address = LinkAddr::new(&u32::try_from(number)?.to_be_bytes())?;
        phones.push((address, write));
    }
    while let Some((from, to, bytes)) = on_air.recv().await {
        let Some(sender) = phones.get(from).map(|(address, _)| *address) else {
            continue;
        };
        let frame = SocketMessage::Frame {
            peer: Destination::Peer(sender),
            bytes,
        };
        for (address, phone) in &mut phones {
            let reached = to == Destination::Broadcast || to == Destination::Peer(*address);
            if reached && *address != sender {
                say(phone, &frame).await?;
            }
        }
    }
    Ok(())
}
