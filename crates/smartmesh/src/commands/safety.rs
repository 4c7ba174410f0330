//! Calls for help, how people are, bulletins.

use std::io::Read;

use smartmesh_api::{
    Bulletin, ClaimSos, Condition, HelpStep, Identity, Need, Person, Pin, PinKey, Place, Posted,
    PublishBulletin, ReportPerson, SendSos, Sos, Urgency,
};

use super::Format;
use crate::cli::{
    BulletinCommand, ConditionWord, ExportForm, NeedWord, SafeCommand, SosCommand, UrgencyWord,
    Where,
};
use crate::client::{Client, encode};
use crate::output;

/// What `smartmesh sos` says when no subcommand is given.
#[derive(Debug)]
pub(super) struct Cry {
    pub(super) note: Option<String>,
    pub(super) need: NeedWord,
    pub(super) people: u8,
    pub(super) battery: Option<u8>,
    pub(super) place: Where,
}

fn place(place: &Where) -> Option<Place> {
    Some(Place {
        latitude: place.lat?,
        longitude: place.lon?,
        accuracy_m: place.accuracy,
    })
}

pub(super) fn sos(
    client: &Client,
    format: Format,
    cry: Cry,
    command: Option<SosCommand>,
) -> anyhow::Result<()> {
    match command {
        None => call(client, format, cry),
        Some(SosCommand::List { open }) => list(client, format, open),
        Some(SosCommand::Cancel { note }) => {
            let path = format!("/v1/sos?note={}", encode(&note));
            let posted: Posted = client.delete_for(&path)?;
            said(format, &posted, "Called off. Everybody in reach hears it.");
            Ok(())
        }
        Some(SosCommand::Claim { who, note }) => {
            claim(client, format, &who, HelpStep::Claimed, note)
        }
        Some(SosCommand::Release { who, note }) => {
            claim(client, format, &who, HelpStep::Released, note)
        }
        Some(SosCommand::Done { who, note }) => claim(client, format, &who, HelpStep::Done, note),
        Some(SosCommand::Export { form }) => {
            let form = match form {
                ExportForm::Gpx => "gpx",
                ExportForm::Geojson => "geojson",
                ExportForm::Csv => "csv",
            };
            print_download(client, &format!("/v1/sos/export?format={form}"))
        }
    }
}

fn said(format: Format, posted: &Posted, words: &str) {
    match format {
        Format::Json => output::json(posted),
        Format::Text => output::line(words),
    }
}

fn print_download(client: &Client, path: &str) -> anyhow::Result<()> {
    let mut text = String::new();
    client.download(path)?.read_to_string(&mut text)?;
    output::line(text.trim_end());
    Ok(())
}

fn call(client: &Client, format: Format, cry: Cry) -> anyhow::Result<()> {
    let body = SendSos {
        note: cry.note.unwrap_or_default(),
        need: match cry.need {
            NeedWord::Life => Need::Life,
            NeedWord::Injured => Need::Injured,
            NeedWord::Unknown => Need::Unknown,
            NeedWord::Stuck => Need::Stuck,
            NeedWord::Supplies => Need::Supplies,
        },
        people: cry.people,
        battery: cry.battery,
        place: place(&cry.place),
    };
    let posted: Posted = client.post("/v1/sos", &body)?;
    said(
        format,
        &posted,
        "Your call is out: every phone in reach shows it and passes it on.\nWhen help is no longer needed: smartmesh sos cancel",
    );
    Ok(())
}

fn claim(
    client: &Client,
    format: Format,
    who: &str,
    step: HelpStep,
    note: String,
) -> anyhow::Result<()> {
    let path = format!("/v1/sos/{}/claim", encode(who));
    let posted: Posted = client.post(&path, &ClaimSos { step, note })?;
    let words = match step {
        HelpStep::Claimed => "Everybody in reach sees that you are on the way.",
        HelpStep::Released => "Given back.",
        HelpStep::Done => "Marked as done.",
    };
    said(format, &posted, words);
    Ok(())
}

fn list(client: &Client, format: Format, open: bool) -> anyhow::Result<()> {
    let mut calls: Vec<Sos> = client.get("/v1/sos")?;
    calls.retain(|call| !open || (!call.over && !call.done));
    if format == Format::Json {
        output::json(&calls);
        return Ok(());
    }
    if calls.is_empty() {
        output::line("Nobody calls for help.");
    }
    for call in calls {
        let state = match (call.over, call.done, call.claimed) {
            (true, _, _) => "called off",
            (false, true, _) => "done",
            (false, false, true) => "claimed",
            (false, false, false) => "OPEN",
        };
        let need = match call.need {
            Need::Life => "life in danger",
            Need::Injured => "injured",
            Need::Unknown => "help",
            Need::Stuck => "stuck",
            Need::Supplies => "supplies",
        };
        let mut words = vec![format!("{state:10}  {need:14}  {}", call.name)];
        if call.people > 0 {
            words.push(format!("{} people", call.people));
        }
        words.extend(call.battery.map(|percent| format!("battery {percent} %")));
        words.push(match (call.place, call.own) {
            (Some(place), _) => format!(
                "{:.5}, {:.5} (within {} m)",
                place.latitude, place.longitude, place.accuracy_m
            ),
            (None, true) => "this phone".to_owned(),
            (None, false) => format!("{} phones away when heard", call.hops),
        });
        words.push(output::moment(call.made));
        output::line(words.join("  "));
        if !call.note.is_empty() {
            output::line(format!("            {}", call.note));
        }
        for helper in call.helpers {
            let does = match helper.step {
                HelpStep::Claimed => "is on the way",
                HelpStep::Released => "has given it back",
                HelpStep::Done => "says it is done",
            };
            output::line(format!(
                "            {} {does} {}",
                helper.name, helper.note
            ));
        }
        output::line(format!("            {}", call.caller));
    }
    Ok(())
}

