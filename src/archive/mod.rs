//! Floor 5: the archive. Payloads of killed requests are kept in a local journal.
//!
//! `journal` is what the gateway calls. Behind it the threads of `pipeline` encode records and
//! have `writer` commit them in groups: many waiting requests share one write and one fsync. `segment` has the
//! bytes on the disk and the invariants, `recover` what happens at start, `cursor` the way back.
//! All of it sees the file system through `files`, so that tests put a simulated disk below.

mod batch;
mod buffer;
mod catalog;
mod cursor;
mod desk;
mod directory;
mod escape;
mod files;
mod id;
mod journal;
mod options;
mod patient;
mod pipeline;
mod record;
mod recover;
mod redaction;
mod scan;
mod segment;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod sim_world;
pub mod source;
pub mod store;
mod upkeep;
mod writer;

pub use batch::Submission;
pub use buffer::Reservation;
pub use catalog::{Growth, SegmentCopy, SegmentInfo};
pub use cursor::{Checksum, Cursor, Line, Verified, segment_names, segments_in, verify};
pub use desk::{Deliveries, Desk};
pub use files::{Access, DirectoryLock, Disk, DiskFile, RealDisk};
pub use id::{SegmentId, Ulid};
pub use journal::{Figures, Journal, OpenError, Unheard};
pub use options::{
    Answer, Backoff, Busy, Commit, DirectoryState, Durability, Event, Failed, Fault, Full, Limits,
    Options, Watch,
};
pub use record::{KillNote, Record, StoredRecord};
pub use redaction::{REDACTED, Redaction};
pub use segment::{RouteShare, Summary};
pub use writer::Removal;

#[cfg(test)]
mod proof;
#[cfg(test)]
mod trial;

/// Readers of tests do not wait long.
#[cfg(test)]
const PATIENCE_OF_TESTS: Backoff = Backoff {
    first: std::time::Duration::from_millis(1),
    longest: std::time::Duration::from_millis(5),
};
