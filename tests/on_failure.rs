//! `on_failure = "open"`: what the upstream fails to take is kept, and answered as mode `archive`
//! would. Never a 200 for what is not kept.

mod support;

use std::sync::Arc;

use support::*;

const KILLED: &str = "seawall_killed_requests_total";

fn outcome(name: &'static str) -> [(&'static str, &'static str); 3] {
    [("route", "any"), ("mode", "archive"), ("outcome", name)]
}

/// One route to these endpoints that is open on failure.
fn open_at(shelf: &Shelf, endpoints: &[String], keys: &str) -> Config {
    let route = "path = \"/{*rest}\"\nupstream = \"u\"\non_failure = \"open\"\n\
                 kill_switch = { mode = \"archive\" }";
    let config = Config::new()
        .endpoints("u", endpoints, "connect_timeout = \"9s\"")
        .defaults("timeout", "\"9s\"");
    shelf.used_by(config.route("any", &format!("{route}\n{keys}")))
}

fn open(shelf: &Shelf, upstream: &Upstream) -> Config {
    open_at(shelf, &[upstream.url()], "")
}

fn chunked(target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("PUT {target} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut request = head.into_bytes();
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

/// Whatever the upstream does, a record says what, and whether it may have seen the request.
#[track_caller]
fn assert_kept(endpoint: &str, cause: &str, maybe_processed: bool) {
    let shelf = Shelf::new();
    // Long for a busy machine, unless it is waited for.
    let timeout = match cause {
        "upstream_timeout" => "300ms",
        _ => "9s",
    };
    let keys = format!("timeout = \"{timeout}\"\nrequest_headers = {{ remove = [\"x-mine\"] }}");
    let gateway = Gateway::start(&open_at(&shelf, &[endpoint.to_owned()], &keys));
    let mut client = gateway.connect();
    let body = pattern(20_000);
    let head = "POST /stats/7?a=b%20c HTTP/1.1\r\nhost: test\r\nX-Mine: One\r\n\
                x-request-id: my-id\r\ncontent-length: 20000\r\n\r\n";
    assert_killed(&client.ask([head.as_bytes(), &body[..]].concat()));
    // On the same connection.
    assert_killed(&client.ask(get("/motd")));
    assert_killed(&client.ask(chunked("/chunks", &body)));
    let records = shelf.records();
    let [first, second, third] = &records[..] else {
        panic!("{} records", records.len());
    };
    assert!(first.body() == body && third.body() == body);
    assert_eq!(
        (&*first.method, &*first.target),
        ("POST", "/stats/7?a=b%20c")
    );
    assert_eq!(first.request_id, "my-id");
    let sent = |name: &str| {
        let mut pairs = first.headers.iter();
        pairs
            .find(|(found, _)| found == name)
            .map(|(_, v)| v.as_str())
    };
    assert_eq!(sent("x-mine"), Some("One"));
    assert_eq!((sent("x-forwarded-for"), sent("via")), (None, None));
    assert_eq!((&*second.method, second.body()), ("GET", Vec::new()));
    for record in &records {
        assert_eq!(&*record.kill.source, "on_failure");
        assert_eq!(&*record.kill.mode, "archive");
        assert_eq!(record.kill.reason.as_deref(), Some(cause));
        assert_eq!(record.maybe_processed, maybe_processed, "{cause}");
    }
    gateway.wait_metric(KILLED, &outcome("archived"), 3.0);
    assert_eq!(gateway.metric(KILLED, &[]), 3.0);
    let answered = [("route", "any"), ("by", "kill"), ("code", "200")];
    gateway.wait_metric("seawall_requests_total", &answered, 3.0);
    assert_eq!(gateway.metric("seawall_refusals_total", &[]), 0.0);
    assert_eq!(gateway.status()["archive"]["buffered_bytes"], 0);
}

#[test]
fn without_a_connection_the_request_is_kept() {
    let nobody = format!("http://{}", free_address());
    assert_kept(&nobody, "connect_failed", false);
}

#[test]
fn of_an_upstream_that_closes_the_request_is_kept() {
    let upstream = Upstream::closing();
    assert_kept(&upstream.url(), "upstream_reset", true);
}

#[test]
fn of_an_upstream_that_is_silent_the_request_is_kept() {
    let upstream = Upstream::hanging();
    assert_kept(&upstream.url(), "upstream_timeout", true);
}

#[test]
fn of_an_upstream_that_speaks_no_http_the_request_is_kept() {
    let upstream = Upstream::answering("nonsense\r\n\r\n");
    assert_kept(&upstream.url(), "upstream_invalid", true);
}

#[test]
fn of_an_upstream_that_says_it_cannot_serve_the_request_is_kept() {
    for status in [502, 503, 504] {
        let upstream = Upstream::serving(move |_| answer(status, "sorry"));
        assert_kept(&upstream.url(), &format!("status_{status}"), true);
    }
}

#[test]
fn an_upstream_that_says_it_cannot_serve_is_not_connected_to_again_and_again() {
    let shelf = Shelf::new();
    let upstream = Upstream::serving(|_| answer(503, "sorry"));
    let config = open(&shelf, &upstream).server("workers", "1");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    for request in [post("/", "points"), get("/").into_bytes()]
        .iter()
        .cycle()
        .take(20)
    {
        assert_killed(&client.ask(request));
    }
    // One that was not read in time may have been closed, on a busy machine.
    assert!(upstream.connections() < 10, "{}", upstream.connections());
    assert_eq!(shelf.records().len(), 20);
}

#[test]
fn a_request_that_the_upstream_failed_holds_no_place_there_while_it_is_kept() {
    let shelf = Shelf::new();
    // Fails each PUT at its head; nothing more is read of it.
    let upstream = Upstream::raw(|connection| {
        while let Some(request) = connection.head() {
            if request.method == "PUT" {
                connection.write(answer(503, "full"));
                connection.until_gone();
                return;
            }
            connection.write(answer(200, "done"));
        }
    });
    let config = open(&shelf, &upstream)
        .endpoints("u", &[upstream.url()], "concurrency = 1")
        .server("body_timeout", "\"60s\"");
    let gateway = Gateway::start(&config);
    let mut slow = gateway.connect();
    slow.send("PUT / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n01234");
    upstream.wait_heads(1);
    wait_for("the place", || gateway.get("/").status == 200);
    slow.send("56789");
    assert_killed(&slow.read());
    let records = shelf.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].body(), b"0123456789");
    assert!(records[0].maybe_processed);
}

