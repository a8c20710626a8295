//! Concurrency of a route: who holds a place, who waits for one, and what becomes of them.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;

/// An upstream whose every answer waits for the gate: its head alone, or its last byte.
fn held(gate: &Arc<Gate>, what: Held) -> Upstream {
    let gate = Arc::clone(gate);
    Upstream::raw(move |connection| {
        while connection.request().is_some() {
            let bytes = answer(200, "done");
            let (first, rest) = match what {
                Held::Head => bytes.split_at(0),
                Held::Body => bytes.split_at(bytes.len() - 1),
            };
            if !connection.write(first) {
                return;
            }
            gate.wait();
            if !connection.write(rest) {
                return;
            }
        }
    })
}

#[derive(Clone, Copy)]
enum Held {
    Head,
    Body,
}

/// The catch-all route, whose requests take as long as a test may, with further keys.
fn bounded(upstream: &Upstream, concurrency: &str) -> Config {
    let keys = format!(
        "path = \"/{{*rest}}\"\nupstream = \"u\"\ntimeout = \"60s\"\nconcurrency = {concurrency}"
    );
    Config::new().upstream("u", upstream).route("any", &keys)
}

fn in_flight(gateway: &Gateway, count: f64) {
    gateway.wait_metric("seawall_requests_in_flight", &[("route", "any")], count);
}

/// A request sent, its answer still to come; the gateway has it.
fn begun(gateway: &Gateway, target: &str, in_all: f64) -> Client {
    let mut client = gateway.connect();
    client.send(get(target));
    in_flight(gateway, in_all);
    client
}

#[test]
fn beyond_the_limit_a_request_is_refused_with_a_time_to_come_back() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Head);
    let gateway = Gateway::start(&bounded(&upstream, "{ max = 2 }"));
    let mut first = begun(&gateway, "/1", 1.0);
    let mut second = begun(&gateway, "/2", 2.0);
    let mut third = gateway.connect();
    let response = third.ask(post("/3", "points"));
    assert_refusal(&response, 503, "overloaded");
    let retry: u64 = response
        .header("retry-after")
        .expect("one")
        .parse()
        .expect("seconds");
    assert!((1..=2).contains(&retry), "{retry}");
    let labels = [("route", "any"), ("reason", "overloaded")];
    gateway.wait_metric("seawall_refusals_total", &labels, 1.0);
    gate.open();
    assert_passed(&first.read());
    assert_passed(&second.read());
    in_flight(&gateway, 0.0);
    assert_passed(&third.ask(post("/3", "points")));
    assert_eq!(upstream.heads(), 3);
}

#[test]
fn a_place_is_held_until_the_response_body_has_ended() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Body);
    let gateway = Gateway::start(&bounded(&upstream, "{ max = 1 }"));
    let mut slow = gateway.connect();
    slow.send(get("/"));
    let head = slow.read_head();
    assert_eq!(head.status, 200);
    for _ in 0..3 {
        assert_refusal(&gateway.get("/"), 503, "overloaded");
    }
    gate.open();
    let mut body = Vec::new();
    assert!(slow.body(&head.head, &mut body));
    assert_eq!(body, b"done");
    in_flight(&gateway, 0.0);
    assert_passed(&gateway.get("/"));
}

#[test]
fn time_in_line_is_not_the_attempts_time() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Body);
    let limit = "{ max = 1, queue = 1, queue_timeout = \"60s\" }\nattempt_timeout = \"2s\"";
    let gateway = Gateway::start(&bounded(&upstream, limit));
    let mut first = gateway.connect();
    first.send(get("/"));
    let head = first.read_head();
    let since = now();
    let mut second = begun(&gateway, "/", 2.0);
    wait_for("a wait longer than an attempt", || {
        since.elapsed() > Duration::from_millis(2500)
    });
    gate.open();
    assert!(first.body(&head.head, &mut Vec::new()));
    assert_passed(&second.read());
}

