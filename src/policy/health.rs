//! Active health: an endpoint that fails several checks in a row gets no requests until it has
//! passed several.
//!
//! The thresholds are those of HAProxy (`rise`, `fall`) and Envoy (`healthy_threshold`,
//! `unhealthy_threshold`). An endpoint that was never checked counts as up, so that a gateway
//! that has just started serves; as in Envoy its first check decides at once.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// When an endpoint's condition changes, and how often it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSpec {
    /// From one check to the next.
    pub interval: Duration,
    /// Checks passed in a row that bring it back.
    pub healthy: u32,
    /// Checks failed in a row that take it out.
    pub unhealthy: u32,
}

impl Default for HealthSpec {
    fn default() -> HealthSpec {
        HealthSpec {
            interval: Duration::from_secs(2),
            healthy: 2,
            unhealthy: 3,
        }
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Answered well, in time.
    Passed,
    /// Anything else.
    Failed,
}

impl Check {
    /// What an answer to the check says: 200 to 299 is well.
    pub fn of_status(status: u16) -> Check {
        match status {
            200..=299 => Check::Passed,
            _ => Check::Failed,
        }
    }
}

/// What a check changed, for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthChange {
    /// Nothing.
    None,
    /// It gets requests again.
    Up,
    /// It gets none.
    Down,
}

/// What the checks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Never checked: counts as up.
    Unchecked,
    /// Up, always, or since this moment again.
    Healthy {
        /// When it came back.
        since: Option<Duration>,
    },
    /// Down.
    Unhealthy,
}

/// What the checks of an endpoint said. Kept with the endpoint across reloads; changed thresholds
/// hold from the next check on.
#[derive(Debug, Default)]
pub struct Health {
    word: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unchecked,
    Healthy,
    Unhealthy,
}

/// The word, taken apart: 2 bits of phase, 14 of checks in a row against it, 48 of milliseconds.
#[derive(Clone, Copy)]
struct Record {
    phase: Phase,
    against: u32,
    /// When it came back; 0: never.
    back: u64,
}

const MOST_AGAINST: u32 = (1 << 14) - 1;

impl Record {
    fn of(word: u64) -> Record {
        Record {
            phase: match word >> 62 {
                0 => Phase::Unchecked,
                1 => Phase::Healthy,
                _ => Phase::Unhealthy,
            },
            against: (word >> 48) as u32 & MOST_AGAINST,
            back: word & ((1 << 48) - 1),
        }
    }

    fn word(self) -> u64 {
        (self.phase as u64) << 62 | u64::from(self.against) << 48 | self.back
    }

    /// What follows a check.
    fn after(self, spec: &HealthSpec, check: Check, now: Duration) -> (Record, HealthChange) {
        let back = (now.as_millis() as u64).clamp(1, (1 << 48) - 1);
        let agrees = Record { against: 0, ..self };
        let against = (self.against + 1).min(MOST_AGAINST);
        let turned = |phase| Record {
            phase,
            against: 0,
            ..self
        };
        match (self.phase, check) {
            (Phase::Unchecked, Check::Passed) => (turned(Phase::Healthy), HealthChange::None),
            (Phase::Healthy, Check::Passed) | (Phase::Unhealthy, Check::Failed) => {
                (agrees, HealthChange::None)
            }
            (Phase::Unchecked, Check::Failed) => (turned(Phase::Unhealthy), HealthChange::Down),
            (Phase::Healthy, Check::Failed) if against >= spec.unhealthy.min(MOST_AGAINST) => {
                (turned(Phase::Unhealthy), HealthChange::Down)
            }
            (Phase::Unhealthy, Check::Passed) if against >= spec.healthy.min(MOST_AGAINST) => {
                let up = Record {
                    back,
                    ..turned(Phase::Healthy)
                };
                (up, HealthChange::Up)
            }
            (Phase::Healthy, Check::Failed) | (Phase::Unhealthy, Check::Passed) => {
                (Record { against, ..self }, HealthChange::None)
            }
        }
    }
}

impl Health {
    /// Takes note of a check.
    pub fn record(&self, spec: &HealthSpec, check: Check, now: Duration) -> HealthChange {
        let mut word = self.word.load(SeqCst);
        loop {
            let (next, change) = Record::of(word).after(spec, check, now);
            match self
                .word
                .compare_exchange(word, next.word(), SeqCst, SeqCst)
            {
                Ok(_) => return change,
                Err(newer) => word = newer,
            }
        }
    }

