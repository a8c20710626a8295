//! What the uploader tells: for metrics and logs.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::super::id::SegmentId;
use super::error::StoreError;
use super::put::PutOutcome;

/// One try to put an object.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// How it ended.
    pub result: Result<PutOutcome, &'a StoreError>,
    /// Bytes of the object, compressed.
    pub bytes: u64,
    /// Its records.
    pub records: u64,
    /// How long it took.
    pub took: Duration,
}

impl Put<'_> {
    /// The value of the label `result`: `uploaded`, `exists` or `failed`.
    pub fn label(&self) -> &'static str {
        match self.result {
            Ok(PutOutcome::Uploaded) => "uploaded",
            Ok(PutOutcome::Exists) => "exists",
            Err(_) => "failed",
        }
    }
}

/// Why a segment could not be uploaded now. It is tried again.
#[derive(Clone, Debug)]
pub enum Obstacle {
    /// The store.
    Store(Arc<StoreError>),
    /// The journal's disk.
    Disk(Arc<io::Error>),
    /// The disk gives errors for some pages; after a few tries the rest is uploaded.
    Pages {
        /// How many.
        unread: u64,
    },
    /// The journal's writer does not answer.
    Writer,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Store(error) => error.fmt(f),
            Obstacle::Disk(error) => write!(f, "the journal cannot be read: {error}"),
            Obstacle::Pages { unread } => {
                write!(
                    f,
                    "the journal's disk gives errors for {unread} parts of a segment"
                )
            }
            Obstacle::Writer => f.write_str("the journal's writer does not answer"),
        }
    }
}

/// What an operator should hear of.
#[derive(Clone, Debug)]
pub enum StoreEvent {
    /// All objects of a segment are confirmed; it leaves the journal.
    Uploaded {
        /// Which.
        segment: SegmentId,
        /// Its records.
        records: u64,
        /// Its objects.
        objects: u64,
        /// Bytes of its objects, compressed.
        bytes: u64,
    },
    /// Parts of a segment could not be read from any copy. The rest was uploaded.
    Damaged {
        /// Which.
        segment: SegmentId,
        /// Bytes that were left out.
        bytes: u64,
    },
    /// A segment could not be uploaded; how often in a row no one could.
    Delayed {
        /// Which; `None` before the store was opened.
        segment: Option<SegmentId>,
        /// Why.
        obstacle: Obstacle,
        /// Tries in a row that failed.
        failures: u32,
    },
    /// Uploads work again.
    Recovered {
        /// Tries in a row that had failed.
        failures: u32,
    },
    /// Objects older than `retain` were deleted.
    Retained {
        /// How many.
        deleted: u64,
        /// True when more are left for the next pass.
        more: bool,
    },
    /// Deleting what is old failed; it is tried again in the next pass.
    RetainFailed(Arc<StoreError>),
}

/// Hears what the uploader does, on the uploader's thread: it must not block.
pub trait StoreWatch: Send + Sync {
    /// After each try to put an object.
    fn put(&self, put: &Put<'_>);
    /// After each event.
    fn happened(&self, event: &StoreEvent);
}

/// Hears nothing.
impl StoreWatch for () {
    fn put(&self, _: &Put<'_>) {}
    fn happened(&self, _: &StoreEvent) {}
}
