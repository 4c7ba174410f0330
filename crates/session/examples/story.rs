//! Two phones, one flow between them: a session connects, a file crosses, the path changes on the way, nothing breaks.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an example prints its story, takes an origin for its clock and stops when something is wrong"
)]

use std::collections::VecDeque;

use smartmesh_crypto::{Identity, Seed};
use smartmesh_session::{
    Direction, FlowRole, Read, SessionConfig, SessionEvent, SessionInput, SessionOutput, Sessions,
};
use smartmesh_types::{Duration, FlowId, Now};

const FLOW: FlowId = FlowId(1);
const NAMES: [&str; 2] = ["Amina", "Ben"];

fn main() {
    let origin = std::time::Instant::now();
    let mut now = Now::default();
    let who = [1, 2].map(|byte| Identity::from_secret([byte; 32]));
    let mut ends = [0, 1].map(|i: usize| {
        let seed = Seed::new([u8::try_from(i).unwrap(); 32]);
        Sessions::new(SessionConfig::default(), &who[i], &seed, origin, now)
    });
    for (i, role) in [FlowRole::Initiator, FlowRole::Responder]
        .into_iter()
        .enumerate()
    {
        let key = who[1 - i].key();
        let (mtu, bits_per_second) = (1_400, 10_000_000);
        let input = SessionInput::FlowUp {
            flow: FLOW,
            key,
            role,
            mtu,
            bits_per_second,
        };
        ends[i].handle(input, now).unwrap();
    }
    println!(
        "{} asks {} for a session over their flow.",
        NAMES[0], NAMES[1]
    );
    ends[0]
        .handle(SessionInput::Connect { flow: FLOW }, now)
        .unwrap();

    let photo = vec![7_u8; 300_000];
    let (mut sent, mut received, mut stream, mut moved) = (0, 0, None, false);
    let mut air = VecDeque::new();
    loop {
        for i in [0, 1] {
            ends[i].handle(SessionInput::Tick, now).unwrap();
            while let Some(output) = ends[i].poll_output() {
                match output {
                    SessionOutput::Transmit { train, .. } => {
                        air.extend(train.frames().map(|frame| (1 - i, frame.to_vec())));
                    }
                    SessionOutput::Event(SessionEvent::Readable { .. }) => {}
                    SessionOutput::Event(event) => println!("  {:>5}: {event:?}", NAMES[i]),
                }
            }
        }
        now = now.after(Duration::from_millis(5));
        for (to, bytes) in std::mem::take(&mut air) {
            ends[to]
                .handle(SessionInput::Datagram { flow: FLOW, bytes }, now)
                .unwrap();
        }
        if ends[0].rtt(FLOW).is_some() && stream.is_none() {
            stream = ends[0].open_stream(FLOW, Direction::OneWay, b'F', now).ok();
        }
        let Some(id) = stream else { continue };
        if sent < photo.len() {
            sent += ends[0].write(FLOW, id, &photo[sent..], now).unwrap();
            if sent == photo.len() {
                ends[0].finish(FLOW, id, now).unwrap();
            }
        }
        while let Ok(Read::Data(bytes)) = ends[1].read(FLOW, id, 65_536, now) {
            received += bytes.len();
        }
        if received > 100_000 && !moved {
            moved = true;
            println!(
                "Half of the photo is there when a relay walks away; the flow now takes a narrow path."
            );
            for end in &mut ends {
                let rtt = Some(Duration::from_millis(10));
                end.handle(
                    SessionInput::PathChanged {
                        flow: FLOW,
                        mtu: 500,
                        rtt,
                    },
                    now,
                )
                .unwrap();
            }
        }
        if received == photo.len() {
            println!(
                "The photo is complete: {received} bytes after {}.",
                now.instant
            );
            return;
        }
        assert!(
            now.instant.as_micros() < 60_000_000,
            "the photo should be there by now"
        );
    }
}
