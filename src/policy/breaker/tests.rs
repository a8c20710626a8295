use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::policy::breaker::{
    Breaker, BreakerAsk, BreakerChange, BreakerPosition, BreakerSpec, BreakerVerdict, Forced, Pass,
    RatioSpec,
};
use crate::policy::outcome::{Failures, Outcome};
use crate::policy::share::Share;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ask(now: u64) -> BreakerAsk {
    BreakerAsk {
        forced: None,
        now: ms(now),
        random: 0,
    }
}

fn spec() -> BreakerSpec {
    BreakerSpec {
        on: Failures::default(),
        consecutive_failures: Some(3),
        ratio: None,
        open_for: ms(1_000),
        ramp: ms(10_000),
    }
}

fn pass(breaker: &Breaker, spec: &BreakerSpec, now: u64) -> Pass {
    match breaker.check(spec, &ask(now)) {
        BreakerVerdict::Passed(pass) => pass,
        BreakerVerdict::Refused { .. } => panic!("refused at {now}"),
    }
}

fn ends(breaker: &Breaker, spec: &BreakerSpec, outcome: Outcome, now: u64) -> BreakerChange {
    let pass = pass(breaker, spec, now);
    breaker.record(spec, pass, outcome, ms(now))
}

fn refused(breaker: &Breaker, spec: &BreakerSpec, now: u64) -> Option<Duration> {
    match breaker.check(spec, &ask(now)) {
        BreakerVerdict::Passed(_) => None,
        BreakerVerdict::Refused { retry_after } => Some(retry_after),
    }
}

fn tripped(breaker: &Breaker, spec: &BreakerSpec, now: u64) {
    (0..3).for_each(|_| {
        ends(breaker, spec, Outcome::Failure, now);
    });
    assert_eq!(
        breaker.position(spec, None, ms(now)),
        BreakerPosition::Tripped
    );
}

fn open_for(ms: u64) -> BreakerChange {
    BreakerChange::Tripped {
        open_for: Duration::from_millis(ms),
    }
}

#[test]
fn failures_in_a_row_trip_it_and_a_success_between_begins_anew() {
    let (breaker, spec) = (Breaker::default(), spec());
    let (failure, success) = (Outcome::Failure, Outcome::Success);
    let none = BreakerChange::None;
    for (outcome, change) in [
        (failure, none),
        (failure, none),
        (success, none),
        (failure, none),
        (Outcome::Unknown, none),
        (failure, none),
        (failure, open_for(1_000)),
    ] {
        assert_eq!(ends(&breaker, &spec, outcome, 5), change);
    }
    assert_eq!(refused(&breaker, &spec, 5), Some(ms(1_000)));
    assert_eq!(refused(&breaker, &spec, 1_004), Some(ms(1)));
}

#[test]
fn a_share_of_failures_trips_it_once_there_are_enough_requests() {
    let spec = BreakerSpec {
        consecutive_failures: None,
        ratio: Some(RatioSpec {
            failures: Share::from_percent(50.0).unwrap(),
            min_requests: 20,
            window: ms(10_000),
        }),
        ..spec()
    };
    let breaker = Breaker::default();
    for _ in 0..9 {
        ends(&breaker, &spec, Outcome::Failure, 0);
        assert_eq!(
            ends(&breaker, &spec, Outcome::Success, 0),
            BreakerChange::None
        );
    }
    ends(&breaker, &spec, Outcome::Success, 0);
    assert_eq!(ends(&breaker, &spec, Outcome::Failure, 0), open_for(1_000));
    let slow = Breaker::default();
    for turn in 0..1_000 {
        let change = ends(&slow, &spec, Outcome::Failure, turn * 1_000);
        assert_eq!(
            change,
            BreakerChange::None,
            "one a second is never 20 in 10 s"
        );
    }
}

