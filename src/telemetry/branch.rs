//! What is told of a route's attempts at its upstreams.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// What became of a retry that a route's `retry` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOutcome {
    /// It was made.
    Sent,
    /// The retry budget is spent.
    NoBudget,
    /// The request cannot or must not be sent again.
    NotReplayable,
    /// It would come too late for the request's deadline.
    Deadline,
}

impl RetryOutcome {
    pub(crate) const NAMES: [&str; 4] = ["sent", "no_budget", "not_replayable", "deadline"];
}

/// What is told of a route and one of its upstreams.
#[derive(Debug, Default)]
pub struct BranchMetrics {
    pub(crate) breaker: AtomicI64,
}

impl BranchMetrics {
    /// States where the breaker stands: 0 passing, 1 probing, 2 tripped.
    pub fn set_breaker(&self, state: i64) {
        self.breaker.store(state, Relaxed);
    }
}
