//! How a run goes and how it ends.

use http::StatusCode;

use super::ledger::Counts;
use super::outcome::Failing;
use super::request::Lacking;
use super::target::NoTarget;

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything is settled.
    Done,
    /// By a signal.
    Interrupted,
    /// The target answers 401 or 403, again and again.
    Denied(StatusCode),
    /// The target failed for too long.
    GaveUp(Failing),
    /// A record came meanwhile that lacks a value.
    Lacking(Lacking),
    /// A record came meanwhile whose route has no target.
    WithoutTarget(String, NoTarget),
    /// The records cannot be read on; why.
    Source(String),
    /// The checkpoint or the file of refused records cannot be written; why.
    Checkpoint(String),
}

/// What a run does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It sends.
    Sending,
    /// The target fails; it is tried again from time to time.
    Waiting(Failing),
    /// Nothing more is sent; what is under way is waited for.
    Finishing,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// All instances together.
    pub counts: Counts,
    /// Records a second that may be sent at the moment.
    pub pace: f64,
    /// What it does.
    pub phase: Phase,
}

/// Whoever shows how far a run is.
pub trait Watch {
    /// Called several times a second.
    fn progress(&mut self, progress: &Progress);
}
