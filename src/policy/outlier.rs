//! Passive ejection: an endpoint that fails several times in a row gets no requests for a while.
//!
//! After Envoy's outlier detection by consecutive gateway failures: the time is multiplied by the
//! number of ejections in a row, and one of them is forgotten for each time that the endpoint
//! then stays. At most a share of an upstream's endpoints is out at once; there is no exception
//! for a first one, so that the only endpoint of an upstream is never ejected.
//!
//! The share is kept without a count that could go wrong when endpoints come and go: whoever
//! ejects first claims, then counts the claims and ejections of all, and takes the claim back if
//! they are too many. Of two that compete for the last place at least one sees the other: both
//! may step back, never both stay. The next failure tries again.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::outcome::Outcome;
use super::share::Share;

/// An upstream's `outlier`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierSpec {
    /// Ejected after that many failures in a row.
    pub consecutive_failures: u32,
    /// For how long the first time.
    pub ejection: Duration,
    /// Most of the endpoints that are out at once.
    pub max_ejected: Share,
}

impl Default for OutlierSpec {
    fn default() -> OutlierSpec {
        OutlierSpec {
            consecutive_failures: 5,
            ejection: Duration::from_secs(30),
            max_ejected: Share::from_percent(50.0).unwrap_or(Share::NONE),
        }
    }
}

/// An ejection is at most that many times as long as the first: 5 minutes by default.
pub const LONGEST_FACTOR: u32 = 10;

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejection {
    /// Nothing.
    None,
    /// The endpoint is out.
    Ejected {
        /// For how long.
        time: Duration,
    },
    /// It should be out, but so many others are that it stays.
    Spared,
}

/// Whether an endpoint is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It gets requests, and has never been out, or since this moment again.
    In {
        /// When it came back.
        since: Option<Duration>,
    },
    /// It gets none.
    Out {
        /// When it comes back.
        until: Duration,
    },
}

/// What an endpoint's requests say about it. Kept with the endpoint across reloads.
#[derive(Debug, Default)]
pub struct Outlier {
    word: AtomicU64,
    streak: AtomicU32,
    /// In milliseconds.
    failed_at: AtomicU64,
    /// The last return that was told, in milliseconds.
    told: AtomicU64,
}

/// How long a failure makes an endpoint look busy.
pub const FRESH: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    In,
    Claimed,
    Out,
}

/// The word, taken apart: 2 bits of phase, 6 of ejections in a row, 56 of milliseconds.
#[derive(Clone, Copy)]
struct Record {
    phase: Phase,
    times: u32,
    /// When it came or comes back; 0: it was never out.
    back: u64,
}

impl Record {
    fn of(word: u64) -> Record {
        Record {
            phase: match word >> 62 {
                0 => Phase::In,
                1 => Phase::Claimed,
                _ => Phase::Out,
            },
            times: (word >> 56) as u32 & 0x3f,
            back: word & ((1 << 56) - 1),
        }
    }

    fn word(self) -> u64 {
        (self.phase as u64) << 62 | u64::from(self.times) << 56 | self.back
    }

    fn is_out(self, now: u64) -> bool {
        self.phase == Phase::Out && now < self.back
    }

    /// Ejections in a row, less those forgotten since it came back.
    fn times_left(self, spec: &OutlierSpec, now: u64) -> u32 {
        let period = (spec.ejection.as_millis() as u64).max(1);
        let forgotten = now.saturating_sub(self.back) / period;
        u64::from(self.times).saturating_sub(forgotten) as u32
    }
}

fn millis(moment: Duration) -> u64 {
    (moment.as_millis() as u64).min((1 << 56) - 1)
}

