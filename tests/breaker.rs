//! The breaker of a route and its upstream: it trips, refuses, probes, and lets traffic come back.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use support::*;

const STATE: &str = "seawall_breaker_state";
const ANY: [(&str, &str); 2] = [("route", "any"), ("upstream", "u")];

/// One route, `any`, with further keys, to this upstream.
fn config(upstream: &Upstream, keys: &str) -> Config {
    let route = format!("path = \"/{{*rest}}\"\nupstream = \"u\"\n{keys}");
    Config::new()
        .defaults("timeout", "\"60s\"")
        .upstream("u", upstream)
        .route("any", &route)
}

/// An upstream that answers with a status that the test changes.
fn answering(first: u16) -> (Upstream, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(first));
    let upstream = Upstream::serving({
        let status = Arc::clone(&status);
        move |_| answer(status.load(Ordering::SeqCst), "said")
    });
    (upstream, status)
}

/// Trips on three failures in a row alone.
fn in_a_row(times: &str) -> String {
    format!("breaker = {{ consecutive_failures = 3, failure_percent = \"off\", {times} }}")
}

fn state(gateway: &Gateway) -> f64 {
    gateway.metrics().one(STATE, &ANY)
}

#[test]
fn failures_in_a_row_trip_it_and_no_request_reaches_the_upstream() {
    let (upstream, _) = answering(503);
    let gateway = Gateway::start(&config(&upstream, &in_a_row("open_for = \"40s\"")));
    assert_eq!(state(&gateway), 0.0);
    let mut client = gateway.connect();
    for _ in 0..3 {
        assert!(client.ask(get("/")).is_from_upstream());
    }
    assert_eq!(state(&gateway), 2.0);
    for request in [get("/").into_bytes(), post("/", "points=12")] {
        let refused = client.ask(request);
        assert_refusal(&refused, 503, "breaker_open");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        // Not before the next probe, and up to twice as long.
        assert!((30..=80).contains(&wait), "{wait}");
    }
    assert_eq!(upstream.heads(), 3);
    let refusals = [("route", "any"), ("reason", "breaker_open")];
    gateway.wait_metric("seawall_refusals_total", &refusals, 2.0);
    let events = || gateway.events("breaker tripped");
    wait_for("the word of it", || !events().is_empty());
    let tripped = &events()[0];
    assert_eq!(tripped["route"], "any");
    assert_eq!(tripped["upstream"], "u");
    assert_eq!(tripped["failure"], "status_503");
    assert_eq!(tripped["open_for_ms"], 40_000);
    let routes = gateway.admin("/api/v1/routes").json();
    let breaker = serde_json::json!([{ "upstream": "u", "state": "tripped" }]);
    assert_eq!(routes[0]["breakers"], breaker);
    let open = serde_json::json!([{ "route": "any", "upstream": "u", "state": "tripped" }]);
    assert_eq!(gateway.status()["open_breakers"], open);
    let dir = gateway.directory().to_str().expect("a path");
    let admin = format!("http://{}", gateway.admin);
    let said = run_to_exit(&["--config", dir, "status", "--admin", &admin]).output;
    assert!(
        said.contains("breaker of any to upstream u: tripped"),
        "{said}"
    );
}

#[test]
fn it_probes_and_lets_traffic_come_back() {
    let (upstream, status) = answering(504);
    let keys = in_a_row("open_for = \"200ms\", ramp = \"500ms\"");
    let gateway = Gateway::start(&config(&upstream, &keys));
    let mut client = gateway.connect();
    (0..3).for_each(|_| drop(client.ask(get("/"))));
    // A probe that fails makes it longer.
    wait_for("two probes that fail", || {
        client.ask(get("/"));
        upstream.heads() >= 5
    });
    let times = || -> Vec<u64> {
        let events = gateway.events("breaker tripped");
        let times = events.iter().map(|event| &event["open_for_ms"]);
        times.filter_map(serde_json::Value::as_u64).collect()
    };
    wait_for("the word of it", || times() == [200, 400, 800]);
    status.store(200, Ordering::SeqCst);
    wait_for("a probe that succeeds", || {
        client.ask(get("/")).status == 200
    });
    wait_for("the word of it", || {
        !gateway
            .events("breaker probe succeeded, traffic comes back")
            .is_empty()
    });
    wait_for("all traffic", || state(&gateway) == 0.0);
    let mut all = || (0..20).all(|_| client.ask(get("/")).status == 200);
    assert!(all());
    assert_eq!(gateway.status()["open_breakers"], serde_json::json!([]));
    wait_for("the word of it", || {
        gateway.events("breaker passing").len() == 1
    });
}

