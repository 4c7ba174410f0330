//! A photo for somebody who is met only by a walker; and the same photo with a path, over which it goes by session.

use anyhow::{Context, Result};
use smartmesh_crypto::Seed;
use smartmesh_node::{Command, Event, FileOffer, Input, PathKind};
use smartmesh_storage::{Reader, Reference, Splitter, split};
use smartmesh_types::{Duration, MessageId, RequestId};

use super::mail::befriend;
use super::{Report, Settings, start_all, world_at};
use crate::{Logged, Loss, Point, RadioModel, World};

/// Bytes of the photo.
const PHOTO_BYTES: usize = 200 * 1_024;

const SENDER: u32 = 0;
const WALKER: u32 = 1;
const READER: u32 = 2;
/// Far away, until there is to be a path.
const RELAY: u32 = 3;

/// Seconds a walker stays at each end, and away from both.
const VISIT_SECS: u64 = 20;

/// What the reader has of the photo so far.
#[derive(Debug, Default)]
struct Seen {
    offers: Vec<(MessageId, PathKind, FileOffer)>,
    complete: u64,
}

impl Seen {
    fn note(&mut self, log: &[Logged]) {
        for Logged { node, event, .. } in log {
            if *node != READER {
                continue;
            }
            if let Event::FileReceived(file) = event {
                self.offers
                    .push((file.message, file.path, file.offer.clone()));
            } else if let Event::FetchComplete { .. } = event {
                self.complete = self.complete.saturating_add(1);
            }
        }
    }
}

pub(super) fn run(settings: &Settings) -> Result<Report> {
    let mut report = Report::default();
    carried(settings, &mut report, None)?;
    carried(settings, &mut report, Some(Loss::Torn))?;
    let world = live_first(settings, &mut report)?;
    Ok(report.finish(&world))
}

/// Sender and reader never hear each other; the walker goes to and fro. With a loss, everybody dies now and then.
fn carried(settings: &Settings, report: &mut Report, loss: Option<Loss>) -> Result<()> {
    let (mut world, offer) = village(settings)?;
    let mut seen = Seen::default();
    send(&mut world, &offer, &mut seen)?;
    let mut walks = 0_u32;
    while walks < 12 && seen.complete == 0 {
        let at = [(300, 0), (0, 60), (300, 0), (600, 60)];
        for (x, y) in at {
            walk(&mut world, x, y);
            seen.note(&world.run_for(Duration::from_secs(VISIT_SECS / 2)));
            if let Some(loss) = loss {
                let victim = u32::try_from(world.rng().below(3)).unwrap_or(0);
                world.crash(victim, loss);
                seen.note(&world.run_for(Duration::from_secs(1)));
                world.start(victim)?;
            }
            seen.note(&world.run_for(Duration::from_secs(VISIT_SECS / 2)));
        }
        walks += 1;
    }
    let how = if loss.is_some() {
        "with crashes"
    } else {
        "by a walker"
    };
    report.say(&format!("{how}: rounds until the photo is there"), walks);
    judge(&world, &offer, &seen, how, report);
    if loss.is_none() {
        let again = world.disk(READER).map(crate::Disk::stored_again);
        report.demand("no byte of it comes twice", again == Some(0));
        report.demand(
            "the offer is carried, too",
            seen.offers
                .iter()
                .all(|(_, path, _)| *path == PathKind::Carried),
        );
    }
    // The reader's receipts come back, and nobody carries it any longer.
    for (x, y) in [(0, 60), (600, 60), (0, 60)] {
        walk(&mut world, x, y);
        world.run_for(Duration::from_secs(VISIT_SECS));
    }
    let held: usize = [SENDER, WALKER, READER]
        .iter()
        .filter_map(|node| Some(world.node(*node)?.status(Default::default()).bundles.held))
        .sum();
    report.say(&format!("{how}: bundles left when word came back"), held);
    if loss.is_none() {
        report.demand("nobody carries it any longer", held == 0);
    }
    Ok(())
}

