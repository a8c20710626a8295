//! Every timer ends what it is for, and says so.
//!
//! Where time is asserted it is the lower bound alone: a busy machine may always be later.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;

const LONG: &str = "path = \"/{*rest}\"\nupstream = \"u\"\ntimeout = \"60s\"";

/// Sends a byte again and again until the gateway has answered or closed.
fn drip(client: &Client, byte: u8) {
    let mut sender = client.split();
    std::thread::spawn(move || {
        let start = now();
        while start.elapsed() < PATIENCE && sender.try_send([byte]).is_ok() {
            std::thread::sleep(Duration::from_millis(40));
        }
    });
}

#[test]
fn a_head_that_does_not_arrive_in_time_is_a_408() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream).server("header_timeout", "\"300ms\""));
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nhost: te");
    assert_refusal(&client.read(), 408, "request_timeout");
    assert_ne!(client.end(), End::Silent);
    let labels = [("reason", "request_timeout")];
    gateway.wait_metric("seawall_refusals_total", &labels, 1.0);
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn a_drip_of_bytes_does_not_keep_a_head_alive() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream).server("header_timeout", "\"300ms\""));
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nhost: test\r\nx-slow: ");
    drip(&client, b'a');
    assert_refusal(&client.read(), 408, "request_timeout");
    assert_ne!(client.end(), End::Silent);
}

#[test]
fn the_second_head_of_a_connection_must_arrive_in_time_too() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream).server("header_timeout", "\"300ms\""));
    let mut client = gateway.connect();
    assert_passed(&client.ask(get("/")));
    client.send("GET / HTTP/1.1\r\nho");
    assert_refusal(&client.read(), 408, "request_timeout");
}

#[test]
fn a_body_that_falls_silent_is_a_408() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream).server("body_timeout", "\"300ms\"");
    let gateway = Gateway::start(&config.route("any", LONG));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nfive.");
    assert_refusal(&client.read(), 408, "request_timeout");
    assert_ne!(client.end(), End::Silent);
    // What the upstream got must not look complete, and its connection is of no more use.
    wait_for("the upstream connection to end", || {
        upstream.open_connections() == 0
    });
    assert!(upstream.requests().iter().all(|request| !request.whole));
}

#[test]
fn a_drip_of_bytes_does_not_keep_a_body_alive() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream)
        .server("body_timeout", "\"400ms\"")
        .server("min_body_rate", "\"1KiB/s\"");
    let gateway = Gateway::start(&config.route("any", LONG));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\n");
    drip(&client, b'a');
    assert_refusal(&client.read(), 408, "request_timeout");
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_a_504() {
    for keys in [
        "timeout = \"300ms\"",
        "timeout = \"60s\"\nattempt_timeout = \"300ms\"",
    ] {
        let upstream = Upstream::hanging();
        let route = format!("path = \"/{{*rest}}\"\nupstream = \"u\"\n{keys}");
        let gateway = Gateway::start(&Config::passing(&upstream).route("any", &route));
        let mut client = gateway.connect();
        let start = now();
        assert_refusal(&client.ask(get("/")), 504, "upstream_timeout");
        assert!(start.elapsed() >= Duration::from_millis(290), "{keys}");
        // The client did nothing wrong: its connection stays. The upstream's is given up.
        wait_for("the upstream connection to end", || {
            upstream.open_connections() == 0
        });
        assert_refusal(&client.ask(post("/", "x")), 504, "upstream_timeout");
        let labels = [("upstream", "u"), ("outcome", "upstream_timeout")];
        gateway.wait_metric("seawall_upstream_attempts_total", &labels, 2.0);
    }
}