/// What `smartmesh safe` says when no subcommand is given.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) name: Option<String>,
    pub(super) about: String,
    pub(super) condition: ConditionWord,
    pub(super) note: String,
    pub(super) place: Where,
}

pub(super) fn safe(
    client: &Client,
    format: Format,
    word: Word,
    command: Option<SafeCommand>,
) -> anyhow::Result<()> {
    match command {
        None => report(client, format, word),
        Some(SafeCommand::Find { query }) => {
            let query = query.unwrap_or_default();
            find(client, format, &query)
        }
        Some(SafeCommand::Export) => print_download(client, "/v1/safe/export"),
    }
}

fn report(client: &Client, format: Format, word: Word) -> anyhow::Result<()> {
    let name = match word.name {
        Some(name) => name,
        None => client.get::<Identity>("/v1/id")?.name,
    };
    let body = ReportPerson {
        name: Some(name.clone()),
        about: word.about,
        condition: match word.condition {
            ConditionWord::Safe => Condition::Safe,
            ConditionWord::Hurt => Condition::Hurt,
            ConditionWord::Missing => Condition::Missing,
            ConditionWord::Dead => Condition::Dead,
        },
        place: place(&word.place),
        note: word.note,
    };
    let posted: Posted = client.post("/v1/safe", &body)?;
    said(
        format,
        &posted,
        &format!("Whoever looks for {name} in reach finds that now."),
    );
    Ok(())
}

fn find(client: &Client, format: Format, query: &str) -> anyhow::Result<()> {
    let people: Vec<Person> = client.get(&format!("/v1/safe?query={}", encode(query)))?;
    if format == Format::Json {
        output::json(&people);
        return Ok(());
    }
    if people.is_empty() {
        output::line("Nothing is known of anybody of that name yet.");
    }
    for person in people {
        let about = if person.about.is_empty() {
            String::new()
        } else {
            format!(" ({})", person.about)
        };
        let condition = condition_word(person.condition);
        output::line(format!("{}{about}: {condition}", person.name));
        for source in person.sources {
            let words = condition_word(source.condition);
            output::line(format!(
                "    {}  {} says: {words} {}",
                output::moment(source.made),
                source.reporter,
                source.note
            ));
        }
    }
    Ok(())
}

fn condition_word(condition: Condition) -> &'static str {
    match condition {
        Condition::Safe => "safe",
        Condition::Hurt => "hurt",
        Condition::Missing => "missing",
        Condition::Dead => "dead",
    }
}

pub(super) fn bulletin(
    client: &Client,
    format: Format,
    command: BulletinCommand,
) -> anyhow::Result<()> {
    match command {
        BulletinCommand::List => bulletins(client, format),
        BulletinCommand::Publish {
            title,
            text,
            urgency,
            hours,
        } => {
            let urgency = match urgency {
                UrgencyWord::Information => Urgency::Information,
                UrgencyWord::Warning => Urgency::Warning,
                UrgencyWord::Danger => Urgency::Danger,
            };
            let body = PublishBulletin {
                title,
                text,
                urgency,
                hours,
            };
            let posted: Posted = client.post("/v1/bulletins", &body)?;
            said(
                format,
                &posted,
                "Published. Those who have pinned this phone's key see it.",
            );
            Ok(())
        }
        BulletinCommand::Pin { who, name } => {
            client.tell("/v1/pins", &PinKey { who, name })?;
            output::note("done");
            Ok(())
        }
        BulletinCommand::Unpin { who } => {
            client.delete(&format!("/v1/pins/{}", encode(&who)))?;
            output::note("done");
            Ok(())
        }
        BulletinCommand::Pins => {
            let pins: Vec<Pin> = client.get("/v1/pins")?;
            match format {
                Format::Json => output::json(&pins),
                Format::Text => pins
                    .iter()
                    .for_each(|pin| output::line(format!("{:20}  {}", pin.name, pin.address))),
            }
            Ok(())
        }
    }
}

fn bulletins(client: &Client, format: Format) -> anyhow::Result<()> {
    let bulletins: Vec<Bulletin> = client.get("/v1/bulletins")?;
    if format == Format::Json {
        output::json(&bulletins);
        return Ok(());
    }
    if bulletins.is_empty() {
        output::line("No bulletins. Pin an authority's key with `smartmesh bulletin pin`.");
    }
    for bulletin in bulletins {
        let urgency = match bulletin.urgency {
            Urgency::Information => "information",
            Urgency::Warning => "WARNING",
            Urgency::Danger => "DANGER",
        };
        let author = if bulletin.own {
            "you"
        } else {
            &bulletin.author_name
        };
        output::line(format!(
            "{urgency}: {}  ({author}, holds until {})\n    {}",
            bulletin.title,
            output::moment(bulletin.until),
            bulletin.text
        ));
    }
    Ok(())
}