#[test]
fn while_traffic_comes_back_a_part_of_it_passes() {
    let (upstream, status) = answering(502);
    let keys = in_a_row("open_for = \"10ms\", ramp = \"1h\"");
    let gateway = Gateway::start(&config(&upstream, &keys));
    let mut client = gateway.connect();
    (0..3).for_each(|_| drop(client.ask(get("/"))));
    status.store(200, Ordering::SeqCst);
    wait_for("a probe that succeeds", || {
        client.ask(get("/")).status == 200
    });
    assert_eq!(state(&gateway), 1.0);
    let passed = (0..300)
        .filter(|_| client.ask(get("/")).status == 200)
        .count();
    // A tenth at first.
    assert!((5..=75).contains(&passed), "{passed} of 300");
}

#[test]
fn a_share_of_failures_trips_it() {
    let upstream = Upstream::serving(|request| match &*request.target {
        "/bad" => answer(503, ""),
        _ => answer(200, ""),
    });
    let keys = "breaker = { consecutive_failures = \"off\", failure_percent = 50, min_requests = 10, window = \"60s\" }";
    let gateway = Gateway::start(&config(&upstream, keys));
    let mut client = gateway.connect();
    for _ in 0..5 {
        assert!(client.ask(get("/good")).is_from_upstream());
        assert!(client.ask(get("/bad")).is_from_upstream());
    }
    assert_refusal(&client.ask(get("/good")), 503, "breaker_open");
}

#[test]
fn what_is_no_failure_of_the_upstream_never_trips_it() {
    let (upstream, status) = answering(500);
    let gateway = Gateway::start(&config(&upstream, &in_a_row("open_for = \"1h\"")));
    let mut client = gateway.connect();
    for code in [500, 404, 429, 501] {
        status.store(code, Ordering::SeqCst);
        (0..5).for_each(|_| assert_eq!(client.ask(get("/")).status, code));
    }
    assert_eq!(state(&gateway), 0.0);
}

#[test]
fn a_route_without_a_breaker_never_trips() {
    let (upstream, _) = answering(503);
    let gateway = Gateway::start(&config(&upstream, ""));
    let mut client = gateway.connect();
    (0..40).for_each(|_| assert!(client.ask(get("/")).is_from_upstream()));
    assert_eq!(state(&gateway), 0.0);
}

#[test]
fn every_kind_of_failure_counts() {
    let nobody = Upstream::echo();
    nobody.stop();
    for (upstream, keys) in [
        (Upstream::closing(), ""),
        (Upstream::hanging(), "timeout = \"100ms\""),
        (Upstream::answering("nonsense"), ""),
        (nobody, ""),
    ] {
        let keys = format!("{keys}\nretry = \"off\"\n{}", in_a_row("open_for = \"1h\""));
        let gateway = Gateway::start(&config(&upstream, &keys));
        let mut client = gateway.connect();
        for _ in 0..3 {
            assert_ne!(reason_of(&client.ask(get("/"))), "breaker_open");
        }
        assert_refusal(&client.ask(get("/")), 503, "breaker_open");
    }
}

#[test]
fn a_retry_that_succeeds_ends_the_failures_in_a_row() {
    let upstream = Upstream::raw(|connection| {
        while let Some(request) = connection.request() {
            if request.header("x-seawall-attempt").is_none() {
                return;
            }
            connection.write(answer(200, "at last"));
        }
    });
    let gateway = Gateway::start(&config(&upstream, &in_a_row("open_for = \"1h\"")));
    (0..8).for_each(|_| assert_passed(&gateway.get("/")));
    assert_eq!(state(&gateway), 0.0);
}

#[test]
fn a_client_that_leaves_says_nothing_about_the_upstream() {
    let upstream = Upstream::hanging();
    let keys = "breaker = { consecutive_failures = 1, failure_percent = \"off\" }";
    let gateway = Gateway::start(&config(&upstream, keys));
    for gone in 1..=3 {
        let mut client = gateway.connect();
        client.send(get("/"));
        upstream.wait_heads(gone);
        drop(client);
        let left = [("route", "any"), ("code", "499")];
        gateway.wait_metric("seawall_requests_total", &left, gone as f64);
    }
    assert_eq!(state(&gateway), 0.0);
}

#[test]
fn a_reload_keeps_it_and_other_routes_are_not_its_matter() {
    let (upstream, _) = answering(503);
    let keys = in_a_row("open_for = \"1h\"");
    let other = "path = \"/other\"\nupstream = \"u\"\nbreaker = {}";
    let config = config(&upstream, &keys).route("other", other);
    let gateway = Gateway::start(&config);
    (0..3).for_each(|_| assert!(gateway.get("/").is_from_upstream()));
    assert_refusal(&gateway.get("/"), 503, "breaker_open");
    assert!(gateway.get("/other").is_from_upstream());
    // Another spec, another upstream beside it, another place in the table.
    let keys = keys.replace("= 3", "= 4");
    let route = format!("path = \"/{{*rest}}\"\nupstream = \"u\"\ntimeout = \"9s\"\n{keys}");
    let config = config.route("any", &route).respond("a", "/a", "new");
    gateway.write_structure(&config);
    wait_for("the reload", || gateway.get("/a").text() == "new");
    assert_refusal(&gateway.get("/"), 503, "breaker_open");
    let any = [("route", "any")];
    assert_eq!(gateway.metrics().one(STATE, &any), 2.0);
    // Switched off, and on again: what was known is still there.
    gateway.write_structure(
        &config
            .clone()
            .route("any", "path = \"/{*rest}\"\nupstream = \"u\""),
    );
    wait_for("it to be off", || gateway.get("/").is_from_upstream());
    assert_eq!(gateway.metrics().one(STATE, &any), 0.0);
    gateway.write_structure(&config);
    wait_for("it to be on", || {
        reason_of(&gateway.get("/")) == "breaker_open"
    });
}