#[test]
fn probes_that_fail_double_the_time_up_to_five_minutes() {
    let (breaker, spec) = (Breaker::default(), spec());
    tripped(&breaker, &spec, 0);
    let mut now = 1_000;
    for seconds in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300] {
        let change = ends(&breaker, &spec, Outcome::Failure, now);
        assert_eq!(change, open_for(seconds * 1_000));
        assert_eq!(refused(&breaker, &spec, now), Some(ms(seconds * 1_000)));
        now += seconds * 1_000;
    }
    let long = BreakerSpec {
        open_for: Duration::from_secs(900),
        ..spec
    };
    assert_eq!(
        ends(&breaker, &long, Outcome::Failure, now),
        open_for(900_000)
    );
}

#[test]
fn while_a_probe_is_out_no_other_passes_and_one_that_is_lost_is_replaced() {
    let (breaker, spec) = (Breaker::default(), spec());
    tripped(&breaker, &spec, 0);
    let lost = pass(&breaker, &spec, 1_000);
    assert_eq!(
        breaker.position(&spec, None, ms(1_000)),
        BreakerPosition::Probing
    );
    assert_eq!(refused(&breaker, &spec, 1_999), Some(ms(1_000)));
    let second = pass(&breaker, &spec, 2_000);
    let change = breaker.record(&spec, lost, Outcome::Success, ms(2_001));
    assert_eq!(change, BreakerChange::None);
    let change = breaker.record(&spec, second, Outcome::Success, ms(2_002));
    assert_eq!(change, BreakerChange::Returning);
}

#[test]
fn a_probe_that_shows_nothing_hands_over_to_the_next_request() {
    let (breaker, spec) = (Breaker::default(), spec());
    tripped(&breaker, &spec, 0);
    assert_eq!(
        ends(&breaker, &spec, Outcome::Unknown, 1_000),
        BreakerChange::None
    );
    assert_eq!(
        ends(&breaker, &spec, Outcome::Failure, 1_000),
        open_for(2_000)
    );
}

#[test]
fn traffic_comes_back_over_the_ramp() {
    let (breaker, spec) = (Breaker::default(), spec());
    tripped(&breaker, &spec, 0);
    assert_eq!(
        ends(&breaker, &spec, Outcome::Success, 1_000),
        BreakerChange::Returning
    );
    for (now, percent) in [
        (1_000, 10),
        (3_500, 32),
        (6_000, 55),
        (10_999, 99),
        (11_000, 100),
    ] {
        let passes = |part: &u64| {
            let random = part * (u64::MAX / 100) + (u64::MAX / 1_000);
            let ask = BreakerAsk { random, ..ask(now) };
            match breaker.check(&spec, &ask) {
                BreakerVerdict::Passed(_) => true,
                BreakerVerdict::Refused { retry_after } => {
                    assert_eq!(retry_after, ms(11_000 - now));
                    false
                }
            }
        };
        let coming = match now < 11_000 {
            true => BreakerPosition::Probing,
            false => BreakerPosition::Passing,
        };
        assert_eq!(breaker.position(&spec, None, ms(now)), coming);
        let passed = (0..100).filter(passes).count() as i64;
        assert!((passed - percent).abs() <= 1, "{passed} percent at {now}");
    }
    assert_eq!(
        breaker.position(&spec, None, ms(11_000)),
        BreakerPosition::Passing
    );
}

#[test]
fn a_way_back_that_has_ended_is_not_begun_again_by_a_reload() {
    let (breaker, spec) = (Breaker::default(), spec());
    tripped(&breaker, &spec, 0);
    ends(&breaker, &spec, Outcome::Success, 1_000);
    assert_eq!(refused(&breaker, &spec, 11_000), None);
    let longer = BreakerSpec {
        ramp: ms(1_000_000),
        ..spec
    };
    let position = breaker.position(&longer, None, ms(12_000));
    assert_eq!(position, BreakerPosition::Passing);
}

#[test]
fn a_trip_on_the_way_back_doubles_and_one_after_it_does_not() {
    let (breaker, spec) = (Breaker::default(), spec());
    tripped(&breaker, &spec, 0);
    ends(&breaker, &spec, Outcome::Success, 1_000);
    (0..2).for_each(|_| {
        ends(&breaker, &spec, Outcome::Failure, 2_000);
    });
    assert_eq!(
        ends(&breaker, &spec, Outcome::Failure, 2_000),
        open_for(2_000)
    );
    ends(&breaker, &spec, Outcome::Success, 4_000);
    (0..2).for_each(|_| {
        ends(&breaker, &spec, Outcome::Failure, 14_000);
    });
    assert_eq!(
        ends(&breaker, &spec, Outcome::Failure, 14_000),
        open_for(1_000)
    );
}

