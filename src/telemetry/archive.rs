//! What is counted of the archive.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::counters::Histogram;

/// How a try to put an object into the store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadResult {
    /// It was stored.
    Uploaded,
    /// It was there already.
    Exists,
    /// It could not be stored; it is tried again.
    Failed,
}

impl UploadResult {
    pub(crate) const NAMES: [&str; 3] = ["uploaded", "exists", "failed"];
}

/// What the archive does.
#[derive(Debug, Default)]
pub struct ArchiveMetrics {
    pub(crate) journal_bytes: AtomicU64,
    /// When the oldest record was stored, in milliseconds since the Unix epoch; 0: there is none.
    pub(crate) oldest_ms: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) commits: Histogram,
    pub(crate) uploads: [AtomicU64; 3],
}

impl ArchiveMetrics {
    /// States how many bytes the journal holds, and since when its oldest record.
    pub fn hold(&self, bytes: u64, oldest: Option<Duration>) {
        let oldest = oldest.unwrap_or_default().as_millis();
        self.journal_bytes.store(bytes, Relaxed);
        self.oldest_ms
            .store(u64::try_from(oldest).unwrap_or_default(), Relaxed);
    }

    /// States how many records were stored after their requests had been refused, so far.
    pub fn set_late(&self, records: u64) {
        self.late.store(records, Relaxed);
    }

    /// A group of records was written and synced, or could not be.
    pub fn committed(&self, took: Duration) {
        self.commits.observe(took);
    }

    /// An object was put into the store, or could not be.
    pub fn put(&self, result: UploadResult) {
        self.uploads[result as usize].fetch_add(1, Relaxed);
    }

    /// The age of the oldest record at a time since the Unix epoch.
    pub(crate) fn oldest_seconds(&self, now: Duration) -> f64 {
        match self.oldest_ms.load(Relaxed) {
            0 => 0.0,
            oldest => now
                .saturating_sub(Duration::from_millis(oldest))
                .as_secs_f64(),
        }
    }
}
