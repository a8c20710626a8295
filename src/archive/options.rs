//! How a journal is set up, and what it answers.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::id::{SegmentId, Ulid};

/// When a record counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once its bytes are on the disk. Survives the loss of power.
    #[default]
    Fsync,
    /// Once the kernel has them. Survives the end of the process.
    Written,
}

/// What may change while the journal runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// When a record counts as stored.
    pub durability: Durability,
    /// Bytes that all files of all directories may take, each copy counted.
    pub max_bytes: u64,
    /// Bytes of requests on their way to the journal.
    pub max_buffer: u64,
    /// The age at which a segment is sealed, counted from its first record.
    pub seal_after: Duration,
}

/// How long a directory that failed is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; doubles with each further one.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

/// How a journal is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tried in order.
    pub directories: Vec<PathBuf>,
    /// Directories that must hold a record before it counts as stored; at least 1.
    pub copies: usize,
    /// What may change later.
    pub limits: Limits,
    /// The length at which a segment is sealed.
    pub segment_bytes: u64,
    /// Bytes that one commit takes from the queue; a longer record goes alone.
    pub batch_bytes: u64,
    /// Records of one commit from which on, with durability `fsync`, the next batch is encoded
    /// while one syncs.
    pub dense: usize,
    /// Records that may wait for the writer.
    pub queue: usize,
    /// How long a submitter waits, at most.
    pub answer_within: Duration,
    /// With several directories, how long an operation in one may take before that directory
    /// counts as failed and another is used.
    pub patience: Duration,
    /// How long a directory that failed is left out.
    pub backoff: Backoff,
}

impl Options {
    /// The contract's defaults, over these directories.
    pub fn new(directories: Vec<PathBuf>) -> Options {
        Options {
            directories,
            copies: 1,
            limits: Limits {
                durability: Durability::Fsync,
                max_bytes: 10 << 30,
                max_buffer: 64 << 20,
                seal_after: Duration::from_secs(60),
            },
            segment_bytes: 64 << 20,
            batch_bytes: 4 << 20,
            dense: 8,
            queue: 8192,
            answer_within: Duration::from_secs(5),
            patience: Duration::from_secs(3),
            backoff: Backoff {
                first: Duration::from_millis(100),
                longest: Duration::from_secs(5),
            },
        }
    }
}

/// The journal's answer for one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The record is kept, as durable as asked for.
    Stored {
        /// Its id.
        id: Ulid,
    },
    /// There is no room for it.
    Full(Full),
    /// It could not be written.
    Failed(Failed),
    /// Too much is on its way already.
    Busy(Busy),
}

/// What is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The disk.
    Disk,
    /// The journal: `max_bytes`.
    Journal,
    /// The route's share of it: `archive_quota`.
    Quota,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Full::Disk => "the disk",
            Full::Journal => "archive.max_bytes",
            Full::Quota => "the route's kill_switch.archive_quota",
        })
    }
}

/// Why a record could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Fewer directories than `copies` can be written to.
    NoDirectory,
    /// No answer in time. The record may still be stored later.
    Slow,
    /// As JSON it is longer than a frame can be.
    TooLong,
    /// The journal was closed.
    Closed,
}

/// `max_buffer` or the queue is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Why a directory is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has no room.
    Full,
    /// Another process has it.
    Locked,
    /// Another error of the operating system.
    Io {
        /// Its kind.
        kind: io::ErrorKind,
        /// Its number.
        code: Option<i32>,
    },
}

impl Fault {
    pub(crate) fn of(error: &io::Error) -> Fault {
        if super::files::is_full(error) {
            return Fault::Full;
        }
        match error.kind() {
            io::ErrorKind::WouldBlock => Fault::Locked,
            kind => Fault::Io {
                kind,
                code: error.raw_os_error(),
            },
        }
    }
}

impl Fault {
    /// True when what should be there is not.
    pub(crate) fn is_missing(self) -> bool {
        match self {
            Fault::Io { kind, .. } => kind == io::ErrorKind::NotFound,
            Fault::Full | Fault::Locked => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Full => f.write_str("no room left"),
            Fault::Locked => f.write_str("another process uses it"),
            Fault::Io { .. } if self.is_missing() => {
                f.write_str("it, or a segment in it, is not there any more")
            }
            Fault::Io {
                code: Some(code), ..
            } => io::Error::from_raw_os_error(*code).fmt(f),
            Fault::Io { kind, code: None } => kind.fmt(f),
        }
    }
}

/// A directory and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryState {
    /// The directory.
    pub path: Arc<std::path::Path>,
    /// `None` while it can be written to.
    pub fault: Option<Fault>,
}

/// What an operator should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A directory is left out from now on.
    DirectoryFailed {
        /// Which.
        path: Arc<std::path::Path>,
        /// Why.
        fault: Fault,
    },
    /// A directory is used again.
    DirectoryHealed {
        /// Which.
        path: Arc<std::path::Path>,
    },
    /// A segment was closed and gets no more records.
    Sealed {
        /// Which.
        segment: SegmentId,
        /// What it holds.
        records: u64,
        /// Its length.
        bytes: u64,
    },
    /// At start, bytes behind the last whole record of a segment were cut off. None of them
    /// had been acknowledged, unless the disk lost them.
    TornTail {
        /// Where.
        path: Arc<std::path::Path>,
        /// Which.
        segment: SegmentId,
        /// How many.
        bytes: u64,
    },
    /// At start, bytes amid whole records could not be read and were skipped.
    Damaged {
        /// Where.
        path: Arc<std::path::Path>,
        /// Which.
        segment: SegmentId,
        /// How many.
        bytes: u64,
    },
    /// Somebody removed segments of a directory while it was in use.
    Gone {
        /// Where.
        path: Arc<std::path::Path>,
        /// How many.
        segments: u64,
        /// Records of them that no other directory has. They had been acknowledged.
        records: u64,
    },
    /// Records are not taken although the disk has room; told once a minute for each route.
    NoRoom {
        /// Of which route.
        route: Arc<str>,
        /// What is used up.
        full: Full,
    },
    /// A file of a later version was left alone.
    Foreign {
        /// Where.
        path: Arc<std::path::Path>,
        /// Which.
        segment: SegmentId,
        /// The version.
        version: u32,
    },
}

/// One commit: a group of records that became durable together, or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// How long writing and syncing took.
    pub took: Duration,
    /// Records that were stored.
    pub stored: u64,
    /// Records that were not.
    pub refused: u64,
    /// Bytes of the stored ones as they are on the disk, one copy.
    pub bytes: u64,
}

/// Hears what the writer does, on the writer's thread: it must not block.
pub trait Watch: Send + Sync {
    /// After each commit.
    fn committed(&self, commit: &Commit);
    /// After each event.
    fn happened(&self, event: &Event);
}

/// Hears nothing.
impl Watch for () {
    fn committed(&self, _: &Commit) {}
    fn happened(&self, _: &Event) {}
}