#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let gate = Arc::default();
    for what in [Held::Head, Held::Body] {
        let upstream = held(&gate, what);
        let gateway = Gateway::start(&bounded(&upstream, "{ max = 1 }"));
        let mut client = gateway.connect();
        client.send(get("/"));
        match what {
            Held::Head => upstream.wait_heads(1),
            Held::Body => assert_eq!(client.read_head().status, 200),
        }
        assert_refusal(&gateway.get("/"), 503, "overloaded");
        drop(client);
        in_flight(&gateway, 0.0);
        // Let in, it waits as the first did.
        let _next = begun(&gateway, "/", 1.0);
        upstream.wait_heads(2);
    }
}

#[test]
fn an_upstream_that_breaks_off_gives_the_place_back() {
    let upstream = Upstream::cutting();
    let gateway = Gateway::start(&bounded(&upstream, "{ max = 1 }"));
    for turn in 1..4 {
        assert!(!gateway.get("/").whole);
        in_flight(&gateway, 0.0);
        assert_eq!(upstream.heads(), turn);
    }
}

#[test]
fn who_waits_is_served_in_the_order_of_coming() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Head);
    let concurrency = "{ max = 1, queue = 10, queue_timeout = \"60s\" }";
    let gateway = Gateway::start(&bounded(&upstream, concurrency));
    let targets: Vec<String> = (0..8).map(|number| format!("/{number}")).collect();
    let clients: Vec<Client> = targets
        .iter()
        .enumerate()
        .map(|(before, target)| begun(&gateway, target, before as f64 + 1.0))
        .collect();
    upstream.wait_heads(1);
    assert_eq!(upstream.heads(), 1);
    gate.open();
    for mut client in clients {
        assert_passed(&client.read());
    }
    let served: Vec<String> = upstream.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(served, targets);
}

#[test]
fn who_waits_too_long_is_refused() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Head);
    let concurrency = "{ max = 1, queue = 1, queue_timeout = \"200ms\" }";
    let gateway = Gateway::start(&bounded(&upstream, concurrency));
    let mut first = begun(&gateway, "/1", 1.0);
    let start = now();
    let waited = gateway.get("/2");
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_refusal(&waited, 503, "overloaded");
    gate.open();
    assert_passed(&first.read());
    in_flight(&gateway, 0.0);
    assert_passed(&gateway.get("/3"));
    assert_eq!(upstream.heads(), 2);
}

#[test]
fn a_client_that_leaves_the_line_frees_its_place() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Head);
    let concurrency = "{ max = 1, queue = 1, queue_timeout = \"60s\" }";
    let gateway = Gateway::start(&bounded(&upstream, concurrency));
    let mut first = begun(&gateway, "/first", 1.0);
    for request in [get("/leaves").into_bytes(), post("/leaves", "points")] {
        let mut leaves = gateway.connect();
        leaves.send(request);
        in_flight(&gateway, 2.0);
        assert_refusal(&gateway.get("/too-many"), 503, "overloaded");
        drop(leaves);
        in_flight(&gateway, 1.0);
    }
    let mut stays = begun(&gateway, "/stays", 2.0);
    gate.open();
    assert_passed(&first.read());
    assert_passed(&stays.read());
    let served: Vec<String> = upstream.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(served, ["/first", "/stays"]);
}

#[test]
fn a_switch_that_is_thrown_takes_the_line_at_once() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Head);
    let concurrency = "{ max = 1, queue = 20, queue_timeout = \"60s\" }";
    let gateway = Gateway::start(&bounded(&upstream, concurrency));
    let mut first = begun(&gateway, "/", 1.0);
    let waiting: Vec<Client> = (0..12)
        .map(|before| {
            let mut client = gateway.connect();
            client.send(post("/", "points"));
            in_flight(&gateway, f64::from(before) + 2.0);
            client
        })
        .collect();
    gateway.write_switches("[kill]\nany = \"drop\"\n");
    for mut client in waiting {
        assert_killed(&client.read());
    }
    // The first was with its upstream already.
    in_flight(&gateway, 1.0);
    gate.open();
    assert_passed(&first.read());
    assert_eq!(upstream.heads(), 1);
    let labels = [("route", "any"), ("outcome", "dropped")];
    gateway.wait_metric("seawall_killed_requests_total", &labels, 12.0);
    let labels = [("route", "any"), ("mode", "drop")];
    assert_eq!(gateway.metric("seawall_killed_bytes_total", &labels), 72.0);
}