/// There is a path after all, and the reader fetches by it while a walker passes with the parts.
fn live_first(settings: &Settings, report: &mut Report) -> Result<World> {
    let (mut world, offer) = village(settings)?;
    let mut seen = Seen::default();
    send(&mut world, &offer, &mut seen)?;
    // The walker has taken the parts along; then the path appears.
    walk(&mut world, 0, 60);
    seen.note(&world.run_for(Duration::from_secs(VISIT_SECS)));
    walk(&mut world, 300, 2_000);
    seen.note(&world.run_for(Duration::from_secs(VISIT_SECS)));
    let places = [
        (RELAY, Point::metres(80, 0)),
        (READER, Point::metres(160, 0)),
    ];
    world.medium.move_all(places);
    for _ in 0..30 {
        seen.note(&world.run_for(Duration::from_secs(1)));
        if let Some((_, _, offer)) = seen.offers.first() {
            let from = world.address(SENDER);
            let fetch = Command::FetchFile {
                from,
                offer: offer.clone(),
            };
            world.feed(READER, Input::Command(RequestId(77), fetch));
            break;
        }
    }
    walk(&mut world, 160, 60);
    seen.note(&world.run_for(Duration::from_secs(60)));
    judge(&world, &offer, &seen, "over a path", report);
    let again = world.disk(READER).map(crate::Disk::stored_again);
    report.say("over a path: chunks that came twice", again.unwrap_or(0));
    report.demand("no byte comes both ways", again == Some(0));
    Ok(world)
}

fn walk(world: &mut World, x: i64, y: i64) {
    world.medium.move_all([(WALKER, Point::metres(x, y))]);
}

fn village(settings: &Settings) -> Result<(World, FileOffer)> {
    let places = vec![
        Point::metres(0, 0),
        Point::metres(300, 0),
        Point::metres(600, 0),
        Point::metres(0, 5_000),
    ];
    let mut world = world_at(settings, RadioModel::WIFI, places);
    start_all(&mut world)?;
    befriend(&mut world, SENDER, READER)?;
    let mut bytes = vec![0; PHOTO_BYTES];
    let mut rng = Seed::new([3; 32]).rng();
    rng.fill(&mut bytes);
    let (reference, chunks) = split(Splitter::encrypted(rng), &bytes);
    for needle in bytes.chunks(16).step_by(256).chain([&b"photo.jpg"[..]]) {
        world.forbid(&[needle.to_vec()]);
    }
    for chunk in chunks {
        if let Some(disk) = world.disk_mut(SENDER) {
            disk.store_chunk(chunk.address().0, chunk.into_bytes());
        }
    }
    let offer = FileOffer {
        reference: reference.to_bytes(),
        size: u64::try_from(PHOTO_BYTES).unwrap_or(0),
        name: "photo.jpg".to_owned(),
        media_type: "image/jpeg".to_owned(),
    };
    Ok((world, offer))
}

fn send(world: &mut World, offer: &FileOffer, seen: &mut Seen) -> Result<()> {
    let command = Command::OfferFile {
        to: world.address(READER),
        offer: offer.clone(),
    };
    world.feed(SENDER, Input::Command(RequestId(9), command));
    let log = world.run_for(Duration::from_secs(5));
    seen.note(&log);
    log.iter()
        .any(|logged| matches!(logged.event, Event::Queued { .. }))
        .then_some(())
        .context("the offer was refused")
}

fn judge(world: &World, offer: &FileOffer, seen: &Seen, how: &str, report: &mut Report) {
    report.say(&format!("{how}: offers shown"), seen.offers.len());
    report.demand("the offer is shown once", seen.offers.len() == 1);
    report.demand("the photo arrives", seen.complete > 0);
    report.demand(
        &format!("{how}: the photo is shown once as complete"),
        seen.complete <= 1 || how != "by a walker",
    );
    report.demand("no plaintext on the air", world.leaks() == 0);
    let readable = Reference::from_bytes(&offer.reference)
        .ok()
        .and_then(|reference| read(world, reference))
        .is_some_and(|bytes| bytes.len() == PHOTO_BYTES);
    report.demand("the reader can open it", readable);
}

/// The photo, put together from the reader's disk.
fn read(world: &World, reference: Reference) -> Option<Vec<u8>> {
    let mut reader = Reader::new(reference);
    let mut bytes = Vec::new();
    while let Some(address) = reader.wanted() {
        let chunk = world.disk(READER)?.chunk(&address.0)?;
        bytes.extend(reader.supply(chunk).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_reaches_whom_only_a_walker_meets() {
        let report = run(&Settings::default()).unwrap();
        assert_eq!(report.failures, [] as [String; 0], "{report:#?}");
    }
}
