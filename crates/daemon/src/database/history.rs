//! The history of messages: in order, by conversation, with what was said about them later.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use smartmesh_api::{Conversation, Direction, Message, Reaction};
use smartmesh_crypto::{Rng, StoreKey};

use super::{Database, DatabaseError, Write, open_value, to_json};

/// Changes kept for one message that has not come yet; more are dropped.
const WAITING_MAX: i64 = 32;
/// Rows sorted into conversations in one step of a migration.
const SORT_AT_ONCE: i64 = 1_000;

/// Something about an earlier message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageChange {
    /// Which message.
    pub(crate) target: String,
    /// Who says it: an address.
    pub(crate) who: String,
    /// Whether that is this phone's user.
    pub(crate) own: bool,
    /// When, by the author's clock.
    pub(crate) at: u64,
    /// What.
    pub(crate) kind: ChangeKind,
}

/// What is said about an earlier message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChangeKind {
    /// A sign; an empty one takes it back.
    React(String),
    /// Other words.
    Edit(String),
    /// It is removed.
    Delete,
}

/// Which part of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// The first messages behind this sequence.
    After(u64),
    /// The last messages before this sequence.
    Before(u64),
}

/// The person or group whose conversation a message belongs to.
fn talk(key: &StoreKey, peer: &str) -> [u8; 32] {
    key.place("talk", peer.as_bytes())
}

fn open(
    key: &StoreKey,
    sequence: i64,
    place: &[u8],
    sealed: &[u8],
) -> Result<Message, DatabaseError> {
    let bytes = open_value(key, place, sealed)?;
    let mut message: Message = serde_json::from_slice(&bytes)
        .map_err(|error| DatabaseError::Damaged(error.to_string()))?;
    message.sequence = u64::try_from(sequence).unwrap_or(0);
    Ok(message)
}

