use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;

use crate::policy::budget::RetryBudgetSpec;
use crate::policy::client_retries::{
    Client, ClientRetries, ClientRetryVerdict, MEMORY, Recent, Request, Seen, is_looked_at, marked,
};
use crate::policy::share::Share;

fn request() -> Request<'static> {
    Request {
        route: "stats",
        client: Client::Address("192.0.2.7".parse().unwrap()),
        method: &Method::POST,
        target: "/v1/stats/7?full=1",
    }
}

/// Sees the request with a body of that digest.
fn see(recent: &Recent, body: u64, now: Duration) -> Seen {
    recent.see(recent.asked(&request()), body, now)
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_same_request_is_recognised_for_half_a_minute() {
    let recent = Recent::new(1_000);
    assert_eq!(see(&recent, 1, at(1_000)), Seen::First);
    assert_eq!(see(&recent, 1, at(1_000)), Seen::Again);
    assert_eq!(see(&recent, 1, at(31_000)), Seen::Again);
    assert_eq!(see(&recent, 1, at(61_000)), Seen::Again);
    assert_eq!(see(&recent, 1, at(91_500)), Seen::First);
    // A worker whose reading of the clock is late.
    assert_eq!(see(&recent, 1, at(90_000)), Seen::Again);
}

#[test]
fn whatever_differs_makes_another_request() {
    let recent = Recent::new(1_000);
    let base = request();
    assert_eq!(see(&recent, 1, at(0)), Seen::First);
    for other in [
        Request {
            route: "other",
            ..base
        },
        Request {
            client: Client::Address("192.0.2.8".parse().unwrap()),
            ..base
        },
        Request {
            client: Client::Named(b"192.0.2.7"),
            ..base
        },
        Request {
            method: &Method::PUT,
            ..base
        },
        Request {
            target: "/v1/stats/7?full=0",
            ..base
        },
    ] {
        let asked = recent.asked(&other);
        assert_eq!(recent.see(asked, 1, at(0)), Seen::First, "{other:?}");
        assert_eq!(recent.see(asked, 1, at(0)), Seen::Again, "{other:?}");
    }
    assert_eq!(see(&recent, 2, at(0)), Seen::First);
    assert_eq!(see(&recent, 0, at(0)), Seen::First);
    assert_eq!(see(&recent, 1, at(0)), Seen::Again);
}

#[test]
fn memory_is_bounded_and_what_was_forgotten_counts_as_first() {
    let recent = Recent::new(1_000);
    assert_eq!((recent.bytes(), recent.most_bytes()), (0, 1_024 * 8));
    let new = (0..100_000).filter(|body| see(&recent, *body, at(0)) == Seen::First);
    assert_eq!(new.count(), 100_000);
    let known = (0..100_000).filter(|body| see(&recent, *body, at(0)) == Seen::Again);
    assert!(known.count() <= 1_024);
    assert_eq!(recent.bytes(), recent.most_bytes());
    // At the load it was made for nearly all are known.
    let ample = Recent::new(100_000);
    (0..50_000).for_each(|body| {
        see(&ample, body, at(0));
    });
    let known = (0..50_000).filter(|body| see(&ample, *body, at(0)) == Seen::Again);
    assert!(known.count() > 49_000);
}

#[test]
fn memory_is_taken_as_requests_come() {
    let recent = Recent::new(1 << 20);
    assert_eq!((recent.bytes(), recent.most_bytes()), (0, 8 << 20));
    (0..1_000).for_each(|_| _ = see(&recent, 1, at(0)));
    assert_eq!(recent.bytes(), 4_096);
}

#[test]
fn the_headers_of_retries_are_known() {
    for (name, value, seen) in [
        ("grpc-previous-rpc-attempts", "1", Seen::Again),
        ("grpc-previous-rpc-attempts", "0", Seen::First),
        ("x-retry-count", "2", Seen::Again),
        ("x-retry-count", "many", Seen::First),
        ("x-retry-count", "-1", Seen::First),
        ("x-envoy-attempt-count", "1", Seen::First),
        ("x-envoy-attempt-count", "2", Seen::Again),
        ("amz-sdk-request", "attempt=1; max=3", Seen::First),
        ("amz-sdk-request", "max=3; attempt=2", Seen::Again),
        (
            "amz-sdk-request",
            "ttl=20250101T000000Z; attempt=3; max=3",
            Seen::Again,
        ),
        ("x-other", "7", Seen::First),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        assert_eq!(marked(&headers), seen, "{name}: {value}");
        assert!(seen == Seen::First || is_looked_at(name), "{name}");
    }
    assert_eq!(marked(&HeaderMap::new()), Seen::First);
}

#[test]
fn repeated_requests_pass_within_the_budget_and_are_counted_beyond_it() {
    let route = ClientRetries::default();
    let budget = RetryBudgetSpec {
        share: Share::from_percent(10.0).unwrap(),
        min_per_second: 1,
        window: Duration::from_secs(10),
    };
    let pass = |seen| route.admit(Some(&budget), seen, at(0));
    assert_eq!(route.share(at(0)), Share::NONE);
    (0..100).for_each(|_| assert_eq!(pass(Seen::First), ClientRetryVerdict::Passed));
    let passed = (0..100).filter(|_| pass(Seen::Again) == ClientRetryVerdict::Passed);
    assert_eq!(passed.count(), 20);
    assert_eq!(route.share(at(0)).percent(), 50.0);
    assert_eq!(
        route.admit(None, Seen::Again, at(0)),
        ClientRetryVerdict::Passed
    );
    assert_eq!(route.share(at(20_000)), Share::NONE);
}

/// Of threads that send the same requests together each is the first once. More than one first
/// takes a collision in a place at the very moment: at most a few in ten thousand.
#[test]
fn equal_requests_on_four_workers_are_first_once() {
    let (recent, first) = (Recent::new(100_000), AtomicU64::new(0));
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                for body in 0..10_000 {
                    if see(&recent, body, at(body / 100)) == Seen::First {
                        first.fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    let first = first.into_inner();
    assert!((10_000..10_050).contains(&first), "{first}");
}

proptest! {
    /// Against a map without bounds: what it calls repeated was there, and while it has room it
    /// misses nothing. Times are whole eighths of a second, as its own are.
    #[test]
    fn with_room_it_knows_what_a_map_knows(
        acts in prop::collection::vec((0_u64..20, 0_u64..100), 1..200),
        start in 0_u64..20_000_000,
    ) {
        let (recent, mut model) = (Recent::new(4_096), HashMap::new());
        let mut now = start * 125;
        for (body, wait) in acts {
            now += wait * 125;
            let known = model.insert(body, now).is_some_and(|last| now - last <= MEMORY.as_millis() as u64);
            let wanted = if known { Seen::Again } else { Seen::First };
            prop_assert_eq!(see(&recent, body, at(now)), wanted);
        }
    }

    #[test]
    fn what_it_calls_repeated_was_there_also_without_room(
        acts in prop::collection::vec((0_u64..200, 0_u64..10), 1..400),
    ) {
        let (recent, mut model) = (Recent::new(8), HashMap::new());
        let mut now = 0;
        for (body, wait) in acts {
            now += wait * 125;
            let last: Option<u64> = model.insert(body, now);
            if see(&recent, body, at(now)) == Seen::Again {
                prop_assert!(last.is_some_and(|last| now - last <= MEMORY.as_millis() as u64));
            }
        }
    }
}
