//! The breaker of a route and its upstream: after enough failures requests are refused at once,
//! until one probe shows that the upstream is back.
//!
//! After Nygard, Release It!: passing, tripped, one probe. It trips on failures in a row, or on
//! their share among enough requests of a window. It stays open for a time that doubles with
//! each probe that fails, and a probe that succeeds lets traffic come back over a while, because
//! an upstream that has just returned seldom stands all of it at once. A trip on that way back
//! counts as a probe that failed.
//!
//! What it counts and lets through are attempts: a retry asks as a first attempt does, so that it
//! trips before a request has made all of its attempts.
//!
//! All of a breaker's position is one word, changed by compare-and-swap: of many requests that
//! find the time to probe, one is the probe. Each change of position starts a generation; what
//! was admitted in an earlier one says nothing about this one.
//!
//! A hand may hold it (`Forced`). Underneath it goes on by itself: a breaker held passing may
//! trip, and is found tripped when the hand leaves.

#[cfg(test)]
mod model;
mod position;
#[cfg(test)]
mod tests;
mod word;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::history::History;
use super::outcome::{Failures, Outcome};
use super::share::Share;
pub use position::{BreakerPosition, Forced, ForcedBreakers};
use word::{MOST_DOUBLINGS, Phase, Standing};

/// When a breaker trips, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSpec {
    /// What of an attempt's ends is a failure.
    pub on: Failures,
    /// Trips after that many failures in a row; `None`: however many.
    pub consecutive_failures: Option<u32>,
    /// Trips at that share of failures; `None`: at none.
    pub ratio: Option<RatioSpec>,
    /// How long it is open at first.
    pub open_for: Duration,
    /// Over how long traffic comes back.
    pub ramp: Duration,
}

/// The rule about the share of failures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioSpec {
    /// Trips at this share.
    pub failures: Share,
    /// Of at least that many requests.
    pub min_requests: u32,
    /// That ended within this time; at most a minute, in steps of half a second.
    pub window: Duration,
}

/// The longest a breaker stays open without a probe, unless `open_for` itself is longer.
pub const LONGEST_OPEN: Duration = Duration::from_secs(300);

/// Default of `ramp`.
pub const DEFAULT_RAMP: Duration = Duration::from_secs(10);

/// When a request refused while a probe is out may come back.
const PROBE_WAIT: Duration = Duration::from_secs(1);

impl Default for BreakerSpec {
    fn default() -> BreakerSpec {
        BreakerSpec {
            on: Failures::default(),
            consecutive_failures: Some(10),
            ratio: Some(RatioSpec {
                failures: Share::from_percent(50.0).unwrap_or(Share::WHOLE),
                min_requests: 20,
                window: Duration::from_secs(10),
            }),
            open_for: Duration::from_secs(30),
            ramp: DEFAULT_RAMP,
        }
    }
}

/// What an attempt brings along.
#[derive(Clone, Copy, Debug)]
pub struct BreakerAsk {
    /// Where a hand holds the breaker.
    pub forced: Option<Forced>,
    /// The moment.
    pub now: Duration,
    /// Every bit of it random: decides who passes while traffic comes back.
    pub random: u64,
}

/// What the breaker says to an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum BreakerVerdict {
    /// It goes on; how it ends is reported with the pass.
    Passed(Pass),
    /// `breaker_open`.
    Refused {
        /// When it may come back.
        retry_after: Duration,
    },
}

/// An attempt that passed. Given back to [`Breaker::record`] whatever became of it: a
/// probe that never reports delays the return by `open_for`.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Pass {
    generation: u16,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Ordinary,
    Probe,
}

/// What the end of an attempt changed, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// Nothing.
    None,
    /// It tripped, or its probe failed: no request passes for that long.
    Tripped {
        /// Until the next probe.
        open_for: Duration,
    },
    /// The probe succeeded: traffic comes back.
    Returning,
}

/// A breaker's memory. Kept by the names of route and upstream across reloads; a changed spec
/// holds from the next request on, and for a breaker that is open from its next trip on.
#[derive(Debug, Default)]
pub struct Breaker {
    word: AtomicU64,
    streak: AtomicU32,
    ended: History,
    failed: History,
}

