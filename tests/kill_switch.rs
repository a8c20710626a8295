//! What a thrown switch does to requests: it answers them, at once and alone.

mod support;

use support::*;

/// Three routes of three tiers, beside each other.
fn tiers(upstream: &Upstream) -> Config {
    let route = |tier: &str| format!("path = \"/{tier}\"\nupstream = \"u\"\ntier = \"{tier}\"");
    Config::new()
        .upstream("u", upstream)
        .route("vital", &route("core"))
        .route("usual", &route("standard"))
        .route("extra", &route("sheddable"))
}

/// Which of the three are killed, in the order above.
fn killed(gateway: &Gateway) -> [bool; 3] {
    ["/core", "/standard", "/sheddable"].map(|target| !gateway.get(target).is_from_upstream())
}

#[test]
fn drop_answers_200_without_touching_the_upstream() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream).switches("[kill]\nany = \"drop\"\n");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    assert_killed(&client.ask(get("/a")));
    // The body is read and discarded, so the connection goes on.
    assert_killed(&client.ask(post("/a", "x".repeat(100_000))));
    let chunked = "POST /a HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    assert_killed(&client.ask(chunked));
    let last = client.ask(get("/a"));
    assert_killed(&last);
    assert!(last.head.has("x-request-id"));
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn killed_requests_are_counted_as_what_became_of_them() {
    let upstream = Upstream::echo();
    let switches = "[kill]\nusual = \"drop\"\nextra = \"reject\"\n";
    let gateway = Gateway::start(&tiers(&upstream).switches(switches));
    for _ in 0..3 {
        gateway.ask(post("/standard", "12345"));
        gateway.ask(post("/sheddable", "12345"));
    }
    let count = "seawall_killed_requests_total";
    let dropped = [("route", "usual"), ("mode", "drop"), ("outcome", "dropped")];
    gateway.wait_metric(count, &dropped, 3.0);
    let rejected = [
        ("route", "extra"),
        ("mode", "reject"),
        ("outcome", "rejected"),
    ];
    gateway.wait_metric(count, &rejected, 3.0);
    let labels = [("route", "usual"), ("code", "200"), ("by", "kill")];
    gateway.wait_metric("seawall_requests_total", &labels, 3.0);
    let labels = [("route", "usual"), ("mode", "drop")];
    gateway.wait_metric("seawall_killed_bytes_total", &labels, 15.0);
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum(count, &[]), 6.0);
    let active = |route, mode| {
        metrics.one(
            "seawall_kill_switch_active",
            &[("route", route), ("mode", mode)],
        )
    };
    // Every mode is always there, so that a dashboard never has to guess.
    assert_eq!(active("usual", "drop"), 1.0);
    assert_eq!(active("usual", "reject"), 0.0);
    assert_eq!(active("extra", "reject"), 1.0);
    assert_eq!(active("vital", "drop"), 0.0);
    assert_eq!(active("vital", "archive"), 0.0);
}

#[test]
fn reject_answers_503_and_says_when_to_come_back_with_jitter() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream).switches("[kill]\nany = \"reject\"\n");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    let mut delays = Vec::new();
    for _ in 0..40 {
        let response = client.ask(post("/a", "x"));
        assert_refusal(&response, 503, "killed");
        let delay = response.header("retry-after").expect("a Retry-After");
        delays.push(delay.parse::<u32>().expect("seconds"));
    }
    assert!(delays.iter().all(|delay| (10..=20).contains(delay)));
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 1, "every client would come back together");
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn an_entry_says_when_and_with_which_status_reject_answers() {
    let upstream = Upstream::echo();
    let switches = "[kill]\nany = { mode = \"reject\", status = 429, retry_after = \"60s\" }\n";
    let gateway = Gateway::start(&Config::passing(&upstream).switches(switches));
    let response = gateway.get("/");
    assert_refusal(&response, 429, "killed");
    let delay = response.header("retry-after").expect("a Retry-After");
    let delay: u32 = delay.parse().expect("seconds");
    assert!((60..=120).contains(&delay), "{delay}");
}

