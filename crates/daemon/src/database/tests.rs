use super::*;
use smartmesh_api::{Direction, Reaction};
use smartmesh_crypto::Seed;

fn open(path: &Path, key: u8) -> Result<Database, DatabaseError> {
    Database::open(path, StoreKey::new([key; 32]), Seed::new([9; 32]).rng())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn record(key: &[u8], value: Option<&[u8]>) -> Record {
    Record {
        key: key.to_vec(),
        value: value.map(<[u8]>::to_vec),
    }
}

fn message(id: &str, text: &str) -> Message {
    Message {
        id: id.to_owned(),
        peer: "fd53:4d00::1".to_owned(),
        direction: Direction::Out,
        text: text.to_owned(),
        sent_at: 5,
        state: Some(MessageState::Sent),
        ..Message::default()
    }
}

#[test]
fn records_keep_their_newest_value_over_a_restart() {
    let folder = folder();
    let path = folder.path().join(FILE);
    let mut database = open(&path, 1).unwrap();
    let writes = [
        record(b"a", Some(b"1")),
        record(b"b", Some(b"2")),
        record(b"a", Some(b"3")),
        record(b"c", Some(b"")),
        record(b"b", None),
    ];
    database.apply(&[Write::Records(writes.to_vec())]).unwrap();
    drop(database);
    let expected = [record(b"a", Some(b"3")), record(b"c", Some(b""))];
    assert_eq!(open(&path, 1).unwrap().records().unwrap(), expected);
}

#[test]
fn nothing_readable_is_in_the_files() {
    let folder = folder();
    let path = folder.path().join(FILE);
    let mut database = open(&path, 1).unwrap();
    database
        .apply(&[
            Write::Records(vec![record(b"contact fd53", Some(b"ALICE-IN-WONDERLAND"))]),
            Write::Message(Box::new(message("id-of-message", "MEET-ME-AT-NOON"))),
            Write::Chunks(vec![([0x41; 32], b"PHOTO-OF-A-CAT".to_vec())]),
        ])
        .unwrap();
    drop(database);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for needle in [
            &b"ALICE"[..],
            b"contact",
            b"MEET-ME",
            b"id-of-message",
            b"PHOTO",
            &[0x41; 32],
            b"fd53",
        ] {
            assert!(
                !bytes.windows(needle.len()).any(|window| window == needle),
                "{needle:?}"
            );
        }
    }
}

#[test]
fn history_has_an_order_and_keeps_each_message_once() {
    let folder = folder();
    let mut database = open(&folder.path().join(FILE), 1).unwrap();
    for (sequence, id) in [(1, "a"), (2, "b"), (3, "a")] {
        let message = Message {
            sequence,
            ..message(id, id)
        };
        database
            .apply(&[Write::Message(Box::new(message))])
            .unwrap();
    }
    database
        .apply(&[
            Write::MessageState {
                id: "a".into(),
                state: MessageState::Arrived,
            },
            Write::Read {
                id: "b".into(),
                at: 7,
            },
        ])
        .unwrap();
    let all = database.messages(Page::After(0), 10, None).unwrap();
    assert_eq!(database.last_sequence().unwrap(), 2);
    assert_eq!(
        all.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(all[0].state, Some(MessageState::Arrived));
    assert!(all[1].read);
    assert_eq!(
        database
            .messages(Page::After(all[0].sequence), 10, None)
            .unwrap()
            .len(),
        1
    );
    assert!(
        database
            .messages(Page::After(0), 10, Some("somebody else"))
            .unwrap()
            .is_empty()
    );
    assert_eq!(database.message("a").unwrap(), Some(all[0].clone()));
    assert_eq!(database.message("z").unwrap(), None);
}

#[test]
fn chunks_and_files_are_found_again() {
    let folder = folder();
    let mut database = open(&folder.path().join(FILE), 1).unwrap();
    let state = FetchState::Fetching { bytes: 4_096 };
    database
        .apply(&[
            Write::Chunks(vec![([1; 32], vec![7; 4_104])]),
            Write::File {
                reference: "ab".into(),
                state: state.clone(),
            },
            Write::Meta {
                name: "time",
                value: 77_u64.to_be_bytes().to_vec(),
            },
        ])
        .unwrap();
    assert_eq!(database.chunk(&[1; 32]).unwrap(), Some(vec![7; 4_104]));
    assert_eq!(database.chunk(&[2; 32]).unwrap(), None);
    assert_eq!(database.file("ab").unwrap(), Some(state));
    assert_eq!(database.last_time().unwrap(), Some(UnixTime::from_secs(77)));
}

#[test]
fn a_database_of_the_first_version_is_brought_up_to_date_with_its_content() {
    let folder = folder();
    let path = folder.path().join(FILE);
    let key = StoreKey::new([1; 32]);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(MIGRATIONS[0]).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    apply_one(
        &connection,
        &key,
        &mut Seed::new([2; 32]).rng(),
        &Write::Records(vec![record(b"k", Some(b"v"))]),
    )
    .unwrap();
    drop(connection);
    let mut database = open(&path, 1).unwrap();
    assert_eq!(database.records().unwrap(), [record(b"k", Some(b"v"))]);
    database
        .apply(&[Write::File {
            reference: "ab".into(),
            state: FetchState::Complete,
        }])
        .unwrap();
}

#[test]
fn newer_foreign_and_damaged_databases_are_refused_with_advice() {
    let folder = folder();
    let path = folder.path().join(FILE);
    open(&path, 1).unwrap();
    assert!(matches!(open(&path, 2), Err(DatabaseError::OtherKey)));
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(matches!(
        open(&path, 1),
        Err(DatabaseError::Newer { found: 99, .. })
    ));
    std::fs::write(&path, vec![b'x'; 20_000]).unwrap();
    let error = open(&path, 1).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("put the folder back from a backup"),
        "{error}"
    );
}

