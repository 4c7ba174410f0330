//! The thread that owns the database: writes of many are committed as one, and tried again while the disk is full.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use smartmesh_types::Duration;
use tokio::sync::{mpsc, oneshot};

use crate::database::{Database, Write};

/// Jobs that may wait; whoever has more holds them back.
pub(crate) const JOBS_MAX: usize = 4_096;
/// Writes of one commit, so that one slow commit does not hold up the reads behind it for long.
const BATCH_MAX: usize = 1_024;
/// How long to wait before a failed commit is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the loop hears when its write is durable or its read is done.
#[derive(Debug)]
pub(crate) enum DiskReply<T> {
    /// The write with this mark is on disk.
    Written(T),
    /// What was read for this mark.
    Chunk(T, Option<Vec<u8>>),
}

/// A question to the database.
type Read = Box<dyn FnOnce(&Database) + Send>;

enum Job<T> {
    Write(Write, Mark<T>),
    Chunk([u8; 32], T),
    Read(Read),
    Stop,
}

enum Mark<T> {
    /// Nobody waits.
    None,
    /// The loop waits.
    Loop(T),
    /// A task waits.
    Task(oneshot::Sender<()>),
}

/// A handle to the thread; clones share it.
#[derive(Debug)]
pub(crate) struct Disk<T> {
    jobs: mpsc::Sender<Job<T>>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl<T> Clone for Disk<T> {
    fn clone(&self) -> Self {
        Self {
            jobs: self.jobs.clone(),
            trouble: self.trouble.clone(),
        }
    }
}

/// The queue to the disk is full; the write comes back.
#[derive(Debug)]
pub(crate) struct DiskBusy<W>(pub(crate) W);

/// The disk's thread is gone, because the node stops.
#[derive(Debug, thiserror::Error)]
#[error("the node is stopping")]
pub(crate) struct DiskGone;

impl<T: Send + 'static> Disk<T> {
    /// Starts the thread. Replies to the loop go to `replies`, whose room must be more than [`JOBS_MAX`].
    pub(crate) fn start(
        database: Database,
        replies: mpsc::Sender<DiskReply<T>>,
    ) -> (Self, JoinHandle<()>) {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let trouble = Arc::new(Mutex::new(None));
        let worker = Worker {
            database,
            queue,
            replies,
            trouble: trouble.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || worker.run())
            .expect("a thread at the start of the program");
        (Self { jobs, trouble }, thread)
    }

    /// Why writes don't succeed at the moment, in words.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes for the loop, which hears [`DiskReply::Written`] with its mark.
    pub(crate) fn write(
        &self,
        write: Write,
        mark: Option<T>,
    ) -> Result<(), DiskBusy<(Write, Option<T>)>> {
        let mark = mark.map_or(Mark::None, Mark::Loop);
        self.jobs
            .try_send(Job::Write(write, mark))
            .map_err(|error| match error.into_inner() {
                Job::Write(write, Mark::Loop(mark)) => DiskBusy((write, Some(mark))),
                Job::Write(write, Mark::None | Mark::Task(_)) => DiskBusy((write, None)),
                Job::Chunk(..) | Job::Read(_) | Job::Stop => {
                    unreachable!("the job that was sent comes back")
                }
            })
    }

    /// Reads a chunk for the loop, which hears [`DiskReply::Chunk`] with its mark.
    pub(crate) fn load_chunk(&self, address: [u8; 32], mark: T) -> Result<(), DiskBusy<T>> {
        self.jobs
            .try_send(Job::Chunk(address, mark))
            .map_err(|error| match error.into_inner() {
                Job::Chunk(_, mark) => DiskBusy(mark),
                Job::Write(..) | Job::Read(_) | Job::Stop => {
                    unreachable!("the job that was sent comes back")
                }
            })
    }

    /// Writes and waits until it is durable.
    pub(crate) async fn save(&self, write: Write) -> Result<(), DiskGone> {
        let (done, wait) = oneshot::channel();
        let job = Job::Write(write, Mark::Task(done));
        self.jobs.send(job).await.map_err(|_| DiskGone)?;
        wait.await.map_err(|_| DiskGone)
    }

    /// The same for a thread that is not the loop's. When the node stops it returns at once.
    pub(crate) fn save_blocking(&self, write: Write) {
        let (done, wait) = oneshot::channel();
        let job = Job::Write(write, Mark::Task(done));
        if self.jobs.blocking_send(job).is_ok() {
            let _ = wait.blocking_recv();
        }
    }

