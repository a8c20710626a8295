//! Rate limits against a model, and in a table that is too small.

mod threads;

use std::sync::atomic::AtomicU64;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn spec(rate: &str, burst: u32, key: RateKey) -> RateLimitSpec {
    RateLimitSpec {
        rate: Rate::parse(rate).unwrap(),
        burst,
        key,
        max_keys: 64,
        dry_run: false,
    }
}

fn limit(rate: &str, burst: u32) -> RateLimit {
    RateLimit::compile(&spec(rate, burst, RateKey::Route), None, Duration::ZERO)
}

fn passes(limit: &RateLimit, counted: Counted<'_>, now: Duration) -> bool {
    matches!(limit.check(counted, now), RateVerdict::Passed { .. })
}

/// Requests that pass at one moment.
fn left(limit: &RateLimit, counted: Counted<'_>, now: Duration) -> u32 {
    (0..10_000)
        .take_while(|_| passes(limit, counted, now))
        .count() as u32
}

#[test]
fn a_burst_passes_and_then_the_rate() {
    let limit = limit("10/s", 3);
    let verdicts: Vec<_> = (0..4)
        .map(|_| limit.check(Counted::Route, SECOND))
        .collect();
    assert_eq!(verdicts[0], RateVerdict::Passed { remaining: 2 });
    assert_eq!(verdicts[2], RateVerdict::Passed { remaining: 0 });
    let RateVerdict::Limited {
        retry_after,
        by: LimitedBy::Key,
    } = verdicts[3]
    else {
        panic!("{verdicts:?}");
    };
    assert_eq!(retry_after, Duration::from_millis(100));
    assert!(!passes(
        &limit,
        Counted::Route,
        SECOND + Duration::from_millis(99)
    ));
    assert!(passes(&limit, Counted::Route, SECOND + retry_after));
    assert_eq!(left(&limit, Counted::Route, SECOND * 100), 3);
}

#[test]
fn who_is_limited_is_not_charged() {
    let limit = limit("1/s", 1);
    assert!(passes(&limit, Counted::Route, SECOND));
    for _ in 0..100 {
        assert!(!passes(&limit, Counted::Route, SECOND));
    }
    assert!(passes(&limit, Counted::Route, SECOND * 2));
}

#[test]
fn time_that_goes_back_gives_nothing() {
    let limit = limit("10/s", 1);
    assert!(passes(&limit, Counted::Route, SECOND * 5));
    assert!(!passes(&limit, Counted::Route, SECOND * 4));
    assert!(!passes(&limit, Counted::Route, Duration::ZERO));
    assert!(passes(&limit, Counted::Route, SECOND * 6));
}

#[test]
fn keys_are_addresses_networks_or_values() {
    let mut headers = HeaderMap::new();
    let ip = |text: &'static str| move || text.parse::<IpAddr>().unwrap();
    let name = HeaderName::from_static("x-player-id");
    let by_ip = RateKey::ClientIp;
    let by_header = RateKey::Header(name.clone());
    let here = by_ip.counted(&headers, ip("2001:db8:0:1::1"));
    assert_eq!(here, by_ip.counted(&headers, ip("2001:db8:0:1:ffff::9")));
    assert_ne!(here, by_ip.counted(&headers, ip("2001:db8:0:2::1")));
    let v4 = by_ip.counted(&headers, ip("192.0.2.1"));
    assert_eq!(v4, by_ip.counted(&headers, ip("::ffff:192.0.2.1")));
    assert_ne!(v4, by_ip.counted(&headers, ip("192.0.2.2")));
    assert_eq!(by_header.counted(&headers, ip("192.0.2.1")), v4);
    headers.insert(name, "p1".parse().unwrap());
    let unasked = || panic!("the address does not matter");
    assert_eq!(by_header.counted(&headers, unasked), Counted::Value(b"p1"));
    assert_eq!(RateKey::Route.counted(&headers, unasked), Counted::Route);
    let names = [RateKey::Route, by_ip, by_header].map(|key| key.to_string());
    assert_eq!(names, ["route", "client-ip", "header:x-player-id"]);
}

#[test]
fn keys_do_not_share() {
    let limit = RateLimit::compile(&spec("1/s", 2, RateKey::ClientIp), None, Duration::ZERO);
    assert_eq!(left(&limit, Counted::Address(1), SECOND), 2);
    assert_eq!(left(&limit, Counted::Address(2), SECOND), 2);
    assert_eq!(left(&limit, Counted::Address(1), SECOND), 0);
    assert_eq!(limit.crowded(), 0);
    assert_eq!(limit.bytes(), 64 * 2 * 8);
}

#[test]
fn the_policy_header_states_the_rate_in_whole_seconds() {
    for (rate, burst, quota, window) in [
        ("500/s", 1000, 1000, 2),
        ("500/s", 10, 500, 1),
        ("30/m", 5, 5, 10),
        ("30/m", 1, 1, 2),
        ("7/m", 3, 3, 26),
        ("10/h", 1, 1, 360),
    ] {
        let policy = limit(rate, burst).policy();
        assert_eq!(policy, RatePolicy { quota, window }, "{rate} {burst}");
    }
}

