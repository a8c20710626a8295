//! Whether the target takes requests: when to pause, when to try again, when to give up.

use std::time::{Duration, Instant};

/// So many failures in a row are the target's, not those of single records.
const STREAK: u32 = 5;
/// So many answers in a row that say 401 or 403 end the run.
pub(super) const MOST_DENIED: usize = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The most that a Retry-After is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Whether something may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// As the pace has it.
    Open,
    /// One request, once nothing is under way: does the target work again?
    Probe,
    /// Nothing before then.
    Shut(Instant),
}

/// What the answers so far say about the target.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failures since the last answer that was none.
    streak: u32,
    /// Pauses since then.
    pauses: u32,
    /// The last pause: its begin and its end.
    pause: Option<(Instant, Instant)>,
    failing_since: Option<Instant>,
}

impl Health {
    /// The target answered something that is no failure.
    pub(super) fn answered(&mut self) {
        *self = Health::default();
    }

    /// A request that was sent at `sent` failed.
    pub(super) fn failed(&mut self, sent: Instant, now: Instant, retry_after: Option<Duration>) {
        self.streak += 1;
        self.failing_since.get_or_insert(now);
        let asked = retry_after.map(|wait| wait.min(LONGEST_RETRY_AFTER));
        // What was under way when the pause began belongs to that pause.
        if let Some((begun, until)) = self.pause
            && sent < begun
        {
            let until = asked.map_or(until, |wait| until.max(now + wait));
            self.pause = Some((begun, until));
            return;
        }
        if self.streak < STREAK && self.pauses == 0 && asked.is_none() {
            return;
        }
        let wait = FIRST_PAUSE
            .saturating_mul(1 << self.pauses.min(16))
            .min(LONGEST_PAUSE);
        self.pauses += 1;
        self.pause = Some((now, now + wait.max(asked.unwrap_or_default())));
    }

    /// Another record is tried: it is not to wait as long as the one before came to.
    pub(super) fn another(&mut self, now: Instant) {
        self.pauses = 0;
        self.pause = Some((now, now));
    }

    /// Whether something may be sent at `now`.
    pub(super) fn gate(&self, now: Instant) -> Gate {
        match self.pause {
            None => Gate::Open,
            Some((_, until)) if until > now => Gate::Shut(until),
            Some(_) => Gate::Probe,
        }
    }

    /// Since when nothing but failures came.
    pub(super) fn failing_since(&self) -> Option<Instant> {
        self.failing_since
    }

    /// Whether the run waits for the target.
    pub(super) fn pauses(&self) -> bool {
        self.pause.is_some()
    }
}

/// How long a record waits after it failed so many times, if nothing else holds it up.
pub(super) fn backoff(tries: u32) -> Duration {
    let wait = Duration::from_millis(100).saturating_mul(1 << tries.saturating_sub(1).min(16));
    wait.min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Clock;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn single_failures_do_not_shut_the_gate_and_several_in_a_row_do() {
        let (mut health, now) = (Health::default(), Clock::now());
        for _ in 0..10 {
            for _ in 0..STREAK - 1 {
                health.failed(now, now, None);
            }
            assert_eq!(health.gate(now), Gate::Open);
            health.answered();
        }
        for _ in 0..STREAK {
            health.failed(now, now, None);
        }
        assert_eq!(health.gate(now), Gate::Shut(now + FIRST_PAUSE));
        assert_eq!(health.gate(now + FIRST_PAUSE), Gate::Probe);
        health.answered();
        assert_eq!(health.gate(now), Gate::Open);
        assert_eq!(health.failing_since(), None);
    }

    #[test]
    fn pauses_grow_by_probes_and_not_by_what_was_under_way() {
        let (mut health, start) = (Health::default(), Clock::now());
        for _ in 0..200 {
            health.failed(start, start + MS, None);
        }
        assert_eq!(
            health.gate(start + MS),
            Gate::Shut(start + MS + FIRST_PAUSE)
        );
        let mut now = start + MS;
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let Gate::Shut(until) = health.gate(now) else {
                panic!("open");
            };
            pauses.push(until - now);
            now = until;
            assert_eq!(health.gate(now), Gate::Probe);
            health.failed(now, now, None);
        }
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!((pauses[0], pauses[19]), (FIRST_PAUSE, LONGEST_PAUSE));
        assert_eq!(health.failing_since(), Some(start + MS));
    }

    #[test]
    fn another_record_is_tried_at_once_and_the_failing_is_as_old_as_before() {
        let (mut health, start) = (Health::default(), Clock::now());
        for _ in 0..STREAK + 10 {
            health.failed(start, start, None);
        }
        let now = start + 1000 * MS;
        health.another(now);
        assert_eq!(health.gate(now), Gate::Probe);
        assert!(health.pauses());
        assert_eq!(health.failing_since(), Some(start));
        health.failed(now, now, None);
        assert_eq!(health.gate(now), Gate::Shut(now + FIRST_PAUSE));
    }

    #[test]
    fn what_the_target_asks_for_is_waited_for_at_once_within_a_bound() {
        let (mut health, now) = (Health::default(), Clock::now());
        let seven = Duration::from_secs(7);
        health.failed(now, now, Some(seven));
        assert_eq!(health.gate(now), Gate::Shut(now + seven));
        // An answer to what was under way only lengthens the wait.
        health.failed(now - MS, now, Some(MS));
        assert_eq!(health.gate(now), Gate::Shut(now + seven));
        health.failed(now - MS, now, Some(Duration::from_secs(1 << 40)));
        assert_eq!(health.gate(now), Gate::Shut(now + LONGEST_RETRY_AFTER));
    }

    #[test]
    fn a_record_waits_longer_with_each_try() {
        assert_eq!(backoff(1), 100 * MS);
        assert_eq!(backoff(2), 200 * MS);
        assert_eq!(backoff(u32::MAX), LONGEST_PAUSE);
    }
}