    /// Asks the database; sees all that was written before.
    pub(crate) async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> R + Send + 'static,
    ) -> Result<R, DiskGone> {
        let (done, wait) = oneshot::channel();
        let job = Job::Read(Box::new(move |database| drop(done.send(read(database)))));
        self.jobs.send(job).await.map_err(|_| DiskGone)?;
        wait.await.map_err(|_| DiskGone)
    }

    /// Lets the thread end when everything before is done.
    pub(crate) async fn stop(&self) {
        let _ = self.jobs.send(Job::Stop).await;
    }
}

struct Worker<T> {
    database: Database,
    queue: mpsc::Receiver<Job<T>>,
    replies: mpsc::Sender<DiskReply<T>>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl<T: Send + 'static> Worker<T> {
    fn run(mut self) {
        let mut next = None;
        loop {
            let Some(job) = next.take().or_else(|| self.queue.blocking_recv()) else {
                return;
            };
            match job {
                Job::Write(write, mark) => next = self.write_batch(write, mark),
                Job::Chunk(address, mark) => {
                    let chunk = self.database.chunk(&address).unwrap_or_else(|error| {
                        tracing::warn!(%error, "a chunk can't be read");
                        None
                    });
                    let _ = self.replies.blocking_send(DiskReply::Chunk(mark, chunk));
                }
                Job::Read(read) => read(&self.database),
                Job::Stop => return,
            }
        }
    }

    /// Commits this write and those behind it, up to the next read, and returns that one.
    fn write_batch(&mut self, write: Write, mark: Mark<T>) -> Option<Job<T>> {
        let mut writes = vec![write];
        let mut marks = vec![mark];
        let mut next = None;
        while writes.len() < BATCH_MAX {
            match self.queue.try_recv() {
                Ok(Job::Write(write, mark)) => {
                    writes.push(write);
                    marks.push(mark);
                }
                Ok(job) => {
                    next = Some(job);
                    break;
                }
                Err(_) => break,
            }
        }
        self.commit(&writes);
        for mark in marks {
            match mark {
                Mark::None => {}
                Mark::Loop(mark) => drop(self.replies.blocking_send(DiskReply::Written(mark))),
                Mark::Task(done) => drop(done.send(())),
            }
        }
        next
    }

    /// Tries until it succeeds: nothing is acknowledged that is not on disk, and nothing is thrown away.
    fn commit(&mut self, writes: &[Write]) {
        let mut told = false;
        while let Err(error) = self.database.apply(writes) {
            if !told {
                tracing::error!(%error, "the disk takes nothing; the node waits for it");
                told = true;
            }
            self.set_trouble(Some(error.to_string()));
            if self.replies.is_closed() {
                return;
            }
            std::thread::sleep(RETRY);
        }
        if told {
            tracing::info!("the disk takes data again");
            self.set_trouble(None);
        }
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smartmesh_crypto::{Seed, StoreKey};
    use smartmesh_node::Record;
    use std::path::Path;

    fn database(folder: &Path) -> Database {
        Database::open(
            &folder.join("d"),
            StoreKey::new([1; 32]),
            Seed::new([2; 32]).rng(),
        )
        .unwrap()
    }

    #[tokio::test]
    async fn a_write_is_answered_when_it_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (replies, mut heard) = mpsc::channel(JOBS_MAX * 2);
        let (disk, thread) = Disk::start(database(folder.path()), replies);
        for number in 0..100_u8 {
            let record = Record {
                key: vec![number],
                value: Some(vec![number]),
            };
            disk.write(Write::Records(vec![record]), Some(number))
                .unwrap();
        }
        disk.save(Write::Chunks(vec![([7; 32], b"chunk".to_vec())]))
            .await
            .unwrap();
        assert_eq!(
            disk.read(|database| database.records().unwrap().len())
                .await
                .unwrap(),
            100
        );
        disk.load_chunk([7; 32], 200).unwrap();
        for number in 0..100_u8 {
            let reply = heard.recv().await.unwrap();
            assert!(
                matches!(reply, DiskReply::Written(mark) if mark == number),
                "{reply:?}"
            );
        }
        let reply = heard.recv().await.unwrap();
        assert!(matches!(reply, DiskReply::Chunk(200, Some(bytes)) if bytes == b"chunk"));
        assert_eq!(disk.trouble(), None);
        disk.stop().await;
        thread.join().unwrap();
        assert_eq!(database(folder.path()).records().unwrap().len(), 100);
    }
}
