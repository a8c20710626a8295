//! Requests and answers pass byte for byte; connections are kept, shared out and given up when
//! they should be.

mod support;

use support::*;

/// Bytes that no accident repeats.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn post_chunked(target: &str, body: &[u8], size: usize) -> Vec<u8> {
    let head =
        format!("POST {target} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    [head.as_bytes(), &chunked(body, size)].concat()
}

/// Sends from a thread of its own: an echo fills both directions at once.
fn exchange(gateway: &Gateway, request: Vec<u8>) -> Response {
    let mut client = gateway.connect();
    if request.len() < 64 * 1024 {
        return client.ask(request);
    }
    let mut answers = client.split();
    let sending = std::thread::spawn(move || client.send(request));
    let response = answers.read();
    sending.join().expect("sent");
    response
}

#[test]
fn bodies_pass_byte_for_byte_both_ways_whatever_their_framing() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    for length in [0, 1, 1000, 70_000, 3 << 20] {
        let body = noise(length);
        for request in [post("/a", &body), post_chunked("/a", &body, 4000)] {
            let response = exchange(&gateway, request);
            assert_passed(&response);
            assert!(response.whole);
            assert!(response.body == body, "{length} bytes differ in the answer");
            let seen = upstream.last();
            assert!(seen.whole);
            assert!(seen.body == body, "{length} bytes differ upstream");
        }
    }
}

#[test]
fn a_chunked_body_in_one_byte_chunks_passes() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let body = noise(2000);
    let response = exchange(&gateway, post_chunked("/a", &body, 1));
    assert_passed(&response);
    assert!(response.body == body);
}

#[test]
fn a_body_of_get_passes_too() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let plain = "GET / HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(gateway.ask(plain).text(), "hello");
    let chunked = "GET / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(gateway.ask(chunked).text(), "hello");
    assert!(upstream.last().whole);
}

#[test]
fn answers_pass_whatever_their_framing() {
    let long = noise(1 << 20);
    let fixed = answer(200, &long);
    let chunks = [
        b"HTTP/1.1 200 OK\r\nx-from: upstream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        chunked(&long, 9000),
    ]
    .concat();
    let until_close = [
        b"HTTP/1.1 200 OK\r\nx-from: upstream\r\n\r\n".to_vec(),
        long.clone(),
    ]
    .concat();
    for bytes in [fixed, chunks, until_close] {
        let upstream = Upstream::answering(bytes);
        let gateway = Gateway::start(&Config::passing(&upstream));
        let mut client = gateway.connect();
        let response = client.ask(get("/"));
        assert_passed(&response);
        assert!(response.whole);
        assert!(response.body == long);
    }
}

#[test]
fn one_upstream_connection_serves_many_requests() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    for number in 0..20 {
        let body = number.to_string();
        assert_eq!(client.ask(post("/a", &body)).text(), body);
    }
    assert_eq!(upstream.connections(), 1);
    let labels = [("route", "any"), ("code", "200"), ("by", "upstream")];
    gateway.wait_metric("seawall_requests_total", &labels, 20.0);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    client.send([post("/a", "1"), post("/b", "22"), post("/c", "333")].concat());
    for body in ["1", "22", "333"] {
        assert_eq!(client.read().text(), body);
    }
}

