use std::time::Duration;

use http::Method;
use proptest::prelude::*;

use crate::policy::budget::{RetryBudget, RetryBudgetSpec};
use crate::policy::retry::{
    FailedAttempt, Keeping, MOST_KEPT, Purse, Remains, Resend, RetrySpec, RetryVerdict, Trigger,
    Triggers, Withheld,
};

const SECOND: Duration = Duration::from_secs(1);

fn failed(method: &Method) -> FailedAttempt<'_> {
    FailedAttempt {
        trigger: Some(Trigger::Reset),
        attempts: 1,
        method,
        remains: Remains::Kept,
        retry_after: None,
        time_left: SECOND,
    }
}

fn decide(spec: &RetrySpec, failed: &FailedAttempt<'_>, random: u64) -> RetryVerdict {
    let purse = Purse {
        spec: &RetryBudgetSpec::default(),
        budget: &RetryBudget::default(),
        now: SECOND,
    };
    spec.decide(failed, &purse, random)
}

const AT_ONCE: RetryVerdict = RetryVerdict::Retry {
    wait: Duration::ZERO,
};
const NOT_REPLAYABLE: RetryVerdict = RetryVerdict::Withheld(Withheld::NotReplayable);

#[test]
fn only_listed_failures_are_retried() {
    for listed in Trigger::ALL {
        let spec = RetrySpec {
            on: Triggers::new(&[listed]),
            ..RetrySpec::default()
        };
        for trigger in Trigger::ALL {
            let failed = FailedAttempt {
                trigger: Some(trigger),
                ..failed(&Method::GET)
            };
            let wanted = match trigger == listed {
                true => AT_ONCE,
                false => RetryVerdict::Final,
            };
            assert_eq!(decide(&spec, &failed, 0), wanted);
        }
        assert_eq!(Trigger::from_name(listed.as_str()), Some(listed));
    }
    let other = FailedAttempt {
        trigger: None,
        ..failed(&Method::GET)
    };
    assert_eq!(
        decide(&RetrySpec::default(), &other, 0),
        RetryVerdict::Final
    );
}

#[test]
fn the_last_attempt_is_final() {
    let spec = RetrySpec {
        attempts: 3,
        ..RetrySpec::default()
    };
    for (attempts, wanted) in [(1, AT_ONCE), (2, AT_ONCE), (3, RetryVerdict::Final)] {
        let failed = FailedAttempt {
            attempts,
            ..failed(&Method::GET)
        };
        assert_eq!(decide(&spec, &failed, 0), wanted);
    }
}

#[test]
fn what_an_upstream_may_have_acted_on_is_repeated_only_if_that_changes_nothing() {
    let careful = RetrySpec::default();
    let all = RetrySpec {
        resend: Resend::All,
        ..careful
    };
    for (method, remains, by_default, by_wish) in [
        (Method::GET, Remains::Kept, AT_ONCE, AT_ONCE),
        (Method::PUT, Remains::Kept, AT_ONCE, AT_ONCE),
        (Method::DELETE, Remains::Kept, AT_ONCE, AT_ONCE),
        (Method::PUT, Remains::Gone, NOT_REPLAYABLE, NOT_REPLAYABLE),
        (Method::POST, Remains::Unsent, AT_ONCE, AT_ONCE),
        (Method::POST, Remains::Kept, NOT_REPLAYABLE, AT_ONCE),
        (Method::PATCH, Remains::Kept, NOT_REPLAYABLE, AT_ONCE),
        (Method::POST, Remains::Gone, NOT_REPLAYABLE, NOT_REPLAYABLE),
    ] {
        let failed = FailedAttempt {
            remains,
            ..failed(&method)
        };
        assert_eq!(
            decide(&careful, &failed, 0),
            by_default,
            "{method} {remains:?}"
        );
        assert_eq!(decide(&all, &failed, 0), by_wish, "{method} {remains:?}");
    }
}

#[test]
fn a_wait_that_reaches_the_deadline_is_not_begun() {
    let deadline = RetryVerdict::Withheld(Withheld::Deadline);
    let late = |time_left, retry_after| FailedAttempt {
        time_left,
        retry_after,
        ..failed(&Method::GET)
    };
    let spec = RetrySpec::default();
    assert_eq!(decide(&spec, &late(Duration::ZERO, None), 0), deadline);
    assert_eq!(decide(&spec, &late(spec.backoff, None), u64::MAX), deadline);
    assert_eq!(decide(&spec, &late(SECOND, Some(SECOND)), 0), deadline);
    assert_eq!(decide(&spec, &late(SECOND, Some(spec.backoff)), 0), {
        RetryVerdict::Retry { wait: spec.backoff }
    });
}

