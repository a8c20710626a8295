//! The clock of a rate limit: it counts the requests that the rate allows, not seconds.
//!
//! GCRA keeps for each key the theoretical arrival time (TAT) of its next request. Here that
//! "time" is read from a virtual clock (L. Zhang, "VirtualClock", SIGCOMM 1990) that runs at the
//! configured rate: how far a TAT lies ahead of it is what the key has used and not yet earned
//! back, in requests. When the rate changes, the clock goes on from where it stands at another
//! speed, so that every key keeps what it used, exactly, and no key's word is touched.

use std::time::Duration;

use crate::vocab::Rate;

/// One request on the clock.
pub(super) const UNIT: u64 = 256;

/// Binary places of [`Pace::speed`].
const PLACES: u32 = 60;

/// A rate and a burst, running.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// When this clock was started, on the caller's clock.
    origin: Duration,
    /// What it showed then.
    start: u64,
    /// Units for each nanosecond, as a fraction of 2^60; rounded up, so that a request that comes
    /// on time is not early. That adds up to one unit in 36 years.
    speed: u64,
    /// Largest distance of a TAT from the clock.
    pub(super) burst: u64,
}

impl Pace {
    /// A new clock, or the one that goes on where `before` stands.
    ///
    /// With a smaller burst each key keeps what it has left, at most the new burst: the clock
    /// leaps by the difference.
    pub(super) fn compile(rate: Rate, burst: u32, before: Option<&Pace>, now: Duration) -> Pace {
        let period = rate.period().as_nanos();
        let speed = ((u128::from(rate.count()) * u128::from(UNIT)) << PLACES).div_ceil(period);
        let burst = u64::from(burst) * UNIT;
        let start = before.map_or(0, |before| {
            before.at(now) + before.burst.saturating_sub(burst)
        });
        Pace {
            origin: now,
            start,
            speed: speed as u64,
            burst,
        }
    }

    /// What the clock shows.
    pub(super) fn at(&self, now: Duration) -> u64 {
        let passed = nanos(now.saturating_sub(self.origin));
        self.start + ((u128::from(passed) * u128::from(self.speed)) >> PLACES) as u64
    }

    /// In how long the clock goes that far, wherever it stands between two units: the least whole
    /// nanoseconds, so that what is a whole second is told as that.
    pub(super) fn time_for(&self, units: u64) -> Duration {
        let nanos = (u128::from(units) << PLACES).div_ceil(u128::from(self.speed));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(text: &str) -> Rate {
        Rate::parse(text).unwrap()
    }

    #[test]
    fn the_clock_counts_what_the_rate_allows() {
        let start = Duration::from_secs(7);
        for (text, after, requests) in [
            ("500/s", Duration::from_secs(3600), 1_800_000),
            ("30/m", Duration::from_secs(60), 30),
            ("1/h", Duration::from_secs(36_000), 10),
            ("10000000/s", Duration::from_secs(1), 10_000_000),
        ] {
            let pace = Pace::compile(rate(text), 1, None, start);
            let shown = pace.at(start + after);
            assert_eq!(shown, requests * UNIT, "{text}");
        }
    }

    #[test]
    fn the_time_for_a_request_is_never_longer_than_its_part_of_the_period() {
        for period in ["s", "m", "h"] {
            for count in (1..=100).chain([999, 12_345, Rate::MOST]) {
                let rate = rate(&format!("{count}/{period}"));
                let pace = Pace::compile(rate, 1, None, Duration::ZERO);
                let most = rate.period().as_nanos().div_ceil(u128::from(count));
                let time = pace.time_for(UNIT).as_nanos();
                assert!(time <= most, "{time} ns of {most} for {count}/{period}");
            }
        }
    }

    #[test]
    fn time_before_its_start_is_its_start() {
        let pace = Pace::compile(rate("1/s"), 1, None, Duration::from_secs(9));
        assert_eq!(pace.at(Duration::ZERO), 0);
    }

    #[test]
    fn a_change_goes_on_where_the_clock_stands() {
        let slow = Pace::compile(rate("1/s"), 10, None, Duration::ZERO);
        let now = Duration::from_secs(100);
        let fast = Pace::compile(rate("1000/s"), 10, Some(&slow), now);
        assert_eq!(fast.at(now), slow.at(now));
        let smaller = Pace::compile(rate("1000/s"), 4, Some(&fast), now);
        assert_eq!(smaller.at(now), fast.at(now) + 6 * UNIT);
        let larger = Pace::compile(rate("1000/s"), 40, Some(&smaller), now);
        assert_eq!(larger.at(now), smaller.at(now));
    }

    proptest! {
        #[test]
        fn after_the_time_for_some_units_they_have_passed(
            count in 1..=Rate::MOST,
            period in prop_oneof![Just("s"), Just("m"), Just("h")],
            passed in 0..u64::MAX / 1_000_000_000,
            units in 1..1_000_000_u64,
        ) {
            let pace = Pace::compile(rate(&format!("{count}/{period}")), 1, None, Duration::ZERO);
            let now = Duration::from_millis(passed % 10_000_000_000);
            let time = pace.time_for(units);
            prop_assert!(pace.at(now + time) >= pace.at(now) + units);
            let early = time - Duration::from_nanos(1);
            prop_assert!(pace.at(early) < units);
        }
    }
}
