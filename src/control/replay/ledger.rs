//! What became of the records: read = accepted + refused + skipped + left, to the unit.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Numbers of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Selected, and read.
    pub read: u64,
    /// Sent at least once.
    pub sent: u64,
    /// The target has them.
    pub accepted: u64,
    /// The target does not want them; they are in the file of refused records.
    pub refused: u64,
    /// An earlier run's target has them.
    pub skipped: u64,
    /// Tries after the first, of all records together.
    pub retries: u64,
}

impl Counts {
    /// Neither accepted nor refused nor skipped.
    pub fn left(&self) -> u64 {
        self.read - self.settled()
    }

    fn settled(&self) -> u64 {
        self.accepted + self.refused + self.skipped
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.read += other.read;
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.skipped += other.skipped;
        self.retries += other.retries;
    }
}

/// The counts of each gateway whose records were read, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// By instance.
    pub instances: BTreeMap<String, Counts>,
    /// Why records were refused: a status, or why nothing could be sent.
    pub refused_for: BTreeMap<String, u64>,
    /// Copies of a record that stood in several places; they count as one record.
    pub duplicates: u64,
    /// Bytes that could not be read.
    pub damaged_bytes: u64,
}

impl Ledger {
    /// All instances together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for counts in self.instances.values() {
            total += *counts;
        }
        total
    }
}
