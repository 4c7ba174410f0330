//! What is on disk: yesterday's records load, damaged ones are refused with their name.

use super::*;

/// Records that version 1 wrote: `hex(key) hex(value)` on each line; the identity's secret is 32 times 1. Alice has a
/// session with Brandon (secret 32 times 2), a letter to him under way, one that arrived, and one of his not yet stored.
const RECORDS_V1: &str = include_str!("../../../testdata/records-v1.txt");

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
    digits.map(|pair| byte(pair).unwrap()).collect()
}

fn records() -> Vec<Record> {
    let line = |line: &str| {
        let (key, value) = line.split_once(' ').unwrap();
        Record {
            key: hex(key),
            value: Some(hex(value)),
        }
    };
    RECORDS_V1.lines().map(line).collect()
}

fn restore(records: Vec<Record>) -> Result<Messaging, RestoreError> {
    let identity = Identity::from_secret([1; 32]);
    let now = Now {
        instant: Instant::from_millis(1),
        unix: START + Duration::from_secs(60),
    };
    Messaging::restore(
        Config::default(),
        &identity,
        &Seed::new([1; 32]),
        records,
        now,
    )
}

#[test]
fn records_of_version_1_load() {
    let mut core = restore(records()).unwrap();
    let brandon = Identity::from_secret([2; 32]).address();
    let contact = &core.contacts()[0];
    assert_eq!(
        (contact.address, contact.name.as_str()),
        (brandon, "Brandon")
    );
    assert!(contact.has_keys);
    assert_eq!(core.people.find(&brandon).unwrap().sessions.len(), 1);
    let states: Vec<_> = core.outgoing().iter().map(|it| it.state).collect();
    let until = START + Duration::from_secs(12) + Config::default().lifetime;
    assert_eq!(
        states,
        [MessageState::Waiting { until }, MessageState::Arrived]
    );
    let mut received = Vec::new();
    while let Some(output) = core.poll_output() {
        if let Output::Event(Event::MessageReceived(message)) = output {
            received.push(message.content);
        }
    }
    assert_eq!(received, [Content::Text("hello Alice".into())]);
    // What is written again reads the same.
    let kinds: BTreeSet<_> = records()
        .iter()
        .map(|record| {
            record
                .key
                .split(|byte| *byte == b'/')
                .next()
                .unwrap()
                .to_vec()
        })
        .collect();
    assert_eq!(kinds.len(), 6);
}

#[test]
fn any_prefix_of_the_records_restores() {
    let records = records();
    for length in 0..=records.len() {
        assert!(restore(records[..length].to_vec()).is_ok());
    }
}

#[test]
fn damaged_and_later_records_are_refused_by_name() {
    for index in 0..records().len() {
        let mut later = records();
        later[index].value.as_mut().unwrap()[0] = 9;
        assert!(matches!(
            restore(later).unwrap_err(),
            RestoreError::Version(_, 9)
        ));
        let mut cut = records();
        cut[index].value.as_mut().unwrap().truncate(9);
        assert!(matches!(
            restore(cut).unwrap_err(),
            RestoreError::Damaged(_)
        ));
    }
    let unknown = Record {
        key: b"novelty/1".to_vec(),
        value: Some(vec![1]),
    };
    assert_eq!(
        restore(vec![unknown]).unwrap_err().to_string(),
        "record novelty/1 is damaged"
    );
}

proptest::proptest! {
    #[test]
    fn arbitrary_values_cause_errors_only(value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
        for mut record in records() {
            record.value = Some(value.clone());
            proptest::prop_assert!(restore(vec![record]).is_err());
        }
    }
}
