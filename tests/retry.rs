//! Attempts that fail are made again: where it helps, where it is safe, within the deadline and
//! the retry budget.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::*;

const RETRIES: &str = "seawall_retries_total";
const ATTEMPTS: &str = "seawall_upstream_attempts_total";
const SENT: [(&str, &str); 2] = [("route", "any"), ("outcome", "sent")];
const NO_BUDGET: [(&str, &str); 2] = [("route", "any"), ("outcome", "no_budget")];
const NOT_REPLAYABLE: [(&str, &str); 2] = [("route", "any"), ("outcome", "not_replayable")];
const DEADLINE: [(&str, &str); 2] = [("route", "any"), ("outcome", "deadline")];

/// One route, `any`, with further keys, to these endpoints. Times are long for a busy machine.
fn config(endpoints: &[String], keys: &str) -> Config {
    let route = format!("path = \"/{{*rest}}\"\nupstream = \"u\"\n{keys}");
    Config::new()
        .defaults("timeout", "\"60s\"")
        .endpoints("u", endpoints, "connect_timeout = \"9s\"")
        .route("any", &route)
}

fn start(upstream: &Upstream, keys: &str) -> Gateway {
    Gateway::start(&config(&[upstream.url()], keys))
}

fn nobody() -> String {
    format!("http://{}", free_address())
}

fn attempt_of(request: &Request) -> Option<String> {
    request.header("x-seawall-attempt")
}

/// Closes the connection of each first attempt once its request is whole; echoes the others.
fn at_second() -> Upstream {
    Upstream::raw(|connection| {
        while let Some(request) = connection.request() {
            if attempt_of(&request).is_none() {
                return;
            }
            connection.write(answer(200, &request.body));
        }
    })
}