pub(super) fn find(
    connection: &Connection,
    key: &StoreKey,
    id: &str,
) -> Result<Option<Message>, DatabaseError> {
    let place = key.place("messages", id.as_bytes());
    let row: Option<(i64, Vec<u8>)> = connection
        .prepare_cached("SELECT sequence, sealed FROM messages WHERE place = ?1")?
        .query_row([place], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    row.map(|(sequence, sealed)| open(key, sequence, &place, &sealed))
        .transpose()
}

fn open_row(key: &StoreKey, row: &Row<'_>) -> Result<Message, DatabaseError> {
    open(
        key,
        row.get(0)?,
        &row.get::<_, Vec<u8>>(1)?,
        &row.get::<_, Vec<u8>>(2)?,
    )
}

/// Puts a message into its place; one with a known id changes nothing. What was said about it before takes effect.
pub(super) fn insert(
    connection: &Connection,
    key: &StoreKey,
    rng: &mut Rng,
    message: &Message,
) -> Result<(), DatabaseError> {
    let place = key.place("messages", message.id.as_bytes());
    let sequence = i64::try_from(message.sequence).unwrap_or(i64::MAX);
    let sealed = key.seal(&place, &to_json(message)?, rng);
    let inserted = connection
        .prepare_cached("INSERT INTO messages(sequence, place, sealed, talk, unread, vanish_at) VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT(place) DO NOTHING")?
        .execute(params![
            sequence,
            place,
            sealed,
            talk(key, &message.peer),
            is_unread(message),
            vanish_at(message),
        ])?;
    if inserted == 0 {
        return Ok(());
    }
    let mut statement = connection
        .prepare_cached("SELECT sealed FROM changes WHERE place = ?1 ORDER BY sequence")?;
    let waiting = statement.query_map([place], |row| row.get::<_, Vec<u8>>(0))?;
    let waiting: Vec<_> = waiting.collect::<Result<_, _>>()?;
    for sealed in waiting {
        let bytes = open_value(key, &place, &sealed)?;
        let waited: MessageChange = serde_json::from_slice(&bytes)
            .map_err(|error| DatabaseError::Damaged(error.to_string()))?;
        change(connection, key, rng, &message.id, |message| {
            say_about(message, &waited)
        })?;
    }
    connection
        .prepare_cached("DELETE FROM changes WHERE place = ?1")?
        .execute([place])?;
    Ok(())
}

fn is_unread(message: &Message) -> bool {
    message.direction == Direction::In && !message.read
}

fn vanish_at(message: &Message) -> Option<i64> {
    message.vanish_at.and_then(|at| i64::try_from(at).ok())
}

/// Changes a message; says whether it is there.
pub(super) fn change(
    connection: &Connection,
    key: &StoreKey,
    rng: &mut Rng,
    id: &str,
    change: impl FnOnce(&mut Message),
) -> Result<bool, DatabaseError> {
    let Some(mut message) = find(connection, key, id)? else {
        return Ok(false);
    };
    change(&mut message);
    let place = key.place("messages", id.as_bytes());
    let sealed = key.seal(&place, &to_json(&message)?, rng);
    connection
        .prepare_cached(
            "UPDATE messages SET sealed = ?2, unread = ?3, vanish_at = ?4 WHERE place = ?1",
        )?
        .execute(params![
            place,
            sealed,
            is_unread(&message),
            vanish_at(&message)
        ])?;
    Ok(true)
}

/// Notes that a message was read, which starts its time to vanish.
pub(super) fn read(message: &mut Message, at: u64) {
    if !message.read {
        message.read = true;
        let secs = message.vanish_secs.map(u64::from);
        message.vanish_at = message
            .vanish_at
            .or(secs.map(|secs| at.saturating_add(secs)));
    }
}

/// Does what is said about a message, or keeps it until the message comes.
pub(super) fn apply_change(
    connection: &Connection,
    key: &StoreKey,
    rng: &mut Rng,
    said: &MessageChange,
) -> Result<(), DatabaseError> {
    if change(connection, key, rng, &said.target, |message| {
        say_about(message, said)
    })? {
        return Ok(());
    }
    let place = key.place("messages", said.target.as_bytes());
    let waiting: i64 = connection
        .prepare_cached("SELECT count(*) FROM changes WHERE place = ?1")?
        .query_row([place], |row| row.get(0))?;
    if waiting < WAITING_MAX {
        let sealed = key.seal(&place, &to_json(said)?, rng);
        connection
            .prepare_cached("INSERT INTO changes(place, sealed) VALUES(?1, ?2)")?
            .execute(params![place, sealed])?;
    }
    Ok(())
}

/// Authors alone edit and delete; everybody in the conversation may put a sign.
fn say_about(message: &mut Message, said: &MessageChange) {
    let by_author = match (message.direction, &message.author) {
        (Direction::Out, _) => said.own,
        (Direction::In, Some(author)) => *author == said.who,
        (Direction::In, None) => message.peer == said.who,
    };
    match &said.kind {
        ChangeKind::React(emoji) if !message.deleted => {
            message.reactions.retain(|one| one.who != said.who);
            if !emoji.is_empty() {
                message.reactions.push(Reaction {
                    who: said.who.clone(),
                    own: said.own,
                    emoji: emoji.clone(),
                });
            }
        }
        // Of two edits the later one stands, in whatever order they come.
        ChangeKind::Edit(text)
            if by_author
                && !message.deleted
                && message.edited_at.is_none_or(|at| at <= said.at) =>
        {
            message.text.clone_from(text);
            message.edited_at = Some(said.at);
        }
        ChangeKind::Delete if by_author => {
            *message = Message {
                id: std::mem::take(&mut message.id),
                sequence: message.sequence,
                peer: std::mem::take(&mut message.peer),
                direction: message.direction,
                author: message.author.take(),
                sent_at: message.sent_at,
                path: message.path,
                state: message.state.take(),
                read: message.read,
                deleted: true,
                ..Message::default()
            };
        }
        ChangeKind::React(_) | ChangeKind::Edit(_) | ChangeKind::Delete => {}
    }
}

pub(super) fn remove(
    connection: &Connection,
    key: &StoreKey,
    id: &str,
) -> Result<(), DatabaseError> {
    connection
        .prepare_cached("DELETE FROM messages WHERE place = ?1")?
        .execute([key.place("messages", id.as_bytes())])?;
    Ok(())
}

impl Database {
    /// A page of the history, oldest first, of one conversation or of all.
    pub(crate) fn messages(
        &self,
        page: Page,
        limit: usize,
        peer: Option<&str>,
    ) -> Result<Vec<Message>, DatabaseError> {
        let (edge, sql) = match (page, peer) {
            (Page::After(after), None) => (
                after,
                "SELECT sequence, place, sealed FROM messages WHERE sequence > ?1 AND ?2 IS NULL ORDER BY sequence LIMIT ?3",
            ),
            (Page::After(after), Some(_)) => (
                after,
                "SELECT sequence, place, sealed FROM messages WHERE talk = ?2 AND sequence > ?1 ORDER BY sequence LIMIT ?3",
            ),
            (Page::Before(before), None) => (
                before,
                "SELECT sequence, place, sealed FROM messages WHERE sequence < ?1 AND ?2 IS NULL ORDER BY sequence DESC LIMIT ?3",
            ),
            (Page::Before(before), Some(_)) => (
                before,
                "SELECT sequence, place, sealed FROM messages WHERE talk = ?2 AND sequence < ?1 ORDER BY sequence DESC LIMIT ?3",
            ),
        };
        let edge = i64::try_from(edge).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let talk = peer.map(|peer| talk(&self.key, peer));
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![edge, talk, limit])?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            messages.push(open_row(&self.key, row)?);
        }
        if matches!(page, Page::Before(_)) {
            messages.reverse();
        }
        Ok(messages)
    }

    /// Messages with these sequences that are still there, newest first.
    pub(super) fn messages_at(&self, sequences: &[i64]) -> Result<Vec<Message>, DatabaseError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT sequence, place, sealed FROM messages WHERE sequence = ?1")?;
        let mut messages = Vec::new();
        for sequence in sequences {
            let mut rows = statement.query([sequence])?;
            if let Some(row) = rows.next()? {
                messages.push(open_row(&self.key, row)?);
            }
        }
        Ok(messages)
    }

    /// All conversations with their newest message, the newest first.
    pub(crate) fn conversations(&self) -> Result<Vec<Conversation>, DatabaseError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT m.sequence, m.place, m.sealed, (SELECT count(*) FROM messages u WHERE u.talk = m.talk AND u.unread = 1)
             FROM messages m JOIN (SELECT max(sequence) AS last FROM messages GROUP BY talk) ON m.sequence = last
             ORDER BY m.sequence DESC",
        )?;
        let mut rows = statement.query([])?;
        let mut conversations = Vec::new();
        while let Some(row) = rows.next()? {
            let last = open_row(&self.key, row)?;
            let unread: i64 = row.get(3)?;
            conversations.push(Conversation {
                peer: last.peer.clone(),
                name: None,
                last,
                unread: u64::try_from(unread).unwrap_or(0),
            });
        }
        Ok(conversations)
    }

    /// Ids of a conversation's messages that were not read here, oldest first.
    pub(crate) fn unread(&self, peer: &str) -> Result<Vec<String>, DatabaseError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT sequence, place, sealed FROM messages WHERE talk = ?1 AND unread = 1 ORDER BY sequence",
        )?;
        let mut rows = statement.query([talk(&self.key, peer)])?;
        let mut ids = Vec::new();
        while let Some(row) = rows.next()? {
            ids.push(open_row(&self.key, row)?.id);
        }
        Ok(ids)
    }

    /// Ids of a whole conversation.
    pub(crate) fn ids_of(&self, peer: &str) -> Result<Vec<String>, DatabaseError> {
        let messages = self.messages(Page::After(0), usize::MAX, Some(peer))?;
        Ok(messages.into_iter().map(|message| message.id).collect())
    }

    /// Ids of messages whose time has come, and when the next one's comes.
    pub(crate) fn vanished(&self, now: u64) -> Result<Vec<String>, DatabaseError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT sequence, place, sealed FROM messages WHERE vanish_at IS NOT NULL AND vanish_at <= ?1",
        )?;
        let mut rows = statement.query([i64::try_from(now).unwrap_or(i64::MAX)])?;
        let mut ids = Vec::new();
        while let Some(row) = rows.next()? {
            ids.push(open_row(&self.key, row)?.id);
        }
        Ok(ids)
    }

    /// Sorts messages of earlier versions into their conversations.
    pub(super) fn sort_into_talks(&mut self) -> Result<(), DatabaseError> {
        loop {
            let transaction = self.connection.transaction()?;
            let sorted = {
                let mut statement = transaction.prepare_cached(
                    "SELECT sequence, place, sealed FROM messages WHERE talk IS NULL LIMIT ?1",
                )?;
                let mut rows = statement.query([SORT_AT_ONCE])?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    let message = open_row(&self.key, row)?;
                    found.push((row.get::<_, i64>(0)?, message));
                }
                for (sequence, message) in &found {
                    transaction
                        .prepare_cached(
                            "UPDATE messages SET talk = ?2, unread = ?3 WHERE sequence = ?1",
                        )?
                        .execute(params![
                            sequence,
                            talk(&self.key, &message.peer),
                            is_unread(message)
                        ])?;
                }
                found.len()
            };
            transaction.commit()?;
            if sorted == 0 {
                return Ok(());
            }
        }
    }

    /// Keeps the index of words, if there is one, as new as the history.
    pub(super) fn index_writes(&self, writes: &[Write]) {
        let mut index = self.index.borrow_mut();
        let Some(open) = index.as_mut() else {
            return;
        };
        let ids = writes.iter().flat_map(|write| match write {
            Write::Message(message) => vec![message.id.clone()],
            Write::Change(change) => vec![change.target.clone()],
            Write::Remove { ids } => ids.clone(),
            Write::Records(_)
            | Write::MessageState { .. }
            | Write::Read { .. }
            | Write::Chunks(_)
            | Write::File { .. }
            | Write::Movement(_)
            | Write::Meta { .. } => Vec::new(),
        });
        for id in ids {
            let found = find(&self.connection, &self.key, &id);
            let updated = match found {
                Ok(Some(message)) => open.put(&message),
                // Whose sequence is unknown is skipped when the search finds no message there.
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if updated.is_err() {
                // It is made anew when somebody searches.
                *index = None;
                return;
            }
        }
    }
}
