//! A breaker's position as one word, so that it changes by one compare-and-swap.

use std::time::Duration;

use crate::policy::share::Share;

/// The share that passes when traffic begins to come back.
const FIRST_SHARE: f64 = 0.1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Passing,
    Tripped,
    Probing,
    Returning,
}

/// The word, taken apart: 2 bits of phase, 4 of doublings, 10 of generation, 48 of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) phase: Phase,
    /// How often `open_for` was doubled.
    pub(super) doublings: u32,
    pub(super) generation: u16,
    /// Tripped: until when. Otherwise: since when. In milliseconds.
    pub(super) at: u64,
}

fn millis(moment: Duration) -> u64 {
    (moment.as_millis() as u64).min((1 << 48) - 1)
}

pub(super) const MOST_DOUBLINGS: u32 = 15;
const GENERATIONS: u16 = 1 << 10;

impl Standing {
    pub(super) fn of(word: u64) -> Standing {
        Standing {
            phase: match word >> 62 {
                0 => Phase::Passing,
                1 => Phase::Tripped,
                2 => Phase::Probing,
                _ => Phase::Returning,
            },
            doublings: (word >> 58) as u32 & 0xf,
            generation: (word >> 48) as u16 & (GENERATIONS - 1),
            at: word & ((1 << 48) - 1),
        }
    }

    pub(super) fn word(self) -> u64 {
        (self.phase as u64) << 62
            | u64::from(self.doublings) << 58
            | u64::from(self.generation) << 48
            | self.at
    }

    /// The next generation, in another phase.
    pub(super) fn then(self, phase: Phase, at: Duration) -> Standing {
        Standing {
            phase,
            at: millis(at),
            generation: (self.generation + 1) % GENERATIONS,
            ..self
        }
    }

    /// A way back that has come to its end is passing.
    pub(super) fn settled(self, ramp: Duration, now: Duration) -> Standing {
        match self.phase == Phase::Returning && self.left(ramp, now).is_zero() {
            true => Standing {
                phase: Phase::Passing,
                doublings: 0,
                ..self
            },
            false => self,
        }
    }

    /// What is left of a time that began with this phase.
    pub(super) fn left(self, time: Duration, now: Duration) -> Duration {
        (Duration::from_millis(self.at) + time).saturating_sub(now)
    }

    /// What passes on the way back.
    pub(super) fn share(self, ramp: Duration, now: Duration) -> Share {
        let done = 1.0 - self.left(ramp, now).as_secs_f64() / ramp.as_secs_f64();
        Share::WHOLE.times(FIRST_SHARE + (1.0 - FIRST_SHARE) * done)
    }
}
