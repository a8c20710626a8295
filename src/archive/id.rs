//! Ids of records and segments: ULIDs that rise, whatever the clock does.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
pub use ulid::Ulid;

/// The name of a segment: the ULID given to it when it was opened. All records of a segment
/// have ids below those of every later segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentId(pub Ulid);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Gives out ids. Only the writer has one.
#[derive(Debug)]
pub(crate) struct Ids {
    last: Ulid,
}

impl Ids {
    pub(crate) fn after(last: Ulid) -> Ids {
        Ids { last }
    }

    /// Ids given from now on are above `found`: a directory that came back may hold later ones.
    pub(crate) fn raise(&mut self, found: Ulid) {
        self.last = self.last.max(found);
    }

    /// The next id. When the clock stands or steps back, the last one plus one: 2^80 ids fit
    /// into a millisecond, and past them the time part moves on.
    pub(crate) fn next(&mut self, unix: Duration) -> Ulid {
        let now = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        self.last = if now > self.last.timestamp_ms() {
            Ulid::from_datetime(UNIX_EPOCH + unix)
        } else {
            self.last.increment().unwrap_or_else(|carried| carried)
        };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_when_the_clock_stands_steps_back_or_runs_out_of_randomness() {
        let full = Ulid::from_parts(5_000, u128::MAX);
        let mut ids = Ids::after(full);
        let mut last = full;
        for ms in [5_000, 5_000, 1, 7_000, 6_999, 0, 7_001] {
            let id = ids.next(Duration::from_millis(ms));
            assert!(id > last, "{id} after {last} at {ms}");
            last = id;
        }
        assert_eq!(last.timestamp_ms(), 7_001);
        ids.raise(Ulid::from_parts(9_000, 1));
        assert!(ids.next(Duration::ZERO) > Ulid::from_parts(9_000, 1));
        ids.raise(Ulid::nil());
        assert!(ids.next(Duration::ZERO) > Ulid::from_parts(9_000, 1));
    }
}
