use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use proptest::prelude::*;

use crate::policy::budget::{BudgetVerdict, RetryBudget, RetryBudgetSpec};
use crate::policy::share::Share;

fn spec(percent: f64, min_per_second: u32, seconds: u64) -> RetryBudgetSpec {
    RetryBudgetSpec {
        share: Share::from_percent(percent).unwrap(),
        min_per_second,
        window: Duration::from_secs(seconds),
    }
}

fn granted(budget: &RetryBudget, spec: &RetryBudgetSpec, now: Duration) -> u64 {
    let retries = (0..1_000_000).map(|_| budget.withdraw(spec, now));
    retries
        .take_while(|verdict| *verdict != BudgetVerdict::Spent)
        .count() as u64
}

const AT: Duration = Duration::from_secs(100);

#[test]
fn a_share_is_not_rounded_to_a_whole_cost_of_a_retry() {
    for (percent, allowed) in [
        (20.0, 2000),
        (40.0, 4000),
        (60.0, 6000),
        (70.0, 7000),
        (90.0, 9000),
        (0.07, 7),
        (100.0, 10_000),
        (33.3, 3330),
    ] {
        let budget = RetryBudget::default();
        (0..10_000).for_each(|_| budget.request(AT));
        assert_eq!(granted(&budget, &spec(percent, 0, 10), AT), allowed);
    }
}

#[test]
fn a_quiet_route_has_its_reserve_and_no_more() {
    let budget = RetryBudget::default();
    assert_eq!(granted(&budget, &RetryBudgetSpec::default(), AT), 10);
    let nothing = spec(0.0, 0, 10);
    let other = RetryBudget::default();
    other.request(AT);
    assert_eq!(other.withdraw(&nothing, AT), BudgetVerdict::Spent);
}

#[test]
fn requests_and_retries_are_forgotten_with_the_window() {
    let (budget, spec) = (RetryBudget::default(), spec(50.0, 0, 10));
    (0..10).for_each(|_| budget.request(AT));
    assert_eq!(granted(&budget, &spec, AT + Duration::from_secs(9)), 5);
    assert_eq!(budget.left(&spec, AT + Duration::from_secs(10)), 0);
    assert_eq!(granted(&budget, &spec, AT + Duration::from_secs(11)), 0);
    let later = AT + Duration::from_secs(15);
    (0..10).for_each(|_| budget.request(later));
    assert_eq!(budget.left(&spec, later), 0);
    assert_eq!(budget.left(&spec, later + Duration::from_secs(6)), 5);
}

#[test]
fn a_changed_spec_keeps_what_was_counted() {
    let budget = RetryBudget::default();
    (0..100).for_each(|_| budget.request(AT));
    assert_eq!(granted(&budget, &spec(20.0, 0, 10), AT), 20);
    assert_eq!(budget.left(&spec(10.0, 0, 10), AT), 0);
    assert_eq!(budget.left(&spec(30.0, 0, 10), AT), 10);
    assert_eq!(granted(&budget, &spec(30.0, 0, 20), AT), 10);
    assert_eq!(granted(&budget, &spec(30.0, 0, 5), AT), 0);
}

#[test]
fn a_granted_retry_says_what_is_left() {
    let (budget, spec) = (RetryBudget::default(), spec(0.0, 1, 2));
    for verdict in [
        BudgetVerdict::Granted { left: 1 },
        BudgetVerdict::Granted { left: 0 },
        BudgetVerdict::Spent,
    ] {
        assert_eq!(budget.withdraw(&spec, AT), verdict);
    }
}

#[test]
fn no_count_is_too_large() {
    let most = spec(100.0, u32::MAX, 60);
    assert_eq!(most.allowed(u64::MAX), u64::MAX);
}

