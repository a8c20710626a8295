//! Stopping: what is in flight finishes, and nothing holds the end up for ever.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;

const SLOW: &str = "path = \"/{*rest}\"\nupstream = \"u\"\ntimeout = \"60s\"";

/// An upstream that answers once its gate is open.
fn gated() -> (Upstream, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let upstream = Upstream::serving(move |request| {
        if request.target == "/slow" {
            held.wait();
        }
        answer(200, "done")
    });
    (upstream, gate)
}

fn draining(gateway: &Gateway) -> bool {
    gateway.admin("/readyz").status == 503
}

#[test]
fn on_sigterm_requests_in_flight_finish_and_new_ones_are_served_until_the_delay_is_over() {
    let (upstream, gate) = gated();
    let config = Config::passing(&upstream).route("any", SLOW);
    let mut gateway = Gateway::start(&config.server("drain_delay", "\"4s\""));
    let mut slow = gateway.connect();
    let mut kept = gateway.connect();
    assert!(!kept.ask(get("/a")).closes());
    slow.send(get("/slow"));
    upstream.wait_heads(2);

    let start = now();
    gateway.signal("TERM");
    wait_for("/readyz to say 503", || draining(&gateway));
    assert_eq!(gateway.admin("/livez").status, 200);
    // Load balancers take a while to look away: until then new connections are served, and
    // every answer asks its client to come back elsewhere.
    let fresh = gateway.get("/a");
    assert_passed(&fresh);
    assert!(fresh.closes());
    let last = kept.ask(get("/a"));
    assert_passed(&last);
    assert!(last.closes());
    assert_eq!(kept.end(), End::Eof);

    gate.open();
    let response = slow.read();
    assert_eq!(response.text(), "done");
    assert!(response.whole);
    assert_eq!(gateway.wait_exit(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(3900));
}

#[test]
fn a_request_in_flight_finishes_after_the_delay_too() {
    let (upstream, gate) = gated();
    let config = Config::passing(&upstream).route("any", SLOW);
    let mut gateway = Gateway::start(&config.server("drain_delay", "\"0s\""));
    let mut slow = gateway.connect();
    slow.send(get("/slow"));
    upstream.wait_heads(1);
    gateway.signal("TERM");
    wait_for("the port to be closed", || {
        std::net::TcpStream::connect(gateway.client).is_err()
    });
    gate.open();
    assert_eq!(slow.read().text(), "done");
    assert_eq!(gateway.wait_exit(), Some(0));
}

#[test]
fn sigint_does_not_wait_for_the_delay() {
    let (upstream, gate) = gated();
    let config = Config::passing(&upstream).route("any", SLOW);
    // Far beyond the patience of this test.
    let mut gateway = Gateway::start(&config.server("drain_delay", "\"10m\""));
    let mut slow = gateway.connect();
    slow.send(get("/slow"));
    upstream.wait_heads(1);
    gateway.signal("INT");
    wait_for("the port to be closed", || {
        std::net::TcpStream::connect(gateway.client).is_err()
    });
    gate.open();
    assert_eq!(slow.read().text(), "done");
    assert_eq!(gateway.wait_exit(), Some(0));
}

#[test]
fn a_second_signal_ends_the_gateway_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let upstream = Upstream::hanging();
        let config = Config::passing(&upstream)
            .route(
                "any",
                "path = \"/{*rest}\"\nupstream = \"u\"\ntimeout = \"10m\"",
            )
            .server("drain_delay", "\"10m\"")
            .server("shutdown_grace", "\"10m\"");
        let mut gateway = Gateway::start(&config);
        let mut client = gateway.connect();
        client.send(get("/"));
        upstream.wait_heads(1);
        gateway.signal(first);
        wait_for("the drain to begin", || match first {
            "TERM" => draining(&gateway),
            _ => std::net::TcpStream::connect(gateway.client).is_err(),
        });
        gateway.signal(second);
        gateway.wait_exit();
    }
}

#[test]
fn shutdown_grace_bounds_the_wait_for_requests_in_flight() {
    let upstream = Upstream::hanging();
    let config = Config::passing(&upstream)
        .route(
            "any",
            "path = \"/{*rest}\"\nupstream = \"u\"\ntimeout = \"10m\"",
        )
        .server("shutdown_grace", "\"1s\"");
    let mut gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    client.send(get("/"));
    upstream.wait_heads(1);
    let start = now();
    gateway.signal("INT");
    gateway.wait_exit();
    assert!(start.elapsed() >= Duration::from_millis(900));
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream)
        .server("idle_timeout", "\"10m\"")
        .server("header_timeout", "\"10m\"")
        .server("shutdown_grace", "\"10m\"");
    let mut gateway = Gateway::start(&config);
    let mut used = gateway.connect();
    assert_passed(&used.ask(get("/")));
    let mut fresh = gateway.connect();
    gateway.wait_metric("seawall_connections", &[("listener", "client")], 2.0);
    gateway.signal("INT");
    assert_eq!(gateway.wait_exit(), Some(0));
    assert_eq!(used.end(), End::Eof);
    assert_ne!(fresh.end(), End::Silent);
}

#[test]
fn no_request_is_cut_when_sigterm_arrives_under_load() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream).server("drain_delay", "\"500ms\"");
    let mut gateway = Gateway::start(&config);
    let address = gateway.client;
    let clients = [0; 4].map(|_| {
        std::thread::spawn(move || {
            let mut served = 0;
            while let Some(count) = serve_until_told_to_leave(address) {
                served += count;
            }
            served
        })
    });
    wait_for("some load", || upstream.heads() > 200);
    gateway.signal("TERM");
    let served: usize = clients.map(|c| c.join().expect("no cut")).iter().sum();
    assert_eq!(gateway.wait_exit(), Some(0));
    assert!(served > 200, "{served}");
}

/// Asks on one connection until an answer says that it ends; `None` when the gateway no longer
/// takes connections. Panics when an answer breaks off.
fn serve_until_told_to_leave(address: std::net::SocketAddr) -> Option<usize> {
    let mut client = Client::try_connect(address)?;
    let mut served = 0;
    loop {
        if client.try_send(post("/a", "body")).is_err() {
            return None;
        }
        match client.try_read() {
            Ok(response) => {
                assert_passed(&response);
                assert!(response.whole);
                served += 1;
                if response.closes() {
                    return Some(served);
                }
            }
            // Closed while idle, or never accepted: such a request was not begun. Inside an
            // answer it would have been cut.
            Err(_) => {
                assert!(client.nothing_came(), "an answer was cut");
                return None;
            }
        }
    }
}