impl BreakerSpec {
    fn open_for(&self, doublings: u32) -> Duration {
        let doubled = self.open_for.saturating_mul(1 << doublings);
        doubled.min(LONGEST_OPEN.max(self.open_for))
    }
}

impl Breaker {
    /// Whether an attempt is made.
    pub fn check(&self, spec: &BreakerSpec, ask: &BreakerAsk) -> BreakerVerdict {
        let mut word = self.word.load(SeqCst);
        loop {
            let standing = self.settle(word, spec, ask.now);
            let refused = |retry_after| BreakerVerdict::Refused { retry_after };
            let passed = BreakerVerdict::Passed(Pass {
                generation: standing.generation,
                role: Role::Ordinary,
            });
            match ask.forced {
                Some(Forced::Passing) => return passed,
                Some(Forced::Tripped) => return refused(spec.open_for),
                None => {}
            }
            let due = match standing.phase {
                Phase::Passing => return passed,
                Phase::Returning => {
                    if standing.share(spec.ramp, ask.now).takes(ask.random) {
                        return passed;
                    }
                    return refused(standing.left(spec.ramp, ask.now));
                }
                Phase::Tripped if !standing.left(Duration::ZERO, ask.now).is_zero() => {
                    return refused(standing.left(Duration::ZERO, ask.now));
                }
                // A probe that has not reported for so long never will.
                Phase::Probing if !standing.left(spec.open_for, ask.now).is_zero() => {
                    return refused(PROBE_WAIT);
                }
                Phase::Tripped | Phase::Probing => standing.then(Phase::Probing, ask.now),
            };
            match self.word.compare_exchange(word, due.word(), SeqCst, SeqCst) {
                Ok(_) => {
                    return BreakerVerdict::Passed(Pass {
                        generation: due.generation,
                        role: Role::Probe,
                    });
                }
                Err(newer) => word = newer,
            }
        }
    }

    /// Where a word stands now. A way back that has ended is written down, so that a reload that
    /// makes ramps longer does not begin it again.
    fn settle(&self, word: u64, spec: &BreakerSpec, now: Duration) -> Standing {
        let settled = Standing::of(word).settled(spec.ramp, now);
        if settled.word() != word {
            // If it fails, another worker has written it, or something newer.
            let _ = self
                .word
                .compare_exchange(word, settled.word(), SeqCst, SeqCst);
        }
        settled
    }

    /// Takes note of how an attempt that passed has ended.
    pub fn record(
        &self,
        spec: &BreakerSpec,
        pass: Pass,
        outcome: Outcome,
        now: Duration,
    ) -> BreakerChange {
        let word = self.word.load(SeqCst);
        let standing = Standing::of(word).settled(spec.ramp, now);
        if standing.generation != pass.generation {
            return BreakerChange::None;
        }
        match (standing.phase, pass.role) {
            (Phase::Passing | Phase::Returning, _) => self.count(spec, pass, outcome, now),
            (Phase::Probing, Role::Probe) => self.probed(spec, word, outcome, now),
            // Let through by hand: the breaker asks for itself.
            (Phase::Probing, Role::Ordinary) | (Phase::Tripped, _) => BreakerChange::None,
        }
    }

    fn count(
        &self,
        spec: &BreakerSpec,
        pass: Pass,
        outcome: Outcome,
        now: Duration,
    ) -> BreakerChange {
        match outcome {
            Outcome::Unknown => return BreakerChange::None,
            Outcome::Success => {
                if spec.ratio.is_some() {
                    self.ended.add(now);
                }
                // Read first: a line that is only read stays with every worker.
                if self.streak.load(SeqCst) != 0 {
                    self.streak.store(0, SeqCst);
                }
                return BreakerChange::None;
            }
            Outcome::Failure => {}
        }
        let streak = self.streak.fetch_add(1, SeqCst).saturating_add(1);
        if spec.ratio.is_some() {
            self.failed.add(now);
            self.ended.add(now);
        }
        let in_a_row = spec.consecutive_failures.is_some_and(|most| streak >= most);
        match in_a_row || spec.ratio.is_some_and(|ratio| self.exceeds(&ratio, now)) {
            true => self.trip(spec, pass, now),
            false => BreakerChange::None,
        }
    }