#[derive(Clone, Debug)]
enum Act {
    Requests(u64),
    Retries(u64),
    Wait(u64),
    Reload(u32, u32, u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1_u64..100).prop_map(Act::Requests),
        4 => (1_u64..40).prop_map(Act::Retries),
        3 => (0_u64..5_000).prop_map(Act::Wait),
        1 => (0_u32..=1000, 0_u32..5, 1_u64..=60).prop_map(|(p, m, w)| Act::Reload(p, m, w)),
    ]
}

/// Steps of the requests and of the retries, and what they allow in whole numbers: percent is in
/// tenths, a window in seconds.
#[derive(Default)]
struct Model {
    requests: Vec<u64>,
    retries: Vec<u64>,
}

fn lately(events: &[u64], window: u64, now: u64) -> u64 {
    let first = (now / 500).saturating_sub(window * 2);
    events.iter().filter(|step| **step >= first).count() as u64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_budget_is_exact_also_when_its_spec_changes(
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let (budget, mut model) = (RetryBudget::default(), Model::default());
        let (mut tenths, mut least, mut window) = (200_u32, 1_u32, 10_u64);
        let mut now = 1_000_000_u64;
        for act in acts {
            let spec = spec(f64::from(tenths) / 10.0, least, window);
            let time = Duration::from_millis(now);
            match act {
                Act::Requests(count) => for _ in 0..count {
                    budget.request(time);
                    model.requests.push(now / 500);
                },
                Act::Retries(count) => for _ in 0..count {
                    let requests = lately(&model.requests, window, now);
                    let allowed = requests * u64::from(tenths) / 1000
                        + u64::from(least) * window;
                    let made = lately(&model.retries, window, now);
                    let verdict = budget.withdraw(&spec, time);
                    if made < allowed {
                        let left = allowed - made - 1;
                        prop_assert_eq!(verdict, BudgetVerdict::Granted { left });
                        model.retries.push(now / 500);
                    } else {
                        prop_assert_eq!(verdict, BudgetVerdict::Spent);
                    }
                },
                Act::Wait(ms) => now += ms,
                Act::Reload(p, m, w) => (tenths, least, window) = (p, m, w),
            }
        }
    }
}

/// Not one more and not one fewer, whoever wins: threads that begin together, all of whose
/// requests are counted, take exactly what is allowed.
#[test]
fn four_threads_that_want_every_retry_get_exactly_the_budget() {
    for round in 0..200_u64 {
        let budget = RetryBudget::default();
        let spec = spec(20.0, 1, 10);
        let now = Duration::from_secs(1_000 + round);
        (0..1_000).for_each(|_| budget.request(now));
        let granted = AtomicU64::new(0);
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..100 {
                        if budget.withdraw(&spec, now) != BudgetVerdict::Spent {
                            granted.fetch_add(1, SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(granted.into_inner(), 210);
    }
}

/// Requests and retries together over many windows: at each retry granted the whole holds, and
/// over all the retries stay within the share of the requests and the reserve.
#[test]
fn retries_beside_requests_never_exceed_the_budget_over_time() {
    let budget = RetryBudget::default();
    let spec = spec(25.0, 2, 2);
    let clock = AtomicU64::new(100_000);
    let (requests, retries) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    // One request each 0.25 ms, of which every attempt fails.
                    let now = Duration::from_micros(clock.fetch_add(250, SeqCst) + 1_000_000);
                    requests.fetch_add(1, SeqCst);
                    budget.request(now);
                    for _ in 0..3 {
                        if budget.withdraw(&spec, now) != BudgetVerdict::Spent {
                            retries.fetch_add(1, SeqCst);
                        }
                    }
                }
            });
        }
    });
    let (requests, retries) = (requests.into_inner(), retries.into_inner());
    // 15 s of requests; the reserve of 2 a second is renewed with each window and its steps.
    let reserve = 2 * (15 + 2);
    assert!(retries <= requests / 4 + reserve, "{retries} of {requests}");
    assert!(retries >= requests / 4 - 500, "{retries} of {requests}");
}