#[test]
fn answers_of_the_upstream_and_errors_of_the_client_pass() {
    let shelf = Shelf::new();
    let upstream = Upstream::serving(|request| match &*request.target {
        "/500" => answer(500, "mine"),
        "/429" => answer(429, "slower"),
        _ => answer(200, &request.body),
    });
    let gateway = Gateway::start(&open_at(&shelf, &[upstream.url()], "max_body = \"10KiB\""));
    let mut client = gateway.connect();
    for (target, status) in [("/500", 500), ("/429", 429), ("/200", 200)] {
        let response = client.ask(post(target, "x"));
        assert_eq!(response.status, status);
        assert!(response.is_from_upstream());
    }
    let body = pattern(9_000);
    assert!(client.ask(post("/", &body)).body == body);
    assert!(client.ask(chunked("/", &body)).body == body);
    assert_refusal(
        &client.ask(chunked("/", &pattern(11_000))),
        413,
        "body_too_large",
    );
    assert_refusal(
        &gateway.ask(post("/", pattern(11_000))),
        413,
        "body_too_large",
    );
    assert_eq!(shelf.records().len(), 0);
    assert_eq!(gateway.metric(KILLED, &[]), 0.0);
    assert_eq!(gateway.status()["archive"]["buffered_bytes"], 0);
}

#[test]
fn an_answer_that_has_begun_is_not_replaced() {
    let (upstream, shelf) = (Upstream::cutting(), Shelf::new());
    let gateway = Gateway::start(&open(&shelf, &upstream));
    let response = gateway.ask(post("/", "x"));
    assert_eq!((response.status, response.whole), (200, false));
    assert_eq!(shelf.records().len(), 0);
    assert_eq!(gateway.metric(KILLED, &[]), 0.0);
}

/// A body may go on for long behind its answer; its copy must not take the room of others.
#[test]
fn an_answer_that_has_begun_ends_the_copying() {
    let (upstream_may, shelf) = (Arc::new(Gate::default()), Shelf::new());
    let upstream = Upstream::raw({
        let may = Arc::clone(&upstream_may);
        move |connection| {
            connection.head();
            may.wait();
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
            connection.until_gone();
        }
    });
    // Nothing but the answer may end it.
    let config = open(&shelf, &upstream).server("body_timeout", "\"5m\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: 600000\r\n\r\nhalf");
    let buffered = || gateway.status()["archive"]["buffered_bytes"].as_u64();
    wait_for("the copy", || buffered() > Some(600_000));
    upstream_may.open();
    wait_for("its end", || buffered() == Some(0));
}

/// The upstream is gone, or has answered, while half of the body is still to come.
#[test]
fn what_the_upstream_did_not_read_is_read_and_kept_too() {
    for early in [
        &b""[..],
        b"HTTP/1.1 503 Busy\r\ncontent-length: 5\r\n\r\nsorry",
    ] {
        let failed = Arc::new(Gate::default());
        let shelf = Shelf::new();
        let upstream = Upstream::raw({
            let failed = Arc::clone(&failed);
            move |connection| {
                connection.head();
                connection.write(early);
                failed.open();
            }
        });
        let gateway = Gateway::start(&open(&shelf, &upstream));
        let body = pattern(600_000);
        let mut client = gateway.connect();
        client.send("POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: 600000\r\n\r\n");
        client.send(&body[..200_000]);
        failed.wait();
        let attempts = [("upstream", "u")];
        gateway.wait_metric("seawall_upstream_attempts_total", &attempts, 1.0);
        client.send(&body[200_000..]);
        assert_killed(&client.read());
        let records = shelf.records();
        assert_eq!(records.len(), 1);
        assert!(records[0].body() == body);
        assert!(records[0].maybe_processed);
        // The connection goes on.
        assert_killed(&client.ask(post("/x", "again")));
        assert_eq!(shelf.records().len(), 2);
    }
}

