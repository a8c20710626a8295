//! The retry budget: how many retries a route may add, as a share of its requests.
//!
//! After Finagle's `RetryBudget` (deposits of requests expire with a window, a reserve per second
//! lets quiet routes retry) and Gateway API GEP-3388 (percent, interval, minimum rate). Unlike
//! Finagle's token bucket nothing is rounded to a whole cost of a retry, and unlike tower's no
//! generation is swapped under a lock: requests and retries are two counters with a past, and a
//! retry is one compare-and-swap of the second, so that of two workers that want the last one
//! exactly one gets it.
//!
//! The state holds counts only. A reload that changes share, reserve or window changes what
//! follows from them, from the next decision on.

use std::time::Duration;

use super::history::{Addition, History, LONGEST};
use super::share::Share;

/// How many retries may be added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudgetSpec {
    /// Retries as a share of the requests of the window.
    pub share: Share,
    /// Retries that are allowed besides, for each second of the window.
    pub min_per_second: u32,
    /// How long a request counts: 1 s to 60 s, in steps of half a second.
    pub window: Duration,
}

impl Default for RetryBudgetSpec {
    fn default() -> RetryBudgetSpec {
        RetryBudgetSpec {
            share: Share::from_percent(20.0).unwrap_or(Share::NONE),
            min_per_second: 1,
            window: Duration::from_secs(10),
        }
    }
}

/// The shortest window: shorter ones are smaller than a few steps of the counters.
pub const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

/// The longest window.
pub const LONGEST_WINDOW: Duration = LONGEST;

/// What the budget says to one retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetVerdict {
    /// It may be made, and is counted; so many more could be made now.
    Granted {
        /// What is left.
        left: u64,
    },
    /// The window has had all its retries.
    Spent,
}

/// What a route asked of one upstream lately. Kept by the names of both across reloads.
#[derive(Debug, Default)]
pub struct RetryBudget {
    requests: History,
    retries: History,
}

/// Parts of a retry that a request earns are counted in millionths.
const PARTS: u128 = 1_000_000;

impl RetryBudgetSpec {
    /// How many retries a window with that many requests may hold.
    pub fn allowed(&self, requests: u64) -> u64 {
        // `Share::percent` gives back what was written, to six places.
        let share = (self.share.percent() * 1e4).round() as u128;
        let window = self.window.clamp(SHORTEST_WINDOW, LONGEST_WINDOW);
        let reserve = u128::from(self.min_per_second) * window.as_millis() * (PARTS / 1000);
        let parts = u128::from(requests) * share + reserve;
        u64::try_from(parts / PARTS).unwrap_or(u64::MAX)
    }
}

impl RetryBudget {
    /// Counts a request: once, whatever its attempts.
    pub fn request(&self, now: Duration) {
        self.requests.add(now);
    }

    /// Takes one retry from the budget.
    pub fn withdraw(&self, spec: &RetryBudgetSpec, now: Duration) -> BudgetVerdict {
        let window = spec.window.clamp(SHORTEST_WINDOW, LONGEST_WINDOW);
        let allowed = spec.allowed(self.requests.within(window, now));
        match self.retries.add_below(allowed, window, now) {
            Addition::Added(held) => BudgetVerdict::Granted {
                left: allowed.saturating_sub(held),
            },
            Addition::Full(_) => BudgetVerdict::Spent,
        }
    }

    /// How many retries could be made now.
    pub fn left(&self, spec: &RetryBudgetSpec, now: Duration) -> u64 {
        let window = spec.window.clamp(SHORTEST_WINDOW, LONGEST_WINDOW);
        let allowed = spec.allowed(self.requests.within(window, now));
        allowed.saturating_sub(self.retries.within(window, now))
    }
}

#[cfg(test)]
mod tests;
