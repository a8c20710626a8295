//! What a source could not give, and why a source ends early.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::id::SegmentId;
use super::super::store::StoreError;

/// Where a record was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A segment of a journal.
    Segment(SegmentId),
    /// An object; its path in the store.
    Object(Arc<str>),
    /// A file of records.
    File(Arc<str>),
}

/// What cannot be read at a place. The stream goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub place: Place,
    /// What.
    pub harm: Harm,
}

/// Kinds of damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Bytes of a segment that no copy has whole.
    Bytes {
        /// How many.
        bytes: u64,
    },
    /// Lines that are no records.
    Lines {
        /// How many.
        lines: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// An object ends too early; the records before the cut were given.
    Cut {
        /// The object's bytes, compressed.
        bytes: u64,
    },
    /// Bytes of an object were changed: none of its records can be trusted.
    Spoiled {
        /// The object's bytes, compressed.
        bytes: u64,
        /// How that was seen.
        why: String,
    },
    /// A segment became unreadable while it was read.
    Unreadable {
        /// Its bytes.
        bytes: u64,
        /// The operating system's error.
        why: String,
    },
    /// An object was deleted from the store after it was listed.
    Gone {
        /// Its bytes, compressed.
        bytes: u64,
    },
}

impl Harm {
    /// Bytes that were skipped, or the length of the object where that is not known.
    pub fn bytes(&self) -> u64 {
        match self {
            Harm::Bytes { bytes }
            | Harm::Lines { bytes, .. }
            | Harm::Cut { bytes }
            | Harm::Spoiled { bytes, .. }
            | Harm::Unreadable { bytes, .. }
            | Harm::Gone { bytes } => *bytes,
        }
    }
}

/// Why no further record can be given now.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceError {
    /// The store, after several tries.
    Store(StoreError),
    /// The directories of a journal.
    Journal {
        /// Which.
        directories: Vec<PathBuf>,
        /// Why.
        source: io::Error,
    },
    /// A file of records.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file whose records are not in the order of their ids, and that cannot be sorted here.
    Unsorted {
        /// Which.
        path: PathBuf,
    },
}

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> SourceError {
        SourceError::Store(error)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Store(error) => error.fmt(f),
            SourceError::Journal {
                directories,
                source,
            } => {
                let shown = directories.iter().map(|path| path.display().to_string());
                let shown = shown.collect::<Vec<_>>().join(", ");
                write!(f, "the journal in {shown} cannot be read: {source}")
            }
            SourceError::File { path, source } => {
                write!(f, "{}: {source}", path.display())
            }
            SourceError::Unsorted { path } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: the records are not in the order of their ids, and the file is \
                     compressed or too long to be sorted in memory; sort it first: \
                     zstdcat -f {path} | LC_ALL=C sort > sorted.ndjson"
                )
            }
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SourceError::Store(error) => Some(error),
            SourceError::Journal { source, .. } | SourceError::File { source, .. } => Some(source),
            SourceError::Unsorted { .. } => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Segment(segment) => write!(f, "segment {segment}"),
            Place::Object(path) => write!(f, "object {path}"),
            Place::File(path) => write!(f, "file {path}"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.harm)
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Harm::Bytes { bytes } => write!(f, "{bytes} bytes are damaged"),
            Harm::Lines { lines: 1, .. } => f.write_str("a line is no record"),
            Harm::Lines { lines, .. } => write!(f, "{lines} lines are no records"),
            Harm::Cut { .. } => f.write_str("it is cut off; the records before the cut were read"),
            Harm::Spoiled { why, .. } => {
                write!(f, "it is damaged, none of its records was read: {why}")
            }
            Harm::Unreadable { why, .. } => write!(f, "the rest cannot be read: {why}"),
            Harm::Gone { .. } => f.write_str("it was deleted after it was listed"),
        }
    }
}
