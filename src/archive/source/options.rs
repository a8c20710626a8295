//! What a source is asked for, and what it gives.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::super::id::Ulid;
use super::super::options::Backoff;
use super::super::record::StoredRecord;
use super::super::store::{PATIENCE, Selection, Store};
use super::damage::Place;
use super::outline::Wanted;

/// What a source reads.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// A store.
    pub store: Option<Store>,
    /// Directories of journals, of one gateway or of several; also while gateways write there.
    pub journals: Vec<PathBuf>,
    /// Files with a record on each line, plain or compressed with zstd.
    pub files: Vec<PathBuf>,
    /// Which records.
    pub wanted: Wanted,
    /// Only records behind this id.
    pub after: Option<Ulid>,
    /// Waits between tries of a request to the store.
    pub backoff: Backoff,
}

/// A record, and where it was found.
#[derive(Clone, Debug)]
pub struct Sourced {
    /// Its id.
    pub id: Ulid,
    /// The record.
    pub record: StoredRecord,
    /// The same as it is stored: JSON, without a line end.
    pub line: Vec<u8>,
    /// Where.
    pub place: Place,
}

/// What was read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceFigures {
    /// Records given.
    pub read: u64,
    /// Records that were given before, from another place.
    pub duplicates: u64,
    /// Records that were not wanted, or not behind `after`.
    pub passed: u64,
    /// Records that came behind one with a higher id, for their object is not in order. The
    /// gateway makes no such objects. These are given, and may have been given before.
    pub late: u64,
    /// Damages told.
    pub damages: u64,
    /// Bytes of them.
    pub damaged_bytes: u64,
    /// Bytes of the places that were read whole, as `SourceTotal` counts them.
    pub bytes: u64,
}

/// What there is to read; records that are not wanted included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceTotal {
    /// Bytes: of objects compressed, of segments and files as they are.
    pub bytes: u64,
    /// Objects in the store.
    pub objects: u64,
    /// Segments of the journals.
    pub segments: u64,
    /// Files.
    pub files: u64,
}

impl SourceOptions {
    /// Everything, of nowhere.
    pub fn new() -> SourceOptions {
        SourceOptions {
            store: None,
            journals: Vec::new(),
            files: Vec::new(),
            wanted: Wanted::default(),
            after: None,
            backoff: PATIENCE,
        }
    }
}

impl Default for SourceOptions {
    fn default() -> SourceOptions {
        SourceOptions::new()
    }
}

/// The hours of the store that have what is wanted.
pub(super) fn hours(wanted: &Wanted) -> Selection {
    let unix = |time: Timestamp| {
        let micros = u64::try_from(time.as_microsecond()).unwrap_or_default();
        Duration::from_micros(micros)
    };
    Selection {
        routes: wanted.routes.clone(),
        from: wanted.since.map(unix),
        until: wanted.until.map(unix),
    }
}
