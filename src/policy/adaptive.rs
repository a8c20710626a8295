//! Adaptive concurrency: an upstream's limit follows its latency. Gradient2 of Netflix's
//! concurrency-limits (Apache-2.0).
//!
//! Answers are collected into windows. After each, with `short` the window's mean latency and
//! `long` its average over minutes:
//!
//! ```text
//! gradient = tolerance * long / short, within [0.5, 1]
//! limit    = 0.8 * limit + 0.2 * (limit * gradient + allowance)
//! ```
//!
//! so that the limit grows by a little while latency is about what it always was, and shrinks by
//! up to a tenth a window when requests queue in the upstream. It does not grow while fewer than
//! half of it are in flight: an idle upstream says nothing about how much it could take.
//!
//! Different from the original, each for a reason:
//! - A window lasts 100 ms to 1 s (twice the latency) instead of 1 s, so that a limit that is too
//!   small at first is not for minutes; `long` follows by time and not by windows, so that it is
//!   as slow as there (a mean age of 300 s).
//! - A window with fewer than 10 answers goes on instead of being forgotten: an upstream that
//!   became very slow gives few.
//! - While requests queue (`short` above 1.2 `long`), `long` learns 30 times as slowly: otherwise it
//!   follows the overload that it should be compared with, and the limit creeps up. Unless the
//!   limit is less than half of what it was when that began, and latency is still high: then it is
//!   not our requests that queue, the upstream has become slower, and `long` learns 30 times as
//!   fast.
//! - Until requests queue for the first time the limit doubles with each window in which half of it
//!   was in use (slow start, as in TCP: Jacobson, 1988), to twice what was in flight at most. From 20
//!   it would otherwise take 5 s to 64 clients, and refuse most of them meanwhile.
//! - The allowance is the limit's root, at least 1, instead of 4: with a limit of 10, four more
//!   in every window are a standing queue.
//!
//! Shared by all workers: an answer is one addition to one word; of those that find a window
//! over, one does the sums and nobody waits for it.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

/// Bounds of an adaptive limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveSpec {
    /// The limit before anything is known.
    pub initial: u32,
    /// Smallest limit; at least 1.
    pub min: u32,
    /// Largest limit.
    pub max: u32,
}

impl Default for AdaptiveSpec {
    fn default() -> AdaptiveSpec {
        AdaptiveSpec {
            initial: 20,
            min: 4,
            max: 1000,
        }
    }
}

/// Latency may be so many times the long average before the limit shrinks.
const TOLERANCE: f64 = 1.5;
/// With so many times the long average requests are taken to queue: a limit that is full
/// settles where latency is about `TOLERANCE` times it, now a little below, now above.
const QUEUEING: f64 = 1.2;
/// How much of a window's result goes into the limit.
const SMOOTHING: f64 = 0.2;
/// The gradient's floor: one window alone never halves the limit.
const STEEPEST: f64 = 0.5;
/// Mean age of what the long average consists of, in seconds.
const MEMORY: f64 = 300.0;
/// The same while requests queue.
const MEMORY_QUEUEING: f64 = MEMORY * 30.0;
/// The same while latency stays high although the limit was halved.
const MEMORY_SLOWER: f64 = MEMORY / 30.0;
/// Windows of which the long average is at first the plain mean.
const WARM_UP: u32 = 10;
/// Fewest answers in a window.
const ANSWERS: u64 = 10;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// How an attempt at the upstream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It answered, after that time from the request sent to the response head.
    Answered(Duration),
    /// It did not within that time: it would have taken longer.
    TimedOut(Duration),
    /// It failed at once, by connect, reset or its own refusal, or the client went away: that says
    /// nothing about how long it takes.
    Failed,
}

/// What came of an ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The window goes on.
    Nothing,
    /// A window is over.
    Window {
        /// The limit until now.
        from: u32,
        /// The limit from now on.
        to: u32,
    },
}

/// The limit of one upstream. Belongs to it by name, across reloads.
#[derive(Debug)]
#[repr(align(64))]
pub struct Adaptive {
    /// The limit, as an `f64`.
    limit: AtomicU64,
    /// Microseconds (44 bits) and number (20 bits) of the answers in this window.
    window: AtomicU64,
    /// Most in flight in this window.
    peak: AtomicU32,
    /// Nanoseconds of the caller's clock at which the window ends.
    ends: AtomicU64,
    /// Whether one is doing the sums; the others pass by.
    closing: AtomicBool,
    /// Whether a window has shown that requests queue, ever.
    queued: AtomicBool,
    /// Of those who do the sums alone: the long average in microseconds, as an `f64`; when
    /// it was last updated; windows so far, up to [`WARM_UP`]; and the limit, as an `f64`, when
    /// requests began to queue, or 0.
    long: AtomicU64,
    updated: AtomicU64,
    windows: AtomicU32,
    onset: AtomicU64,
}

const COUNT_BITS: u32 = 20;
/// With more answers a window would overflow; it takes a million a second.
const FULL: u64 = 1 << (COUNT_BITS - 1);
/// Longest latency that is told from longer ones; 16 s. With it a full window is 43 bits.
const SLOWEST: u64 = 1 << 24;

impl Adaptive {
    /// A limit that knows nothing.
    pub fn new(spec: &AdaptiveSpec) -> Adaptive {
        let limit = f64::from(spec.initial.clamp(spec.min, spec.max));
        Adaptive {
            limit: AtomicU64::new(limit.to_bits()),
            window: AtomicU64::new(0),
            peak: AtomicU32::new(0),
            ends: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            long: AtomicU64::new(0),
            updated: AtomicU64::new(0),
            windows: AtomicU32::new(0),
            onset: AtomicU64::new(0),
        }
    }