#[test]
fn a_switch_is_asked_about_what_the_client_in_line_sent() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Head);
    let concurrency = "{ max = 1, queue = 20, queue_timeout = \"60s\" }";
    let keys = "\nhost_rewrite = \"upstream\"\nrequest_headers = { remove = [\"x-build\"] }";
    let config = bounded(&upstream, &format!("{concurrency}{keys}"))
        .server("trusted_proxies", "[\"127.0.0.0/8\"]");
    let gateway = Gateway::start(&config);
    let mut first = begun(&gateway, "/", 1.0);
    let waits = |client: &str, build: &str, in_all: f64| {
        let mut waiting = gateway.connect();
        waiting.send(format!(
            "GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-for: {client}\r\nx-build: {build}\r\n\r\n"
        ));
        in_flight(&gateway, in_all);
        waiting
    };
    let mut taken = waits("192.0.2.7", "a", 2.0);
    let mut other_client = waits("192.0.2.8", "a", 3.0);
    let mut other_build = waits("192.0.2.7", "b", 4.0);
    gateway.write_switches(
        "[kill]\nany = { mode = \"drop\", \
         when = { client_ip = \"192.0.2.7\", headers = { x-build = \"a\" } } }\n",
    );
    assert_killed(&taken.read());
    in_flight(&gateway, 3.0);
    gate.open();
    for waiting in [&mut first, &mut other_client, &mut other_build] {
        assert_passed(&waiting.read());
    }
}

#[test]
fn a_killed_request_takes_no_place() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Head);
    let gateway = Gateway::start(&bounded(&upstream, "{ max = 1 }"));
    let mut first = begun(&gateway, "/", 1.0);
    gateway.write_switches("[kill]\nany = \"drop\"\n");
    wait_for("the switch", || gateway.get("/").status == 200);
    for _ in 0..5 {
        assert_killed(&gateway.get("/"));
    }
    gate.open();
    assert_passed(&first.read());
}

#[test]
fn a_reload_changes_the_limit_and_forgets_nobody() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Head);
    let reload = |gateway: &Gateway, concurrency: &str, times: f64| {
        gateway.write_structure(&bounded(&upstream, concurrency));
        let labels = [("result", "applied")];
        gateway.wait_metric("seawall_config_reloads_total", &labels, times);
    };
    let gateway = Gateway::start(&bounded(&upstream, "{ max = 2 }"));
    let mut clients = vec![begun(&gateway, "/1", 1.0), begun(&gateway, "/2", 2.0)];
    assert_refusal(&gateway.get("/"), 503, "overloaded");
    reload(
        &gateway,
        "{ max = 3, queue = 1, queue_timeout = \"60s\" }",
        1.0,
    );
    clients.push(begun(&gateway, "/3", 3.0));
    upstream.wait_heads(3);
    clients.push(begun(&gateway, "/waits", 4.0));
    assert_refusal(&gateway.get("/"), 503, "overloaded");
    reload(&gateway, "{ max = 1 }", 2.0);
    assert_refusal(&gateway.get("/"), 503, "overloaded");
    assert_eq!(upstream.heads(), 3);
    // For whom there is room now goes on by the reload itself.
    reload(&gateway, "{ max = 4 }", 3.0);
    upstream.wait_heads(4);
    gate.open();
    for mut client in clients {
        assert_passed(&client.read());
    }
    in_flight(&gateway, 0.0);
}

#[test]
fn who_waits_goes_on_when_the_limit_is_taken_away() {
    let gate = Arc::default();
    let upstream = held(&gate, Held::Head);
    let concurrency = "{ max = 1, queue = 5, queue_timeout = \"60s\" }";
    let gateway = Gateway::start(&bounded(&upstream, concurrency));
    let mut clients = vec![begun(&gateway, "/1", 1.0), begun(&gateway, "/2", 2.0)];
    gateway.write_structure(&bounded(&upstream, "\"off\""));
    upstream.wait_heads(2);
    gate.open();
    for client in &mut clients {
        assert_passed(&client.read());
    }
}