#[test]
fn a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_space() {
    let folder = folder();
    let mut database = open(&folder.path().join(FILE), 1).unwrap();
    database
        .apply(&[Write::Records(vec![record(b"old", Some(b"kept"))])])
        .unwrap();
    let pages: i64 = database
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    database
        .connection
        .pragma_update(None, "max_page_count", pages + 1)
        .unwrap();
    let big = Write::Chunks((0..50).map(|n| ([n; 32], vec![n; 4_096])).collect());
    assert!(matches!(
        database.apply(std::slice::from_ref(&big)),
        Err(DatabaseError::Full)
    ));
    assert_eq!(database.chunk(&[0; 32]).unwrap(), None, "all or nothing");
    assert_eq!(database.records().unwrap(), [record(b"old", Some(b"kept"))]);
    database
        .connection
        .pragma_update(None, "max_page_count", 1_000_000)
        .unwrap();
    database.apply(&[big]).unwrap();
    assert!(database.chunk(&[49; 32]).unwrap().is_some());
}

/// The history as version 2 of the database kept it: without conversations.
#[test]
fn messages_of_an_older_database_are_sorted_into_conversations() {
    let folder = folder();
    let path = folder.path().join(FILE);
    let key = StoreKey::new([1; 32]);
    let mut rng = Seed::new([2; 32]).rng();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(MIGRATIONS[0]).unwrap();
    connection.execute_batch(MIGRATIONS[1]).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    for n in 0..2_500_u32 {
        let old = serde_json::json!({
            "id": format!("{n}"), "sequence": n, "peer": if n % 2 == 0 { "fd53:4d00::1" } else { "fd53:4d00::2" },
            "direction": "in", "text": format!("number {n}"), "sent_at": 5, "read": n < 2_400,
        });
        let place = key.place("messages", format!("{n}").as_bytes());
        let sealed = key.seal(&place, old.to_string().as_bytes(), &mut rng);
        connection
            .execute(
                "INSERT INTO messages(sequence, place, sealed) VALUES(?1, ?2, ?3)",
                params![n + 1, place, sealed],
            )
            .unwrap();
    }
    drop(connection);
    let database = open(&path, 1).unwrap();
    let conversations = database.conversations().unwrap();
    let shown: Vec<_> = conversations
        .iter()
        .map(|one| (one.peer.as_str(), one.last.text.as_str(), one.unread))
        .collect();
    assert_eq!(
        shown,
        [
            ("fd53:4d00::2", "number 2499", 50),
            ("fd53:4d00::1", "number 2498", 50)
        ]
    );
    let page = database
        .messages(
            Page::Before(conversations[0].last.sequence),
            3,
            Some("fd53:4d00::2"),
        )
        .unwrap();
    let texts: Vec<_> = page.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(texts, ["number 2493", "number 2495", "number 2497"]);
}

fn change(target: &str, who: &str, at: u64, kind: ChangeKind) -> Write {
    Write::Change(Box::new(MessageChange {
        target: target.to_owned(),
        who: who.to_owned(),
        own: false,
        at,
        kind,
    }))
}

