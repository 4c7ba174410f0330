use super::*;
use crate::socket::codec::SocketMessage;
use smartmesh_types::{Broadcast, Instant, LinkAddr};
use tokio::io::AsyncWriteExt;

fn clock() -> Instant {
    Instant::from_millis(1)
}

fn settings(links: &[&str]) -> RadioSettings {
    RadioSettings {
        links: links.iter().map(|link| link.parse().unwrap()).collect(),
        peers: Vec::new(),
        listen: None,
        tunnel: None,
        clock,
    }
}

async fn up(radios: &mut Radios) -> (RadioId, smartmesh_types::RadioInfo) {
    loop {
        let mut events = Vec::new();
        radios.wait(&mut events).await;
        for event in events {
            if let RadioEvent::Up { radio, info } = event {
                return (radio, info);
            }
        }
    }
}

/// Drives both sets until the second hears a frame; returns who sent it and the frame.
async fn heard(a: &mut Radios, b: &mut Radios) -> (RadioId, LinkAddr, Vec<u8>) {
    let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            () = a.wait(&mut from_a) => {}
            () = b.wait(&mut from_b) => {}
        }
        for event in from_b.drain(..) {
            if let RadioEvent::Train { radio, from, train } = event {
                return (radio, from, train.bytes);
            }
        }
    }
}

#[tokio::test]
async fn two_nodes_on_one_machine_find_each_other_by_multicast() {
    let mut a = Radios::open(settings(&["udp:lo"])).unwrap();
    let mut b = Radios::open(settings(&["udp:lo"])).unwrap();
    let (id, info) = up(&mut a).await;
    up(&mut b).await;
    assert_eq!(info.broadcast, Broadcast::Yes);
    assert!(info.frame_bytes >= 1_232);
    let greeting = b"smartmesh radio test".to_vec();
    a.transmit(id, Destination::Broadcast, Train::single(greeting.clone()));
    a.flush();
    let (at, from, frame) = heard(&mut a, &mut b).await;
    assert_eq!(frame, greeting);
    b.transmit(
        at,
        Destination::Peer(from),
        Train::single(b"answer".to_vec()),
    );
    b.flush();
    let (_, _, answer) = heard(&mut b, &mut a).await;
    assert_eq!(answer, b"answer", "and a has not heard its own greeting");
}

#[tokio::test]
async fn configured_peers_are_announced_and_reached() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut listening = settings(&["peers"]);
    listening.listen = Some(address);
    let error = Radios::open(listening.clone()).err().unwrap().to_string();
    assert!(
        error.contains("--listen"),
        "a used port says what to do: {error}"
    );
    drop(taken);
    let mut b = Radios::open(listening).unwrap();
    let mut calling = settings(&["lossy:duplicate=1:peers"]);
    calling.peers = vec![address.to_string().parse().unwrap()];
    let mut a = Radios::open(calling).unwrap();
    let (id, info) = up(&mut a).await;
    up(&mut b).await;
    assert_eq!(info.peers.len(), 1);
    a.transmit(
        id,
        Destination::Peer(info.peers[0]),
        Train::single(vec![5; 300]),
    );
    a.flush();
    let (_, _, frame) = heard(&mut a, &mut b).await;
    assert!(
        frame == vec![5; 300] || frame == vec![5; 600],
        "the link in between sends each frame twice"
    );
    assert_eq!(a.states()[0].counters.sent_frames, 2);
}

#[tokio::test]
async fn a_radio_on_the_local_socket_comes_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("radio.sock");
    let spec = format!("socket:{}", path.display());
    let mut radios = Radios::open(settings(&[&spec])).unwrap();
    assert!(
        Radios::open(settings(&[&spec])).is_err(),
        "a second node must not take the socket"
    );
    let mut phone = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut hello = Vec::new();
    SocketMessage::Hello {
        version: 1,
        broadcast: Broadcast::No,
        frame_bytes: 200,
        bits_per_second: 1,
    }
    .encode(&mut hello);
    phone.write_all(&hello).await.unwrap();
    let (id, info) = up(&mut radios).await;
    assert_eq!((info.frame_bytes, info.bits_per_second), (200, 1));
    drop(phone);
    let mut events = Vec::new();
    radios.wait(&mut events).await;
    assert_eq!(events, [RadioEvent::Down { radio: id }]);
    assert!(radios.states().is_empty());
    drop(radios);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_trace_holds_what_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames.pcap");
    let mut radios = Radios::open(settings(&[&format!("trace:{}:peers", path.display())])).unwrap();
    let (id, _) = up(&mut radios).await;
    let peer = crate::link_addr("127.0.0.1:9".parse().unwrap());
    radios.transmit(
        id,
        Destination::Peer(peer),
        Train::single(b"a frame".to_vec()),
    );
    drop(radios);
    let file = std::fs::read(path).unwrap();
    assert!(file.starts_with(&[0xa1, 0xb2, 0xc3, 0xd4]));
    assert!(file.ends_with(b"a frame"));
    assert_eq!(file.len(), 24 + 16 + 2 + 7 + 7);
}
