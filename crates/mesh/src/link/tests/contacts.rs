//! Who proves its long-term key to whom.

use smartmesh_crypto::PairSecret;
use smartmesh_types::NodeKey;

use super::*;

fn contact(of: usize, whom: usize) -> LinkContact {
    let seal_key = identity(whom).end_to_end_key().public();
    LinkContact {
        key: identity(whom).key(),
        secret: identity(of).pair_secret(&seal_key).unwrap(),
    }
}

/// Tells a node whom it knows.
fn knows(air: &mut Air, node: usize, whom: &[usize]) {
    let contacts = whom.iter().map(|other| contact(node, *other)).collect();
    air.nodes[node].handle(LinkInput::Contacts(contacts), air.now);
    air.drain(node);
}

/// The long-term keys that a node's neighbours have proven to it.
fn proven(air: &Air, node: usize) -> BTreeSet<NodeKey> {
    let neighbours = air.nodes[node].neighbours();
    neighbours
        .filter_map(|neighbour| neighbour.identity)
        .collect()
}

fn keys(nodes: &[usize]) -> BTreeSet<NodeKey> {
    nodes.iter().map(|node| identity(*node).key()).collect()
}

#[test]
fn contacts_recognise_each_other_and_strangers_learn_nothing() {
    let mut air = Air::new(4, 1_400);
    // 0 and 1 know each other; 2 knows everybody and nobody knows it; 3 knows nobody.
    knows(&mut air, 0, &[1]);
    knows(&mut air, 1, &[0]);
    knows(&mut air, 2, &[0, 1, 3]);
    air.run(2_000);
    assert_eq!(proven(&air, 0), keys(&[1]));
    assert_eq!(proven(&air, 1), keys(&[0]));
    assert_eq!(proven(&air, 2), BTreeSet::new());
    assert_eq!(proven(&air, 3), BTreeSet::new());
    assert_eq!(
        air.count(|output| matches!(output, LinkOutput::Identified { .. })),
        2
    );
}

#[test]
fn contacts_and_strangers_look_alike_on_the_air() {
    let sizes = |acquainted: bool| {
        let mut air = Air::new(2, 1_400);
        if acquainted {
            knows(&mut air, 0, &[1]);
            knows(&mut air, 1, &[0]);
        }
        air.run(2_000);
        assert_eq!(proven(&air, 0).len(), usize::from(acquainted));
        let sizes: Vec<usize> = air.seen_bytes.iter().map(Vec::len).collect();
        sizes
    };
    assert_eq!(sizes(true), sizes(false));
}

#[test]
fn a_contact_that_is_added_later_is_recognised_and_one_that_is_removed_forgotten() {
    let mut air = Air::new(2, 1_400);
    air.run(8_000);
    knows(&mut air, 0, &[1]);
    air.run(8_000);
    assert_eq!(
        proven(&air, 0),
        BTreeSet::new(),
        "only one of the two knows"
    );
    knows(&mut air, 1, &[0]);
    air.run(8_000);
    assert_eq!((proven(&air, 0), proven(&air, 1)), (keys(&[1]), keys(&[0])));
    knows(&mut air, 0, &[]);
    assert_eq!(proven(&air, 0), BTreeSet::new());
}

#[test]
fn contacts_are_found_among_many_and_in_small_frames() {
    let mut air = Air::new(2, 200);
    for (node, other) in [(0, 1), (1, 0)] {
        let others = (2..82).map(|whom| contact(node, whom));
        let mut contacts: Vec<LinkContact> = others.collect();
        contacts.insert(40, contact(node, other));
        air.nodes[node].handle(LinkInput::Contacts(contacts), air.now);
        air.drain(node);
    }
    air.run(5_000);
    assert_eq!((proven(&air, 0), proven(&air, 1)), (keys(&[1]), keys(&[0])));
}

/// Node 1 knows the pair's secret of 0 and 2, as a thief of node 0's own secret would, but cannot sign for node 2.
#[test]
fn the_secret_of_a_pair_alone_proves_nothing() {
    let mut air = Air::new(2, 1_400);
    let secret: PairSecret = contact(0, 2).secret;
    knows(&mut air, 0, &[2]);
    let stolen = vec![LinkContact {
        key: identity(0).key(),
        secret,
    }];
    air.nodes[1].handle(LinkInput::Contacts(stolen), air.now);
    air.drain(1);
    air.run(8_000);
    assert_eq!(proven(&air, 0), BTreeSet::new());
    assert!(air.nodes[0].counters().false_proofs > 0);
}

/// A node that sends back whatever of recognition it is sent must not pass for a contact.
#[test]
fn what_is_sent_back_is_worth_nothing() {
    use smartmesh_wire::link::LinkMessage;
    let mut air = Air::new(2, 1_400);
    knows(&mut air, 0, &[2, 3, 4]);
    air.run(300);
    let to = air.neighbour(1);
    // Node 1 asks with every hint there is to be had: those that node 0 made itself, for the same nonce.
    let nonce = [5; 8];
    let hints = |air: &mut Air| {
        let peer = air.nodes[0].peers.values().next().unwrap();
        let contacts = &air.nodes[0].contacts;
        super::super::recognise::hints_of(peer, nonce, contacts)
    };
    let hints = hints(&mut air);
    assert_eq!(hints.len(), 3);
    let now = air.now.instant;
    air.run(5_000);
    air.seen_bytes.clear();
    air.nodes[1].send_message(to, &LinkMessage::Hints { nonce, hints }, now);
    air.drain(1);
    air.run(1_000);
    let asked = air.nodes[0].peers.values().next().unwrap();
    assert!(!asked.recognition.has_candidate());
}

#[test]
fn contacts_are_kept_when_strangers_ask_for_their_place() {
    let mut air = Air::new(9, 1_400);
    knows(&mut air, 0, &[1]);
    knows(&mut air, 1, &[0]);
    air.run(20_000);
    let links = &mut air.nodes[0];
    let known = links
        .peers
        .values()
        .find(|peer| peer.addr == addr(1))
        .map(|peer| peer.id);
    let known = known.expect("of nine all are linked to all");
    // Whoever has most links goes first; a contact does not.
    for peer in links.peers.values_mut() {
        peer.links = if peer.id == known { 200 } else { 4 };
        peer.carried_at = Instant::ZERO;
    }
    let spare = links.spare(air.now.instant).expect("a stranger can go");
    assert_ne!(spare, known);
}
