//! Malformed chunked bodies, and heads that are too large.
//!
//! A body streams, so the upstream may have seen the beginning of a message when its end turns
//! out to be malformed. It must never see it as a whole one, nor what stands behind it.

mod support;

use std::fmt::Write as _;

use support::*;

/// Chunked bodies that end, for some reader, where they should not.
#[rustfmt::skip]
const CHUNKS: &[(&str, &[u8])] = &[
    ("size that is no number", b"x\r\nhello\r\n0\r\n\r\n"),
    ("negative size", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("size with a plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("size with an underscore", b"0_5\r\nhello\r\n0\r\n\r\n"),
    ("empty size", b"\r\nhello\r\n0\r\n\r\n"),
    ("size beyond 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("size of all bits", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("data longer than its size", b"4\r\nhello\r\n0\r\n\r\n"),
    ("no line end after the data", b"5\r\nhello0\r\n\r\n"),
    ("bare LF after the data", b"5\r\nhello\n0\r\n\r\n"),
    ("bare LF after the size", b"5\nhello\r\n0\r\n\r\n"),
    ("bare LF after an extension", b"5;a\nhello\r\n0\r\n\r\n"),
    ("bare CR after the size", b"5\rhello\r\n0\r\n\r\n"),
    ("bare LF after the last chunk", b"5\r\nhello\r\n0\n\r\n"),
    ("bare LF instead of the end", b"5\r\nhello\r\n0\r\n\n"),
    ("next request taken for trailers", b"5\r\nhello\r\n0\r\n\nGET /x HTTP/1.1\r\n\r\n"),
    ("space before the size", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("NUL in an extension", b"5;a=\0\r\nhello\r\n0\r\n\r\n"),
];

#[test]
fn a_malformed_chunked_body_is_never_passed_on_as_a_whole_one() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream).server("body_timeout", "\"1s\""));
    for (name, body) in CHUNKS {
        let mut client = gateway.connect();
        let head = b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send([head, *body, get("/second").as_bytes()].concat());
        match client.try_read() {
            Ok(answer) => {
                // A size that is merely absurd is too large, and half a line end too slow.
                assert!(
                    matches!(answer.status, 400 | 408 | 413),
                    "{name}: {answer:?}"
                );
                assert_refusal(&answer, answer.status, &reason_of(&answer));
                assert!(client.try_read().is_err(), "{name}: a second answer");
            }
            Err(end) => assert_ne!(end, End::Silent, "{name}: neither"),
        }
        let whole = upstream.requests().iter().any(|request| request.whole);
        assert!(!whole, "{name}: reached the upstream whole");
    }
    assert_passed(&gateway.get("/"));
}

#[test]
fn framing_and_routing_fields_do_not_enter_through_trailers() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    for trailer in [
        "content-length: 50",
        "transfer-encoding: chunked",
        "host: other",
        "x-forwarded-for: 203.0.113.9",
        "x-request-id: other",
        "x-seawall-replay: 1",
        "authorization: Bearer x",
    ] {
        let before = upstream.requests().len();
        let mut client = gateway.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"
        ));
        let answer = client.read();
        if answer.status == 400 {
            continue;
        }
        assert_eq!(answer.text(), "hello", "{trailer}");
        let seen = &upstream.requests()[before];
        assert_eq!(seen.body, b"hello");
        let (name, value) = trailer.split_once(": ").expect("a field");
        let entered = seen.head.all(name).contains(&value) && name != "transfer-encoding";
        assert!(!entered, "{trailer} became a header");
        assert_eq!(seen.head.all("host"), ["t"], "{trailer}");
    }
}

#[test]
fn chunk_extensions_are_bounded() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n5;");
    let mut sender = client.split();
    let sending = std::thread::spawn(move || {
        let block = "a".repeat(64 * 1024);
        // 16 MiB of an extension: nobody means that.
        (0..256).all(|_| sender.try_send(&block).is_ok())
    });
    match client.try_read() {
        Ok(answer) => assert_refusal(&answer, 400, "bad_request"),
        Err(end) => assert_ne!(end, End::Silent),
    }
    drop(client);
    sending.join().expect("a sender");
    assert!(upstream.requests().iter().all(|request| !request.whole));
}

#[test]
fn a_well_formed_extension_ends_at_the_gateway() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let answer = gateway.ask(
        "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n\
         5;a=b\r\nhello\r\n0;c\r\n\r\n",
    );
    assert_eq!(answer.text(), "hello");
    assert_eq!(upstream.last().body, b"hello");
}

#[test]
fn a_head_that_is_too_large_is_a_431() {
    let upstream = Upstream::echo();
    let gateway =
        Gateway::start(&Config::passing(&upstream).server("max_header_bytes", "\"8KiB\""));
    let value = "v".repeat(9 * 1024);
    let mut many = String::new();
    for number in 0..400 {
        let _ = write!(many, "x-{number}: {}\r\n", "v".repeat(20));
    }
    for request in [
        format!("GET / HTTP/1.1\r\nhost: t\r\nx-long: {value}\r\n\r\n"),
        format!("GET /{value} HTTP/1.1\r\nhost: t\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: t\r\n{value}: 1\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: t\r\n{many}\r\n"),
        // Never ends: the bound must not wait for the end.
        format!("GET / HTTP/1.1\r\nhost: t\r\nx-long: {value}"),
    ] {
        let mut client = gateway.connect();
        client.send(request);
        assert_refusal(&client.read(), 431, "head_too_large");
        assert_ne!(client.end(), End::Silent);
    }
    assert_eq!(upstream.heads(), 0);
    let labels = [("reason", "head_too_large")];
    gateway.wait_metric("seawall_refusals_total", &labels, 5.0);
    let fits = format!(
        "GET / HTTP/1.1\r\nhost: t\r\nx-long: {}\r\n\r\n",
        &value[..7000]
    );
    assert_passed(&gateway.ask(fits));
}

#[test]
fn too_many_header_fields_are_a_431() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream).server("max_headers", "20"));
    let request = |count: usize| {
        let fields = "x-a: 1\r\n".repeat(count - 1);
        format!("GET / HTTP/1.1\r\nhost: t\r\n{fields}\r\n")
    };
    assert_passed(&gateway.ask(request(20)));
    let mut client = gateway.connect();
    assert_refusal(&client.ask(request(21)), 431, "head_too_large");
    assert_ne!(client.end(), End::Silent);
    // And far beyond what any parser has room for.
    assert_refusal(&gateway.ask(request(2000)), 431, "head_too_large");
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn empty_lines_before_a_request_do_no_harm() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    client.send("\r\n");
    client.send(get("/"));
    match client.try_read() {
        Ok(answer) if answer.is_from_upstream() => assert_passed(&answer),
        Ok(answer) => assert_refusal(&answer, 400, "bad_request"),
        Err(end) => panic!("no answer: {end:?}"),
    }
}

#[test]
fn what_upstreams_believe_of_a_gateway_is_no_trailer_either() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    for name in ["x-seawall-replay", "X-Real-IP", "via", "x-forwarded-proto"] {
        // Announced, so that it would be passed on.
        let answer = gateway.ask(format!(
            "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\ntrailer: {name}\r\n\r\n\
             5\r\nhello\r\n0\r\n{name}: 1\r\n\r\n"
        ));
        assert_refusal(&answer, 400, "bad_request");
    }
}
