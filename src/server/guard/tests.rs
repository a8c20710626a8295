//! The guard, fed whole messages and pieces of them.

use super::*;
use proptest::prelude::*;

fn scan(bytes: &[u8]) -> Result<Guard, Refused> {
    let mut guard = Guard::new(4096);
    guard.scan(bytes).map(|()| guard)
}

#[test]
fn good_messages_pass_in_any_pieces() {
    let all = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n\
        PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nx-sum: 1\r\n\r\nGET /p";
    for size in 1..all.len() {
        let mut guard = Guard::new(4096);
        for piece in all.chunks(size) {
            guard.scan(piece).unwrap();
        }
        assert_eq!(guard.heads(), 3, "pieces of {size}");
        assert!(guard.in_head());
    }
}

#[test]
fn ambiguous_messages_are_refused() {
    let bad: [&[u8]; 16] = [
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length : 1\r\nTransfer-Encoding : chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    ];
    for bytes in bad {
        let refused = scan(bytes).expect_err(&String::from_utf8_lossy(bytes));
        assert_eq!(refused.reason, Reason::BadRequest);
    }
}

#[test]
fn what_came_before_a_bad_head_is_kept() {
    let good = b"GET / HTTP/1.1\r\n\r\n";
    let mut bytes = good.to_vec();
    bytes.extend_from_slice(b"GET / HTTP/1.1\n\n");
    let refused = scan(&bytes).unwrap_err();
    assert_eq!(refused.keep, good.len());
    assert!(!refused.in_body);
}

#[test]
fn heads_and_chunk_lines_have_a_bound() {
    let mut long = b"GET / HTTP/1.1\r\nX: ".to_vec();
    long.resize(5000, b'x');
    assert_eq!(scan(&long).unwrap_err().reason, Reason::HeadTooLarge);
    let mut chunk = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;".to_vec();
    chunk.resize(chunk.len() + 300, b'x');
    assert_eq!(scan(&chunk).unwrap_err().reason, Reason::BadRequest);
    let mut flood = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20_000 {
        flood.extend_from_slice(b"1\r\nx\r\n");
    }
    assert!(scan(&flood).unwrap_err().in_body);
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same_verdict(
        bytes in proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), Just(b'0'), Just(b':'), any::<u8>()],
            0..200,
        ),
        size in 1_usize..50,
    ) {
        let whole = scan(&bytes).is_ok();
        let mut guard = Guard::new(4096);
        let pieces = bytes.chunks(size).all(|piece| guard.scan(piece).is_ok());
        prop_assert_eq!(whole, pieces);
    }
}