#[test]
fn what_was_admitted_before_a_trip_says_nothing_after_it() {
    let (breaker, spec) = (Breaker::default(), spec());
    let old: Vec<Pass> = (0..6).map(|_| pass(&breaker, &spec, 0)).collect();
    tripped(&breaker, &spec, 0);
    ends(&breaker, &spec, Outcome::Success, 1_000);
    for pass in old {
        let change = breaker.record(&spec, pass, Outcome::Failure, ms(1_001));
        assert_eq!(change, BreakerChange::None);
    }
    assert_eq!(
        breaker.position(&spec, None, ms(1_001)),
        BreakerPosition::Probing
    );
}

#[test]
fn a_hand_holds_it_and_it_goes_on_underneath() {
    let (breaker, spec) = (Breaker::default(), spec());
    let by_hand = |forced, now| BreakerAsk {
        forced: Some(forced),
        ..ask(now)
    };
    let verdict = breaker.check(&spec, &by_hand(Forced::Tripped, 0));
    let retry_after = spec.open_for;
    assert_eq!(verdict, BreakerVerdict::Refused { retry_after });
    for _ in 0..3 {
        let BreakerVerdict::Passed(pass) = breaker.check(&spec, &by_hand(Forced::Passing, 0))
        else {
            panic!("held passing");
        };
        breaker.record(&spec, pass, Outcome::Failure, ms(0));
    }
    let position = |forced| breaker.position(&spec, forced, ms(0));
    assert_eq!(position(Some(Forced::Passing)), BreakerPosition::Passing);
    assert_eq!(position(Some(Forced::Tripped)), BreakerPosition::Tripped);
    assert_eq!(position(None), BreakerPosition::Tripped);
    let BreakerVerdict::Passed(pass) = breaker.check(&spec, &by_hand(Forced::Passing, 1_500))
    else {
        panic!("held passing");
    };
    assert_eq!(
        breaker.record(&spec, pass, Outcome::Success, ms(1_500)),
        BreakerChange::None
    );
    assert_eq!(
        ends(&breaker, &spec, Outcome::Success, 1_500),
        BreakerChange::Returning
    );
    for forced in [Forced::Tripped, Forced::Passing] {
        assert_eq!(Forced::from_name(forced.as_str()), Some(forced));
    }
    assert_eq!(Forced::from_name("open"), None);
}

#[test]
fn when_the_hand_leaves_traffic_comes_back_over_the_ramp() {
    let (breaker, spec) = (Breaker::default(), spec());
    breaker.released(&spec, ms(5_000));
    let last = BreakerAsk {
        random: u64::MAX,
        ..ask(5_000)
    };
    let retry_after = spec.ramp;
    assert_eq!(
        breaker.check(&spec, &last),
        BreakerVerdict::Refused { retry_after }
    );
    assert_eq!(refused(&breaker, &spec, 5_000), None);
    let open = Breaker::default();
    tripped(&open, &spec, 0);
    open.released(&spec, ms(1));
    assert_eq!(open.position(&spec, None, ms(1)), BreakerPosition::Tripped);
}

#[test]
fn of_many_that_find_it_due_one_is_the_probe_and_one_trip_is_told() {
    for round in 0..300_u64 {
        let (breaker, spec) = (Breaker::default(), spec());
        let (trips, probes) = (AtomicU64::new(0), AtomicU64::new(0));
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let passes: Vec<Pass> = (0..4).map(|_| pass(&breaker, &spec, round)).collect();
                    barrier.wait();
                    for pass in passes {
                        let change = breaker.record(&spec, pass, Outcome::Failure, ms(round));
                        if change != BreakerChange::None {
                            trips.fetch_add(1, SeqCst);
                        }
                    }
                    barrier.wait();
                    if refused(&breaker, &spec, round + 1_000).is_none() {
                        probes.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!(trips.into_inner(), 1);
        assert_eq!(probes.into_inner(), 1);
    }
}
