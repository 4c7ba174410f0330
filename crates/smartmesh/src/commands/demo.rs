//! `demo`: seven real nodes on this machine, and the story of a day in their village.
//!
//! The phones are joined by configured peers on loopback, so that the demo needs no permission and touches no other network.
//! Between them is the air of `air.rs`: nobody hears anybody but who is within reach. `stage.rs` shows it all on a page.

mod air;
mod stage;
mod village;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use smartmesh_api::{
    FetchState, File, Message, MessageState, Nearby, Pong, Queued, SendText, Shared, Whom,
};
use smartmesh_daemon::StopSignal;

use crate::client::encode;
use crate::output::{self, bytes, line};
use village::{Person, Village};

const PICTURE: &str = "
       Ann --- Ben --- Cleo --- Dan --- Gus
         \\              /
          Eve ------ Fay            (a line: these two phones hear each other)
";

/// How long anything in the story may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the story looks whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(super) fn demo(once: bool) -> anyhow::Result<()> {
    let stop = StopSignal::watch().context("can't take signals")?;
    let mut village = Village::build(stop.clone())?;
    if !once {
        let url = village.stage().url();
        if super::open::open_browser(&url) {
            line("The village is shown in your browser.");
        }
        line(format!("See it on its page: {url}\n"));
    }
    let told = story(&mut village);
    if stop.has_come() {
        line("\nStopped.");
        return Ok(());
    }
    if let Err(error) = told {
        let logs = village.keep();
        return Err(error.context(format!(
            "the story broke off; logs are in {}",
            logs.display()
        )));
    }
    if once {
        return Ok(());
    }
    village.start(Person::Ben)?;
    village.stage().end_story();
    line(
        "\nThe village stays up until you press Ctrl-C. Play with it on its page, or try, in another terminal:",
    );
    for command in [
        "nearby",
        "inbox --all",
        "send Dan \"hello\" --wait 5",
        "ping Dan",
        "trace Dan",
        "perf Dan",
        "doctor",
    ] {
        line(format!(
            "  smartmesh --data {} {command}",
            village.folder(Person::Ann).display()
        ));
    }
    while !stop.has_come() {
        village.fulfil_wishes()?;
        std::thread::sleep(LOOK_EVERY.saturating_mul(10));
    }
    line("\nStopped.");
    Ok(())
}

fn story(village: &mut Village) -> anyhow::Result<()> {
    village.stage().tell(
        None,
        "Seven phones, no tower, no server, no Internet. Each is a process of its own.",
    );
    line("Seven phones, no tower, no server, no Internet. Each is a process of its own:");
    line(PICTURE);
    let began = now();
    for person in Person::ALL {
        village.start(person)?;
    }
    village.introduce()?;
    let dan = village.address(Person::Dan)?;
    let seen = wait_for(village, "Ann sees Dan", |village| {
        let nearby: Vec<Nearby> = village.client(Person::Ann)?.get("/v1/nearby")?;
        Ok(nearby
            .into_iter()
            .find(|one| one.address.as_deref() == Some(dan.as_str())))
    })?;
    tell(
        village,
        began,
        &format!(
            "They are up, know each other, and Ann sees Dan {} hops away.",
            seen.hops
        ),
    );
    text_over_three_hops(village)?;
    photo_over_three_hops(village)?;
    relay_dies(village)?;
    mail_for_somebody_away(village)
}

fn text_over_three_hops(village: &Village) -> anyhow::Result<()> {
    let began = now();
    let message = send(
        village,
        Person::Ann,
        Person::Dan,
        "Is the bridge still standing?",
    )?;
    arrived(village, Person::Ann, &message)?;
    tell(
        village,
        began,
        "Ann's text has arrived on Dan's phone, encrypted from end to end past Ben and Cleo.",
    );
    let pong: Pong = village.client(Person::Ann)?.post(
        "/v1/ping",
        &Whom {
            to: "Dan".to_owned(),
        },
    )?;
    line(format!(
        "        (round trip {} over {} hops)",
        output::rtt(pong.rtt_us),
        pong.hops
    ));
    Ok(())
}

fn photo_over_three_hops(village: &Village) -> anyhow::Result<()> {
    let began = now();
    let photo = photo();
    let path = village.root().join("bridge.bmp");
    std::fs::write(&path, &photo)?;
    let query = format!(
        "/v1/files?name=bridge.bmp&media_type=image%2Fbmp&to={}",
        encode("Dan")
    );
    let shared: Shared = village
        .client(Person::Ann)?
        .upload(&query, std::fs::File::open(&path)?)?;
    let dan = village.client(Person::Dan)?;
    let offer = wait_for(village, "Dan is offered the photo", |_| {
        let files: Vec<File> = dan.get("/v1/files")?;
        Ok(files
            .into_iter()
            .find(|file| file.file.reference == shared.file.reference))
    })?;
    let fetch = format!("/v1/files/{}/fetch", offer.message);
    let _: File = dan.post(&fetch, &json!({}))?;
    wait_for(village, "the photo is on Dan's phone", |_| {
        let files: Vec<File> = dan.get("/v1/files")?;
        let here =
            |file: &File| file.message == offer.message && file.fetch == FetchState::Complete;
        Ok(files.iter().any(here).then_some(()))
    })?;
    let mut received = Vec::new();
    let mut content = dan.download(&format!("/v1/files/{}/content", offer.message))?;
    std::io::copy(&mut content, &mut received)?;
    ensure!(received == photo, "the photo that arrived is another one");
    let size = u64::try_from(received.len()).unwrap_or(u64::MAX);
    tell(
        village,
        began,
        &format!(
            "Her photo of {} followed, each of its chunks verified.",
            bytes(size)
        ),
    );
    Ok(())
}