#[test]
fn retry_after_never_shortens_the_wait() {
    let failed = FailedAttempt {
        retry_after: Some(Duration::from_millis(1)),
        ..failed(&Method::GET)
    };
    let spec = RetrySpec::default();
    let longest = RetryVerdict::Retry { wait: spec.backoff };
    assert_eq!(decide(&spec, &failed, u64::MAX), longest);
}

#[test]
fn the_budget_is_asked_last_and_only_a_retry_costs() {
    let (spec, budget) = (RetrySpec::default(), RetryBudget::default());
    let two = RetryBudgetSpec {
        min_per_second: 2,
        window: SECOND,
        ..RetryBudgetSpec::default()
    };
    let purse = Purse {
        spec: &two,
        budget: &budget,
        now: SECOND,
    };
    let post = failed(&Method::POST);
    assert_eq!(spec.decide(&post, &purse, 0), NOT_REPLAYABLE);
    let get = failed(&Method::GET);
    assert_eq!(spec.decide(&get, &purse, 0), AT_ONCE);
    assert_eq!(spec.decide(&get, &purse, 0), AT_ONCE);
    let spent = RetryVerdict::Withheld(Withheld::NoBudget);
    assert_eq!(spec.decide(&get, &purse, 0), spent);
}

#[test]
fn a_copy_is_kept_only_where_a_retry_could_use_it() {
    let spec = RetrySpec::default();
    assert_eq!(spec.keeping(&Method::PUT, Some(MOST_KEPT)), Keeping::Copy);
    assert_eq!(spec.keeping(&Method::PUT, None), Keeping::Copy);
    assert_eq!(
        spec.keeping(&Method::PUT, Some(MOST_KEPT + 1)),
        Keeping::Nothing
    );
    assert_eq!(spec.keeping(&Method::POST, Some(1)), Keeping::Nothing);
    let once = RetrySpec {
        attempts: 1,
        ..spec
    };
    assert_eq!(once.keeping(&Method::PUT, Some(1)), Keeping::Nothing);
    let unsent = RetrySpec {
        on: Triggers::new(&[Trigger::Connect]),
        ..spec
    };
    assert_eq!(unsent.keeping(&Method::PUT, Some(1)), Keeping::Nothing);
    let all = RetrySpec {
        resend: Resend::All,
        ..spec
    };
    assert_eq!(all.keeping(&Method::POST, Some(1)), Keeping::Copy);
}

fn any_method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::POST,
        Method::PATCH,
        Method::CONNECT,
        Method::from_bytes(b"PURGE").unwrap(),
    ])
}

fn any_remains() -> impl Strategy<Value = Remains> {
    prop::sample::select(vec![Remains::Unsent, Remains::Kept, Remains::Gone])
}

fn any_spec() -> impl Strategy<Value = RetrySpec> {
    let triggers = prop::sample::subsequence(Trigger::ALL.to_vec(), 0..=6);
    let resend = prop::sample::select(vec![Resend::Idempotent, Resend::All]);
    (1_u32..80, triggers, 0_u64..2_000, 0_u64..10_000, resend).prop_map(
        |(attempts, on, backoff, max_backoff, resend)| RetrySpec {
            attempts,
            on: Triggers::new(&on),
            backoff: Duration::from_millis(backoff),
            max_backoff: Duration::from_millis(max_backoff),
            resend,
        },
    )
}

