//! A counter that also knows how much it counted lately, shared by all workers without a lock.
//!
//! One word holds the total; a ring of marks holds what the total was when each step of half a
//! second began. What was counted within a window is the total less the mark at its beginning,
//! so that counting is one addition and a window of any length up to a minute can be asked for,
//! also one that a reload has just changed. A mark carries the number of its step: one that a
//! later step has overwritten, or an earlier one left behind, is never mistaken for it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// The longest window that can be asked for.
pub const LONGEST: Duration = Duration::from_secs(60);

/// How finely windows move: they begin where a step begins.
pub const STEP: Duration = Duration::from_millis(500);

/// More steps than [`LONGEST`] has, with room for workers whose clock reading is late.
const MARKS: usize = 128;

/// A mark is the low bits of its step's number above the total when that step began. At a
/// million a second the total returns to the same value after 12 days, and a step's number after
/// 97 days; a window is a minute.
const STEP_BITS: u32 = 24;
const TOTAL_BITS: u32 = 64 - STEP_BITS;
const TOTAL_MASK: u64 = (1 << TOTAL_BITS) - 1;

/// Numbers of steps go round below this; the highest 24 bits stand for no step.
const STEPS: u64 = (1 << STEP_BITS) - 1;
const UNSET: u64 = u64::MAX;

/// A counter with its past.
pub struct History {
    total: AtomicU64,
    /// What came before is forgotten: the total at the last [`History::forget`].
    floor: AtomicU64,
    marks: Box<[AtomicU64; MARKS]>,
}

/// How [`History::add_below`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addition {
    /// Counted; the window now holds that many.
    Added(u64),
    /// The window already holds as many as it may: that many. Nothing was counted.
    Full(u64),
}

impl Default for History {
    fn default() -> History {
        History {
            total: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            marks: Box::new(std::array::from_fn(|_| AtomicU64::new(UNSET))),
        }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

fn step_of(now: Duration) -> u64 {
    now.as_millis() as u64 / STEP.as_millis() as u64 % STEPS
}

fn place(step: u64) -> usize {
    step as usize % MARKS
}

impl History {
    /// Counts one.
    pub fn add(&self, now: Duration) {
        self.mark(step_of(now));
        self.total.fetch_add(1, SeqCst);
    }

    /// How many were counted within `window` (at most [`LONGEST`]) until `now`: in the step of
    /// `now` and in as many before it as the window has.
    pub fn within(&self, window: Duration, now: Duration) -> u64 {
        let step = step_of(now);
        self.mark(step);
        self.since(self.beginning(window, step))
    }

    /// Counts one if the window holds fewer than `limit`. Of additions that compete for the last
    /// place one gets it, and none is turned away while there is a place.
    pub fn add_below(&self, limit: u64, window: Duration, now: Duration) -> Addition {
        let step = step_of(now);
        self.mark(step);
        let beginning = self.beginning(window, step);
        let mut total = self.total.load(SeqCst);
        loop {
            let held = self.count(beginning, total);
            if held >= limit {
                return Addition::Full(held);
            }
            // Whoever was faster is seen here: what is held is counted again.
            match self
                .total
                .compare_exchange_weak(total, total.wrapping_add(1), SeqCst, SeqCst)
            {
                Ok(_) => return Addition::Added(held + 1),
                Err(newer) => total = newer,
            }
        }
    }

    /// Forgets what was counted until now, whatever window is asked for.
    pub fn forget(&self) {
        self.floor.store(self.total.load(SeqCst), SeqCst);
    }

    /// Sets the mark of a step that begins. The first who comes sets it.
    fn mark(&self, step: u64) {
        let mark = &self.marks[place(step)];
        let found = mark.load(SeqCst);
        let found_step = found >> TOTAL_BITS;
        if found_step == step || found != UNSET && is_later(found_step, step) {
            return;
        }
        let total = self.total.load(SeqCst) & TOTAL_MASK;
        // If it fails, another worker has set a mark that is as good.
        let _ = mark.compare_exchange(found, step << TOTAL_BITS | total, SeqCst, SeqCst);
    }

    /// The total when the window that ends in `step` began. Steps in which nothing happened have
    /// no mark, and one that a late worker set says too much; but no step began with more than a
    /// later one: the lowest mark of the window is right.
    fn beginning(&self, window: Duration, step: u64) -> u64 {
        let steps = window.min(LONGEST).as_millis().div_ceil(STEP.as_millis()) as u64;
        let total = self.total.load(SeqCst) & TOTAL_MASK;
        let marked = |back: u64| {
            let step = (step + STEPS - back) % STEPS;
            let mark = self.marks[place(step)].load(SeqCst);
            (mark >> TOTAL_BITS == step).then_some(mark & TOTAL_MASK)
        };
        let since = |mark: u64| total.wrapping_sub(mark) & TOTAL_MASK;
        // A mark set just now may be above the total read before it: that is no distance.
        let plausible = |distance: &u64| *distance <= TOTAL_MASK / 2;
        let distances = (0..=steps).filter_map(marked).map(since);
        // Without any mark the worker slept longer than the ring lasts: nothing is counted.
        let distance = distances.filter(plausible).max().unwrap_or(0);
        total.wrapping_sub(distance) & TOTAL_MASK
    }

    fn since(&self, beginning: u64) -> u64 {
        self.count(beginning, self.total.load(SeqCst))
    }

    fn count(&self, beginning: u64, total: u64) -> u64 {
        let windowed = total.wrapping_sub(beginning) & TOTAL_MASK;
        windowed.min(total.wrapping_sub(self.floor.load(SeqCst)))
    }
}

/// Whether a step's number comes after another's, half the circle ahead at most.
fn is_later(step: u64, than: u64) -> bool {
    let ahead = (step + STEPS - than) % STEPS;
    ahead != 0 && ahead < STEPS / 2
}

#[cfg(test)]
mod tests;