fn put(target: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("PUT {target} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut request =
        b"PUT / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(1000) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

fn pattern(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|n| (n % 251) as u8).collect()
}

#[test]
fn a_request_whose_attempt_is_reset_goes_to_another_endpoint() {
    let (resets, serves) = (Upstream::closing(), Upstream::echo());
    let endpoints = [resets.url(), serves.url()];
    let gateway = Gateway::start(&config(&endpoints, "retry_budget = { percent = 100 }"));
    for outcome in [SENT, NO_BUDGET, NOT_REPLAYABLE, DEADLINE] {
        assert_eq!(gateway.metrics().one(RETRIES, &outcome), 0.0);
    }
    let mut client = gateway.connect();
    let request = "GET / HTTP/1.1\r\nhost: test\r\nx-seawall-attempt: 7\r\n\r\n";
    for _ in 0..30 {
        assert_passed(&client.ask(request));
    }
    assert!(resets.heads() > 0, "the other was chosen 30 times");
    let retried = serves.requests().iter().filter_map(attempt_of).count();
    assert_eq!(retried, resets.heads());
    let second = |request: &Request| attempt_of(request).is_none_or(|number| number == "2");
    assert!(serves.requests().iter().all(second));
    assert!(resets.requests().iter().all(|r| attempt_of(r).is_none()));
    gateway.wait_metric(RETRIES, &SENT, resets.heads() as f64);
    gateway.wait_metric(ATTEMPTS, &[], 30.0 + resets.heads() as f64);
}

#[test]
fn a_post_is_not_sent_again_once_an_upstream_may_have_seen_it() {
    let upstream = Upstream::closing();
    let gateway = start(&upstream, "");
    for body in ["points=12", ""] {
        assert_refusal(&gateway.ask(post("/", body)), 502, "upstream_reset");
    }
    assert_eq!(upstream.heads(), 2);
    gateway.wait_metric(RETRIES, &NOT_REPLAYABLE, 2.0);
    assert_eq!(gateway.metric(RETRIES, &[]), 2.0);
}

#[test]
fn a_post_goes_to_another_endpoint_when_no_connection_could_be_made() {
    let serves = Upstream::echo();
    let gateway = Gateway::start(&config(&[nobody(), serves.url()], ""));
    let body = pattern(100_000);
    for _ in 0..10 {
        let response = gateway.ask(post("/", &body));
        assert_passed(&response);
        assert!(response.body == body);
    }
    assert_eq!(serves.heads(), 10);
}

#[test]
fn a_single_endpoint_is_tried_again() {
    let gateway = Gateway::start(&config(&[nobody()], "retry = { attempts = 3 }"));
    assert_refusal(&gateway.get("/"), 502, "connect_failed");
    gateway.wait_metric(ATTEMPTS, &[("outcome", "connect_failed")], 3.0);
    gateway.wait_metric(RETRIES, &SENT, 2.0);
}

#[test]
fn what_the_route_says_may_be_repeated_is() {
    let upstream = at_second();
    let gateway = start(&upstream, "retry = { non_idempotent = true }");
    let response = gateway.ask(post("/", "points=12"));
    assert_passed(&response);
    assert_eq!(response.text(), "points=12");
    let [first, second] = &upstream.requests()[..] else {
        panic!("{:?}", upstream.requests());
    };
    assert_eq!(first.body, second.body);
    assert_eq!(first.method, second.method);
    assert_eq!(attempt_of(second).as_deref(), Some("2"));
}

#[test]
fn without_retries_there_is_one_attempt() {
    let upstream = at_second();
    let gateway = start(&upstream, "retry = \"off\"");
    assert_refusal(&gateway.get("/"), 502, "upstream_reset");
    assert_eq!(upstream.heads(), 1);
    assert_eq!(gateway.metric(RETRIES, &[]), 0.0);
}

#[test]
fn an_idle_connection_that_turns_out_to_be_closed_is_replaced_for_free() {
    // Serves one request on each connection, and closes it when another comes.
    let upstream = Upstream::raw(|connection| {
        if connection.request().is_some() {
            connection.write(answer(200, ""));
            connection.request();
        }
    });
    let gateway = start(&upstream, "retry = \"off\"");
    let mut client = gateway.connect();
    assert_passed(&client.ask(get("/")));
    let idle = Duration::from_millis(700);
    holds_for(idle, "an open connection", || {
        upstream.open_connections() == 1
    });
    assert_passed(&client.ask(get("/")));
    assert_eq!(upstream.heads(), 3);
    gateway.wait_metric(ATTEMPTS, &[("outcome", "upstream_reset")], 1.0);
    assert_eq!(gateway.metric(RETRIES, &[]), 0.0);
    assert!(upstream.requests().iter().all(|r| attempt_of(r).is_none()));
    // Not so a POST, which the upstream may have acted on.
    wait_for("the other to end", || upstream.open_connections() == 1);
    holds_for(idle, "an open connection", || {
        upstream.open_connections() == 1
    });
    assert_refusal(&client.ask(post("/", "x")), 502, "upstream_reset");
    assert_eq!(upstream.heads(), 4);
}

#[test]
fn a_body_of_64_kib_is_sent_again_and_one_byte_more_is_not() {
    let upstream = at_second();
    let gateway = start(&upstream, "");
    let kept = pattern(64 << 10);
    let long = pattern((64 << 10) + 1);
    for request in [put("/", &kept), chunked(&kept)] {
        let response = gateway.ask(request);
        assert_passed(&response);
        assert!(response.body == kept);
    }
    gateway.wait_metric(RETRIES, &SENT, 2.0);
    for request in [put("/", &long), chunked(&long)] {
        assert_refusal(&gateway.ask(request), 502, "upstream_reset");
    }
    gateway.wait_metric(RETRIES, &NOT_REPLAYABLE, 2.0);
    assert_eq!(upstream.heads(), 6);
    assert!(upstream.requests().iter().all(|request| request.whole));
}

#[test]
fn a_body_that_is_still_coming_is_sent_again_from_its_beginning() {
    let upstream = Upstream::raw(|connection| {
        let Some(request) = connection.head() else {
            return;
        };
        if connection.number == 0 {
            // A reset, with bytes of the body unread.
            return;
        }
        let request = connection.body(request);
        connection.write(answer(200, &request.body));
    });
    let gateway = start(&upstream, "");
    let body = pattern(40_000);
    let mut client = gateway.connect();
    let request = put("/", &body);
    client.send(&request[..20_000]);
    gateway.wait_metric(ATTEMPTS, &[("outcome", "upstream_reset")], 1.0);
    client.send(&request[20_000..]);
    let response = client.read();
    assert_passed(&response);
    assert!(response.body == body);
    assert!(upstream.last().body == body);
    // The connection goes on.
    assert_passed(&client.ask(put("/", b"again")));
}

#[test]
fn an_empty_budget_ends_retries_to_the_unit() {
    let upstream = Upstream::closing();
    let keys = "retry_budget = { percent = 50, min_per_second = 0, window = \"60s\" }";
    let gateway = start(&upstream, keys);
    for _ in 0..11 {
        assert_refusal(&gateway.get("/"), 502, "upstream_reset");
    }
    gateway.wait_metric(RETRIES, &SENT, 5.0);
    gateway.wait_metric(RETRIES, &NO_BUDGET, 6.0);
    assert_eq!(upstream.heads(), 16);
    // A reload keeps what was used; a larger share takes effect.
    let keys = keys.replace("50", "100");
    gateway.write_structure(&config(&[upstream.url()], &keys));
    wait_for("the reload", || {
        gateway.status()["last_reload"]["result"] == "applied"
    });
    wait_for("a larger budget", || {
        gateway.get("/");
        gateway.metric(RETRIES, &SENT) > 5.0
    });
}

#[test]
fn a_throttled_upstream_is_left_alone_unless_the_route_asks() {
    let upstream = Upstream::serving(|_| answer(503, "busy"));
    let gateway = start(&upstream, "");
    let mut client = gateway.connect();
    for _ in 0..20 {
        let response = client.ask(get("/"));
        assert_eq!(response.status, 503);
        assert!(response.is_from_upstream());
    }
    assert_eq!(upstream.heads(), 20);
    assert_eq!(gateway.metric(RETRIES, &[]), 0.0);
}

#[test]
fn a_listed_status_is_retried_and_the_last_answer_is_the_clients() {
    for status in [502, 503, 504] {
        let upstream = Upstream::serving(move |request| match &*request.target {
            "/never" => answer(status, attempt_of(request).unwrap_or_default()),
            _ if attempt_of(request).is_none() => answer(status, "busy"),
            _ => answer(200, "at last"),
        });
        let gateway = start(
            &upstream,
            &format!("retry = {{ attempts = 3, on = [{status}] }}"),
        );
        let mut client = gateway.connect();
        assert_eq!(client.ask(get("/")).text(), "at last");
        let last = client.ask(get("/never"));
        assert_eq!((last.status, &*last.text()), (status, "3"));
        assert!(last.is_from_upstream());
        assert_eq!(upstream.heads(), 5);
        // Small answers are read to their end, so that their connection is used again.
        assert_eq!(upstream.connections(), 1);
        let labels = [("by", "upstream"), ("code", &*status.to_string())];
        gateway.wait_metric("seawall_requests_total", &labels, 1.0);
        gateway.wait_metric(RETRIES, &SENT, 3.0);
        gateway.wait_metric("seawall_upstream_in_flight", &[], 0.0);
    }
}

#[test]
fn a_large_answer_is_not_waited_for_before_the_next_attempt() {
    let upstream = Upstream::raw(|connection| {
        while let Some(request) = connection.request() {
            match attempt_of(&request) {
                None => {
                    connection.write("HTTP/1.1 503 Busy\r\ncontent-length: 1000000\r\n\r\nand so");
                    connection.until_gone();
                }
                Some(_) => drop(connection.write(answer(200, "at last"))),
            }
        }
    });
    let gateway = start(&upstream, "retry = { on = [503] }");
    assert_eq!(gateway.get("/").text(), "at last");
    wait_for("its connection to end", || upstream.open_connections() == 1);
}

#[test]
fn an_attempt_that_takes_too_long_is_made_elsewhere() {
    let (hangs, serves) = (Upstream::hanging(), Upstream::echo());
    let keys = "attempt_timeout = \"300ms\"\nretry = { on = [\"timeout\"] }";
    let gateway = Gateway::start(&config(&[hangs.url(), serves.url()], keys));
    wait_for("an attempt that hangs", || {
        assert_passed(&gateway.get("/"));
        hangs.heads() > 0
    });
    gateway.wait_metric(RETRIES, &SENT, hangs.heads() as f64);
}

#[test]
fn timeout_bounds_all_attempts_together() {
    let upstream = Upstream::hanging();
    let keys = "timeout = \"2500ms\"\nattempt_timeout = \"1s\"\n\
                retry = { attempts = 9, on = [\"timeout\"], backoff = \"1ms\" }";
    let gateway = start(&upstream, keys);
    let begun = now();
    assert_refusal(&gateway.get("/"), 504, "upstream_timeout");
    assert!(begun.elapsed() >= Duration::from_millis(2400));
    let attempts = gateway.metric(ATTEMPTS, &[]);
    assert!((2.0..=3.0).contains(&attempts), "{attempts}");
    gateway.wait_metric(RETRIES, &DEADLINE, 1.0);
}

#[test]
fn a_server_that_asks_for_time_gets_it_unless_the_deadline_comes_first() {
    let upstream = Upstream::serving(|request| {
        let wait = &request.target[1..];
        match attempt_of(request) {
            Some(_) => answer(200, "at last"),
            None => format!(
                "HTTP/1.1 503 Busy\r\nx-from: u\r\nretry-after: {wait}\r\ncontent-length: 0\r\n\r\n"
            )
            .into_bytes(),
        }
    });
    let gateway = start(&upstream, "retry = { on = [503], backoff = \"1ms\" }");
    let begun = now();
    assert_eq!(gateway.get("/1").text(), "at last");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(gateway.get("/61").status, 503);
    gateway.wait_metric(RETRIES, &DEADLINE, 1.0);
    assert_eq!(upstream.heads(), 3);
}

#[test]
fn a_date_is_a_wait_too() {
    for (date, outcome) in [
        ("Fri, 31 Dec 2100 23:59:59 GMT", DEADLINE),
        ("99999999999999999999999", DEADLINE),
        ("Sun, 06 Nov 1994 08:49:37 GMT", SENT),
        ("soon", SENT),
    ] {
        let upstream = Upstream::serving(move |request| match attempt_of(request) {
            Some(_) => answer(200, "at last"),
            None => {
                format!("HTTP/1.1 503 Busy\r\nretry-after: {date}\r\ncontent-length: 0\r\n\r\n")
                    .into_bytes()
            }
        });
        let gateway = start(&upstream, "retry = { on = [503], backoff = \"1ms\" }");
        gateway.get("/");
        gateway.wait_metric(RETRIES, &outcome, 1.0);
    }
}

/// Answers 503 to every attempt; asks for much time from the second on.
fn throttled() -> Upstream {
    Upstream::serving(|request| {
        let wait = attempt_of(request).map_or("0", |_| "9");
        let head = format!("HTTP/1.1 503 Busy\r\nretry-after: {wait}\r\ncontent-length: 0\r\n\r\n");
        head.into_bytes()
    })
}

#[test]
fn a_switch_that_is_thrown_takes_a_retry_that_waits() {
    let keys = "retry = { attempts = 3, on = [503], backoff = \"1ms\" }";
    for request in [get("/").into_bytes(), put("/", &pattern(50_000))] {
        let upstream = throttled();
        let gateway = start(&upstream, keys);
        let mut client = gateway.connect();
        client.send(request);
        upstream.wait_heads(2);
        gateway.write_switches("[kill]\nany = \"drop\"\n");
        assert_killed(&client.read());
        // The connection goes on.
        assert_killed(&client.ask(get("/")));
        assert_eq!(upstream.heads(), 2);
    }
}

#[test]
fn what_a_switch_takes_from_a_waiting_retry_is_archived_as_the_client_sent_it() {
    for open in ["", "on_failure = \"open\""] {
        let (upstream, shelf) = (throttled(), Shelf::new());
        let keys = format!(
            "retry = {{ attempts = 3, on = [503], backoff = \"1ms\" }}\n\
             kill_switch = {{ mode = \"archive\" }}\n{open}"
        );
        let gateway = Gateway::start(&shelf.used_by(config(&[upstream.url()], &keys)));
        let body = pattern(50_000);
        let mut client = gateway.connect();
        client.send(put("/x?a=1", &body));
        upstream.wait_heads(2);
        gateway.write_switches("[kill]\nany = \"archive\"\n");
        assert_killed(&client.read());
        let records = shelf.records();
        assert_eq!(records.len(), 1);
        assert!(
            records[0].body() == body,
            "{} bytes",
            records[0].body().len()
        );
        assert_eq!(
            (&*records[0].method, &*records[0].target),
            ("PUT", "/x?a=1")
        );
        let ours = |(name, _): &(String, String)| name.starts_with("x-seawall-");
        assert!(!records[0].headers.iter().any(ours));
        assert!(records[0].maybe_processed, "the upstream has seen it twice");
        assert_eq!(gateway.status()["archive"]["buffered_bytes"], 0);
    }
}

#[test]
fn what_no_retry_saves_is_kept_whole_on_a_route_that_is_open_on_failure() {
    let shelf = Shelf::new();
    let count = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::raw({
        let count = Arc::clone(&count);
        move |connection| {
            connection.request();
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let keys = "kill_switch = { mode = \"archive\" }\non_failure = \"open\"";
    let gateway = Gateway::start(&shelf.used_by(config(&[upstream.url()], keys)));
    let body = pattern(60_000);
    let mut client = gateway.connect();
    for request in [put("/", &body), chunked(&body)] {
        assert_killed(&client.ask(request));
    }
    assert_eq!(count.load(Ordering::SeqCst), 4);
    let records = shelf.records();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record.body() == body));
}

#[test]
fn the_access_log_tells_how_many_attempts_there_were() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("access.log");
    let upstream = at_second();
    let config = config(&[upstream.url()], "").telemetry("access_log", &format!("{log:?}"));
    let gateway = Gateway::start(&config);
    assert_passed(&gateway.get("/"));
    let mut line = serde_json::Value::Null;
    wait_for("its line", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let first = text.lines().next().map(serde_json::from_str);
        line = first.and_then(Result::ok).unwrap_or_default();
        !line.is_null()
    });
    assert_eq!(line["attempts"], 2);
    assert_eq!(line["http.response.status_code"], 200);
}

#[test]
fn a_client_that_leaves_while_a_retry_waits_ends_it() {
    let upstream = throttled();
    let keys = "retry = { attempts = 3, on = [503], backoff = \"1ms\" }";
    let gateway = start(&upstream, keys);
    let mut client = gateway.connect();
    client.send(get("/"));
    upstream.wait_heads(2);
    drop(client);
    let gone = [("route", "any"), ("code", "499")];
    gateway.wait_metric("seawall_requests_total", &gone, 1.0);
    gateway.wait_metric("seawall_upstream_in_flight", &[], 0.0);
    assert_eq!(upstream.heads(), 2);
}
