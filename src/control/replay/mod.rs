//! Replay: archived requests are sent to an upstream, paced, each until it is accepted or refused.

mod body;
mod book;
mod checkpoint;
mod health;
mod lanes;
mod ledger;
mod outcome;
mod request;
mod sender;
mod target;

pub use checkpoint::{CheckpointError, Identity};
pub use ledger::{Counts, Ledger};
pub use outcome::Failing;
pub use request::{Given, Lacking, RedactedValues, Unsendable};
pub use target::{BadUrl, Destinations, NoTarget};
