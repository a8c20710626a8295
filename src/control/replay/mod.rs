//! Replay: archived requests are sent to an upstream, paced, each until it is accepted or refused.

mod health;
mod lanes;
mod outcome;

pub use outcome::Failing;