#[test]
fn the_answer_is_that_of_the_route_unless_the_entry_says_another() {
    let upstream = Upstream::echo();
    let policy = "kill_switch = { mode = \"drop\", status = 202, body = '{\"ok\":true}', \
                  content_type = \"application/json\" }";
    let keys = |path: &str| format!("path = \"/{path}\"\nupstream = \"u\"\n{policy}");
    let switches = "[kill]\nown = { reason = \"no mode of its own\" }\nsame = \"drop\"\n\
                    other = { mode = \"drop\", status = 204, body = \"\" }\n\
                    text = { mode = \"drop\", body = \"later\", content_type = \"text/plain\" }\n\
                    no = \"reject\"\n";
    let mut config = Config::new().upstream("u", &upstream).switches(switches);
    for name in ["own", "same", "other", "text", "no"] {
        config = config.route(name, &keys(name));
    }
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    for (target, status, body, kind) in [
        ("/own", 202, "{\"ok\":true}", Some("application/json")),
        ("/same", 202, "{\"ok\":true}", Some("application/json")),
        ("/text", 202, "later", Some("text/plain")),
    ] {
        let response = client.ask(post(target, "x"));
        assert_eq!(response.status, status, "{target}");
        assert_eq!(response.text(), body, "{target}");
        assert_eq!(response.header("content-type").as_deref(), kind);
        assert_eq!(
            response.header("cache-control").as_deref(),
            Some("no-store")
        );
    }
    let other = client.ask(get("/other"));
    assert_eq!((other.status, other.body.len()), (204, 0));
    assert_refusal(&client.ask(get("/no")), 503, "killed");
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn head_of_a_killed_route_has_no_body() {
    let keys = "path = \"/a\"\nrespond = { status = 200, body = \"open\" }\n\
                kill_switch = { mode = \"drop\", body = \"killed\" }";
    let config = Config::new().route("a", keys);
    let gateway = Gateway::start(&config.switches("[kill]\na = \"drop\"\n"));
    let mut client = gateway.connect();
    client.send("HEAD /a HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.read_head().status, 200);
    // A body on the wire would be read as the next answer.
    assert_eq!(client.ask(get("/a")).text(), "killed");
}

#[test]
fn a_tier_kills_its_routes_and_all_kills_everything_but_core() {
    let upstream = Upstream::echo();
    for (switches, expected) in [
        ("", [false, false, false]),
        ("all = \"drop\"", [false, true, true]),
        ("\"tier:sheddable\" = \"drop\"", [false, false, true]),
        ("\"tier:standard\" = \"drop\"", [false, true, false]),
        ("\"tier:core\" = \"drop\"", [true, false, false]),
        ("vital = \"drop\"", [true, false, false]),
        ("all = \"drop\"\nvital = \"drop\"", [true, true, true]),
    ] {
        let text = format!("[kill]\n{switches}\n");
        let gateway = Gateway::start(&tiers(&upstream).switches(&text));
        assert_eq!(killed(&gateway), expected, "{switches}");
    }
}

#[test]
fn the_most_specific_key_decides_alone() {
    let upstream = Upstream::echo();
    for (switches, expected) in [
        ("all = \"drop\"\nusual = \"off\"", [false, false, true]),
        (
            "all = \"drop\"\n\"tier:standard\" = \"off\"",
            [false, false, true],
        ),
        (
            "\"tier:standard\" = \"drop\"\nusual = \"off\"",
            [false, false, false],
        ),
        (
            "\"tier:standard\" = \"off\"\nusual = \"drop\"",
            [false, true, false],
        ),
        (
            "all = \"off\"\n\"tier:sheddable\" = \"drop\"",
            [false, false, true],
        ),
    ] {
        let text = format!("[kill]\n{switches}\n");
        let gateway = Gateway::start(&tiers(&upstream).switches(&text));
        assert_eq!(killed(&gateway), expected, "{switches}");
    }
    let switches = "[kill]\nall = \"drop\"\n\"tier:standard\" = \"reject\"\n";
    let gateway = Gateway::start(&tiers(&upstream).switches(switches));
    assert_refusal(&gateway.get("/standard"), 503, "killed");
    assert_killed(&gateway.get("/sheddable"));
}

#[test]
fn a_route_that_responds_can_be_killed_too() {
    let config = Config::new().respond("ping", "/ping", "pong");
    let gateway = Gateway::start(&config.switches("[kill]\nping = \"drop\"\n"));
    assert_killed(&gateway.get("/ping"));
}

#[test]
fn a_switch_comes_after_the_route_so_a_wrong_method_is_still_a_405() {
    let upstream = Upstream::echo();
    let keys = "path = \"/a\"\nmethods = [\"POST\"]\nupstream = \"u\"";
    let config = Config::new().upstream("u", &upstream).route("a", keys);
    let gateway = Gateway::start(&config.switches("[kill]\na = \"drop\"\n"));
    assert_refusal(&gateway.get("/a"), 405, "method_not_allowed");
    assert_killed(&gateway.ask(post("/a", "x")));
}

#[test]
fn a_client_that_asks_first_gets_its_final_answer_without_sending_the_body() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream).switches("[kill]\nany = \"drop\"\n");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    client.send(
        "POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 1000\r\n\r\n",
    );
    // Not 100: that would ask for a body that nobody wants.
    assert_killed(&client.read());
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_body_announced_beyond_max_body_is_answered_without_reading_it() {
    let upstream = Upstream::echo();
    let keys = "path = \"/{*rest}\"\nupstream = \"u\"\nmax_body = \"1KiB\"";
    let config = Config::passing(&upstream).route("any", keys);
    let gateway = Gateway::start(&config.switches("[kill]\nany = \"drop\"\n"));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000000\r\n\r\n");
    let response = client.read();
    assert_killed(&response);
    assert!(response.closes());
    assert_eq!(client.end(), End::Eof);
}

#[test]
fn a_chunked_body_beyond_max_body_is_answered_and_the_connection_closed() {
    let upstream = Upstream::echo();
    let keys = "path = \"/{*rest}\"\nupstream = \"u\"\nmax_body = \"1KiB\"";
    let config = Config::passing(&upstream).route("any", keys);
    let gateway = Gateway::start(&config.switches("[kill]\nany = \"drop\"\n"));
    let mut client = gateway.connect();
    let chunk = format!("400\r\n{}\r\n", "a".repeat(0x400));
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(chunk.repeat(4));
    assert_killed(&client.read());
    assert_ne!(client.end(), End::Silent);
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_killed_client_that_stops_sending_does_not_hold_its_connection_for_ever() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream).server("body_timeout", "\"300ms\"");
    let gateway = Gateway::start(&config.switches("[kill]\nany = \"drop\"\n"));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhello");
    assert_killed(&client.read());
    assert_ne!(client.end(), End::Silent);
}
