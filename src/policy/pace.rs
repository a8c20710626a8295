//! How fast records are replayed: evenly by a schedule, slower while the target fails.
//!
//! The n-th record is due at `start + n / rate`, so that nothing adds up over a long run. What
//! a stall (a slow disk, a busy machine) held up is caught up, but never in a burst: at most
//! [`CATCH_UP`] faster than the rate, and at most [`LAG`] of it; the rest of the stall is
//! forgiven. A failure halves the pace (multiplicative decrease), answers raise it again by
//! steps, as TCP's congestion avoidance does (Chiu and Jain, 1989).

use std::fmt;
use std::time::{Duration, Instant};

/// How much faster than the rate a delay is made up for.
const CATCH_UP: f64 = 1.1;
/// How much of a delay is made up for at all.
const LAG: Duration = Duration::from_secs(5);
/// Timers fire late by a millisecond or so: what they held up may go at once.
const TOLERANCE: Duration = Duration::from_millis(4);
/// The slowest pace, in records a second.
const SLOWEST: f64 = 1.0;
/// From one raise to the next.
const RAISE_EVERY: Duration = Duration::from_secs(1);
/// The most that one raise adds, as a share of the rate.
const RAISE: f64 = 0.1;

/// Records for each second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplayRate(f64);

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRate;

impl fmt::Display for NoRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a rate between 1/m and 1000000/s, such as \"500/s\" or \"30/m\"")
    }
}

impl std::error::Error for NoRate {}

impl ReplayRate {
    /// Reads `"500/s"` or `"30/m"`.
    ///
    /// # Errors
    /// Anything else, or more than a million a second, or less than one a minute.
    pub fn parse(text: &str) -> Result<ReplayRate, NoRate> {
        let (number, unit) = text.split_once('/').ok_or(NoRate)?;
        let plain = |c: char| c.is_ascii_digit() || c == '.';
        if !number.chars().all(plain) {
            return Err(NoRate);
        }
        let number: f64 = number.parse().map_err(|_| NoRate)?;
        let rate = match unit {
            "s" => number,
            "m" => number / 60.0,
            _ => return Err(NoRate),
        };
        match (1.0 / 60.0..=1e6).contains(&rate) {
            true => Ok(ReplayRate(rate)),
            false => Err(NoRate),
        }
    }

    /// Records a second.
    pub fn per_second(self) -> f64 {
        self.0
    }
}

/// When the next record is due.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: f64,
    /// Of the rate, at the moment; above 0, at most 1.
    share: f64,
    /// The schedule: when the next record is due.
    due: Instant,
    /// No earlier than this, so that a delay is made up for evenly.
    even: Instant,
    /// When the share was last halved.
    halved: Option<Instant>,
    /// When the share last changed.
    changed: Instant,
}

impl Pace {
    /// The first record is due at `now`.
    pub fn new(rate: ReplayRate, now: Instant) -> Pace {
        Pace {
            rate: rate.0,
            share: 1.0,
            due: now,
            even: now,
            halved: None,
            changed: now,
        }
    }

    /// When the next record may be sent.
    pub fn due(&self) -> Instant {
        let even = self.even.checked_sub(TOLERANCE).unwrap_or(self.even);
        self.due.max(even)
    }

    /// A record is sent at `now`.
    pub fn sent(&mut self, now: Instant) {
        let interval = self.interval();
        if let Some(oldest) = now.checked_sub(LAG) {
            self.due = self.due.max(oldest);
        }
        self.due += interval;
        self.even = self.even.max(now) + interval.div_f64(CATCH_UP);
    }

    /// A request that was sent at `sent` failed. What was already under way when the pace was
    /// last halved says nothing about the pace since.
    pub fn failed(&mut self, sent: Instant, now: Instant) {
        if self.halved.is_some_and(|halved| sent < halved) {
            return;
        }
        self.share = (self.share / 2.0).max(self.floor());
        self.halved = Some(now);
        self.changed = now;
        self.restart(now);
    }

    /// A request was answered well.
    pub fn answered(&mut self, now: Instant) {
        if self.share < 1.0 && now.saturating_duration_since(self.changed) >= RAISE_EVERY {
            self.share = (self.share * 2.0).min(self.share + RAISE).min(1.0);
            self.changed = now;
        }
    }

    /// The schedule begins anew at `now`: what was not sent in between is not made up for.
    pub fn restart(&mut self, now: Instant) {
        self.due = now + self.interval();
        self.even = self.due;
    }

    /// Records a second at the moment.
    pub fn per_second(&self) -> f64 {
        self.rate * self.share
    }