#[test]
fn a_route_that_is_open_on_failure_keeps_what_the_breaker_refuses() {
    let (upstream, _) = answering(503);
    let shelf = Shelf::new();
    let keys = format!(
        "kill_switch = {{ mode = \"archive\" }}\non_failure = \"open\"\n{}",
        in_a_row("open_for = \"1h\"")
    );
    let gateway = Gateway::start(&shelf.used_by(config(&upstream, &keys)));
    for _ in 0..5 {
        assert_killed(&gateway.ask(post("/", "points=12")));
    }
    assert_eq!(upstream.heads(), 3);
    let records = shelf.records();
    assert_eq!(records.len(), 5);
    let maybe: Vec<bool> = records
        .iter()
        .map(|record| record.maybe_processed)
        .collect();
    assert_eq!(maybe, [true, true, true, false, false]);
}

#[test]
fn a_killed_request_asks_no_breaker() {
    let (upstream, _) = answering(503);
    let gateway = Gateway::start(&config(&upstream, &in_a_row("open_for = \"10ms\"")));
    (0..3).for_each(|_| drop(gateway.get("/")));
    gateway.write_switches("[kill]\nany = \"drop\"\n");
    wait_for("the switch", || gateway.get("/").status == 200);
    let heads = upstream.heads();
    holds_for(Duration::from_millis(100), "no probe", || {
        assert_killed(&gateway.get("/"));
        upstream.heads() == heads
    });
}

/// Retries of 503 that no budget ends.
const RETRIES: &str = "retry_budget = { min_per_second = 100000 }\n\
                       retry = { attempts = 10, on = [503], backoff = \"1ms\" }";

#[test]
fn an_attempt_that_trips_it_is_the_last() {
    let (upstream, _) = answering(503);
    let keys = format!("{}\n{RETRIES}", in_a_row("open_for = \"1h\""));
    let gateway = Gateway::start(&config(&upstream, &keys));
    let last = gateway.get("/");
    assert!(last.is_from_upstream());
    assert_eq!((last.status, &*last.text()), (503, "said"));
    assert_eq!(upstream.heads(), 3);
    assert_refusal(&gateway.get("/"), 503, "breaker_open");
}

#[test]
fn retries_of_many_requests_end_when_it_trips() {
    const AT_ONCE: usize = 20;
    let (upstream, _) = answering(503);
    let keys = format!("{}\n{RETRIES}", in_a_row("open_for = \"1h\""));
    let gateway = Gateway::start(&config(&upstream, &keys));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| assert_eq!(gateway.get("/").status, 503));
        }
    });
    // What was on its way when it tripped, and two retries before.
    let attempts = upstream.heads();
    assert!((3..=AT_ONCE + 2).contains(&attempts), "{attempts}");
    let tripped = || gateway.events("breaker tripped").len();
    wait_for("the word of it", || tripped() == 1);
}

#[test]
fn a_probe_that_fails_is_not_retried() {
    let (upstream, _) = answering(503);
    let keys = "breaker = { consecutive_failures = 1, open_for = \"1s\" }";
    let gateway = Gateway::start(&config(&upstream, &format!("{keys}\n{RETRIES}")));
    gateway.get("/");
    assert_eq!(upstream.heads(), 1);
    wait_for("a probe", || gateway.get("/").is_from_upstream());
    assert_eq!(upstream.heads(), 2);
    let times = || -> Vec<u64> {
        let events = gateway.events("breaker tripped");
        let times = events.iter().map(|event| &event["open_for_ms"]);
        times.filter_map(serde_json::Value::as_u64).collect()
    };
    wait_for("the word of it", || times() == [1000, 2000]);
}

#[test]
fn what_is_listed_takes_the_place_of_the_usual_failures() {
    let (upstream, status) = answering(503);
    let keys = in_a_row("open_for = \"1h\", on = [500, \"timeout\"]");
    let gateway = Gateway::start(&config(&upstream, &keys));
    let mut client = gateway.connect();
    (0..4).for_each(|_| assert_eq!(client.ask(get("/")).status, 503));
    assert_eq!(state(&gateway), 0.0);
    status.store(500, Ordering::SeqCst);
    (0..3).for_each(|_| assert_eq!(client.ask(get("/")).status, 500));
    assert_refusal(&client.ask(get("/")), 503, "breaker_open");
}