    /// No longer checked: up until it is checked again.
    pub fn unchecked(&self) {
        self.word.store(0, SeqCst);
    }

    /// Whether it was never down, as far as checks know.
    pub(super) fn is_up_since_ever(&self) -> bool {
        let record = Record::of(self.word.load(SeqCst));
        record.phase != Phase::Unhealthy && record.back == 0
    }

    /// What the checks say.
    pub fn condition(&self) -> Condition {
        let record = Record::of(self.word.load(SeqCst));
        match record.phase {
            Phase::Unchecked => Condition::Unchecked,
            Phase::Healthy => Condition::Healthy {
                since: (record.back != 0).then(|| Duration::from_millis(record.back)),
            },
            Phase::Unhealthy => Condition::Unhealthy,
        }
    }
}

/// The wait until the next check: the interval, up to a tenth more or less, so that the gateways
/// of a fleet do not check in step. Every bit of `random` should be random.
pub fn pause(interval: Duration, random: u64) -> Duration {
    let part = (random >> 11) as f64 / (1_u64 << 53) as f64;
    interval.mul_f64(0.9 + 0.2 * part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Check::{Failed, Passed};
    use proptest::prelude::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn run(health: &Health, checks: &[Check]) -> Vec<HealthChange> {
        let spec = HealthSpec::default();
        let record =
            |(second, check): (usize, &Check)| health.record(&spec, *check, at(second as u64 + 1));
        checks.iter().enumerate().map(record).collect()
    }

    const NONE: HealthChange = HealthChange::None;

    #[test]
    fn the_first_check_decides_at_once() {
        let health = Health::default();
        assert_eq!(health.condition(), Condition::Unchecked);
        assert_eq!(run(&health, &[Failed]), [HealthChange::Down]);
        assert_eq!(health.condition(), Condition::Unhealthy);
        health.unchecked();
        assert_eq!(run(&health, &[Passed]), [NONE]);
        assert_eq!(health.condition(), Condition::Healthy { since: None });
    }

    #[test]
    fn three_failed_take_it_out_and_two_passed_bring_it_back() {
        let health = Health::default();
        let changes = run(
            &health,
            &[Passed, Failed, Failed, Passed, Failed, Failed, Failed],
        );
        let down = HealthChange::Down;
        assert_eq!(changes, [NONE, NONE, NONE, NONE, NONE, NONE, down]);
        let changes = run(&health, &[Passed, Failed, Passed, Passed]);
        assert_eq!(changes, [NONE, NONE, NONE, HealthChange::Up]);
        let since = Some(at(4));
        assert_eq!(health.condition(), Condition::Healthy { since });
    }

    #[test]
    fn a_status_of_200_to_299_passes() {
        for (status, check) in [(200, Passed), (204, Passed), (299, Passed)] {
            assert_eq!(Check::of_status(status), check);
        }
        for status in [100, 199, 300, 302, 404, 500, 503] {
            assert_eq!(Check::of_status(status), Failed);
        }
    }

    #[test]
    fn pauses_are_around_the_interval() {
        assert_eq!(pause(at(10), 0), at(9));
        assert_eq!(pause(at(10), 1 << 63), at(10));
        assert!(pause(at(10), u64::MAX) <= at(11));
    }

    proptest! {
        /// Down exactly when the last checks that agree with each other, enough of them, failed.
        #[test]
        fn the_condition_follows_from_runs_of_checks(
            checks in prop::collection::vec(prop::sample::select(vec![Passed, Failed]), 1..80),
            healthy in 1_u32..5,
            unhealthy in 1_u32..5,
        ) {
            let health = Health::default();
            let spec = HealthSpec { healthy, unhealthy, ..HealthSpec::default() };
            for (count, check) in checks.iter().enumerate() {
                health.record(&spec, *check, at(count as u64 + 1));
                let seen = &checks[..=count];
                let up = seen.iter().enumerate().fold(seen[0] == Passed, |up, (end, _)| {
                    let run = |check, length: u32| {
                        let length = length as usize;
                        end + 1 >= length && seen[end + 1 - length..=end].iter().all(|c| *c == check)
                    };
                    match up {
                        true => !run(Failed, unhealthy),
                        false => run(Passed, healthy),
                    }
                });
                // The first check alone decides, whatever the thresholds.
                let up = if count == 0 { seen[0] == Passed } else { up };
                prop_assert_eq!(health.condition() != Condition::Unhealthy, up, "{:?}", seen);
            }
        }
    }
}
