//! Everything that must survive: the cores' records, the history of messages, chunks of files.
//!
//! SQLite with a write-ahead log and full synchronisation: a commit that returned survives a power cut. All values are
//! sealed, and rows are named by a keyed hash of their key, so the file tells how much there is and not what.
//!
//! ```text
//! records   place 32 | sealed( key length 4 | key | value )       a core's newest facts
//! messages  sequence | place 32 | sealed( JSON ) | talk 32 | unread | vanishes at      history, in the order of arrival
//! changes   sequence | place 32 | sealed( JSON )                  edits and signs that came before their message
//! chunks    place 32 | sealed( span and payload )
//! files     place 32 | sealed( JSON )                             how far an offered file is
//! movements sequence | place 32 | sealed( JSON )                  payments, in the order in which they were noticed
//! meta      name | value                                          a check of the key, the last known time, the name
//! ```

mod history;
mod search;

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use smartmesh_api::{FetchState, Message, MessageState, Movement};
use smartmesh_crypto::{Rng, StoreKey};
use smartmesh_node::Record;
use smartmesh_types::UnixTime;
use thiserror::Error;

pub(crate) use history::{ChangeKind, MessageChange, Page};
use search::Index;

/// Name of the database's file.
pub(crate) const FILE: &str = "data.sqlite";

/// One step a version; a database of version N has had the first N steps. Never change a step that has been released.
const MIGRATIONS: &[&str] = &[
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
     CREATE TABLE records(place BLOB PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;
     CREATE TABLE messages(sequence INTEGER PRIMARY KEY, place BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL);
     CREATE TABLE chunks(place BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL);",
    "CREATE TABLE files(place BLOB PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE movements(sequence INTEGER PRIMARY KEY, place BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL);",
    "ALTER TABLE messages ADD COLUMN talk BLOB;
     ALTER TABLE messages ADD COLUMN unread INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE messages ADD COLUMN vanish_at INTEGER;
     CREATE INDEX messages_by_talk ON messages(talk, sequence);
     CREATE INDEX messages_unread ON messages(talk) WHERE unread = 1;
     CREATE INDEX messages_vanishing ON messages(vanish_at) WHERE vanish_at IS NOT NULL;
     CREATE TABLE changes(sequence INTEGER PRIMARY KEY, place BLOB NOT NULL, sealed BLOB NOT NULL);
     CREATE INDEX changes_by_place ON changes(place);",
];

/// Why the database can't do what it should; each says what to do.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// No space is left.
    #[error("the disk is full; free some space, nothing is lost and the node goes on by itself")]
    Full,
    /// It can't be written.
    #[error("the data folder is read-only; make it writable, nothing is lost")]
    ReadOnly,
    /// It is no sound database any more.
    #[error(
        "the database data.sqlite is damaged ({0}); put the folder back from a backup, or move data.sqlite away to begin with an empty history and the same identity"
    )]
    Damaged(String),
    /// The key does not fit.
    #[error(
        "the database data.sqlite belongs to another identity; put the files of one folder together again"
    )]
    OtherKey,
    /// A newer program has written it.
    #[error(
        "the database has version {found}, this program knows versions up to {known}; use the newer program"
    )]
    Newer {
        /// The database's version.
        found: usize,
        /// The newest this program knows.
        known: usize,
    },
    /// Something else.
    #[error("the database failed: {0}")]
    Other(String),
}

impl DatabaseError {
    fn from_io(error: &io::Error) -> Self {
        let kind = error.kind();
        if matches!(
            kind,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        ) {
            Self::ReadOnly
        } else if matches!(
            kind,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            Self::Full
        } else {
            Self::Other(error.to_string())
        }
    }
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(text),
            // A write that the system cut short (a quota, a limit of the file's size) is an I/O error to SQLite.
            Some(ErrorCode::SystemIoFailure) => {
                Self::Other(format!("{text}; is the disk full or failing?"))
            }
            Some(_) | None => Self::Other(text),
        }
    }
}

/// A write, as data, so that it can be tried again when the disk has space again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    /// Newest facts of a core.
    Records(Vec<Record>),
    /// A message of the history under its own sequence; one with a known id changes nothing.
    Message(Box<Message>),
    /// Where a sent message is.
    MessageState { id: String, state: MessageState },
    /// A received message was read here, at this time.
    Read { id: String, at: u64 },
    /// Something about an earlier message; kept if that has not come yet.
    Change(Box<MessageChange>),
    /// Messages are removed here.
    Remove { ids: Vec<String> },
    /// Chunks of files.
    Chunks(Vec<([u8; 32], Vec<u8>)>),
    /// How far a file is.
    File {
        reference: String,
        state: FetchState,
    },
    /// A payment, deposit or settlement; one with a known id takes the place of what was known of it.
    Movement(Box<Movement>),
    /// Something small with a name of its own.
    Meta { name: &'static str, value: Vec<u8> },
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    key: StoreKey,
    rng: Rng,
    /// Words of the messages, in memory alone; made when somebody first searches.
    index: RefCell<Option<Index>>,
}

