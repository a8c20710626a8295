//! The next records of all open places, in order.

use std::cmp::Ordering;

use super::super::id::Ulid;

/// The next record of a reader.
pub(super) struct Head {
    pub(super) id: Ulid,
    pub(super) reader: usize,
    pub(super) line: Vec<u8>,
    pub(super) pace: Pace,
}

/// Whether a record stands where its id belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    InOrder,
    Late,
}

impl Head {
    fn key(&self) -> (Ulid, usize) {
        (self.id, self.reader)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.key().cmp(&other.key())
    }
}