    /// The limit that holds now. With other bounds since a reload, it is within those.
    pub fn limit(&self, spec: &AdaptiveSpec) -> u32 {
        (self.estimate() as u32).clamp(spec.min, spec.max)
    }

    /// The long average of the latency; `None` before the first window.
    pub fn usual_latency(&self) -> Option<Duration> {
        let micros = f64::from_bits(self.long.load(Relaxed));
        (micros > 0.0).then(|| Duration::from_nanos((micros * 1e3) as u64))
    }

    /// Takes note of an ending; `in_flight` is how many were, with this one, when it began.
    pub fn note(
        &self,
        spec: &AdaptiveSpec,
        ending: Ending,
        in_flight: u32,
        now: Duration,
    ) -> Learned {
        let latency = match ending {
            Ending::Answered(latency) | Ending::TimedOut(latency) => latency,
            Ending::Failed => return Learned::Nothing,
        };
        if in_flight > self.peak.load(Relaxed) {
            self.peak.fetch_max(in_flight, Relaxed);
        }
        let micros = (latency.as_micros() as u64).clamp(1, SLOWEST);
        let mut sums = self.window.load(Relaxed);
        if sums % (1 << COUNT_BITS) < FULL {
            let more = micros << COUNT_BITS | 1;
            sums = self.window.fetch_add(more, Relaxed) + more;
        }
        let now = now.as_nanos() as u64;
        if now < self.ends.load(Relaxed) || sums % (1 << COUNT_BITS) < ANSWERS {
            return Learned::Nothing;
        }
        if self.closing.swap(true, Acquire) {
            return Learned::Nothing;
        }
        let learned = self.close(spec, now);
        self.closing.store(false, Release);
        learned
    }

    /// The window is over, unless another has just seen to that.
    fn close(&self, spec: &AdaptiveSpec, now: u64) -> Learned {
        let over = self.window.load(Relaxed) % (1 << COUNT_BITS) >= ANSWERS;
        if now < self.ends.load(Relaxed) || !over {
            return Learned::Nothing;
        }
        let sums = self.window.swap(0, Relaxed);
        let peak = self.peak.swap(0, Relaxed);
        let short = (sums >> COUNT_BITS) as f64 / (sums % (1 << COUNT_BITS)) as f64;
        let length = Duration::from_nanos((short * 2e3) as u64).clamp(SHORTEST, LONGEST);
        self.ends.store(now + length.as_nanos() as u64, Relaxed);
        let before = self.estimate();
        let started = self.first_limit(before, short, peak);
        let long = self.learn(short, now);
        let after = next_limit(before, TOLERANCE * long / short, peak).max(started);
        let after = after.clamp(f64::from(spec.min), f64::from(spec.max));
        self.limit.store(after.to_bits(), Relaxed);
        Learned::Window {
            from: before as u32,
            to: after as u32,
        }
    }

    /// The limit after a window, as long as it is not known where requests begin to queue.
    fn first_limit(&self, limit: f64, short: f64, peak: u32) -> f64 {
        let (long, peak) = (f64::from_bits(self.long.load(Relaxed)), f64::from(peak));
        if self.queued.load(Relaxed) || peak < limit / 2.0 {
            return 0.0;
        }
        if long > 0.0 && short > TOLERANCE * long {
            self.queued.store(true, Relaxed);
            return 0.0;
        }
        2.0 * limit.min(peak)
    }

    /// Takes a window's mean latency into the long average, and gives that.
    fn learn(&self, short: f64, now: u64) -> f64 {
        let elapsed = now.saturating_sub(self.updated.swap(now, Relaxed)) as f64 / 1e9;
        let long = f64::from_bits(self.long.load(Relaxed));
        let windows = self.windows.load(Relaxed);
        let memory = self.memory(short > QUEUEING * long);
        let next = if windows < WARM_UP {
            self.windows.store(windows + 1, Relaxed);
            long + (short - long) / f64::from(windows + 1)
        } else {
            // However long nothing came, one window is one window.
            let weight = elapsed.min(LONGEST.as_secs_f64()) / memory;
            let next = long + (short - long) * weight;
            // After an overload that it did follow it comes down again sooner.
            if next > 2.0 * short {
                next * 0.95
            } else {
                next
            }
        };
        self.long.store(next.to_bits(), Relaxed);
        next
    }

    /// How slowly the long average learns now.
    fn memory(&self, queueing: bool) -> f64 {
        if !queueing {
            self.onset.store(0, Relaxed);
            return MEMORY;
        }
        let limit = self.estimate();
        let onset = f64::from_bits(self.onset.load(Relaxed));
        if onset == 0.0 {
            self.onset.store(limit.to_bits(), Relaxed);
        }
        if limit < onset / 2.0 {
            MEMORY_SLOWER
        } else {
            MEMORY_QUEUEING
        }
    }

    fn estimate(&self) -> f64 {
        f64::from_bits(self.limit.load(Relaxed))
    }
}

/// The limit after a window.
fn next_limit(limit: f64, gradient: f64, peak: u32) -> f64 {
    if f64::from(peak) < limit / 2.0 {
        return limit;
    }
    let gradient = gradient.clamp(STEEPEST, 1.0);
    let allowance = limit.sqrt().max(1.0);
    limit * (1.0 - SMOOTHING) + (limit * gradient + allowance) * SMOOTHING
}

#[cfg(test)]
mod tests;