fn received(id: &str, sequence: u64, text: &str) -> Write {
    Write::Message(Box::new(Message {
        sequence,
        direction: Direction::In,
        state: None,
        ..message(id, text)
    }))
}

#[test]
fn what_is_said_about_a_message_takes_effect_whenever_it_comes_and_by_its_author_alone() {
    let folder = folder();
    let mut database = open(&folder.path().join(FILE), 1).unwrap();
    let (author, other) = ("fd53:4d00::1", "fd53:4d00::2");
    let edit = |text: &str| ChangeKind::Edit(text.to_owned());
    let react = |emoji: &str| ChangeKind::React(emoji.to_owned());
    // The second edit comes first, the first one late, a stranger's never counts.
    database
        .apply(&[
            change("a", author, 20, edit("second")),
            change("a", author, 10, edit("first")),
            change("a", other, 30, edit("forged")),
            change("a", other, 30, ChangeKind::Delete),
            change("a", other, 31, react("+")),
            received("a", 1, "original"),
        ])
        .unwrap();
    let shown = database.message("a").unwrap().unwrap();
    assert_eq!((shown.text.as_str(), shown.edited_at), ("second", Some(20)));
    let sign = Reaction {
        who: other.to_owned(),
        own: false,
        emoji: "+".to_owned(),
    };
    assert_eq!(shown.reactions, [sign]);
    database
        .apply(&[
            change("a", other, 40, react("")),
            change("a", author, 41, ChangeKind::Delete),
            change("a", author, 42, edit("back")),
        ])
        .unwrap();
    let gone = database.message("a").unwrap().unwrap();
    assert!(gone.deleted && gone.text.is_empty() && gone.reactions.is_empty());
    assert_eq!(gone.sequence, 1);
}

#[test]
fn words_are_found_in_every_script_and_the_index_follows_the_history() {
    let folder = folder();
    let mut database = open(&folder.path().join(FILE), 1).unwrap();
    let texts = [
        "Meet me at the bridge",
        "Réunion au pont, demain",
        "明天在桥边见面",
        "نلتقي عند الجسر",
        "100% sure_thing",
    ];
    for (n, text) in (1..).zip(texts) {
        database
            .apply(&[received(&n.to_string(), n, text)])
            .unwrap();
    }
    let find = |database: &Database, query: &str| -> Vec<String> {
        let found = database.search(query, None, 10).unwrap();
        found.into_iter().map(|message| message.text).collect()
    };
    for (query, expected) in [
        ("BRIDGE meet", texts[0]),
        ("reunion", texts[1]),
        ("桥边", texts[2]),
        ("الجسر", texts[3]),
        ("0% e_", texts[4]),
    ] {
        assert_eq!(find(&database, query), [expected], "{query}");
    }
    assert!(find(&database, "\" OR text:bridge").is_empty());
    assert!(find(&database, " ").is_empty());
    database
        .apply(&[
            change(
                "1",
                "fd53:4d00::1",
                9,
                ChangeKind::Edit("Meet me at the mill".into()),
            ),
            Write::Remove {
                ids: vec!["2".into()],
            },
            received("6", 6, "the bridge is gone"),
        ])
        .unwrap();
    assert_eq!(find(&database, "bridge"), ["the bridge is gone"]);
    assert_eq!(find(&database, "mill"), ["Meet me at the mill"]);
    assert!(find(&database, "pont").is_empty());
}

#[test]
fn a_message_vanishes_when_its_time_after_reading_is_over() {
    let folder = folder();
    let mut database = open(&folder.path().join(FILE), 1).unwrap();
    let mut secret = message("s", "secret");
    secret.direction = Direction::In;
    secret.sequence = 1;
    secret.vanish_secs = Some(60);
    let read = |at| Write::Read { id: "s".into(), at };
    database
        .apply(&[Write::Message(Box::new(secret)), received("k", 2, "kept")])
        .unwrap();
    assert!(
        database.vanished(10_000).unwrap().is_empty(),
        "not read yet"
    );
    database.apply(&[read(1_000), read(1_050)]).unwrap();
    assert!(database.vanished(1_059).unwrap().is_empty());
    let ids = database.vanished(1_060).unwrap();
    assert_eq!(ids, ["s"]);
    database.apply(&[Write::Remove { ids }]).unwrap();
    assert_eq!(database.message("s").unwrap(), None);
    assert_eq!(database.conversations().unwrap()[0].last.id, "k");
}
