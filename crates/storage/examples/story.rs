//! A photo is cut into chunks, and a phone fetches it from three others: one honest, one that lies, one that walks away.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an example prints its story and stops when something is wrong"
)]

use std::collections::{BTreeMap, VecDeque};

use smartmesh_storage::{
    ChunkAddress, ChunkMessage, Held, Reader, Retrieval, RetrievalConfig, RetrievalEvent,
    RetrievalInput as In, RetrievalOutput as Out, Splitter, split,
};
use smartmesh_types::{Address, Duration, Now, RequestId};

const NAMES: [&str; 4] = ["Dora", "Amina", "Liam", "Vera"];

fn main() {
    let photo: Vec<u8> = (0..1_000_000_u32)
        .flat_map(|i| i.to_le_bytes())
        .take(1_000_000)
        .collect();
    let (reference, chunks) = split(Splitter::plain(), &photo);
    println!(
        "A photo of {} bytes is {} chunks; its reference is {reference}.",
        photo.len(),
        chunks.len()
    );
    let who: Vec<Address> = (0..4).map(|i| Address::from_key_hash([i; 13])).collect();
    let mut now = Now::default();
    let mut cores: Vec<Retrieval> = (0..4)
        .map(|_| Retrieval::new(RetrievalConfig::default(), now))
        .collect();
    let all: BTreeMap<ChunkAddress, Vec<u8>> = chunks
        .into_iter()
        .map(|chunk| (chunk.address(), chunk.into_bytes()))
        .collect();
    let mut own = BTreeMap::new();
    let mut inputs = VecDeque::new();
    let (mut from, mut done) = ([0_u32; 4], false);
    let holders = who[1..].to_vec();
    inputs.push_back((
        0,
        In::Fetch {
            id: RequestId(1),
            reference,
            holders,
        },
    ));

    while !done {
        let (at, input) = inputs.pop_front().unwrap_or_else(|| {
            now = now.after(Duration::from_secs(1));
            (0, In::Tick)
        });
        cores[at].handle(input, now).unwrap();
        while let Some(output) = cores[at].poll_output() {
            let store = if at == 0 { &own } else { &all };
            match output {
                Out::LoadChunk { address } => {
                    let bytes = store.get(&address).cloned();
                    inputs.push_back((at, In::ChunkLoaded { address, bytes }));
                }
                Out::FindChunk { address } => {
                    let held = if store.contains_key(&address) {
                        Held::Yes
                    } else {
                        Held::No
                    };
                    inputs.push_back((at, In::ChunkFound { address, held }));
                }
                Out::StoreChunk(chunk) => {
                    own.insert(chunk.address(), chunk.into_bytes());
                }
                Out::Send { to, mut message } => {
                    let to = who.iter().position(|name| *name == to).unwrap();
                    if let ChunkMessage::Chunk { bytes, .. } = &mut message {
                        inputs.push_back((at, In::Sent { to: who[to] }));
                        from[at] = from[at].saturating_add(1);
                        if NAMES[at] == "Liam" {
                            bytes[99] ^= 1;
                        }
                        if NAMES[at] == "Vera" && from[at] > 30 {
                            continue;
                        }
                    }
                    inputs.push_back((
                        to,
                        In::Received {
                            from: who[at],
                            message,
                        },
                    ));
                }
                Out::Event(RetrievalEvent::Progress { .. }) => {}
                Out::Event(event) => {
                    println!("  {}: {event:?}", NAMES[at]);
                    done = matches!(event, RetrievalEvent::Complete { .. });
                }
            }
        }
    }
    println!(
        "Amina sent {}, Liam {}, Vera {} chunks.",
        from[1],
        from[2],
        from[3].min(30)
    );
    let mut reader = Reader::new(reference);
    let mut read = Vec::new();
    while let Some(address) = reader.wanted() {
        read.extend(reader.supply(own[&address].clone()).unwrap());
    }
    println!(
        "Read back from {}'s own chunks: {}.",
        NAMES[0],
        if read == photo {
            "the same photo"
        } else {
            "something else"
        }
    );
}
