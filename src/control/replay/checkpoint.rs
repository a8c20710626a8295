//! The file from which an interrupted run goes on.
//!
//! Written beside and renamed into place, both synced, mode 0600. A second file beside it, with
//! the ending `.lock`, is locked as long as a run uses it.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::accepted::Fresh;
use super::book::Book;
use crate::vocab::Clock;

/// What a run is: the same words mean the same run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The routes asked for, sorted; none: all.
    pub routes: Vec<String>,
    /// `--since` and `--until`, as typed.
    pub times: [Option<String>; 2],
    /// Where records are read from.
    pub sources: Vec<String>,
    /// Where they are sent.
    pub target: String,
    /// Whether records that were accepted before are sent again.
    pub again: bool,
}

impl Identity {
    /// A name for files of this run: readable, and unlike those of other runs.
    pub fn file_stem(&self) -> String {
        let text = format!("{self:?}");
        let first = self.routes.first().map_or("all", String::as_str);
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let name: String = first.chars().map(plain).take(40).collect();
        // Two checksums of the words: a file also holds them whole, so that a clash shows.
        let half = crc32c::crc32c(text.as_bytes());
        let other = crc32c::crc32c_append(half ^ 0x5EA_3A11, text.as_bytes());
        format!("{name}-{half:08x}{other:08x}")
    }
}

/// What a run must know to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) version: u32,
    pub(super) identity: Identity,
    /// When the run was first started.
    pub(super) begun: Timestamp,
    /// Requests received from then on and before then: what "15m" meant when it was typed.
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) book: Book,
    /// Accepted, and not in the store's history yet.
    pub(super) fresh: Fresh,
}

/// The one version there is.
pub(super) const VERSION: u32 = 1;

/// Why a checkpoint cannot be used.
#[derive(Debug)]
pub enum CheckpointError {
    /// Another process has it.
    Busy(PathBuf),
    /// It belongs to another selection or target.
    Other(PathBuf),
    /// What is there is no checkpoint.
    Damaged(PathBuf, serde_json::Error),
    /// The file system.
    Io(PathBuf, io::Error),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::Busy(path) => {
                let path = path.display();
                write!(f, "{path}: another replay of the same records is running")
            }
            CheckpointError::Other(path) => write!(
                f,
                "{}: it belongs to a replay of other records or to another target; give another \
                 --checkpoint, or remove it if that replay is not to go on",
                path.display()
            ),
            CheckpointError::Damaged(path, error) => write!(
                f,
                "{}: it is no checkpoint ({error}); remove it to begin anew, which sends \
                 again what was accepted",
                path.display()
            ),
            CheckpointError::Io(path, error) => write!(
                f,
                "{}: {error}; --checkpoint FILE puts it elsewhere",
                path.display()
            ),
        }
    }
}

impl std::error::Error for CheckpointError {}

/// A checkpoint that this process alone may write.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    /// Locked until it is closed; `None`: it is only read.
    lock: Option<File>,
}