proptest! {
    #[test]
    fn what_is_retried_was_listed_may_be_repeated_waits_within_bounds_and_is_in_time(
        spec in any_spec(),
        trigger in prop::option::of(prop::sample::select(Trigger::ALL.to_vec())),
        attempts in 1_u32..80,
        method in any_method(),
        remains in any_remains(),
        retry_after in prop::option::of(0_u64..5_000),
        time_left in 0_u64..5_000,
        random in any::<u64>(),
    ) {
        let failed = FailedAttempt {
            trigger,
            attempts,
            method: &method,
            remains,
            retry_after: retry_after.map(Duration::from_millis),
            time_left: Duration::from_millis(time_left),
        };
        let budget = RetryBudget::default();
        let purse = Purse {
            spec: &RetryBudgetSpec::default(),
            budget: &budget,
            now: Duration::from_secs(1),
        };
        let charged = |left| budget.left(purse.spec, purse.now) == left;
        match spec.decide(&failed, &purse, random) {
            RetryVerdict::Retry { wait } => {
                prop_assert!(charged(9));
                prop_assert!(trigger.is_some() && attempts < spec.attempts);
                let idempotent = !["POST", "PATCH", "CONNECT", "PURGE"].contains(&method.as_str());
                prop_assert!(remains != Remains::Gone);
                prop_assert!(
                    remains == Remains::Unsent || idempotent || spec.resend == Resend::All
                );
                prop_assert!(wait < failed.time_left);
                let doubled = spec.backoff.as_nanos() << (attempts - 1).min(64);
                let bound = doubled.min(spec.max_backoff.as_nanos());
                let asked = failed.retry_after.unwrap_or_default();
                prop_assert!(wait >= asked);
                prop_assert!(wait.as_nanos() <= bound.max(asked.as_nanos()));
            }
            RetryVerdict::Final => prop_assert!(charged(10)),
            RetryVerdict::Withheld(why) => {
                prop_assert!(charged(10));
                prop_assert!(why != Withheld::NoBudget);
            }
        }
    }
}

/// The wait is spread over the whole of its range, not only its upper half.
#[test]
fn jitter_is_full() {
    let spec = RetrySpec {
        attempts: 9,
        backoff: Duration::from_millis(100),
        max_backoff: Duration::from_millis(400),
        ..RetrySpec::default()
    };
    for (attempts, bound) in [(1, 100), (2, 200), (3, 400), (4, 400), (8, 400)] {
        let mut tenths = [0_u32; 10];
        for part in 0..1_000_u64 {
            let budget = RetryBudget::default();
            let purse = Purse {
                spec: &RetryBudgetSpec::default(),
                budget: &budget,
                now: Duration::ZERO,
            };
            let failed = FailedAttempt {
                trigger: Some(Trigger::Connect),
                attempts,
                method: &Method::GET,
                remains: Remains::Unsent,
                retry_after: None,
                time_left: Duration::from_secs(10),
            };
            let random = part * (u64::MAX / 1_000) + 1;
            let RetryVerdict::Retry { wait } = spec.decide(&failed, &purse, random) else {
                panic!("a retry");
            };
            tenths[(wait.as_millis() * 10 / bound).min(9) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (95..=105).contains(count)),
            "{tenths:?}"
        );
    }
}

/// A retry storm: clients that ask up to three times more, an upstream that fails half of the
/// time. The gateway's own attempts stay within a fifth of the requests and the reserve.
#[test]
fn in_a_retry_storm_attempts_stay_within_a_fifth_of_the_requests() {
    let spec = RetrySpec {
        attempts: 5,
        on: Triggers::new(&[Trigger::Unavailable]),
        ..RetrySpec::default()
    };
    let (budget, whole) = (RetryBudget::default(), RetryBudgetSpec::default());
    let (mut requests, mut attempts, mut random) = (0_u64, 0_u64, 1_u64);
    let mut fails = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        random >> 63 == 1
    };
    // 30 s of 1,000 clients a second.
    for turn in 0..30_000_u64 {
        let now = Duration::from_millis(100_000 + turn);
        for _ in 0..4 {
            requests += 1;
            budget.request(now);
            let mut made = 1;
            let answered = loop {
                attempts += 1;
                if !fails() {
                    break true;
                }
                let failed = FailedAttempt {
                    trigger: Some(Trigger::Unavailable),
                    attempts: made,
                    ..failed(&Method::GET)
                };
                let purse = Purse {
                    spec: &whole,
                    budget: &budget,
                    now,
                };
                match spec.decide(&failed, &purse, 0) {
                    RetryVerdict::Retry { .. } => made += 1,
                    RetryVerdict::Final | RetryVerdict::Withheld(_) => break false,
                }
            };
            if answered {
                break;
            }
        }
    }
    let reserve = 31 + 10;
    let retries = attempts - requests;
    assert!(retries <= requests / 5 + reserve, "{retries} of {requests}");
    assert!(retries >= requests / 5 - reserve, "{retries} of {requests}");
}
