use super::*;
use crate::genesis::Genesis;
use smartmesh_light_client::ssz::Kind;
use smartmesh_light_client::{Store, UpdateError, compact, json as beacon_json};

const NOW: u64 = 1_800_000_000;

fn mine(devnet: &mut Devnet, blocks: u64) {
    for _ in 0..blocks {
        devnet
            .call("evm_mine", &serde_json::json!([]), NOW)
            .unwrap();
    }
}

/// A client of full updates, and one that knows of committees what compact updates say.
struct Clients {
    full: Store,
    small: Store,
}

impl Clients {
    fn follow(&mut self, beacon: &Beacon) {
        let network = beacon.network();
        let (_, newest) = beacon.periods();
        let first = network.period(self.full.finalized().beacon.slot);
        let updates = (first..=newest)
            .filter_map(|period| beacon.update(period))
            .chain(beacon.finality_update());
        for update in updates {
            let known = BTreeMap::new();
            let bytes = compact::encode(&update, network, &self.full, compact::Carry::Both, &known)
                .unwrap();
            let read = compact::decode(&bytes, network, &self.small).unwrap();
            let result = self.full.apply(network, &update, NOW);
            assert_eq!(self.small.apply(network, &read, NOW), result);
            match result {
                Ok(_) | Err(UpdateError::Irrelevant) => {}
                Err(error) => panic!("slot {}: {error}", update.attested.beacon.slot),
            }
        }
        assert_eq!(self.full.finalized(), self.small.finalized());
        assert_eq!(self.full.optimistic(), self.small.optimistic());
    }
}

fn start(fork: Fork) -> (Devnet, Beacon, Clients) {
    let devnet = Devnet::new(&Genesis::dev(NOW));
    let beacon = Beacon::new(&devnet, fork);
    let root = beacon.checkpoint();
    let full = Store::bootstrap(beacon.network(), root, beacon.bootstrap(root).unwrap()).unwrap();
    let mut small = full.clone();
    small.forget_keys();
    (devnet, beacon, Clients { full, small })
}

#[test]
fn a_light_client_follows_every_fork_through_periods() {
    for fork in [
        Fork::Capella,
        Fork::Deneb,
        Fork::Electra,
        Fork::Fulu,
        Fork::Gloas,
    ] {
        let (mut devnet, mut beacon, mut clients) = start(fork);
        beacon.set_absent(&[3, 7]);
        for _ in 0..7 {
            mine(&mut devnet, 90);
            beacon.follow(&devnet);
            clients.follow(&beacon);
        }
        assert_eq!(
            clients.small.optimistic().block_hash(),
            Some(devnet.head().hash)
        );
        let final_number = devnet.finalized();
        let final_hash = devnet.block(final_number).unwrap().hash;
        assert_eq!(
            clients.small.finalized().block_hash(),
            Some(final_hash),
            "{fork:?}"
        );
    }
}

#[test]
fn what_the_beacon_api_shows_is_read_back() {
    let (mut devnet, mut beacon, _) = start(Fork::Gloas);
    mine(&mut devnet, 70);
    beacon.follow(&devnet);
    let network = Network::from_config(&[&config_json(beacon.network()).to_string()]).unwrap();
    assert_eq!(&network, beacon.network());
    let root = beacon.checkpoint();
    let bootstrap = beacon.bootstrap(root).unwrap();
    let shown = bootstrap_json(&bootstrap);
    assert_eq!(beacon_json::bootstrap(&shown, &network).unwrap(), bootstrap);
    let update = beacon.update(beacon.periods().1).unwrap();
    let shown = update_json(&update, &network);
    let read = beacon_json::update(&shown, Kind::Update, &network).unwrap();
    assert_eq!(read, update);
    let head = beacon.finality_update().unwrap();
    let shown = update_json(&head, &network);
    let read = beacon_json::update(&shown, Kind::Finality, &network).unwrap();
    assert_eq!(read, head);
}

#[test]
fn a_reorganisation_is_followed_and_finality_may_stand_still() {
    let (mut devnet, mut beacon, mut clients) = start(Fork::Electra);
    mine(&mut devnet, 100);
    beacon.follow(&devnet);
    clients.follow(&beacon);
    let finalized = clients.small.finalized().clone();
    beacon.stall_finality(true);
    beacon.skip_slots(5);
    devnet
        .call("anvil_rollback", &serde_json::json!([3]), NOW)
        .unwrap();
    mine(&mut devnet, 6);
    beacon.follow(&devnet);
    clients.follow(&beacon);
    assert_eq!(
        clients.small.optimistic().block_hash(),
        Some(devnet.head().hash)
    );
    assert_eq!(clients.small.finalized(), &finalized);
    beacon.stall_finality(false);
    mine(&mut devnet, 1);
    beacon.follow(&devnet);
    clients.follow(&beacon);
    assert!(clients.small.finalized().beacon.slot > finalized.beacon.slot);
}