impl Database {
    /// Opens or makes the database and brings it to the newest version.
    ///
    /// # Errors
    /// If it is damaged, newer, of another key, or can't be written.
    pub(crate) fn open(path: &Path, key: StoreKey, rng: Rng) -> Result<Self, DatabaseError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // SQLite gives its side files the permissions of the main one.
        let private = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path);
        drop(private.map_err(|error| DatabaseError::from_io(&error))?);
        let connection = Connection::open_with_flags(path, flags)?;
        // With 4 KiB pages a sealed chunk is one overflow page and an eighth of a leaf: larger ones waste half of each.
        connection.execute_batch(
            "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA cache_size = -1024; PRAGMA wal_autocheckpoint = 1000; PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON;",
        )?;
        let mut database = Self {
            connection,
            key,
            rng,
            index: RefCell::new(None),
        };
        database.migrate()?;
        database.verify_key()?;
        database.sort_into_talks()?;
        Ok(database)
    }

    fn migrate(&mut self) -> Result<(), DatabaseError> {
        let version: u32 = self
            .connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let version = usize::try_from(version).unwrap_or(usize::MAX);
        if version > MIGRATIONS.len() {
            return Err(DatabaseError::Newer {
                found: version,
                known: MIGRATIONS.len(),
            });
        }
        for (step, sql) in MIGRATIONS.iter().enumerate().skip(version) {
            let transaction = self.connection.transaction()?;
            transaction.execute_batch(sql)?;
            let reached = u32::try_from(step).unwrap_or(u32::MAX).saturating_add(1);
            transaction.pragma_update(None, "user_version", reached)?;
            transaction.commit()?;
        }
        Ok(())
    }

    fn verify_key(&mut self) -> Result<(), DatabaseError> {
        match self.meta("check")? {
            Some(_) => Ok(()),
            None if self.has_meta("check")? => Err(DatabaseError::OtherKey),
            None => self.apply(&[Write::Meta {
                name: "check",
                value: b"smartmesh".to_vec(),
            }]),
        }
    }

    fn has_meta(&self, name: &str) -> Result<bool, DatabaseError> {
        let found = self
            .connection
            .query_row("SELECT 1 FROM meta WHERE name = ?1", [name], |_| Ok(()))
            .optional()?;
        Ok(found.is_some())
    }

    /// A small value, or `None` if it is missing or of another key.
    pub(crate) fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, DatabaseError> {
        let sealed: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()?;
        Ok(sealed.and_then(|sealed| self.key.open(name.as_bytes(), &sealed).ok()))
    }

    /// The wall time that this node saw last, to notice a clock that was set back.
    pub(crate) fn last_time(&self) -> Result<Option<UnixTime>, DatabaseError> {
        let value = self.meta("time")?;
        let secs = value
            .and_then(|value| value.try_into().ok())
            .map(u64::from_be_bytes);
        Ok(secs.map(UnixTime::from_secs))
    }

    /// All of the cores' records.
    ///
    /// # Errors
    /// If one does not open: part of the memory would be missing.
    pub(crate) fn records(&self) -> Result<Vec<Record>, DatabaseError> {
        let mut statement = self
            .connection
            .prepare("SELECT place, sealed FROM records")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut records = Vec::new();
        for row in rows {
            let (place, sealed): (Vec<u8>, Vec<u8>) = row?;
            let bytes = self.open_value(&place, &sealed)?;
            let damaged = || DatabaseError::Damaged("a record has no key".to_owned());
            let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let (key, value) = rest.split_at_checked(length).ok_or_else(damaged)?;
            records.push(Record {
                key: key.to_vec(),
                value: Some(value.to_vec()),
            });
        }
        // In the order of their keys, not of hashes, so that every start is the same.
        records.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(records)
    }

    /// Carries out writes as one: all of them are durable afterwards, or none.
    pub(crate) fn apply(&mut self, writes: &[Write]) -> Result<(), DatabaseError> {
        let transaction = self.connection.transaction()?;
        for write in writes {
            apply_one(&transaction, &self.key, &mut self.rng, write)?;
        }
        transaction.commit()?;
        self.index_writes(writes);
        Ok(())
    }

    /// A chunk's span and payload.
    pub(crate) fn chunk(&self, address: &[u8; 32]) -> Result<Option<Vec<u8>>, DatabaseError> {
        let place = self.key.place("chunks", address);
        let mut statement = self
            .connection
            .prepare_cached("SELECT sealed FROM chunks WHERE place = ?1")?;
        let sealed: Option<Vec<u8>> = statement.query_row([place], |row| row.get(0)).optional()?;
        // A damaged chunk is a missing one: it can be fetched again.
        Ok(sealed.and_then(|sealed| self.key.open(&place, &sealed).ok()))
    }

    /// The sequence of the newest message; 0 if there is none.
    pub(crate) fn last_sequence(&self) -> Result<u64, DatabaseError> {
        let last: i64 = self.connection.query_row(
            "SELECT coalesce(max(sequence), 0) FROM messages",
            [],
            |row| row.get(0),
        )?;
        Ok(u64::try_from(last).unwrap_or(0))
    }

    /// One message.
    pub(crate) fn message(&self, id: &str) -> Result<Option<Message>, DatabaseError> {
        history::find(&self.connection, &self.key, id)
    }

    /// The newest movements of money, newest first.
    pub(crate) fn movements(&self, limit: usize) -> Result<Vec<Movement>, DatabaseError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(
            "SELECT place, sealed FROM movements ORDER BY sequence DESC LIMIT ?1",
        )?;
        let mut rows = statement.query([limit])?;
        let mut movements = Vec::new();
        while let Some(row) = rows.next()? {
            let (place, sealed): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let bytes = self.open_value(&place, &sealed)?;
            let movement = serde_json::from_slice(&bytes)
                .map_err(|error| DatabaseError::Damaged(error.to_string()))?;
            movements.push(movement);
        }
        Ok(movements)
    }

    /// How far a file is.
    pub(crate) fn file(&self, reference: &str) -> Result<Option<FetchState>, DatabaseError> {
        let place = self.key.place("files", reference.as_bytes());
        let sealed: Option<Vec<u8>> = self
            .connection
            .query_row(
                "SELECT sealed FROM files WHERE place = ?1",
                [place],
                |row| row.get(0),
            )
            .optional()?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let bytes = self.open_value(&place, &sealed)?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| DatabaseError::Damaged(error.to_string()))
    }

    fn open_value(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, DatabaseError> {
        open_value(&self.key, place, sealed)
    }
}

