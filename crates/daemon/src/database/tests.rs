use super::*;
use smartmesh_api::Direction;
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
        sequence: 0,
        peer: "fd53:4d00::1".to_owned(),
        peer_name: None,
        direction: Direction::Out,
        text: text.to_owned(),
        file: None,
        sent_at: 5,
        path: None,
        state: Some(MessageState::Sent),
        read: false,
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
            Write::Read { id: "b".into() },
        ])
        .unwrap();
    let all = database.messages(0, 10, None).unwrap();
    assert_eq!(database.last_sequence().unwrap(), 2);
    assert_eq!(
        all.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(all[0].state, Some(MessageState::Arrived));
    assert!(all[1].read);
    assert_eq!(
        database.messages(all[0].sequence, 10, None).unwrap().len(),
        1
    );
    assert!(
        database
            .messages(0, 10, Some("somebody else"))
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
