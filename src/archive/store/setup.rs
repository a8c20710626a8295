//! How the uploader is set up, and what it tells.

use std::sync::Arc;
use std::time::Duration;

use super::super::options::Backoff;
use super::error::StoreError;
use super::put::Store;
use super::retention::Retain;

/// Opens the store. Called again and again until it succeeds, so that a store which is not
/// there at start only makes the journal grow.
pub type Opener = Arc<dyn Fn() -> Result<Store, StoreError> + Send + Sync>;

/// How the uploader is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadOptions {
    /// How long objects stay in the store.
    pub retain: Retain,
    /// Waits after failures, spread by full jitter.
    pub backoff: Backoff,
    /// How often the journal is asked for sealed segments.
    pub poll: Duration,
}

impl UploadOptions {
    /// The contract's defaults.
    pub fn new(retain: Retain) -> UploadOptions {
        UploadOptions {
            retain,
            backoff: Backoff {
                first: Duration::from_millis(500),
                longest: Duration::from_secs(60),
            },
            poll: Duration::from_secs(1),
        }
    }
}

/// What waits for the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadFigures {
    /// Sealed segments that are not confirmed.
    pub waiting: u64,
    /// Their bytes in the journal, each copy counted.
    pub bytes: u64,
    /// When the oldest record in them was stored, since the Unix epoch; the lag is the time
    /// since then.
    pub oldest: Option<Duration>,
    /// Tries in a row that failed; 0 while uploads work.
    pub failures: u32,
    /// Puts that may run at the same time.
    pub window: u64,
}

/// How `finish` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Nothing is left in the journal.
    Done,
    /// Segments are left: they go to the store after the next start.
    Left {
        /// How many.
        segments: u64,
    },
}