impl Outlier {
    /// Takes note of how an attempt at this endpoint ended. `all` are those of the upstream, this
    /// one included; they are looked at only when it should be ejected.
    pub fn record<'a>(
        &self,
        spec: &OutlierSpec,
        outcome: Outcome,
        now: Duration,
        all: impl Iterator<Item = &'a Outlier>,
    ) -> Ejection {
        let out = || Record::of(self.word.load(SeqCst)).is_out(millis(now));
        // What was sent before it was ejected is not held against it when it comes back.
        if outcome == Outcome::Failure && out() {
            return Ejection::None;
        }
        let streak = self.note(outcome, now);
        match outcome == Outcome::Failure && streak >= spec.consecutive_failures {
            true => self.eject(spec, now, all),
            false => Ejection::None,
        }
    }

    /// The same without ejection: it only looks busier for [`FRESH`] after a failure. Failures in
    /// a row so far.
    pub fn note(&self, outcome: Outcome, now: Duration) -> u32 {
        match outcome {
            Outcome::Unknown => self.streak.load(SeqCst),
            Outcome::Success => {
                // Read first: a line that is only read stays with every worker.
                if self.streak.load(SeqCst) != 0 {
                    self.streak.store(0, SeqCst);
                }
                0
            }
            Outcome::Failure => {
                self.failed_at.store(millis(now), SeqCst);
                self.streak.fetch_add(1, SeqCst).saturating_add(1)
            }
        }
    }

    fn eject<'a>(
        &self,
        spec: &OutlierSpec,
        now: Duration,
        all: impl Iterator<Item = &'a Outlier>,
    ) -> Ejection {
        let word = self.word.load(SeqCst);
        let before = Record::of(word);
        if before.is_out(millis(now)) || before.phase == Phase::Claimed {
            return Ejection::None;
        }
        let claim = Record {
            phase: Phase::Claimed,
            ..before
        };
        let claimed = self
            .word
            .compare_exchange(word, claim.word(), SeqCst, SeqCst);
        if claimed.is_err() {
            // Another worker is at it.
            return Ejection::None;
        }
        let (mut count, mut out) = (0_u64, 0_u64);
        for one in all {
            let record = Record::of(one.word.load(SeqCst));
            let counts = record.phase == Phase::Claimed || record.is_out(millis(now));
            count += 1;
            out += u64::from(counts);
        }
        if out as f64 > count as f64 * spec.max_ejected.fraction() {
            self.word.store(word, SeqCst);
            return Ejection::Spared;
        }
        let times = (before.times_left(spec, millis(now)) + 1).min(LONGEST_FACTOR);
        let time = spec.ejection * times;
        let ejected = Record {
            phase: Phase::Out,
            times,
            back: millis(now + time),
        };
        self.streak.store(0, SeqCst);
        self.word.store(ejected.word(), SeqCst);
        Ejection::Ejected { time }
    }

    /// When it came back, to whoever asks first since then; for logs.
    pub fn take_return(&self, now: Duration) -> Option<Duration> {
        let record = Record::of(self.word.load(SeqCst));
        if record.back == 0 || record.is_out(millis(now)) || record.phase == Phase::Claimed {
            return None;
        }
        let told = self.told.load(SeqCst);
        let first = told != record.back
            && self
                .told
                .compare_exchange(told, record.back, SeqCst, SeqCst)
                .is_ok();
        first.then(|| Duration::from_millis(record.back))
    }

    /// Whether it was never out.
    pub(super) fn is_in_since_ever(&self) -> bool {
        Record::of(self.word.load(SeqCst)).back == 0
    }

    /// Whether it is in.
    pub fn standing(&self, now: Duration) -> Standing {
        let record = Record::of(self.word.load(SeqCst));
        let back = Duration::from_millis(record.back);
        match record.is_out(millis(now)) {
            true => Standing::Out { until: back },
            false => Standing::In {
                since: (record.back != 0).then_some(back),
            },
        }
    }

    /// Failures in a row so far, if the last of them was within [`FRESH`]: one that failed once
    /// must not be avoided until it has shown better, for then it never would.
    pub fn recent_streak(&self, now: Duration) -> u32 {
        let streak = self.streak.load(SeqCst);
        if streak == 0 {
            return 0;
        }
        let since = millis(now).saturating_sub(self.failed_at.load(SeqCst));
        match since < millis(FRESH) {
            true => streak,
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn some(count: usize) -> Vec<Outlier> {
        (0..count).map(|_| Outlier::default()).collect()
    }

    fn fail(all: &[Outlier], which: usize, times: u32, now: Duration) -> Ejection {
        let spec = OutlierSpec::default();
        let failure = || all[which].record(&spec, Outcome::Failure, now, all.iter());
        (0..times).fold(Ejection::None, |_, _| failure())
    }

    fn ejected(seconds: u64) -> Ejection {
        Ejection::Ejected { time: at(seconds) }
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_begins_anew() {
        let (all, spec) = (some(2), OutlierSpec::default());
        assert_eq!(fail(&all, 0, 4, at(1)), Ejection::None);
        all[0].record(&spec, Outcome::Unknown, at(1), all.iter());
        assert_eq!(all[0].recent_streak(at(1)), 4);
        assert_eq!(all[0].recent_streak(at(2)), 0);
        all[0].record(&spec, Outcome::Success, at(1), all.iter());
        assert_eq!(fail(&all, 0, 4, at(1)), Ejection::None);
        assert_eq!(all[0].standing(at(1)), Standing::In { since: None });
        assert_eq!(fail(&all, 0, 1, at(1)), ejected(30));
        assert_eq!(all[0].standing(at(30)), Standing::Out { until: at(31) });
        let since = Some(at(31));
        assert_eq!(all[0].standing(at(31)), Standing::In { since });
    }

    #[test]
    fn a_return_is_told_once() {
        let all = some(2);
        assert_eq!(all[0].take_return(at(1)), None);
        fail(&all, 0, 5, at(1));
        assert_eq!(all[0].take_return(at(30)), None);
        assert_eq!(all[0].take_return(at(31)), Some(at(31)));
        assert_eq!(all[0].take_return(at(32)), None);
        fail(&all, 0, 5, at(40));
        assert_eq!(all[0].take_return(at(99)), None);
        assert_eq!(all[0].take_return(at(200)), Some(at(100)));
    }

    #[test]
    fn what_ends_while_it_is_out_is_not_held_against_it() {
        let all = some(2);
        fail(&all, 0, 5, at(1));
        assert_eq!(fail(&all, 0, 20, at(2)), Ejection::None);
        assert_eq!(fail(&all, 0, 4, at(31)), Ejection::None);
        assert_eq!(fail(&all, 0, 1, at(31)), ejected(60));
    }

    #[test]
    fn each_ejection_in_a_row_is_longer_and_good_times_are_forgiven() {
        let (all, mut now) = (some(2), at(1));
        for seconds in [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300] {
            assert_eq!(fail(&all, 0, 5, now), ejected(seconds));
            now += at(seconds);
        }
        assert_eq!(fail(&all, 0, 5, now + at(95)), ejected(240));
        assert_eq!(fail(&all, 0, 5, now + at(10_000)), ejected(30));
    }

    #[test]
    fn no_more_than_the_share_is_out_and_the_only_one_never() {
        for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] {
            let all = some(count);
            for which in 0..count {
                let wanted = match which < most {
                    true => ejected(30),
                    false => Ejection::Spared,
                };
                assert_eq!(fail(&all, which, 5, at(1)), wanted, "{which} of {count}");
            }
            if count > most && most > 0 {
                // Another place is free once the first are back.
                assert_eq!(fail(&all, count - 1, 1, at(40)), ejected(30));
            }
        }
    }

    #[test]
    fn endpoints_that_fail_together_in_four_threads_are_never_too_many_out() {
        for round in 0..200 {
            let (all, spec) = (some(8), OutlierSpec::default());
            let barrier = Barrier::new(4);
            let now = at(1_000 + round);
            std::thread::scope(|scope| {
                for worker in 0..4 {
                    let (all, barrier) = (&all, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        for turn in 0..400 {
                            let which = (worker * 2 + turn) % 8;
                            all[which].record(&spec, Outcome::Failure, now, all.iter());
                            let out =
                                |one: &&Outlier| matches!(one.standing(now), Standing::Out { .. });
                            assert!(all.iter().filter(out).count() <= 4);
                        }
                    });
                }
            });
            let out = |one: &&Outlier| matches!(one.standing(now), Standing::Out { .. });
            assert_eq!(all.iter().filter(out).count(), 4);
        }
    }
}