    fn exceeds(&self, ratio: &RatioSpec, now: Duration) -> bool {
        // Failures first: one that comes in between makes the share smaller, not larger.
        let failed = self.failed.within(ratio.window, now);
        let ended = self.ended.within(ratio.window, now);
        let enough = ended >= u64::from(ratio.min_requests.max(1));
        enough && failed as f64 >= ended as f64 * ratio.failures.fraction()
    }

    fn trip(&self, spec: &BreakerSpec, pass: Pass, now: Duration) -> BreakerChange {
        let mut word = self.word.load(SeqCst);
        loop {
            let standing = Standing::of(word).settled(spec.ramp, now);
            if standing.generation != pass.generation {
                return BreakerChange::None;
            }
            let doublings = match standing.phase {
                Phase::Passing => 0,
                Phase::Returning => (standing.doublings + 1).min(MOST_DOUBLINGS),
                Phase::Tripped | Phase::Probing => return BreakerChange::None,
            };
            let open_for = spec.open_for(doublings);
            let tripped = Standing {
                doublings,
                ..standing.then(Phase::Tripped, now + open_for)
            };
            match self
                .word
                .compare_exchange(word, tripped.word(), SeqCst, SeqCst)
            {
                Ok(_) => return BreakerChange::Tripped { open_for },
                Err(newer) => word = newer,
            }
        }
    }

    /// What follows a probe. Another that was sent because this one was given up decides alone.
    fn probed(
        &self,
        spec: &BreakerSpec,
        word: u64,
        outcome: Outcome,
        now: Duration,
    ) -> BreakerChange {
        let probing = Standing::of(word);
        let (next, change) = match outcome {
            Outcome::Success => {
                // Before anybody counts again: what was before the trip is not held against it.
                self.start_afresh();
                (
                    probing.then(Phase::Returning, now),
                    BreakerChange::Returning,
                )
            }
            Outcome::Failure => {
                let doublings = (probing.doublings + 1).min(MOST_DOUBLINGS);
                let open_for = spec.open_for(doublings);
                let tripped = Standing {
                    doublings,
                    ..probing.then(Phase::Tripped, now + open_for)
                };
                (tripped, BreakerChange::Tripped { open_for })
            }
            // It showed nothing: the next request is the probe.
            Outcome::Unknown => (probing.then(Phase::Tripped, now), BreakerChange::None),
        };
        match self
            .word
            .compare_exchange(word, next.word(), SeqCst, SeqCst)
        {
            Ok(_) => change,
            Err(_) => BreakerChange::None,
        }
    }

    /// A hand that held it tripped has left: what passes by itself comes back over the ramp too.
    pub fn released(&self, spec: &BreakerSpec, now: Duration) {
        let word = self.word.load(SeqCst);
        let standing = Standing::of(word).settled(spec.ramp, now);
        if standing.phase == Phase::Passing {
            self.start_afresh();
            let returning = standing.then(Phase::Returning, now);
            // If it tripped meanwhile, it returns by a probe.
            let _ = self
                .word
                .compare_exchange(word, returning.word(), SeqCst, SeqCst);
        }
    }

    fn start_afresh(&self) {
        self.failed.forget();
        self.ended.forget();
        self.streak.store(0, SeqCst);
    }

    /// Where it stands, for metrics and status.
    pub fn position(
        &self,
        spec: &BreakerSpec,
        forced: Option<Forced>,
        now: Duration,
    ) -> BreakerPosition {
        match forced {
            Some(Forced::Passing) => return BreakerPosition::Passing,
            Some(Forced::Tripped) => return BreakerPosition::Tripped,
            None => {}
        }
        let standing = Standing::of(self.word.load(SeqCst)).settled(spec.ramp, now);
        match standing.phase {
            Phase::Passing => BreakerPosition::Passing,
            Phase::Probing | Phase::Returning => BreakerPosition::Probing,
            Phase::Tripped => BreakerPosition::Tripped,
        }
    }
}
