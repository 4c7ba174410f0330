//! The data folder: where it is, that one node alone uses it, and files that are whole or not there.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use smartmesh_api::Connection;
use thiserror::Error;

/// Why the data folder can't be used; each says what to do.
#[derive(Debug, Error)]
pub enum FolderError {
    /// Another node has it.
    #[error(
        "another node already uses the folder {0}; stop it with `smartmesh down --data {0}`, or choose another folder with --data"
    )]
    InUse(PathBuf),
    /// It can't be written.
    #[error(
        "the folder {0} is read-only for this user; make it writable or choose another one with --data"
    )]
    ReadOnly(PathBuf),
    /// No space is left.
    #[error(
        "no space is left for the folder {0}; free some space and start again, nothing is lost"
    )]
    Full(PathBuf),
    /// Something else.
    #[error("can't use the folder {path}: {cause}")]
    Other {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// The data folder, held by this process until it is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

/// Where data goes when the user names no folder: `$XDG_DATA_HOME/smartmesh` or `~/.local/share/smartmesh`.
pub fn default_folder() -> PathBuf {
    let base = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share")));
    base.unwrap_or_else(|| ".".into()).join("smartmesh")
}

impl Folder {
    /// Makes the folder if it is not there, and takes it for this process.
    ///
    /// # Errors
    /// If another node has it or it can't be written.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let explain = |cause: io::Error| explain(path, cause);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(explain)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(explain)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(cause)) => return Err(explain(cause)),
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folder's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only this user can read, durable and whole: after a crash it has the old content or the new.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), FolderError> {
        self.try_write(name, content)
            .map_err(|cause| explain(&self.path, cause))
    }

    fn try_write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = self.path.join(format!(".{name}.new"));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path.join(name))?;
        File::open(&self.path)?.sync_all()
    }

    /// Removes a file, durably; a missing one is fine.
    pub(crate) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path.join(name));
        let _ = File::open(&self.path).and_then(|folder| folder.sync_all());
    }
}

fn explain(path: &Path, cause: io::Error) -> FolderError {
    let path = path.to_owned();
    let kind = cause.kind();
    if matches!(
        kind,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    ) {
        FolderError::ReadOnly(path)
    } else if matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    ) {
        FolderError::Full(path)
    } else {
        FolderError::Other { path, cause }
    }
}

/// Name of the file that tells clients where the API is.
const CONNECTION_FILE: &str = "api.json";

/// Why a client finds no node.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// There is no running node on this folder.
    #[error("no node runs on the folder {0}; start one with `smartmesh up --data {0}`")]
    NotRunning(PathBuf),
    /// The file can't be read.
    #[error("can't read {path}: {reason}; are you the user who started the node?")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// How to reach the node that runs on a data folder.
///
/// # Errors
/// If none runs there.
pub fn read_connection(folder: &Path) -> Result<Connection, ConnectionError> {
    let path = folder.join(CONNECTION_FILE);
    let unreadable = |reason: String| ConnectionError::Unreadable {
        path: path.clone(),
        reason,
    };
    match fs::read(&path) {
        Ok(content) => {
            serde_json::from_slice(&content).map_err(|error| unreadable(error.to_string()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ConnectionError::NotRunning(folder.to_owned()))
        }
        Err(error) => Err(unreadable(error.to_string())),
    }
}

impl Folder {
    /// Tells clients where the API is.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn write_connection(&self, connection: &Connection) -> Result<(), FolderError> {
        let content = serde_json::to_vec(connection).unwrap_or_default();
        self.write(CONNECTION_FILE, &content)
    }

    /// Tells clients that the node is gone.
    pub(crate) fn remove_connection(&self) {
        self.remove(CONNECTION_FILE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_folder_has_one_node() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/b");
        let first = Folder::open(&path).unwrap();
        let error = Folder::open(&path).unwrap_err();
        assert!(matches!(error, FolderError::InUse(_)));
        assert!(error.to_string().contains("smartmesh down --data"));
        drop(first);
        Folder::open(&path).unwrap();
    }

    #[test]
    fn files_are_private_and_replaced_whole() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        folder.write("secret", b"old").unwrap();
        folder.write("secret", b"new").unwrap();
        let path = folder.file("secret");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let names = fs::read_dir(temporary.path()).unwrap().count();
        assert_eq!(names, 2, "the lock and the file; no temporary one stays");
    }

    #[test]
    fn a_client_is_told_when_no_node_runs() {
        let temporary = tempfile::tempdir().unwrap();
        let error = read_connection(temporary.path()).unwrap_err().to_string();
        assert!(error.contains("smartmesh up --data"), "{error}");
        let folder = Folder::open(temporary.path()).unwrap();
        let connection = Connection {
            url: "http://127.0.0.1:1".into(),
            token: "ab".into(),
            pid: 7,
        };
        folder.write_connection(&connection).unwrap();
        assert_eq!(read_connection(temporary.path()).unwrap(), connection);
        folder.remove_connection();
        assert!(read_connection(temporary.path()).is_err());
    }

    #[test]
    fn a_folder_that_cannot_be_made_says_what_to_do() {
        let path = Path::new("/proc/smartmesh-test");
        let error = Folder::open(path).unwrap_err();
        assert!(
            error.to_string().contains("/proc/smartmesh-test"),
            "{error}"
        );
        assert_eq!(
            explain(path, io::ErrorKind::ReadOnlyFilesystem.into()).to_string(),
            "the folder /proc/smartmesh-test is read-only for this user; make it writable or choose another one with --data"
        );
    }
}