#[test]
fn a_changed_quota_keeps_what_was_used() {
    let key = Counted::Address(7);
    let first = RateLimit::compile(&spec("1/s", 10, RateKey::ClientIp), None, Duration::ZERO);
    assert_eq!((0..6).filter(|_| passes(&first, key, SECOND)).count(), 6);
    let change = |rate, burst, before: &RateLimit| {
        RateLimit::compile(&spec(rate, burst, RateKey::ClientIp), Some(before), SECOND)
    };
    let faster = change("100/s", 10, &first);
    assert_eq!(left(&faster, key, SECOND), 4);
    assert_eq!(left(&faster, key, SECOND + SECOND / 20), 5);
    let other = Counted::Address(9);
    assert_eq!((0..6).filter(|_| passes(&first, other, SECOND)).count(), 6);
    let larger = change("1/s", 12, &first);
    assert_eq!(left(&larger, other, SECOND), 6);
    assert_eq!(left(&larger, Counted::Address(8), SECOND), 12);
}

#[test]
fn a_smaller_burst_keeps_what_is_left() {
    let (used, fresh) = (Counted::Address(7), Counted::Address(8));
    for (use_up, remains) in [(0, 4), (5, 4), (8, 2), (10, 0)] {
        let wide = RateLimit::compile(&spec("1/h", 10, RateKey::ClientIp), None, Duration::ZERO);
        assert!((0..use_up).all(|_| passes(&wide, used, SECOND)));
        let narrow = spec("1/h", 4, RateKey::ClientIp);
        let narrow = RateLimit::compile(&narrow, Some(&wide), SECOND);
        assert_eq!(left(&narrow, used, SECOND), remains, "{use_up} used");
        assert_eq!(left(&narrow, fresh, SECOND), 4);
    }
}

#[test]
fn another_key_or_table_begins_anew() {
    let first = RateLimit::compile(&spec("1/h", 1, RateKey::Route), None, Duration::ZERO);
    assert!(passes(&first, Counted::Route, SECOND));
    let by_ip = RateLimit::compile(&spec("1/h", 1, RateKey::ClientIp), Some(&first), SECOND);
    assert!(passes(&by_ip, Counted::Address(1), SECOND));
    let more = RateLimitSpec {
        max_keys: 65,
        ..spec("1/h", 1, RateKey::ClientIp)
    };
    assert!(passes(
        &RateLimit::compile(&more, Some(&by_ip), SECOND),
        Counted::Address(1),
        SECOND
    ));
}

#[test]
fn a_key_idle_for_ages_is_fresh() {
    let limit = limit("10000000/s", 5);
    for now in [
        SECOND,
        SECOND * 3600,
        SECOND * 86_400,
        SECOND * 86_400 * 365,
    ] {
        assert_eq!(left(&limit, Counted::Route, now), 5);
    }
}

/// A leaky bucket in whole numbers, for rates that are whole halves of a unit in a nanosecond.
struct Model {
    halves: u128,
    level: u128,
    last: u128,
    burst: u128,
}

const REQUEST: u128 = 2 * UNIT as u128;

impl Model {
    fn new(double: u32, burst: u32) -> Model {
        let (halves, burst) = (1 << double, u128::from(burst) * REQUEST);
        Model {
            halves,
            level: 0,
            last: 0,
            burst,
        }
    }

    fn drain(&mut self, now: u128) {
        // The clock shows whole units.
        let units = |time: u128| time * self.halves / 2 * 2;
        self.level = self.level.saturating_sub(units(now) - units(self.last));
        self.last = now;
    }

    fn check(&mut self, now: u128) -> bool {
        self.drain(now);
        let passes = self.level + REQUEST <= self.burst;
        self.level += u128::from(passes) * REQUEST;
        passes
    }

    fn change_burst(&mut self, burst: u32, now: u128) {
        self.drain(now);
        let burst = u128::from(burst) * REQUEST;
        self.level = self.level.saturating_sub(self.burst.saturating_sub(burst));
        self.burst = burst;
    }
}

/// 5^9 requests a second are half a unit in a nanosecond.
fn exact_rate(double: u32) -> String {
    format!("{}/s", 1_953_125 << double)
}

