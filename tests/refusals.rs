//! Malformed and ambiguous requests are refused, counted, and never reach the upstream.
//!
//! Behind each vector stands a second, well-formed request: where the gateway and somebody else
//! could disagree about where the first one ends, it must not be served.

mod support;

use support::*;

/// What may happen to a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// This status.
    Is(u16),
    /// Refused with one of these, or closed without an answer.
    Refused(&'static [u16]),
    /// Refused as a bad request, or passed on as one unambiguous message.
    RefusedOrOne,
}

use Expect::{Is, Refused, RefusedOrOne};

struct Vector {
    name: &'static str,
    bytes: &'static [u8],
    expect: Expect,
}

const fn vector(name: &'static str, bytes: &'static [u8], expect: Expect) -> Vector {
    Vector {
        name,
        bytes,
        expect,
    }
}

const BAD: Expect = Is(400);

#[rustfmt::skip]
const FRAMING: &[Vector] = &[
    vector("length and chunked", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    vector("chunked and length", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", BAD),
    vector("differing lengths", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!", BAD),
    vector("list of differing lengths", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5, 6\r\n\r\nhello!", BAD),
    vector("list of the same length", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5, 5\r\n\r\nhello", RefusedOrOne),
    vector("the same length twice", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", RefusedOrOne),
    vector("length with a plus", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: +5\r\n\r\nhello", BAD),
    vector("negative length", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: -5\r\n\r\nhello", BAD),
    vector("hexadecimal length", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 0x5\r\n\r\nhello", BAD),
    vector("length with a letter", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5a\r\n\r\nhello", BAD),
    vector("length with a space", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5 5\r\n\r\nhello", BAD),
    vector("empty length", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length:\r\n\r\nhello", BAD),
    vector("length beyond 64 bits", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 18446744073709551621\r\n\r\nhello", BAD),
    vector("fractional length", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5.0\r\n\r\nhello", BAD),
    vector("gzip before chunked", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", BAD),
    vector("chunked not last", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", BAD),
    vector("chunked twice in a list", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", BAD),
    vector("chunked twice", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    vector("chunked, then identity", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n", BAD),
    vector("identity", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello", BAD),
    vector("almost chunked", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", BAD),
    vector("chunked after a control character", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", BAD),
    vector("chunked in quotes", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n", BAD),
    vector("empty transfer-encoding", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding:\r\n\r\n", BAD),
    vector("chunked in HTTP/1.0", b"POST / HTTP/1.0\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    vector("length hidden by a fold", b"POST / HTTP/1.1\r\nhost: t\r\nx: a\r\n content-length: 5\r\n\r\nhello", BAD),
    vector("length before a space and colon", b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length : 5\r\n\r\nhello", BAD),
    vector("chunked before a space and colon", b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", BAD),
];

#[rustfmt::skip]
const ROUTING: &[Vector] = &[
    vector("no host", b"GET / HTTP/1.1\r\n\r\n", BAD),
    vector("two differing hosts", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", BAD),
    vector("the same host twice", b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", BAD),
    vector("list of hosts", b"GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", BAD),
    vector("host with a space", b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", BAD),
    vector("host with a path", b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", BAD),
    vector("host with a user", b"GET / HTTP/1.1\r\nhost: a@b\r\n\r\n", BAD),
    vector("host with a port that is none", b"GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", BAD),
    vector("host against absolute target", b"GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", BAD),
    vector("absolute target without host", b"GET http://a/ HTTP/1.1\r\n\r\n", BAD),
    vector("authority as a field", b"GET / HTTP/1.1\r\nhost: a\r\n:authority: b\r\n\r\n", BAD),
    vector("target without a slash", b"GET index HTTP/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("target with a space", b"GET /a b HTTP/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("target with a control character", b"GET /a\x01b HTTP/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("target with NUL", b"GET /a\0b HTTP/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("empty target", b"GET  HTTP/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("connect", b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", Refused(&[400, 404, 405, 501])),
    vector("asterisk of a GET", b"GET * HTTP/1.1\r\nhost: t\r\n\r\n", Refused(&[400, 404])),
];

#[rustfmt::skip]
const SYNTAX: &[Vector] = &[
    vector("space before the colon", b"GET / HTTP/1.1\r\nhost: t\r\nx-a : 1\r\n\r\n", BAD),
    vector("tab before the colon", b"GET / HTTP/1.1\r\nhost: t\r\nx-a\t: 1\r\n\r\n", BAD),
    vector("space before the first field", b"GET / HTTP/1.1\r\n host: t\r\n\r\n", BAD),
    vector("folded field", b"GET / HTTP/1.1\r\nhost: t\r\nx-a: 1\r\n 2\r\n\r\n", BAD),
    vector("field folded with a tab", b"GET / HTTP/1.1\r\nhost: t\r\nx-a: 1\r\n\t2\r\n\r\n", BAD),
    vector("bare CR in a value", b"GET / HTTP/1.1\r\nhost: t\r\nx-a: 1\r2\r\n\r\n", BAD),
    vector("bare CR as a line end", b"GET / HTTP/1.1\rhost: t\r\r", Refused(&[400, 408])),
    vector("bare LF as a line end", b"GET / HTTP/1.1\r\nhost: t\nx-a: 1\r\n\r\n", BAD),
    vector("bare LF after the request line", b"GET / HTTP/1.1\nhost: t\r\n\r\n", BAD),
    vector("bare LF before the end", b"GET / HTTP/1.1\r\nhost: t\r\n\n", BAD),
    vector("bare LF everywhere", b"GET / HTTP/1.1\nhost: t\n\n", BAD),
    vector("NUL in a value", b"GET / HTTP/1.1\r\nhost: t\r\nx-a: 1\x002\r\n\r\n", BAD),
    vector("control character in a value", b"GET / HTTP/1.1\r\nhost: t\r\nx-a: 1\x012\r\n\r\n", BAD),
    vector("DEL in a value", b"GET / HTTP/1.1\r\nhost: t\r\nx-a: 1\x7f2\r\n\r\n", BAD),
    vector("NUL in a name", b"GET / HTTP/1.1\r\nhost: t\r\nx\0a: 1\r\n\r\n", BAD),
    vector("space in a name", b"GET / HTTP/1.1\r\nhost: t\r\nx a: 1\r\n\r\n", BAD),
    vector("delimiter in a name", b"GET / HTTP/1.1\r\nhost: t\r\nx(a): 1\r\n\r\n", BAD),
    vector("letter beyond ASCII in a name", b"GET / HTTP/1.1\r\nhost: t\r\nx\xe9: 1\r\n\r\n", BAD),
    vector("empty name", b"GET / HTTP/1.1\r\nhost: t\r\n: 1\r\n\r\n", BAD),
    vector("field without a colon", b"GET / HTTP/1.1\r\nhost: t\r\nx-a\r\n\r\n", BAD),
    vector("two spaces in the request line", b"GET  / HTTP/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("two spaces before the version", b"GET /  HTTP/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("space after the version", b"GET / HTTP/1.1 \r\nhost: t\r\n\r\n", BAD),
    vector("tabs in the request line", b"GET\t/\tHTTP/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("space before the method", b" GET / HTTP/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("delimiter in the method", b"GE(T / HTTP/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("no version", b"GET /\r\nhost: t\r\n\r\n", BAD),
    vector("version in lower case", b"GET / http/1.1\r\nhost: t\r\n\r\n", BAD),
    vector("version 1.10", b"GET / HTTP/1.10\r\nhost: t\r\n\r\n", BAD),
    vector("version 2.0", b"GET / HTTP/2.0\r\nhost: t\r\n\r\n", Refused(&[400, 505])),
    vector("version 0.9", b"GET / HTTP/0.9\r\nhost: t\r\n\r\n", Refused(&[400, 505])),
    vector("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused(&[400, 505])),
    vector("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", Refused(&[400])),
];

const SECOND: &[u8] = b"GET /second HTTP/1.1\r\nhost: t\r\n\r\n";

/// Sends one vector and checks it; gives the answer's reason, if there was an answer.
fn judge(gateway: &Gateway, upstream: &Upstream, vector: &Vector) -> Option<String> {
    let name = vector.name;
    let before = upstream.requests().len();
    let mut client = gateway.connect();
    client.send([vector.bytes, SECOND].concat());
    let answer = match client.try_read() {
        Ok(answer) => answer,
        Err(end) => {
            assert!(matches!(vector.expect, Refused(_)), "{name}: {end:?}");
            assert_ne!(end, End::Silent, "{name}: neither refused nor closed");
            return None;
        }
    };
    if vector.expect == RefusedOrOne && answer.is_from_upstream() {
        let seen = &upstream.requests()[before];
        assert_eq!(seen.head.all("content-length"), ["5"], "{name}");
        assert!(!seen.head.has("transfer-encoding"), "{name}");
        assert_eq!(seen.body, b"hello", "{name}");
        assert_passed(&client.read());
        return None;
    }
    let allowed: &[u16] = match vector.expect {
        Is(status) => &[status],
        Refused(statuses) => statuses,
        RefusedOrOne => &[400],
    };
    assert!(allowed.contains(&answer.status), "{name}: {answer:?}");
    let next = client.try_read();
    if answer.status == 400 {
        assert_refusal(&answer, 400, "bad_request");
        assert!(answer.closes(), "{name}: does not say that it closes");
        // Nothing behind a malformed message is read as a message.
        assert!(next.is_err(), "{name}: a second answer, {next:?}");
    }
    let seen = upstream.requests();
    let mut seen = seen[before..].iter();
    let served = answer.status != 400;
    assert!(
        seen.all(|request| served && request.target == "/second"),
        "{name}: went upstream"
    );
    Some(reason_of(&answer))
}

/// Judges every vector on one gateway, whose counter must then say the same.
fn judge_all(vectors: &[Vector]) {
    let upstream = Upstream::echo();
    // Vectors that some reader takes for the beginning of a head end soon.
    let config = Config::passing(&upstream)
        .server("header_timeout", "\"1s\"")
        .server("idle_timeout", "\"1s\"");
    let gateway = Gateway::start(&config);
    let mut bad = 0.0;
    for vector in vectors {
        if judge(&gateway, &upstream, vector).as_deref() == Some("bad_request") {
            bad += 1.0;
        }
    }
    assert!(bad > 0.0);
    gateway.wait_metric("seawall_refusals_total", &[("reason", "bad_request")], bad);
    // It still serves those who ask properly.
    assert_passed(&gateway.get("/"));
}

#[test]
fn ambiguous_framing_is_refused_and_the_connection_closed() {
    judge_all(FRAMING);
}

#[test]
fn an_ambiguous_or_missing_host_or_target_is_refused() {
    judge_all(ROUTING);
}

#[test]
fn a_malformed_head_is_refused() {
    judge_all(SYNTAX);
}

#[test]
fn the_preface_of_http_2_is_answered_and_counted() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let answer = gateway.ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_refusal(&answer, 400, "bad_request");
    let labels = [("route", "none"), ("reason", "bad_request")];
    gateway.wait_metric("seawall_refusals_total", &labels, 1.0);
}
