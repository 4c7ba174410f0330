//! Calls for help in the forms that responders' programs read: GPX 1.1, GeoJSON (RFC 7946), CSV (RFC 4180).

use serde_json::json;
use smartmesh_api::{Person, Sos};

/// All calls with a place, as GPX waypoints.
pub(super) fn gpx(calls: &[Sos]) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gpx version=\"1.1\" creator=\"SmartMesh\" xmlns=\"http://www.topografix.com/GPX/1/1\">\n",
    );
    for call in calls {
        let Some(place) = call.place else { continue };
        text.push_str(&format!(
            "  <wpt lat=\"{:.7}\" lon=\"{:.7}\"><time>{}</time><name>{}</name><desc>{}</desc><sym>{}</sym></wpt>\n",
            place.latitude,
            place.longitude,
            iso_8601(call.made),
            xml(&call.name),
            xml(&described(call)),
            if is_open(call) { "Danger Area" } else { "Flag, Green" },
        ));
    }
    text.push_str("</gpx>\n");
    text
}

/// All calls as a feature collection; those without a place have a null geometry.
pub(super) fn geojson(calls: &[Sos]) -> String {
    let features: Vec<_> = calls
        .iter()
        .map(|call| {
            let geometry = call
                .place
                .map(|place| json!({ "type": "Point", "coordinates": [place.longitude, place.latitude] }));
            json!({ "type": "Feature", "geometry": geometry, "properties": call })
        })
        .collect();
    json!({ "type": "FeatureCollection", "features": features }).to_string()
}

/// All calls, one a line.
pub(super) fn csv(calls: &[Sos]) -> String {
    let mut text = line(&[
        "state",
        "need",
        "name",
        "note",
        "people",
        "battery",
        "latitude",
        "longitude",
        "accuracy_m",
        "hops",
        "begun",
        "made",
        "heard_at",
        "helpers",
        "caller",
    ]);
    for call in calls {
        let helpers: Vec<_> = call
            .helpers
            .iter()
            .map(|helper| format!("{} ({})", helper.name, word(&helper.step)))
            .collect();
        let number = |value: Option<String>| value.unwrap_or_default();
        text.push_str(&line(&[
            state(call),
            &word(&call.need),
            &call.name,
            &call.note,
            &call.people.to_string(),
            &number(call.battery.map(|percent| percent.to_string())),
            &number(call.place.map(|place| format!("{:.7}", place.latitude))),
            &number(call.place.map(|place| format!("{:.7}", place.longitude))),
            &number(call.place.map(|place| place.accuracy_m.to_string())),
            &call.hops.to_string(),
            &iso_8601(call.begun),
            &iso_8601(call.made),
            &iso_8601(call.heard_at),
            &helpers.join("; "),
            &call.caller,
        ]));
    }
    text
}

/// What is known of people, one source a line.
pub(super) fn people_csv(people: &[Person]) -> String {
    let mut text = line(&[
        "name",
        "about",
        "condition",
        "note",
        "latitude",
        "longitude",
        "made",
        "reporter",
        "author",
    ]);
    for person in people {
        for source in &person.sources {
            let place = source.place;
            text.push_str(&line(&[
                &person.name,
                &person.about,
                &word(&source.condition),
                &source.note,
                &place
                    .map(|place| format!("{:.7}", place.latitude))
                    .unwrap_or_default(),
                &place
                    .map(|place| format!("{:.7}", place.longitude))
                    .unwrap_or_default(),
                &iso_8601(source.made),
                &source.reporter,
                &source.author,
            ]));
        }
    }
    text
}

fn is_open(call: &Sos) -> bool {
    !call.over && !call.done
}

fn state(call: &Sos) -> &'static str {
    match (call.over, call.done, call.claimed) {
        (true, _, _) => "called off",
        (false, true, _) => "done",
        (false, false, true) => "claimed",
        (false, false, false) => "open",
    }
}

fn described(call: &Sos) -> String {
    let mut words = vec![
        state(call).to_owned(),
        format!("need: {}", word(&call.need)),
    ];
    if call.people > 0 {
        words.push(format!("people: {}", call.people));
    }
    words.extend(call.battery.map(|percent| format!("battery: {percent} %")));
    if !call.note.is_empty() {
        words.push(call.note.clone());
    }
    words.join("; ")
}