/// Whether of these moments any window holds more than rate * t + burst, and the part of a
/// request that time is measured in.
fn within(moments: &[Duration], rate: Rate, burst: u32) -> Result<(), TestCaseError> {
    let period = rate.period().as_nanos();
    for (first, start) in moments.iter().enumerate() {
        for (last, end) in moments.iter().enumerate().skip(first) {
            let earned = (*end - *start).as_nanos() * u128::from(rate.count());
            let allowed = earned + u128::from(burst) * period;
            let count = (last - first + 1) as u128;
            let fits = count * period * 256 <= allowed * 256 + period;
            prop_assert!(fits, "{count} within {:?}", *end - *start);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn it_decides_as_a_leaky_bucket_does(
        double in 0..3_u32,
        burst in 1..20_u32,
        steps in vec((0..2_000_u64, prop::option::weighted(0.05, 1..20_u32)), 1..300),
    ) {
        let rate = exact_rate(double);
        let mut limit = limit(&rate, burst);
        let mut model = Model::new(double, burst);
        let mut now = 0;
        for (step, change) in steps {
            // Whole units of time, so that a clock that goes on is not rounded twice.
            now += step * 2;
            let at = Duration::from_nanos(now);
            if let Some(burst) = change {
                limit = RateLimit::compile(&spec(&rate, burst, RateKey::Route), Some(&limit), at);
                model.change_burst(burst, u128::from(now));
            }
            prop_assert_eq!(passes(&limit, Counted::Route, at), model.check(u128::from(now)));
        }
    }

    #[test]
    fn no_window_holds_more_than_rate_and_burst(
        count in 1..100_000_u32,
        period in prop_oneof![Just("s"), Just("m"), Just("h")],
        burst in 1..30_u32,
        // In hundredths of the time of a request.
        steps in vec(0..400_u64, 1..250),
    ) {
        let rate = format!("{count}/{period}");
        let limit = limit(&rate, burst);
        let rate = Rate::parse(&rate).unwrap();
        let each = rate.period() / count;
        let mut now = Duration::ZERO;
        let mut passed = Vec::new();
        for step in steps {
            now += each * (step as u32) / 200;
            match limit.check(Counted::Route, now) {
                RateVerdict::Passed { remaining } => {
                    prop_assert!(remaining < burst);
                    passed.push(now);
                }
                RateVerdict::Limited { retry_after, by } => {
                    prop_assert_eq!(by, LimitedBy::Key);
                    now += retry_after;
                    prop_assert!(passes(&limit, Counted::Route, now));
                    passed.push(now);
                }
            }
        }
        within(&passed, rate, burst)?;
    }

    #[test]
    fn a_key_that_leaves_and_returns_never_passes_more(
        burst in 1..6_u32,
        steps in vec((1..=20_u64, 0..300_u32), 1..400),
    ) {
        let seats: [AtomicU64; 8] = Default::default();
        let rate = Rate::parse("100/s").unwrap();
        let pace = Pace::compile(rate, burst, None, Duration::ZERO);
        let mut passed = vec![Vec::new(); 21];
        let mut now = Duration::ZERO;
        for (key, micros) in steps {
            now += Duration::from_micros(u64::from(micros) * 10);
            let (charge, _) = seats::charge(&seats, key, pace.at(now), pace.burst);
            if matches!(charge, Charge::Passed { .. }) {
                passed[key as usize].push(now);
            }
        }
        for moments in passed {
            within(&moments, rate, burst)?;
        }
    }

    #[test]
    fn while_there_are_seats_no_key_feels_another(
        steps in vec((1..=8_u64, 0..40_u32), 1..300),
    ) {
        let shared: [AtomicU64; 8] = Default::default();
        let own: [[AtomicU64; 1]; 9] = Default::default();
        let pace = Pace::compile(Rate::parse("100/s").unwrap(), 3, None, Duration::ZERO);
        let mut now = Duration::ZERO;
        for (key, millis) in steps {
            now += Duration::from_millis(millis.into());
            let charge = |seats| seats::charge(seats, key, pace.at(now), pace.burst);
            prop_assert_eq!(charge(&shared), charge(&own[key as usize]));
        }
    }
}

#[test]
fn newcomers_to_a_full_row_take_over_the_smallest_debt() {
    let seats: [AtomicU64; 8] = Default::default();
    let charge = |key, clock| seats::charge(&seats, key, clock, 3 * UNIT);
    for key in 1..=8 {
        let times = if key == 5 { 1 } else { 2 };
        for _ in 0..times {
            assert!(matches!(charge(key, 0), (Charge::Passed { .. }, Seat::Own)));
        }
    }
    let debt = 2 * UNIT;
    assert_eq!(charge(9, 0), (Charge::Passed { debt }, Seat::Others));
    // The fifth comes back, and finds no less debt than it left.
    let debt = 3 * UNIT;
    assert_eq!(charge(5, 0), (Charge::Passed { debt }, Seat::Others));
    // When the debts are gone, nobody feels that others were there.
    let debt = UNIT;
    assert_eq!(charge(10, debt * 9), (Charge::Passed { debt }, Seat::Own));
}

#[test]
fn a_row_full_of_spent_keys_limits_newcomers() {
    let spec = RateLimitSpec {
        max_keys: 4,
        ..spec("1/h", 1, RateKey::ClientIp)
    };
    let limit = RateLimit::compile(&spec, None, Duration::ZERO);
    let verdicts: Vec<_> = (0..9)
        .map(|key| limit.check(Counted::Address(key), SECOND))
        .collect();
    assert!(
        verdicts[..8]
            .iter()
            .all(|verdict| matches!(verdict, RateVerdict::Passed { .. }))
    );
    assert!(matches!(
        verdicts[8],
        RateVerdict::Limited {
            by: LimitedBy::Crowd,
            ..
        }
    ));
    assert_eq!(limit.crowded(), 1);
}
