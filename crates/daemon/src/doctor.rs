//! Each layer in turn: whether it works, and what to do if not.

use smartmesh_api::{Check, Doctor, Verdict};

use crate::ask::Snapshot;
use crate::keystore::Protection;
use crate::server::Info;

/// Below this much free space the user is warned, in bytes.
const SPACE_MIN: u64 = 64 << 20;
/// A neighbour that loses more than this many frames in 1,000 is worth a word.
const LOSS_PERMILLE_MAX: u32 = 200;

/// Judges the node's state; `trouble` is what the disk says.
pub(crate) fn examine(
    info: &Info,
    snapshot: &Snapshot,
    contacts: usize,
    trouble: Option<String>,
) -> Doctor {
    let checks = vec![
        disk(info, trouble),
        keys(info),
        clock(info),
        radios(snapshot),
        neighbours(snapshot),
        routes(snapshot),
        people(contacts),
        tunnel(snapshot),
    ];
    Doctor { checks }
}

fn check(layer: &str, verdict: Verdict, finding: impl Into<String>, advice: Option<&str>) -> Check {
    Check {
        layer: layer.to_owned(),
        verdict,
        finding: finding.into(),
        advice: advice.map(str::to_owned),
    }
}

fn disk(info: &Info, trouble: Option<String>) -> Check {
    if let Some(trouble) = trouble {
        return check(
            "disk",
            Verdict::Broken,
            trouble,
            Some("free some space or make the folder writable; the node goes on by itself"),
        );
    }
    let free =
        rustix::fs::statvfs(&info.data).map(|space| space.f_bavail.saturating_mul(space.f_frsize));
    match free {
        Ok(free) if free < SPACE_MIN => check(
            "disk",
            Verdict::Warning,
            format!("{} MiB are free", free >> 20),
            Some("free some space, or mail for others can't be carried"),
        ),
        Ok(free) => check(
            "disk",
            Verdict::Ok,
            format!("{} MiB are free in {}", free >> 20, info.data.display()),
            None,
        ),
        Err(error) => check(
            "disk",
            Verdict::Warning,
            format!("free space is unknown: {error}"),
            None,
        ),
    }
}

fn keys(info: &Info) -> Check {
    match info.protection {
        Protection::Passphrase => check(
            "keys",
            Verdict::Ok,
            "a passphrase protects the keys at rest",
            None,
        ),
        Protection::Device => check(
            "keys",
            Verdict::Warning,
            "the keys lie in the data folder: who can read it can read your messages",
            Some("start with --passphrase-file FILE to protect them"),
        ),
    }
}

fn clock(info: &Info) -> Check {
    match &info.clock_warning {
        Some(warning) => check(
            "clock",
            Verdict::Warning,
            warning.clone(),
            Some("set this device's date and time and start the node again"),
        ),
        None => check(
            "clock",
            Verdict::Ok,
            "the clock has not been set back",
            None,
        ),
    }
}

fn radios(snapshot: &Snapshot) -> Check {
    let refused: u64 = snapshot
        .radios
        .iter()
        .map(|radio| radio.counters.dropped_refused)
        .fold(0, u64::saturating_add);
    let names: Vec<&str> = snapshot
        .radios
        .iter()
        .map(|radio| radio.name.as_str())
        .collect();
    if names.is_empty() {
        return check(
            "radios",
            Verdict::Broken,
            "no radio is on",
            Some("switch Wi-Fi on or plug a cable in; or name a link with --link"),
        );
    }
    let finding = format!("{} on: {}", names.len(), names.join(", "));
    if refused > 0 {
        let finding = format!("{finding}; the system refused {refused} frames");
        return check(
            "radios",
            Verdict::Warning,
            finding,
            Some("look whether a firewall blocks UDP port 21325"),
        );
    }
    check("radios", Verdict::Ok, finding, None)
}