/// The word that the API uses for a variant.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// One line. What a spreadsheet would take for a formula is made a text: the words are strangers'.
fn line(fields: &[&str]) -> String {
    let quoted: Vec<_> = fields
        .iter()
        .map(|field| {
            let number = field.parse::<f64>().is_ok();
            let formula = !number && field.starts_with(['=', '+', '-', '@', '\t', '\r']);
            let safe = if formula {
                format!("'{field}")
            } else {
                (*field).to_owned()
            };
            format!("\"{}\"", safe.replace('"', "\"\""))
        })
        .collect();
    format!("{}\r\n", quoted.join(","))
}

fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // XML 1.0 has no other control characters.
            '\n' | '\t' => safe.push(' '),
            other if other.is_control() => {}
            other => safe.push(other),
        }
    }
    safe
}

/// A moment in UTC (ISO 8601); the civil calendar by Howard Hinnant's `civil_from_days`.
fn iso_8601(unix_secs: u64) -> String {
    let (days, secs) = (unix_secs / 86_400, unix_secs % 86_400);
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = day_of_era
        .saturating_sub(day_of_era / 1_460)
        .saturating_add(day_of_era / 36_524)
        .saturating_sub(day_of_era / 146_096)
        / 365;
    let leap_days = (year_of_era / 4).saturating_sub(year_of_era / 100);
    let day_of_year =
        day_of_era.saturating_sub(year_of_era.saturating_mul(365).saturating_add(leap_days));
    let month_index = day_of_year.saturating_mul(5).saturating_add(2) / 153;
    let before = month_index.saturating_mul(153).saturating_add(2) / 5;
    let day = day_of_year.saturating_sub(before).saturating_add(1);
    let month = if month_index < 10 {
        month_index.saturating_add(3)
    } else {
        month_index.saturating_sub(9)
    };
    let year = year_of_era
        .saturating_add(era.saturating_mul(400))
        .saturating_add(u64::from(month <= 2));
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        secs / 3_600,
        secs / 60 % 60,
        secs % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use smartmesh_api::{Need, Place};

    fn call(note: &str, place: Option<Place>) -> Sos {
        Sos {
            caller: "fd53:4d00::1".into(),
            name: "Ann & \"Bo\"".into(),
            own: false,
            begun: 1_795_405_500,
            made: 1_795_405_501,
            heard_at: 1_795_405_502,
            need: Need::Life,
            people: 3,
            battery: Some(4),
            place,
            note: note.into(),
            hops: 2,
            over: false,
            claimed: false,
            done: false,
            helpers: Vec::new(),
        }
    }

    const PLACE: Option<Place> = Some(Place {
        latitude: -1.25,
        longitude: 36.5,
        accuracy_m: 5,
    });

    #[test]
    fn strangers_words_do_not_break_out() {
        let calls = [call("=1+1 <script>\n\"x\"", PLACE), call("no place", None)];
        let gpx = gpx(&calls);
        assert!(
            gpx.contains("lat=\"-1.2500000\" lon=\"36.5000000\""),
            "{gpx}"
        );
        assert!(
            gpx.contains("Ann &amp; &quot;Bo&quot;") && !gpx.contains("<script>"),
            "{gpx}"
        );
        assert!(
            gpx.contains("2026-11-23T03:45:01Z") && !gpx.contains("no place"),
            "{gpx}"
        );
        let csv = csv(&calls);
        assert!(csv.contains("\"'=1+1 <script>\n\"\"x\"\"\""), "{csv}");
        assert!(csv.contains("\"-1.2500000\",\"36.5000000\""), "{csv}");
        let json: serde_json::Value = serde_json::from_str(&geojson(&calls)).unwrap();
        assert_eq!(json["features"][0]["geometry"]["coordinates"][0], 36.5);
        assert!(json["features"][1]["geometry"].is_null());
        assert_eq!(json["features"][1]["properties"]["note"], "no place");
    }
}
