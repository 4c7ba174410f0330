//! What people say to everybody near, as the API's JSON types.

use std::collections::BTreeMap;

use smartmesh_api as api;
use smartmesh_node as node;
use smartmesh_types::Address;

/// What is needed to show a post: who the user is, and what they call others.
pub(crate) struct Names {
    pub(crate) own: Address,
    pub(crate) contacts: BTreeMap<String, String>,
}

impl Names {
    /// What the user calls somebody, or else what they call themselves.
    fn of(&self, address: Address, said: &str) -> String {
        self.contacts
            .get(&address.to_string())
            .cloned()
            .unwrap_or_else(|| said.to_owned())
    }
}

/// Ten-millionths of a degree in a degree.
const E7: f64 = 10_000_000.0;

pub(crate) fn place(place: node::Place) -> api::Place {
    api::Place {
        latitude: f64::from(place.latitude_e7()) / E7,
        longitude: f64::from(place.longitude_e7()) / E7,
        accuracy_m: place.accuracy_m(),
    }
}

/// The place as the node takes it; `None` if there is no such place on Earth.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked before; the fraction below a centimetre goes"
)]
pub(crate) fn node_place(place: api::Place) -> Option<node::Place> {
    let real =
        (-90.0..=90.0).contains(&place.latitude) && (-180.0..=180.0).contains(&place.longitude);
    let e7 = |degrees: f64| (degrees * E7).round() as i32;
    real.then(|| node::Place::new(e7(place.latitude), e7(place.longitude), place.accuracy_m))?
}

fn need(need: node::Need) -> api::Need {
    match need {
        node::Need::Supplies => api::Need::Supplies,
        node::Need::Stuck => api::Need::Stuck,
        node::Need::Unknown => api::Need::Unknown,
        node::Need::Injured => api::Need::Injured,
        node::Need::Life => api::Need::Life,
    }
}

pub(crate) fn node_need(need: api::Need) -> node::Need {
    match need {
        api::Need::Supplies => node::Need::Supplies,
        api::Need::Stuck => node::Need::Stuck,
        api::Need::Unknown => node::Need::Unknown,
        api::Need::Injured => node::Need::Injured,
        api::Need::Life => node::Need::Life,
    }
}

fn step(step: node::Step) -> api::HelpStep {
    match step {
        node::Step::Claimed => api::HelpStep::Claimed,
        node::Step::Released => api::HelpStep::Released,
        node::Step::Done => api::HelpStep::Done,
    }
}

pub(crate) fn node_step(step: api::HelpStep) -> node::Step {
    match step {
        api::HelpStep::Claimed => node::Step::Claimed,
        api::HelpStep::Released => node::Step::Released,
        api::HelpStep::Done => node::Step::Done,
    }
}

pub(crate) fn sos(call: &node::CallView, names: &Names) -> api::Sos {
    api::Sos {
        caller: call.caller.to_string(),
        name: names.of(call.caller, &call.name),
        own: call.caller == names.own,
        begun: call.begun.as_secs(),
        made: call.made.as_secs(),
        heard_at: call.heard_at.as_secs(),
        need: need(call.need),
        people: call.people,
        battery: call.battery,
        place: call.place.map(place),
        note: call.note.clone(),
        hops: call.hops,
        over: call.over,
        claimed: call.is_claimed(),
        done: call.is_done(),
        helpers: call
            .helpers
            .iter()
            .map(|helper| api::Helper {
                helper: helper.helper.to_string(),
                name: names.of(helper.helper, &helper.name),
                step: step(helper.step),
                note: helper.note.clone(),
                made: helper.made.as_secs(),
            })
            .collect(),
    }
}

fn condition(condition: node::Condition) -> api::Condition {
    match condition {
        node::Condition::Safe => api::Condition::Safe,
        node::Condition::Hurt => api::Condition::Hurt,
        node::Condition::Missing => api::Condition::Missing,
        node::Condition::Dead => api::Condition::Dead,
    }
}

pub(crate) fn node_condition(condition: api::Condition) -> node::Condition {
    match condition {
        api::Condition::Safe => node::Condition::Safe,
        api::Condition::Hurt => node::Condition::Hurt,
        api::Condition::Missing => node::Condition::Missing,
        api::Condition::Dead => node::Condition::Dead,
    }
}

pub(crate) fn person(person: &node::PersonView, names: &Names) -> api::Person {
    api::Person {
        name: person.name.clone(),
        about: person.about.clone(),
        condition: condition(person.condition),
        place: person.place.map(place),
        made: person.made.as_secs(),
        sources: person
            .sources
            .iter()
            .map(|source| api::PersonSource {
                author: source.author.to_string(),
                reporter: names.of(source.author, &source.reporter),
                condition: condition(source.condition),
                place: source.place.map(place),
                note: source.note.clone(),
                made: source.made.as_secs(),
            })
            .collect(),
    }
}

pub(crate) fn node_alert(urgency: api::Urgency) -> node::Alert {
    match urgency {
        api::Urgency::Information => node::Alert::Information,
        api::Urgency::Warning => node::Alert::Warning,
        api::Urgency::Danger => node::Alert::Danger,
    }
}

pub(crate) fn bulletin(bulletin: &node::BulletinView, names: &Names) -> api::Bulletin {
    api::Bulletin {
        author: bulletin.author.to_string(),
        author_name: if bulletin.pinned_as.is_empty() {
            names.of(bulletin.author, "")
        } else {
            bulletin.pinned_as.clone()
        },
        own: bulletin.author == names.own,
        urgency: match bulletin.urgency {
            node::Alert::Information => api::Urgency::Information,
            node::Alert::Warning => api::Urgency::Warning,
            node::Alert::Danger => api::Urgency::Danger,
        },
        made: bulletin.made.as_secs(),
        until: bulletin.until.as_secs(),
        title: bulletin.title.clone(),
        text: bulletin.text.clone(),
    }
}

pub(crate) fn room(line: &node::RoomView, names: &Names) -> api::RoomMessage {
    api::RoomMessage {
        id: line.id.to_string(),
        author: line.author.to_string(),
        name: names.of(line.author, &line.name),
        own: line.author == names.own,
        text: line.text.clone(),
        made: line.made.as_secs(),
        heard_at: line.heard_at.as_secs(),
        hops: line.hops,
    }
}

/// What to tell clients of news on the board; nothing of answers.
pub(crate) fn board_event(event: &node::BoardEvent, names: &Names) -> Option<api::Event> {
    match event {
        node::BoardEvent::Answer { .. } => None,
        node::BoardEvent::Call(call) => Some(api::Event::Sos {
            sos: Box::new(sos(call, names)),
        }),
        node::BoardEvent::Person(one) => Some(api::Event::Person {
            person: Box::new(person(one, names)),
        }),
        node::BoardEvent::Bulletin(one) => Some(api::Event::Bulletin {
            bulletin: Box::new(bulletin(one, names)),
        }),
        node::BoardEvent::Room(line) => Some(api::Event::Room {
            message: Box::new(room(line, names)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_keep_seven_digits_and_places_off_the_earth_are_none() {
        let nairobi = api::Place {
            latitude: -1.292_066_1,
            longitude: 36.821_946_2,
            accuracy_m: 8,
        };
        assert_eq!(node_place(nairobi).map(place), Some(nairobi));
        for (latitude, longitude) in [(90.1, 0.0), (0.0, -180.5), (f64::NAN, 0.0)] {
            let nowhere = api::Place {
                latitude,
                longitude,
                accuracy_m: 0,
            };
            assert_eq!(node_place(nowhere), None);
        }
    }
}