impl Checkpoint {
    /// Opens the checkpoint of a run, and reads it if there is one.
    pub(super) fn open(
        path: &Path,
        identity: &Identity,
    ) -> Result<(Checkpoint, Option<State>), CheckpointError> {
        let failed = |error| CheckpointError::Io(path.to_owned(), error);
        if let Some(directory) = directory(path) {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let lock = lock(path)?;
        Checkpoint::found(path, Some(lock), identity)
    }

    /// The same for a rehearsal, which makes no file, and may go on beside the run.
    pub(super) fn look(
        path: &Path,
        identity: &Identity,
    ) -> Result<(Checkpoint, Option<State>), CheckpointError> {
        Checkpoint::found(path, None, identity)
    }

    fn found(
        path: &Path,
        lock: Option<File>,
        identity: &Identity,
    ) -> Result<(Checkpoint, Option<State>), CheckpointError> {
        let failed = |error| CheckpointError::Io(path.to_owned(), error);
        let checkpoint = Checkpoint {
            path: path.to_owned(),
            lock,
        };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((checkpoint, None)),
            Err(error) => return Err(failed(error)),
        };
        let damaged = |error| CheckpointError::Damaged(path.to_owned(), error);
        let state: State = serde_json::from_slice(&text).map_err(damaged)?;
        match state.version == VERSION && state.identity == *identity {
            true => Ok((checkpoint, Some(state))),
            false => Err(CheckpointError::Other(path.to_owned())),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Nothing is left to go on with.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Checkpoint {
    /// Without a checkpoint nobody needs its lock.
    fn drop(&mut self) {
        if self.lock.is_some() && !self.path.exists() {
            let _ = fs::remove_file(beside(&self.path, "lock"));
        }
    }
}

/// Locks the file beside a checkpoint.
fn lock(path: &Path) -> Result<File, CheckpointError> {
    let failed = |error| CheckpointError::Io(path.to_owned(), error);
    let name = beside(path, "lock");
    loop {
        let opened = private()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&name);
        let file = opened.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CheckpointError::Busy(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Whoever had it may have removed the file after it was opened here.
        let mine = file.metadata().map_err(failed)?.ino();
        if fs::metadata(&name).is_ok_and(|found| found.ino() == mine) {
            return Ok(file);
        }
    }
}

/// Puts a state in place of the one before.
pub(super) fn write(path: &Path, state: &State) -> io::Result<()> {
    let new = beside(path, "new");
    let mut file = private()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match directory(path) {
        Some(directory) => File::open(directory)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

/// Appends lines to the file of refused records, and syncs it.
pub(super) fn append(path: &Path, lines: &[bytes::Bytes]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    if let Some(directory) = directory(path) {
        fs::create_dir_all(directory)?;
    }
    let mut file = private().append(true).create(true).open(path)?;
    let mut text = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    file.write_all(&text)?;
    file.sync_data()
}

/// Records are their clients' data.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn directory(path: &Path) -> Option<&Path> {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// The time now.
pub(super) fn now() -> Timestamp {
    of_unix(Clock::unix())
}

fn of_unix(unix: Duration) -> Timestamp {
    let micros = i64::try_from(unix.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn identity(target: &str) -> Identity {
        Identity {
            routes: vec!["a/b".to_owned()],
            times: [Some("15m".to_owned()), None],
            sources: Vec::new(),
            target: target.to_owned(),
            again: false,
        }
    }

    fn state(target: &str) -> State {
        State {
            version: VERSION,
            identity: identity(target),
            begun: now(),
            since: Some(now()),
            until: None,
            book: Book::default(),
            fresh: Fresh::default(),
        }
    }

    #[test]
    fn what_was_written_is_read_by_the_same_run_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("below/it.json");
        let (first, found) = Checkpoint::open(&path, &identity("t")).unwrap();
        assert!(found.is_none());
        write(first.path(), &state("t")).unwrap();
        let busy = Checkpoint::open(&path, &identity("t"));
        assert!(matches!(busy, Err(CheckpointError::Busy(_))));
        drop(first);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let other = Checkpoint::open(&path, &identity("u"));
        assert!(matches!(other, Err(CheckpointError::Other(_))));
        let (again, found) = Checkpoint::open(&path, &identity("t")).unwrap();
        assert_eq!(found.unwrap().identity, identity("t"));
        again.remove();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        fs::write(&path, "{").unwrap();
        let damaged = Checkpoint::open(&path, &identity("t"));
        assert!(matches!(damaged, Err(CheckpointError::Damaged(..))));
    }

    #[test]
    fn names_of_runs_are_readable_and_differ() {
        let stem = identity("t").file_stem();
        assert!(stem.starts_with("a_b-"), "{stem}");
        assert_ne!(stem, identity("u").file_stem());
    }
}