#[test]
fn connections_are_kept_for_no_longer_than_max_idle_time() {
    let upstream = Upstream::echo();
    let keys = "keepalive = { max_idle = 8, max_idle_time = \"200ms\" }";
    let gateway =
        Gateway::start(&Config::passing(&upstream).endpoints("u", &[upstream.url()], keys));
    assert_passed(&gateway.get("/"));
    wait_for("the idle connection to be closed", || {
        upstream.open_connections() == 0
    });
    assert_passed(&gateway.get("/"));
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_upstream_that_says_close_gets_a_new_connection_each_time() {
    let upstream = Upstream::serving(|_| {
        b"HTTP/1.1 200 OK\r\nx-from: upstream\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
            .to_vec()
    });
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    for _ in 0..3 {
        let response = client.ask(get("/"));
        assert_passed(&response);
        assert!(!response.closes(), "the upstream's business alone");
    }
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn requests_are_spread_over_the_endpoints_in_turn() {
    let upstreams = [Upstream::echo(), Upstream::echo(), Upstream::echo()];
    let urls = upstreams.each_ref().map(Upstream::url);
    let gateway = Gateway::start(
        &Config::new()
            .endpoints("u", &urls, "balance = \"round-robin\"")
            .route("any", "path = \"/{*rest}\"\nupstream = \"u\""),
    );
    let mut client = gateway.connect();
    for _ in 0..30 {
        assert_passed(&client.ask(get("/")));
    }
    assert_eq!(upstreams.each_ref().map(Upstream::heads), [10, 10, 10]);
    assert_eq!(upstreams.each_ref().map(Upstream::connections), [1, 1, 1]);
}

#[test]
fn an_upstream_that_nobody_listens_at_is_a_502_and_the_client_connection_stays() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    upstream.stop();
    let mut client = gateway.connect();
    for _ in 0..2 {
        let response = client.ask(post("/", "body"));
        assert_refusal(&response, 502, "connect_failed");
    }
    let labels = [("route", "any"), ("reason", "connect_failed")];
    gateway.wait_metric("seawall_refusals_total", &labels, 2.0);
    let labels = [("upstream", "u"), ("outcome", "connect_failed")];
    assert!(gateway.metric("seawall_upstream_attempts_total", &labels) >= 2.0);
}

#[test]
fn a_body_beyond_max_body_is_a_413() {
    let upstream = Upstream::echo();
    let keys = "path = \"/{*rest}\"\nupstream = \"u\"\nmax_body = \"1KiB\"";
    let gateway = Gateway::start(&Config::passing(&upstream).route("any", keys));
    assert_passed(&gateway.ask(post("/fits", noise(1024))));
    assert_passed(&gateway.ask(post_chunked("/fits", &noise(1024), 100)));
    let fitting = upstream.heads();

    // Announced: refused before a byte of it is read, and nothing goes upstream.
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1025\r\n\r\n");
    assert_refusal(&client.read(), 413, "body_too_large");
    assert_eq!(client.end(), End::Eof);
    assert_eq!(upstream.heads(), fitting);

    // Chunked: known only on the way. The upstream must not take the part for the whole.
    let mut client = gateway.connect();
    client.send(post_chunked("/", &noise(1025), 100));
    assert_refusal(&client.read(), 413, "body_too_large");
    assert_ne!(client.end(), End::Silent);
    let labels = [("route", "any"), ("reason", "body_too_large")];
    gateway.wait_metric("seawall_refusals_total", &labels, 2.0);
    let whole = upstream.requests().iter().filter(|r| r.whole).count();
    assert_eq!(whole, fitting);
}

#[test]
fn head_and_bodiless_answers_leave_the_connection_in_step() {
    let upstream = Upstream::serving(|request| match request.target.as_str() {
        "/204" => b"HTTP/1.1 204 No Content\r\nx-from: upstream\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nx-from: upstream\r\netag: \"1\"\r\n\r\n".to_vec(),
        _ if request.method == "HEAD" => {
            b"HTTP/1.1 200 OK\r\nx-from: upstream\r\ncontent-length: 5\r\n\r\n".to_vec()
        }
        _ => answer(200, "hello"),
    });
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    for target in ["/204", "/304"] {
        let response = client.ask(get(target));
        assert_eq!(response.status.to_string(), target[1..]);
        assert!(!response.head.has("transfer-encoding"));
    }
    client.send("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n");
    let head = client.read_head();
    assert_eq!(head.header("content-length").as_deref(), Some("5"));
    assert_eq!(client.ask(get("/")).text(), "hello");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_http_1_0_client_is_answered_without_chunks_and_its_connection_ends() {
    let upstream = Upstream::serving(|_| {
        b"HTTP/1.1 200 OK\r\nx-from: upstream\r\ntransfer-encoding: chunked\r\n\r\n\
          5\r\nhello\r\n0\r\n\r\n"
            .to_vec()
    });
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    let response = client.ask("GET / HTTP/1.0\r\nhost: test\r\n\r\n");
    assert_passed(&response);
    assert!(!response.head.has("transfer-encoding"));
    assert_eq!(response.text(), "hello");
    assert_eq!(client.end(), End::Eof);
    assert_eq!(upstream.last().version, "HTTP/1.1");
}

#[test]
fn a_client_that_says_close_is_closed_after_its_answer() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    let response = client.ask("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    assert_passed(&response);
    assert!(response.closes());
    assert_eq!(client.end(), End::Eof);
    // The upstream connection is the gateway's own: it stays.
    assert_passed(&gateway.get("/"));
    let connection = upstream.last().header("connection").unwrap_or_default();
    assert!(!connection.contains("close"), "{connection}");
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    client
        .send("POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.read().status, 100);
    let response = client.ask("hello");
    assert_passed(&response);
    assert_eq!(response.text(), "hello");
    assert_passed(&client.ask(get("/")));
}

#[test]
fn a_client_that_asks_first_and_may_not_is_refused_without_its_body() {
    let upstream = Upstream::echo();
    let keys = "path = \"/{*rest}\"\nupstream = \"u\"\nmax_body = \"1KiB\"";
    let gateway = Gateway::start(&Config::passing(&upstream).route("any", keys));
    let mut client = gateway.connect();
    client.send(
        "POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 9999\r\n\r\n",
    );
    assert_refusal(&client.read(), 413, "body_too_large");
    assert_eq!(client.end(), End::Eof);
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn an_interim_answer_of_the_upstream_is_not_taken_for_its_final_one() {
    let upstream = Upstream::serving(|_| {
        [
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_vec(),
            answer(200, "final"),
        ]
        .concat()
    });
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    let mut response = client.ask(get("/"));
    if response.status == 103 {
        response = client.read();
    }
    assert_passed(&response);
    assert_eq!(response.text(), "final");
}

#[test]
fn answers_stream_before_they_are_complete() {
    let gate = std::sync::Arc::new(Gate::default());
    let held = std::sync::Arc::clone(&gate);
    let upstream = Upstream::raw(move |connection| {
        if connection.request().is_some() {
            connection.write("HTTP/1.1 200 OK\r\nx-from: u\r\ncontent-length: 10\r\n\r\nfirst");
            held.wait();
            connection.write("after");
        }
    });
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    client.send(get("/"));
    let head = client.read_head();
    let mut body = Vec::new();
    assert!(client.exactly(5, &mut body));
    assert_eq!(body, b"first");
    gate.open();
    assert!(client.exactly(5, &mut body));
    assert_eq!(body, b"firstafter");
    assert_eq!(head.status, 200);
}

#[test]
fn requests_stream_before_they_are_complete() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nfirst");
    upstream.wait_heads(1);
    assert!(upstream.requests().is_empty());
    assert_eq!(client.ask("after").text(), "firstafter");
}

#[test]
fn a_request_of_http_1_0_without_a_host_gets_one() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    assert_passed(&gateway.ask("GET /a HTTP/1.0\r\n\r\n"));
    let own = upstream.address().to_string();
    assert_eq!(upstream.last().header("host"), Some(own));
    assert_passed(&gateway.ask("GET http://a.test/b HTTP/1.0\r\n\r\n"));
    let seen = upstream.last();
    assert_eq!(seen.header("host").as_deref(), Some("a.test"));
    assert_eq!(seen.target, "/b");
}

#[test]
fn announced_trailers_of_an_answer_reach_a_client_that_takes_them() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nx-from: u\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
    );
    let gateway = Gateway::start(&Config::passing(&upstream));
    for (te, end) in [
        ("te: trailers\r\n", "0\r\nx-sum: 1\r\n\r\n"),
        ("", "0\r\n\r\n"),
    ] {
        let mut client = gateway.connect();
        client.send(format!("GET / HTTP/1.1\r\nhost: test\r\n{te}\r\n"));
        client.read_head();
        let body = format!("2\r\nok\r\n{end}");
        let mut seen = Vec::new();
        assert!(client.exactly(body.len(), &mut seen));
        assert_eq!(String::from_utf8_lossy(&seen), body);
    }
}
