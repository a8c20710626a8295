//! What happens when one side misbehaves in the middle: nothing is sent twice, nothing cut is
//! made to look complete, nothing is kept that is of no more use, and nothing piles up.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::*;

const UNBOUNDED: &str = "path = \"/{*rest}\"\nupstream = \"u\"\nmax_body = \"none\"\n\
                         timeout = \"60s\"";

#[test]
fn an_early_answer_reaches_the_client_and_its_upstream_connection_is_not_used_again() {
    let upstream = Upstream::raw(|connection| {
        while let Some(request) = connection.head() {
            let early = request.method == "POST";
            connection.write(answer(if early { 401 } else { 200 }, "early"));
            if early {
                // What is still to come must not be read as the next request.
                connection.until_gone();
            }
        }
    });
    // One worker, and so one pool: the second request would find the connection there.
    let config = Config::passing(&upstream).server("workers", "1");
    let gateway = Gateway::start(&config.route("any", UNBOUNDED));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n");
    client.send("a".repeat(20_000));
    let response = client.read();
    assert_eq!((response.status, response.text().as_str()), (401, "early"));
    assert!(response.whole);
    // Whether or not the client ever sends the rest.
    drop(client);
    assert_passed(&gateway.get("/"));
    assert_eq!(upstream.connections(), 2);
    wait_for("the half-used connection to end", || {
        upstream.open_connections() <= 1
    });
}

/// Answers the first request of the first connection, and closes on the second: what a
/// connection looks like that went stale in the pool.
fn stale_after_one() -> Upstream {
    Upstream::raw(|connection| {
        while let Some(request) = connection.request() {
            if connection.number == 0 && request.target == "/second" {
                return;
            }
            connection.write(answer(200, "ok"));
        }
    })
}

#[test]
fn a_get_on_a_stale_connection_is_sent_once_more_on_a_fresh_one() {
    let upstream = stale_after_one();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    assert_passed(&client.ask(get("/first")));
    assert_passed(&client.ask(get("/second")));
    assert_eq!(upstream.heads(), 3);
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn a_post_that_may_have_been_processed_is_not_sent_twice() {
    let upstream = stale_after_one();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    assert_passed(&client.ask(post("/first", "x")));
    let response = client.ask(post("/second", "x"));
    assert_refusal(&response, 502, "upstream_reset");
    assert_eq!(upstream.heads(), 2);
    // The next one is served again.
    assert_passed(&client.ask(post("/third", "x")));
}

#[test]
fn a_get_is_not_retried_without_end() {
    let upstream = Upstream::closing();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    assert_refusal(&client.ask(get("/")), 502, "upstream_reset");
    assert!(upstream.heads() <= 2, "{}", upstream.heads());
}

#[test]
fn an_upstream_that_closes_idle_connections_costs_no_request() {
    let upstream = Upstream::raw(|connection| {
        for _ in 0..3 {
            if connection.request().is_none() {
                return;
            }
            connection.write(answer(200, "ok"));
        }
    });
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    for _ in 0..30 {
        assert_passed(&client.ask(get("/")));
    }
    assert!(upstream.connections() >= 10);
}

#[test]
fn an_upstream_that_breaks_off_in_its_head_is_a_502() {
    for bytes in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let upstream = Upstream::answering(bytes);
        let gateway = Gateway::start(&Config::passing(&upstream));
        let mut client = gateway.connect();
        assert_refusal(&client.ask(post("/", "x")), 502, "upstream_reset");
        assert_eq!(upstream.heads(), 1);
        let labels = [("upstream", "u"), ("outcome", "upstream_reset")];
        gateway.wait_metric("seawall_upstream_attempts_total", &labels, 1.0);
    }
}

#[test]
fn an_answer_cut_short_is_never_made_to_look_complete() {
    for bytes in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let upstream = Upstream::answering(bytes);
        let gateway = Gateway::start(&Config::passing(&upstream));
        let mut client = gateway.connect();
        let response = client.ask(get("/"));
        // A gateway that has not sent the head yet may still say what happened.
        if response.status != 502 {
            assert_eq!(response.status, 200, "{bytes}");
            assert!(!response.whole, "looks complete: {bytes}");
            assert_ne!(client.end(), End::Silent);
        }
    }
}

#[test]
fn an_answer_without_a_length_that_ends_in_a_reset_is_not_complete() {
    let held = Arc::new(Gate::default());
    let hold = Arc::clone(&held);
    let upstream = Upstream::raw(move |connection| {
        // The request stays unread, so that closing resets the connection.
        connection.peek();
        connection.write("HTTP/1.1 200 OK\r\nx-from: upstream\r\n\r\nhello");
        hold.wait();
    });
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    client.send(get("/"));
    let head = client.read_head();
    held.open();
    let mut body = Vec::new();
    assert!(!client.body(&head.head, &mut body), "looks complete");
}