    fn floor(&self) -> f64 {
        (SLOWEST / self.rate).min(1.0)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.per_second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Clock;
    use proptest::prelude::*;

    fn rate(text: &str) -> ReplayRate {
        ReplayRate::parse(text).unwrap()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Sends what is due each time the timer fires; `stall` says how late a tick is.
    fn run(pace: &mut Pace, from: Instant, ticks: u64, stall: impl Fn(u64) -> u64) -> Vec<u64> {
        let (mut sent, mut tick) = (Vec::new(), 0);
        while tick < ticks {
            tick += 1 + stall(tick);
            let now = from + ms(tick);
            while pace.due() <= now {
                pace.sent(now);
                sent.push(tick);
            }
        }
        sent
    }

    #[test]
    fn rates_are_per_second_or_minute() {
        assert_eq!(rate("500/s").per_second(), 500.0);
        assert_eq!(rate("30/m").per_second(), 0.5);
        for text in [
            "",
            "500",
            "/s",
            "0/s",
            "-1/s",
            "1e3/s",
            "5/h",
            "inf/s",
            "2000001/s",
        ] {
            assert_eq!(ReplayRate::parse(text), Err(NoRate), "{text}");
        }
    }

    #[test]
    fn a_hundred_thousand_records_keep_the_pace_evenly() {
        let start = Clock::now();
        let mut pace = Pace::new(rate("2000/s"), start);
        let sent = run(&mut pace, start, 50_000, |_| 0);
        assert!((99_990..=100_010).contains(&sent.len()), "{}", sent.len());
        for window in sent.windows(12) {
            assert!(window[11] - window[0] >= 4, "a burst: {window:?}");
        }
    }

    #[test]
    fn short_stalls_are_made_up_for_without_a_burst_and_long_ones_are_not() {
        let start = Clock::now();
        let mut pace = Pace::new(rate("1000/s"), start);
        // 300 ms every 6 s: the tenth faster makes up for it within 3 s.
        let sent = run(&mut pace, start, 60_000, |tick| {
            if tick % 6000 == 0 { 300 } else { 0 }
        });
        assert!((59_600..=60_100).contains(&sent.len()), "{}", sent.len());
        for window in sent.windows(121) {
            assert!(window[120] - window[0] >= 95, "a burst: {window:?}");
        }
        let mut pace = Pace::new(rate("1000/s"), start);
        let sent = run(&mut pace, start, 90_000, |tick| {
            if tick == 10 { 30_000 } else { 0 }
        });
        assert!((64_900..=65_100).contains(&sent.len()), "{}", sent.len());
    }

    #[test]
    fn a_failure_halves_the_pace_once_for_all_that_were_under_way() {
        let start = Clock::now();
        let mut pace = Pace::new(rate("100/s"), start);
        for _ in 0..50 {
            pace.failed(start, start + ms(5));
        }
        assert_eq!(pace.per_second(), 50.0);
        for _ in 0..50 {
            pace.failed(start + ms(10), start + ms(10));
        }
        assert!(pace.per_second() <= 25.0 && pace.per_second() >= SLOWEST);
        assert!(pace.due() > start + ms(10));
    }

    #[test]
    fn the_pace_comes_back_by_steps_and_never_beyond_the_rate() {
        let start = Clock::now();
        let mut pace = Pace::new(rate("2000/s"), start);
        let mut now = start;
        for _ in 0..40 {
            now += ms(1);
            pace.failed(now, now);
        }
        assert_eq!(pace.per_second(), SLOWEST);
        let mut last = pace.per_second();
        let mut seconds = 0;
        while pace.per_second() < 2000.0 {
            now += RAISE_EVERY;
            seconds += 1;
            for _ in 0..100 {
                pace.answered(now);
            }
            assert!(pace.per_second() <= last * 2.0 + 1e-9);
            assert!(pace.per_second() - last <= 200.0 + 1e-9);
            last = pace.per_second();
        }
        assert!((10..=25).contains(&seconds), "{seconds} s");
        now += RAISE_EVERY;
        pace.answered(now);
        assert_eq!(pace.per_second(), 2000.0);
    }

    proptest! {
        #[test]
        fn in_no_second_more_is_sent_than_the_rate_and_a_tenth(
            stalls in proptest::collection::vec((0_u64..5_000, 0_u64..800), 0..6),
        ) {
            let start = Clock::now();
            let mut pace = Pace::new(rate("500/s"), start);
            let stall = |tick| {
                let hit = stalls.iter().find(|(at, _)| *at == tick);
                hit.map_or(0, |(_, length)| *length)
            };
            let sent = run(&mut pace, start, 5_000, stall);
            for window in sent.windows(557) {
                prop_assert!(window[556] - window[0] >= 1000, "too many within a second");
            }
        }
    }
}
