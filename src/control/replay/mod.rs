//! Replay: archived requests are sent to an upstream, paced, each until it is accepted or refused.
//!
//! `run` prepares: it opens the `checkpoint`, and a `survey` reads all records once, so that what
//! cannot be sent is known before anything is. Then `feed` reads them again on a thread of its
//! own, ahead of the `engine`, which keeps them in `lanes`, sends what is due through `sender`,
//! and settles each by its `outcome`; `health` says when the target is left alone. The `saver`
//! keeps the `book` of what is settled.
//!
//! # Invariants
//! 1. A record is settled only by an answer: accepted by any 2xx, refused by one that says that
//!    it never will be, or by 500 five times while others were accepted, or until the target
//!    would have been given up and accepts another in its place. Everything else is sent again.
//! 2. A client's records are sent in the order of their ids; the next one after the answer to
//!    the one before.
//! 3. A refused record is on the disk before a checkpoint calls it settled.
//! 4. When the process is killed, at most a batch of records is sent twice by the next one: no
//!    record is sent for the first time while a batch is sent and in no checkpoint.
//! 5. Memory: 64 MiB of records, whatever their number, and what the source holds.

mod accepted;
mod body;
mod book;
mod checkpoint;
mod ending;
mod engine;
mod feed;
mod health;
mod lanes;
mod ledger;
mod outcome;
mod request;
mod run;
mod saver;
mod selected;
mod sender;
mod survey;
mod target;

pub use checkpoint::{CheckpointError, Identity};
pub use ending::{Ending, Phase, Progress, Watch};
pub use ledger::{Counts, Ledger};
pub use outcome::Failing;
pub use request::{Given, Lacking, RedactedValues, Unsendable};
pub use run::{Earlier, Kind, Options, Prepared, ReplayError, Report, Terms};
pub use survey::Survey;
pub use target::{BadUrl, Destinations, NoTarget};
