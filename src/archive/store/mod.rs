//! The store: where sealed segments go, and where analysts and replay read them.
//!
//! ```text
//! route=NAME/date=YYYY-MM-DD/hour=HH/INSTANCE-ULID.ndjson.zst
//! ```
//!
//! `uploader` runs on a thread of its own: `plan` sorts the records of a segment into objects,
//! `pack` reads and compresses them, `upload` puts them, and only then the segment is removed
//! from the journal. `retention` deletes what is old. `walk`, `lines` and `fetch` are the way
//! back; `replayed` keeps which records a replay got accepted, in exact sets of `ids`.
//!
//! # Invariants
//! 1. A segment is removed from the journal only after all its objects are confirmed: put, or
//!    there already.
//! 2. An object's name follows from the records in it, so "there already" means: these records.
//!    The records of an object follow from the segment, so another try after a crash puts the
//!    same objects again.
//! 3. An object never changes: it is put with create-only, or not at all. Each is one put of at
//!    most `OBJECT_BYTES` before compression, or one longer record: multipart uploads, which
//!    know no create-only, are never needed.
//! 4. Nothing is deleted from the store that is younger than `retain`, by its hour and by its
//!    time of upload, or that has not the name of an object.
//! 5. Memory: at most `PASS_BYTES` of records, and `MOST_PUTS` + 1 compressed objects of at
//!    most `OBJECT_BYTES`, with zstd's own state: below 64 MiB in use, and beside it three
//!    times the longest record where one is longer than an object. What the allocator keeps
//!    of freed memory comes on top.

mod error;
mod fetch;
mod ids;
mod lines;
mod location;
mod name;
mod pace;
mod pack;
mod plan;
mod put;
mod replayed;
mod retention;
mod setup;
mod upload;
mod uploader;
mod walk;
mod watch;

pub use error::{Act, FORMS, StoreError, UrlProblem};
pub(super) use fetch::{Attempts, ObjectText, PATIENCE};
pub use ids::IdSet;
pub use lines::{ObjectLines, VerifiedObject};
pub use location::{Existence, StoreUrl, environment};
pub use name::{Hour, ObjectName, Partition};
pub use put::{PutOutcome, Store};
pub use replayed::{Accepted, AcceptedBatch, Standing};
pub use retention::{Retain, Retained};
pub use setup::{Finish, Opener, UploadFigures, UploadOptions};
pub use uploader::Uploader;
pub use walk::{Selection, StoredObject, Walk};
pub use watch::{Obstacle, Put, StoreEvent, StoreWatch};

#[cfg(test)]
mod faulty;
#[cfg(test)]
pub(super) mod trial;