#[test]
fn timeout_counts_from_the_request_received_whole() {
    let upstream = Upstream::echo();
    let route = "path = \"/{*rest}\"\nupstream = \"u\"\ntimeout = \"300ms\"";
    let gateway = Gateway::start(&Config::passing(&upstream).route("any", route));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 20\r\n\r\n");
    // Slower than `timeout` as a whole, but the client's slowness is not the upstream's.
    let start = now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_millis(900) && sent < 19 {
        client.send("a");
        sent += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    client.send("a".repeat(20 - sent));
    assert_passed(&client.read());
}

#[test]
fn an_answer_that_falls_silent_is_cut_short_and_never_made_to_look_complete() {
    for framing in [
        "content-length: 10",
        "transfer-encoding: chunked",
        "x-to: eof",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nx-from: upstream\r\n{framing}\r\n\r\n");
        let upstream = Upstream::raw(move |connection| {
            if connection.request().is_some() {
                connection.write(&head);
                connection.write("5\r\nhello");
                connection.until_gone();
            }
        });
        let config = Config::passing(&upstream).route("any", LONG);
        let config = config.endpoints("u", &[upstream.url()], "read_timeout = \"300ms\"");
        let gateway = Gateway::start(&config);
        let response = gateway.get("/");
        assert_eq!(response.status, 200);
        assert!(!response.whole, "{framing}: looks complete");
        wait_for("the upstream connection to end", || {
            upstream.open_connections() == 0
        });
    }
}

#[test]
fn stream_idle_timeout_stands_in_for_the_read_timeout_of_the_upstream() {
    let upstream = Upstream::raw(|connection| {
        if connection.request().is_some() {
            connection.write("HTTP/1.1 200 OK\r\nx-from: u\r\ncontent-length: 10\r\n\r\nhello");
            connection.until_gone();
        }
    });
    let route = format!("{LONG}\nstream_idle_timeout = \"300ms\"");
    let gateway = Gateway::start(&Config::passing(&upstream).route("any", &route));
    let start = now();
    let response = gateway.get("/");
    assert!(!response.whole);
    assert_eq!(response.text(), "hello");
    assert!(start.elapsed() >= Duration::from_millis(290));
}

#[test]
fn a_client_that_does_not_read_is_given_up_after_write_timeout() {
    let upstream = Upstream::raw(|connection| {
        if connection.request().is_some() {
            connection.write("HTTP/1.1 200 OK\r\nx-from: u\r\ntransfer-encoding: chunked\r\n\r\n");
            let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
            while connection.write(&chunk) {}
        }
    });
    let config = Config::passing(&upstream).server("write_timeout", "\"500ms\"");
    let gateway = Gateway::start(&config.route("any", LONG));
    let mut client = gateway.connect();
    client.send(get("/"));
    upstream.wait_heads(1);
    // The client reads nothing; its upstream connection would otherwise stay for ever.
    wait_for("the upstream connection to end", || {
        upstream.open_connections() == 0
    });
    let mut body = Vec::new();
    let head = client.read_head().head;
    assert!(!client.body(&head, &mut body), "looks complete");
    gateway.wait_metric("seawall_requests_in_flight", &[("route", "any")], 0.0);
}

#[test]
fn an_idle_connection_is_closed_quietly() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream).server("idle_timeout", "\"400ms\""));
    let mut client = gateway.connect();
    assert_passed(&client.ask(get("/")));
    let start = now();
    let answer = client.try_read();
    assert!(matches!(answer, Err(End::Eof)), "{answer:?}");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_connection_on_which_nothing_comes_does_not_stay() {
    let upstream = Upstream::echo();
    let config = Config::passing(&upstream)
        .server("header_timeout", "\"300ms\"")
        .server("idle_timeout", "\"300ms\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    assert_ne!(client.end(), End::Silent);
    gateway.wait_metric("seawall_connections", &[("listener", "client")], 0.0);
}

#[test]
fn an_upstream_that_never_reads_runs_into_attempt_timeout() {
    let over = Arc::new(Gate::default());
    let held = Arc::clone(&over);
    let upstream = Upstream::raw(move |connection| {
        connection.peek();
        held.wait();
    });
    let route = "path = \"/{*rest}\"\nupstream = \"u\"\nmax_body = \"none\"\n\
                 timeout = \"60s\"\nattempt_timeout = \"500ms\"";
    let config = Config::passing(&upstream).server("body_timeout", "\"60s\"");
    let gateway = Gateway::start(&config.route("any", route));
    let mut client = gateway.connect();
    let mut sender = client.split();
    let length = 256 << 20;
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n"
    ));
    std::thread::spawn(move || {
        let block = vec![b'a'; 1 << 20];
        for _ in 0..256 {
            if sender.try_send(&block).is_err() {
                return;
            }
        }
    });
    assert_refusal(&client.read(), 504, "upstream_timeout");
    over.open();
}