fn neighbours(snapshot: &Snapshot) -> Check {
    let neighbours = &snapshot.status.neighbours;
    if neighbours.is_empty() {
        let heard = snapshot
            .radios
            .iter()
            .any(|radio| radio.counters.received_frames > 0);
        return if heard {
            check(
                "neighbours",
                Verdict::Warning,
                "frames arrive, but nobody has become a neighbour",
                Some(
                    "wait a few seconds; if it stays, the other side may run an incompatible version",
                ),
            )
        } else {
            check(
                "neighbours",
                Verdict::Warning,
                "nobody is in reach",
                Some("bring another phone near, join the same Wi-Fi, or name one with --peer"),
            )
        };
    }
    let bad = neighbours
        .iter()
        .filter(|one| one.suspect || one.loss_permille > LOSS_PERMILLE_MAX)
        .count();
    let finding = format!("{} kept, {bad} of them with a bad link", neighbours.len());
    if bad == neighbours.len() {
        return check(
            "neighbours",
            Verdict::Warning,
            finding,
            Some("move closer, or out of the way of what disturbs the radio"),
        );
    }
    check("neighbours", Verdict::Ok, finding, None)
}

fn routes(snapshot: &Snapshot) -> Check {
    let count = snapshot.status.destinations;
    if count == 0 && !snapshot.status.neighbours.is_empty() {
        return check(
            "routes",
            Verdict::Warning,
            "neighbours are there, but they have told no routes yet",
            Some("wait a few seconds"),
        );
    }
    check(
        "routes",
        Verdict::Ok,
        format!("{count} destinations within the zone"),
        None,
    )
}

fn people(contacts: usize) -> Check {
    if contacts == 0 {
        return check(
            "people",
            Verdict::Warning,
            "you have no contacts yet",
            Some("show your code with `smartmesh id`, or add somebody with `smartmesh add`"),
        );
    }
    check("people", Verdict::Ok, format!("{contacts} contacts"), None)
}

fn tunnel(snapshot: &Snapshot) -> Check {
    match &snapshot.tunnel {
        Some(name) => check(
            "tunnel",
            Verdict::Ok,
            format!("programs reach the mesh through {name}"),
            None,
        ),
        None => check(
            "tunnel",
            Verdict::Ok,
            "off; start with --tun NAME to let any program use the mesh",
            None,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smartmesh_crypto::Identity;
    use smartmesh_node::{BundleStatus, Status};
    use smartmesh_types::Duration;

    fn info(protection: Protection) -> Info {
        let identity = Identity::from_secret([1; 32]);
        Info {
            address: identity.address(),
            key: identity.key(),
            framed_by: None,
            data: "/".into(),
            protection,
            clock_warning: None,
        }
    }

    fn snapshot() -> Snapshot {
        let identity = Identity::from_secret([1; 32]);
        Snapshot {
            status: Status {
                address: identity.address(),
                key: identity.key(),
                epoch: 0,
                neighbours: Vec::new(),
                destinations: 0,
                flows: Vec::new(),
                relayed_labels: 0,
                bundles: BundleStatus::default(),
                counters: Vec::new(),
            },
            radios: Vec::new(),
            tunnel: None,
            uptime: Duration::ZERO,
        }
    }

    #[test]
    fn whatever_is_wrong_comes_with_advice() {
        let found = examine(
            &info(Protection::Device),
            &snapshot(),
            0,
            Some("full".into()),
        );
        let wrong: Vec<_> = found
            .checks
            .iter()
            .filter(|check| check.verdict != Verdict::Ok)
            .collect();
        assert!(wrong.iter().all(|check| check.advice.is_some()));
        let layers: Vec<_> = wrong.iter().map(|check| check.layer.as_str()).collect();
        assert_eq!(layers, ["disk", "keys", "radios", "neighbours", "people"]);
    }

    #[test]
    fn a_passphrase_and_a_contact_need_no_advice() {
        let found = examine(&info(Protection::Passphrase), &snapshot(), 1, None);
        for layer in ["keys", "people", "clock", "tunnel"] {
            let check = found
                .checks
                .iter()
                .find(|check| check.layer == layer)
                .unwrap();
            assert_eq!(
                (check.verdict, &check.advice),
                (Verdict::Ok, &None),
                "{layer}"
            );
        }
    }
}
