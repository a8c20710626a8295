//! Malformed and ambiguous answers of an upstream never reach the client.

mod support;

use support::*;

/// Answers that are not HTTP/1.1, or whose end readers could disagree about.
#[rustfmt::skip]
const INVALID: &[(&str, &[u8])] = &[
    ("no status line", b"hello world\r\n\r\n"),
    ("HTTP/0.9", b"<html>hello</html>"),
    ("another protocol", b"ICY 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("version 2.0", b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("version in lower case", b"http/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("status of letters", b"HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\nok"),
    ("status of two digits", b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("status of four digits", b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("status below 100", b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("negative status", b"HTTP/1.1 -20 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("space before the status line", b" HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("NUL in the reason", b"HTTP/1.1 200 O\0K\r\ncontent-length: 2\r\n\r\nok"),
    ("differing lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!"),
    ("list of differing lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok!"),
    ("negative length", b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok"),
    ("length with a plus", b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok"),
    ("length of letters", b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok"),
    ("length beyond 64 bits", b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551618\r\n\r\nok"),
    ("length and chunked", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("chunked not last", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("gzip before chunked", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("almost chunked", b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("space before the colon", b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok"),
    ("space in a name", b"HTTP/1.1 200 OK\r\nx a: 1\r\ncontent-length: 2\r\n\r\nok"),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nx-a: 1\x002\r\ncontent-length: 2\r\n\r\nok"),
    ("control character in a value", b"HTTP/1.1 200 OK\r\nx-a: 1\x012\r\ncontent-length: 2\r\n\r\nok"),
    ("bare CR in a value", b"HTTP/1.1 200 OK\r\nx-a: 1\r2\r\ncontent-length: 2\r\n\r\nok"),
    ("an upgrade nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
];

#[test]
fn an_upstream_that_does_not_speak_http_or_is_ambiguous_is_a_502() {
    for (name, bytes) in INVALID {
        let upstream = Upstream::answering(*bytes);
        let gateway = Gateway::start(&Config::passing(&upstream));
        let mut client = gateway.connect();
        let answer = client.ask(post("/", "x"));
        assert_eq!(answer.status, 502, "{name}: {}", answer.head.start);
        assert_refusal(&answer, 502, "upstream_invalid");
        // A POST that may have been processed is not sent again.
        assert_eq!(upstream.heads(), 1, "{name}");
        let labels = [("route", "any"), ("reason", "upstream_invalid")];
        gateway.wait_metric("seawall_refusals_total", &labels, 1.0);
        let labels = [("upstream", "u"), ("outcome", "upstream_invalid")];
        gateway.wait_metric("seawall_upstream_attempts_total", &labels, 1.0);
    }
}

#[test]
fn an_answer_with_a_head_without_end_is_refused_within_bounds() {
    let upstream = Upstream::raw(|connection| {
        if connection.request().is_some() {
            connection.write("HTTP/1.1 200 OK\r\nx-long: ");
            let block = "a".repeat(64 * 1024);
            while connection.write(&block) {}
        }
    });
    let gateway = Gateway::start(&Config::passing(&upstream));
    assert_refusal(&gateway.get("/"), 502, "upstream_invalid");
    let resident = gateway.metrics().one("process_resident_memory_bytes", &[]);
    assert!(resident < f64::from(96 << 20), "{resident} bytes resident");
}

#[test]
fn what_an_upstream_sends_behind_its_answer_is_never_taken_for_the_next_one() {
    let upstream = Upstream::raw(|connection| {
        while let Some(request) = connection.request() {
            let behind = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison".to_vec();
            let behind = if connection.number == 0 {
                behind
            } else {
                Vec::new()
            };
            connection.write([answer(200, request.target), behind].concat());
        }
    });
    let gateway = Gateway::start(&Config::passing(&upstream).server("workers", "1"));
    let mut client = gateway.connect();
    for target in ["/1", "/2", "/3"] {
        assert_eq!(client.ask(get(target)).text(), target);
    }
}

#[test]
fn an_answer_with_a_malformed_chunk_is_cut_short() {
    for chunk in [
        "x\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
    ] {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
        let upstream = Upstream::answering(format!("{head}{chunk}"));
        let gateway = Gateway::start(&Config::passing(&upstream));
        let answer = gateway.get("/");
        assert!(answer.status == 502 || !answer.whole, "{chunk} looks whole");
    }
}

#[test]
fn the_connection_of_an_ambiguous_answer_is_not_used_again() {
    let upstream = Upstream::raw(|connection| {
        while connection.request().is_some() {
            if connection.number > 0 {
                connection.write(answer(200, "ok"));
            } else {
                connection
                    .write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!");
            }
        }
    });
    let gateway = Gateway::start(&Config::passing(&upstream).server("workers", "1"));
    let mut client = gateway.connect();
    assert_refusal(&client.ask(post("/", "x")), 502, "upstream_invalid");
    assert_passed(&client.ask(post("/", "x")));
    assert_eq!(upstream.connections(), 2);
}