fn open_value(key: &StoreKey, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, DatabaseError> {
    key.open(place, sealed)
        .map_err(|_| DatabaseError::Damaged("a value does not open".to_owned()))
}

fn apply_one(
    connection: &Connection,
    key: &StoreKey,
    rng: &mut Rng,
    write: &Write,
) -> Result<(), DatabaseError> {
    match write {
        Write::Records(records) => {
            for record in records {
                apply_record(connection, key, rng, record)?;
            }
        }
        Write::Message(message) => history::insert(connection, key, rng, message)?,
        Write::MessageState { id, state } => {
            let _ = history::change(connection, key, rng, id, |message| {
                message.state = Some(state.clone())
            })?;
        }
        Write::Read { id, at } => {
            let _ = history::change(connection, key, rng, id, |message| {
                history::read(message, *at)
            })?;
        }
        Write::Change(change) => history::apply_change(connection, key, rng, change)?,
        Write::Remove { ids } => {
            for id in ids {
                history::remove(connection, key, id)?;
            }
        }
        Write::Chunks(chunks) => {
            let mut statement = connection.prepare_cached(
                "INSERT INTO chunks(place, sealed) VALUES(?1, ?2) ON CONFLICT(place) DO NOTHING",
            )?;
            for (address, bytes) in chunks {
                let place = key.place("chunks", address);
                statement.execute(params![place, key.seal(&place, bytes, rng)])?;
            }
        }
        Write::File { reference, state } => {
            let place = key.place("files", reference.as_bytes());
            let sealed = key.seal(&place, &to_json(state)?, rng);
            connection
                .prepare_cached("INSERT OR REPLACE INTO files(place, sealed) VALUES(?1, ?2)")?
                .execute(params![place, sealed])?;
        }
        Write::Movement(movement) => {
            let place = key.place("movements", movement.id.as_bytes());
            let sealed = key.seal(&place, &to_json(movement)?, rng);
            connection
                .prepare_cached("INSERT INTO movements(place, sealed) VALUES(?1, ?2) ON CONFLICT(place) DO UPDATE SET sealed = excluded.sealed")?
                .execute(params![place, sealed])?;
        }
        Write::Meta { name, value } => {
            let sealed = key.seal(name.as_bytes(), value, rng);
            connection
                .prepare_cached("INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)")?
                .execute(params![name, sealed])?;
        }
    }
    Ok(())
}

fn apply_record(
    connection: &Connection,
    key: &StoreKey,
    rng: &mut Rng,
    record: &Record,
) -> Result<(), DatabaseError> {
    let place = key.place("records", &record.key);
    let Some(value) = &record.value else {
        connection
            .prepare_cached("DELETE FROM records WHERE place = ?1")?
            .execute([place])?;
        return Ok(());
    };
    let length = u32::try_from(record.key.len()).unwrap_or(u32::MAX);
    let text = [&length.to_be_bytes()[..], &record.key, value].concat();
    connection
        .prepare_cached("INSERT OR REPLACE INTO records(place, sealed) VALUES(?1, ?2)")?
        .execute(params![place, key.seal(&place, &text, rng)])?;
    Ok(())
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, DatabaseError> {
    serde_json::to_vec(value).map_err(|error| DatabaseError::Other(error.to_string()))
}

#[cfg(test)]
mod tests;
