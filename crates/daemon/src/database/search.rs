//! Finding messages by their words.
//!
//! SQLite's full-text index would hold the words in the clear, and the bundled SQLite encrypts no whole database. So the index
//! lives in memory alone: it is made from the opened messages when somebody first searches (10,000 messages take a fraction
//! of a second and about 5 MB), kept up to date from then on, and gone when the node stops. Words are matched by groups of
//! three characters (FTS5's trigram tokenizer), so that any part of a word is found, in every script, also without spaces.

use rusqlite::{Connection, params};
use smartmesh_api::Message;

use super::history::Page;
use super::{Database, DatabaseError};

/// Messages opened at a time while the index is made.
const AT_ONCE: usize = 1_000;
/// Letters that the index finds at once; shorter words are looked for in every text.
const TRIGRAM: usize = 3;

/// Words of the messages, by sequence.
#[derive(Debug)]
pub(super) struct Index {
    connection: Connection,
}

impl Index {
    fn new() -> Result<Self, DatabaseError> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(
            "PRAGMA temp_store = MEMORY;
             CREATE VIRTUAL TABLE words USING fts5(text, peer UNINDEXED, tokenize = 'trigram remove_diacritics 1');",
        )?;
        Ok(Self { connection })
    }

    /// Takes in a message as it is now.
    pub(super) fn put(&mut self, message: &Message) -> Result<(), DatabaseError> {
        let sequence = i64::try_from(message.sequence).unwrap_or(i64::MAX);
        self.connection
            .prepare_cached("DELETE FROM words WHERE rowid = ?1")?
            .execute([sequence])?;
        let file = message.file.as_ref().map_or("", |file| file.name.as_str());
        let text = format!("{} {file}", message.text);
        if !text.trim().is_empty() {
            self.connection
                .prepare_cached("INSERT INTO words(rowid, text, peer) VALUES(?1, ?2, ?3)")?
                .execute(params![sequence, text, message.peer])?;
        }
        Ok(())
    }

    /// Sequences of messages with all of these words, newest first.
    fn find(
        &self,
        query: &str,
        peer: Option<&str>,
        limit: usize,
    ) -> Result<Vec<i64>, DatabaseError> {
        let (long, short): (Vec<_>, Vec<_>) = query
            .split_whitespace()
            .partition(|word| word.chars().count() >= TRIGRAM);
        let matches: Vec<_> = long
            .iter()
            .map(|word| format!("\"{}\"", word.replace('"', "\"\"")))
            .collect();
        let mut sql = "SELECT rowid FROM words WHERE (?1 IS NULL OR peer = ?1)".to_owned();
        let mut values: Vec<Option<String>> = vec![peer.map(str::to_owned)];
        if !matches.is_empty() {
            values.push(Some(matches.join(" AND ")));
            sql.push_str(" AND words MATCH ?2");
        }
        for word in short {
            let like = word
                .replace('\\', "\\\\")
                .replace('%', "\\%")
                .replace('_', "\\_");
            values.push(Some(format!("%{like}%")));
            sql.push_str(&format!(" AND text LIKE ?{} ESCAPE '\\'", values.len()));
        }
        sql.push_str(&format!(" ORDER BY rowid DESC LIMIT {limit}"));
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Database {
    /// Messages with all words of the query, or parts of words, newest first; of one conversation or of all.
    pub(crate) fn search(
        &self,
        query: &str,
        peer: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Message>, DatabaseError> {
        if query.trim().is_empty() {
            return Ok(Vec::new());
        }
        let mut index = self.index.borrow_mut();
        let open = match index.as_mut() {
            Some(open) => open,
            None => index.insert(self.make_index()?),
        };
        let sequences = open.find(query, peer, limit)?;
        self.messages_at(&sequences)
    }

    fn make_index(&self) -> Result<Index, DatabaseError> {
        let mut index = Index::new()?;
        index.connection.execute_batch("BEGIN")?;
        let mut after = 0;
        loop {
            let messages = self.messages(Page::After(after), AT_ONCE, None)?;
            let Some(last) = messages.last() else {
                index.connection.execute_batch("COMMIT")?;
                return Ok(index);
            };
            after = last.sequence;
            for message in &messages {
                index.put(message)?;
            }
        }
    }
}