fn relay_dies(village: &mut Village) -> anyhow::Result<()> {
    village.kill(Person::Ben);
    let began = now();
    remark(village, "Ben's battery dies in the middle of it.");
    let message = send(
        village,
        Person::Ann,
        Person::Dan,
        "Ben is gone. Can you still read me?",
    )?;
    arrived(village, Person::Ann, &message)?;
    tell(
        village,
        began,
        "The path healed around him, by Eve and Fay: Ann's next text is there.",
    );
    Ok(())
}

fn mail_for_somebody_away(village: &mut Village) -> anyhow::Result<()> {
    village.kill(Person::Gus);
    remark(village, "Gus's phone is out of everybody's reach.");
    let began = now();
    let message = send(
        village,
        Person::Ann,
        Person::Gus,
        "Bring bread when you come back.",
    )?;
    let state = wait_for(village, "Ann's phone knows that Gus is away", |village| {
        let message: Message = village
            .client(Person::Ann)?
            .get(&format!("/v1/messages/{message}"))?;
        Ok(message.state.filter(|state| {
            matches!(
                state,
                MessageState::Waiting { .. } | MessageState::Carried { .. }
            )
        }))
    })?;
    tell(
        village,
        began,
        &format!("Ann writes to him all the same; her phone says honestly: {state}."),
    );
    village.start(Person::Gus)?;
    let began = now();
    arrived(village, Person::Ann, &message)?;
    tell(
        village,
        began,
        "Gus is back, and so is his mail: it has arrived on his phone.",
    );
    Ok(())
}

fn send(village: &Village, from: Person, to: Person, text: &str) -> anyhow::Result<String> {
    let body = SendText {
        to: to.name().to_owned(),
        text: text.to_owned(),
        ..SendText::default()
    };
    let queued: Queued = village.client(from)?.post("/v1/messages", &body)?;
    Ok(queued.id)
}

fn arrived(village: &Village, sender: Person, id: &str) -> anyhow::Result<()> {
    wait_for(village, "the message arrives", |village| {
        let message: Message = village
            .client(sender)?
            .get(&format!("/v1/messages/{id}?wait_ms=200"))?;
        Ok(message
            .state
            .is_some_and(|state| state.has_arrived())
            .then_some(()))
    })
}

/// Looks again and again until there is something, the user stops the demo, or patience ends.
fn wait_for<T>(
    village: &Village,
    what: &str,
    mut look: impl FnMut(&Village) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let began = now();
    loop {
        if let Some(found) = look(village)? {
            return Ok(found);
        }
        ensure!(!village.is_stopping(), "stopped");
        ensure!(
            began.elapsed() < PATIENCE,
            "waited {} s in vain until {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(LOOK_EVERY);
    }
}

fn tell(village: &Village, began: Instant, what: &str) {
    let millis = began.elapsed().as_millis();
    village
        .stage()
        .tell(Some(u64::try_from(millis).unwrap_or(u64::MAX)), what);
    line(format!("{millis:>6} ms  {what}"));
}

/// What happens by itself and is not measured.
fn remark(village: &Village, what: &str) {
    village.stage().tell(None, what);
    line(format!("        {what}"));
}

#[expect(
    clippy::disallowed_methods,
    reason = "a tool that shows how long things take"
)]
fn now() -> Instant {
    Instant::now()
}

/// A picture of 200 by 150 pixels: an evening sky over a dark bridge, as an uncompressed bitmap.
fn photo() -> Vec<u8> {
    const WIDTH: u32 = 200;
    const HEIGHT: u32 = 150;
    let pixel_bytes = WIDTH.saturating_mul(HEIGHT).saturating_mul(3);
    let mut file = b"BM".to_vec();
    for number in [
        54_u32.saturating_add(pixel_bytes),
        0,
        54,
        40,
        WIDTH,
        HEIGHT,
        0x18_0001,
        0,
        pixel_bytes,
        2_835,
        2_835,
        0,
        0,
    ] {
        file.extend(number.to_le_bytes());
    }
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let pillar = x % 50 < 6 && y < 60;
            let deck = (60..68).contains(&y);
            let sky = u8::try_from(y).unwrap_or(u8::MAX);
            let noise = u8::try_from((x ^ y) % 9).unwrap_or_default();
            let pixel = if pillar || deck {
                [30, 25, 25]
            } else {
                [sky, sky / 2, 200_u8.saturating_sub(sky / 2)]
            };
            file.extend(pixel.map(|part: u8| part.saturating_add(noise)));
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_photo_is_a_whole_bitmap() {
        let photo = photo();
        let length = u32::from_le_bytes(photo[2..6].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap(), photo.len());
    }
}
