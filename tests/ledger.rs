//! The loss ledger: every request whose head was read is counted once, whenever its client left.

mod support;

use serde_json::Value;
use support::*;

const CLIENTS: usize = 100;
const KILLED: &str = "seawall_killed_requests_total";
const REQUESTS: &str = "seawall_requests_total";

/// One route for each mode, and one that is not killed.
fn each_mode(upstream: &Upstream, shelf: &Shelf) -> Config {
    let route = |name: &str| format!("path = \"/{name}\"\nupstream = \"u\"");
    let names = ["drop", "archive", "reject", "pass"];
    let config = Config::new().upstream("u", upstream);
    let config = names
        .iter()
        .fold(config, |config, name| config.route(name, &route(name)));
    let switches = "[kill]\ndrop = \"drop\"\narchive = \"archive\"\nreject = \"reject\"\n";
    shelf.used_by(config.switches(switches))
}

fn ledger(gateway: &Gateway, route: &str) -> Value {
    gateway.status()["ledger"]["routes"][route].clone()
}

/// The outcomes of a route, whose sum is its `killed`.
fn outcomes(gateway: &Gateway, route: &str) -> [u64; 6] {
    let ledger = ledger(gateway, route);
    let names = [
        "dropped", "archived", "rejected", "lost", "refused", "aborted",
    ];
    let counts = names.map(|name| ledger[name].as_u64().unwrap_or_default());
    assert_eq!(counts.iter().sum::<u64>(), ledger["killed"], "{ledger}");
    counts
}

/// Whole requests, each in one piece, of clients that do not wait for the answer.
fn hit_and_run(gateway: &Gateway, route: &str, body: &[u8]) {
    for _ in 0..CLIENTS {
        let mut client = gateway.connect();
        client.send(post(&format!("/{route}"), body));
    }
}

#[test]
fn clients_that_leave_at_once_are_each_counted_once() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let gateway = Gateway::start(&each_mode(&upstream, &shelf));
    for body in [&b""[..], b"x", &[b'x'; 20_000]] {
        for route in ["drop", "archive", "reject", "pass"] {
            let requests = [("route", route)];
            let before = gateway.metric(REQUESTS, &requests);
            let killed = gateway.metric(KILLED, &requests);
            hit_and_run(&gateway, route, body);
            let new = CLIENTS as f64;
            gateway.wait_metric(REQUESTS, &requests, before + new);
            if route != "pass" {
                gateway.wait_metric(KILLED, &requests, killed + new);
            }
        }
    }
    gateway.wait_metric("seawall_connections", &[("listener", "client")], 0.0);
    gateway.wait_metric("seawall_requests_in_flight", &[], 0.0);
    for route in ["drop", "archive", "reject"] {
        let total: u64 = outcomes(&gateway, route).iter().sum();
        assert_eq!(total, 3 * CLIENTS as u64, "{route}");
    }
    assert_eq!(
        gateway.metric(REQUESTS, &[("route", "pass")]),
        3.0 * CLIENTS as f64
    );
    assert_eq!(gateway.metric(KILLED, &[("route", "pass")]), 0.0);
    let archived = outcomes(&gateway, "archive")[1];
    assert_eq!(shelf.records().len() as u64, archived);
    let lines: u64 = ["drop", "archive", "reject"]
        .iter()
        .map(|route| {
            ledger(&gateway, route)["killed"]
                .as_u64()
                .expect("a number")
        })
        .sum();
    assert_eq!(gateway.status()["ledger"]["killed"], lines);
    assert!(ledger(&gateway, "pass").is_null());
}

#[test]
fn clients_that_leave_amid_their_body_are_aborted() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let gateway = Gateway::start(&each_mode(&upstream, &shelf));
    for route in ["drop", "archive", "reject"] {
        for _ in 0..CLIENTS {
            let mut client = gateway.connect();
            client.send(format!(
                "POST /{route} HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf"
            ));
        }
        gateway.wait_metric(KILLED, &[("route", route), ("outcome", "aborted")], 100.0);
        assert_eq!(outcomes(&gateway, route), [0, 0, 0, 0, 0, CLIENTS as u64]);
        assert_eq!(gateway.metric(REQUESTS, &[("route", route)]), 100.0);
    }
    assert_eq!(shelf.records().len(), 0);
}

#[test]
fn what_never_became_a_request_is_not_counted() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let gateway = Gateway::start(&each_mode(&upstream, &shelf));
    for _ in 0..CLIENTS {
        gateway.connect().send("POST /drop HTTP/1.1\r\nhost: te");
    }
    // Behind all of them.
    assert_killed(&gateway.ask(post("/drop", "x")));
    gateway.wait_metric("seawall_connections", &[("listener", "client")], 0.0);
    gateway.wait_metric(KILLED, &[], 1.0);
}