#[test]
fn a_client_that_goes_away_is_counted_as_499_and_frees_its_upstream_connection() {
    let upstream = Upstream::hanging();
    let gateway = Gateway::start(&Config::passing(&upstream).route("any", UNBOUNDED));
    let mut client = gateway.connect();
    client.send(get("/"));
    upstream.wait_heads(1);
    gateway.wait_metric("seawall_requests_in_flight", &[("route", "any")], 1.0);
    drop(client);
    let labels = [("route", "any"), ("code", "499"), ("by", "client")];
    gateway.wait_metric("seawall_requests_total", &labels, 1.0);
    gateway.wait_metric("seawall_requests_in_flight", &[("route", "any")], 0.0);
    wait_for("the upstream connection to end", || {
        upstream.open_connections() == 0
    });
}

#[test]
fn a_client_that_goes_away_inside_its_body_leaves_nothing_that_looks_complete() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream).route("any", UNBOUNDED));
    for head in [
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let heads = upstream.heads();
        let mut client = gateway.connect();
        client.send(head);
        upstream.wait_heads(heads + 1);
        drop(client);
        wait_for("the upstream connection to end", || {
            upstream.open_connections() == 0
        });
    }
    assert!(upstream.requests().iter().all(|request| !request.whole));
    let labels = [("route", "any"), ("code", "499")];
    gateway.wait_metric("seawall_requests_total", &labels, 2.0);
}

#[test]
fn a_client_that_goes_away_inside_an_answer_frees_its_upstream_connection() {
    let upstream = Upstream::raw(|connection| {
        if connection.request().is_some() {
            connection.write("HTTP/1.1 200 OK\r\nx-from: u\r\ncontent-length: 10\r\n\r\nhello");
            connection.until_gone();
        }
    });
    let gateway = Gateway::start(&Config::passing(&upstream).route("any", UNBOUNDED));
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.read_head().status, 200);
    drop(client);
    wait_for("the upstream connection to end", || {
        upstream.open_connections() == 0
    });
    gateway.wait_metric("seawall_requests_in_flight", &[("route", "any")], 0.0);
}

/// How much a sender got rid of before the other side took no more.
fn pushed(total: usize, mut push: impl FnMut(&[u8]) -> bool) -> usize {
    let block = vec![b'a'; 1 << 18];
    let mut sent = 0;
    while sent < total && push(&block) {
        sent += block.len();
    }
    sent
}

/// Far more than the sockets in between can hold.
const MUCH: usize = 160 << 20;

fn assert_memory_is_bounded(gateway: &Gateway) {
    let resident = gateway.metrics().one("process_resident_memory_bytes", &[]);
    assert!(resident < f64::from(96 << 20), "{resident} bytes resident");
}

#[test]
fn an_upstream_that_reads_slowly_slows_its_client_instead_of_filling_memory() {
    let over = Arc::new(Gate::default());
    let held = Arc::clone(&over);
    let upstream = Upstream::raw(move |connection| {
        connection.peek();
        held.wait();
    });
    let gateway = Gateway::start(&Config::passing(&upstream).route("any", UNBOUNDED));
    let mut client = gateway.connect();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {MUCH}\r\n\r\n"
    ));
    upstream.wait_heads(1);
    client.set_patience(Duration::from_millis(700));
    let sent = pushed(MUCH, |block| client.try_send(block).is_ok());
    assert!(sent < MUCH, "the gateway took everything");
    assert_memory_is_bounded(&gateway);
    over.open();
}

#[test]
fn a_client_that_reads_slowly_slows_its_upstream_instead_of_filling_memory() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let upstream = Upstream::raw(move |connection| {
        if connection.request().is_some() {
            connection.write(format!(
                "HTTP/1.1 200 OK\r\nx-from: u\r\ncontent-length: {MUCH}\r\n\r\n"
            ));
            pushed(MUCH, |block| {
                let taken = connection.write(block);
                count.fetch_add(block.len(), Ordering::SeqCst);
                taken
            });
        }
    });
    let gateway = Gateway::start(&Config::passing(&upstream).route("any", UNBOUNDED));
    let mut client = gateway.connect();
    client.send(get("/"));
    upstream.wait_heads(1);
    // Written bytes stop growing once every buffer in between is full.
    let mut last = (usize::MAX, now());
    wait_for("the upstream to be held back", || {
        let so_far = written.load(Ordering::SeqCst);
        if so_far != last.0 {
            last = (so_far, now());
        }
        so_far > 0 && last.1.elapsed() > Duration::from_millis(700)
    });
    assert!(last.0 < MUCH, "the gateway took everything");
    assert_memory_is_bounded(&gateway);
    // Once the client reads, all of it arrives.
    let head = client.read_head().head;
    let mut body = Vec::new();
    assert!(client.body(&head, &mut body));
    assert_eq!(body.len(), MUCH);
}