#[test]
fn a_client_that_waits_for_100_continue_is_asked_for_its_body() {
    let shelf = Shelf::new();
    let gateway = Gateway::start(&open_at(
        &shelf,
        &[format!("http://{}", free_address())],
        "",
    ));
    let mut client = gateway.connect();
    client.send(
        "POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.read().status, 100);
    client.send("hello");
    assert_killed(&client.read());
    assert_eq!(shelf.records()[0].body(), b"hello");
    assert_killed(&client.ask(get("/")));
}

#[test]
fn a_client_that_leaves_before_its_body_is_whole_is_aborted() {
    let shelf = Shelf::new();
    let gateway = Gateway::start(&open_at(
        &shelf,
        &[format!("http://{}", free_address())],
        "",
    ));
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\nhalf");
    let attempts = [("upstream", "u")];
    gateway.wait_metric("seawall_upstream_attempts_total", &attempts, 2.0);
    drop(client);
    gateway.wait_metric(KILLED, &outcome("aborted"), 1.0);
    assert_eq!(gateway.metric(KILLED, &[]), 1.0);
    assert_eq!(shelf.records().len(), 0);
}

#[test]
fn without_room_to_keep_it_a_request_is_proxied_and_its_failure_is_an_error() {
    let shelf = Shelf::new();
    let upstream = Upstream::serving(|request| match &*request.target {
        "/bad" => answer(503, "sorry"),
        _ => answer(200, &request.body),
    });
    let config = open(&shelf, &upstream).archive("max_buffer", "\"64KiB\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    let large = pattern(100_000);
    assert!(client.ask(post("/", &large)).body == large);
    assert!(client.ask(chunked("/", &large)).body == large);
    assert_eq!(gateway.metric(KILLED, &[]), 0.0);
    for request in [post("/bad", &large), chunked("/bad", &large)] {
        let response = client.ask(request);
        assert_eq!(response.status, 503);
        assert!(response.is_from_upstream());
    }
    gateway.wait_metric(KILLED, &outcome("refused"), 2.0);
    assert_killed(&client.ask(chunked("/bad", &pattern(30_000))));
    upstream.stop();
    assert_refusal(&gateway.ask(post("/", &large)), 502, "connect_failed");
    assert_refusal(&gateway.ask(chunked("/", &large)), 502, "connect_failed");
    assert_killed(&gateway.ask(post("/", "small")));
    gateway.wait_metric(KILLED, &outcome("refused"), 4.0);
    gateway.wait_metric(KILLED, &outcome("archived"), 2.0);
    assert_eq!(shelf.records().len(), 2);
    assert_eq!(gateway.status()["archive"]["buffered_bytes"], 0);
}

/// Also where mode `archive` would drop what it cannot keep.
#[test]
fn without_a_journal_the_client_sees_the_error() {
    let shelf = Shelf::new();
    std::fs::write(shelf.path("a"), "").expect("written");
    let down = format!("http://{}", free_address());
    let gateway = Gateway::start(&open_at(&shelf, &[down], "tier = \"sheddable\""));
    let mut client = gateway.connect();
    for _ in 0..2 {
        assert_refusal(&client.ask(post("/", "x")), 502, "connect_failed");
    }
    gateway.wait_metric(KILLED, &outcome("refused"), 2.0);
    std::fs::remove_file(shelf.path("a")).expect("removed");
    wait_for("the directory to be used", || {
        client.ask(post("/", "x")).status == 200
    });
    assert_eq!(shelf.records().len(), 1);
}

#[test]
fn a_thrown_switch_goes_first_and_the_log_says_what_failed() {
    let shelf = Shelf::new();
    let log = shelf.path("access.log");
    let config = open_at(&shelf, &[format!("http://{}", free_address())], "")
        .telemetry("access_log", &format!("{log:?}"));
    let gateway = Gateway::start(&config);
    assert_killed(&gateway.ask(post("/", "kept")));
    gateway.write_switches("[kill]\nany = { mode = \"reject\" }\n");
    wait_for("the switch", || gateway.ask(post("/", "x")).status == 503);
    let lines = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        lines.collect::<Vec<serde_json::Value>>()
    };
    let rejected = |line: &serde_json::Value| line["mode"] == "reject";
    wait_for("the log", || lines().last().is_some_and(rejected));
    let first = &lines()[0];
    assert_eq!(first["reason"], "connect_failed");
    assert_eq!(
        (&first["by"], &first["mode"]),
        (&"kill".into(), &"archive".into())
    );
    assert_eq!(first["http.response.status_code"], 200);
    assert_eq!(first["kill.source"], "on_failure");
    assert!(
        lines()
            .last()
            .is_some_and(|line| line["kill.source"] == "any")
    );
}
