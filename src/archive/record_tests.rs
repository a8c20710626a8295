use super::*;
use http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

fn record(body: &[u8]) -> Record {
    let mut headers = HeaderMap::new();
    headers.append("content-type", HeaderValue::from_static("text/plain"));
    headers.append("accept", HeaderValue::from_static("a"));
    headers.append("accept", HeaderValue::from_static("b"));
    headers.append("cookie", HeaderValue::from_static("session=secret"));
    headers.append("x-latin", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    Record {
        time: Duration::from_micros(1_700_000_000_123_456),
        route: "submit-stats".into(),
        instance: "gw-1".into(),
        client: "2001:db8::7".parse().unwrap(),
        request_id: "r-1".to_owned(),
        kill: KillNote {
            mode: "archive".into(),
            reason: Some("INC-42".into()),
            source: "tier:sheddable".into(),
        },
        method: Method::POST,
        target: "/v1/stats/7?token=abc&x=1".to_owned(),
        version: Version::HTTP_11,
        headers,
        body: Bytes::copy_from_slice(body),
        subject: None,
        maybe_processed: false,
        context: vec![("x-tournament-id".into(), "42".to_owned())],
    }
}

fn line(record: &Record) -> String {
    let redaction = Redaction::new(&["cookie".to_owned()], &["token".to_owned()]);
    let mut line = Vec::new();
    let id = Ulid::from_parts(1, 2);
    record.encode(id, &redaction, &mut line).unwrap();
    String::from_utf8(line).unwrap()
}

#[test]
fn a_record_is_one_json_object_with_the_contracts_names() {
    assert_eq!(
        line(&record(b"{\"score\":1}\n")),
        concat!(
            r#"{"id":"00000000010000000000000002","time":"2023-11-14T22:13:20.123456Z","#,
            r#""route":"submit-stats","instance":"gw-1","client":"2001:db8::7","#,
            r#""request_id":"r-1","kill":{"mode":"archive","reason":"INC-42","#,
            r#""source":"tier:sheddable"},"method":"POST","#,
            r#""target":"/v1/stats/7?token=[redacted]&x=1","version":"HTTP/1.1","#,
            r#""headers":[["content-type","text/plain"],["accept","a"],["accept","b"],"#,
            r#"["cookie","[redacted]"],["x-latin","café"]],"body":"{\"score\":1}\n","#,
            r#""subject":null,"maybe_processed":false,"context":{"x-tournament-id":"42"}}"#
        )
    );
}

#[test]
fn a_body_that_is_not_utf8_is_base64() {
    let text = line(&record(&[0xff, 0, 1]));
    assert!(text.contains(r#""body_base64":"/wAB""#), "{text}");
    assert!(!text.contains(r#""body":"#), "{text}");
}

#[test]
fn an_outline_is_read_whatever_the_routes_name_is_and_in_any_order() {
    let mut record = record(b"");
    for route in ["a", ",\"instance\":", "\\", "é\"}"] {
        record.route = route.into();
        assert_eq!(
            Outline::decode(line(&record).as_bytes()).unwrap().route,
            route
        );
    }
    let other = br#"{"route":"r","method":"GET","id":"00000000010000000000000002"}"#;
    assert_eq!(Outline::decode(other).unwrap().id, Ulid::from_parts(1, 2));
    assert!(Outline::decode(b"{\"id\":1,\"instance\":2}").is_none());
}

#[test]
fn a_line_that_is_no_record_is_refused() {
    let good = line(&record(&[0xff]));
    for bad in [
        good.replace("/w==", "!!"),
        good.replace("\"id\"", "\"ident\""),
        good[..good.len() - 1].to_owned(),
        String::new(),
    ] {
        assert!(StoredRecord::decode(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn what_was_left_out_is_known_afterwards() {
    let mut record = record(b"");
    assert!(
        StoredRecord::decode(line(&record).as_bytes())
            .unwrap()
            .has_redacted_headers()
    );
    record.headers.remove("cookie");
    assert!(
        !StoredRecord::decode(line(&record).as_bytes())
            .unwrap()
            .has_redacted_headers()
    );
}

proptest! {
    #[test]
    fn a_time_is_written_as_jiff_does(
        micros in prop_oneof![0..300_000_000_000_000_000_u64, 0..4_000_000_000_000_000_u64],
    ) {
        let mut text = Vec::new();
        push_time(Duration::from_micros(micros), &mut text).unwrap();
        let micros = i64::try_from(micros).unwrap();
        let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
        prop_assert_eq!(String::from_utf8(text).unwrap(), format!("{time:.6}"));
    }

    #[test]
    fn what_is_written_is_read_back_and_has_no_control_bytes(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        target in "/[a-z\u{1}\u{7f}\"\\\\é]{0,20}",
        value in proptest::collection::vec(0x20_u8..0x7f, 0..20),
        micros in 0_u64..250_000_000_000_000_000,
    ) {
        let mut record = record(&body);
        record.target = target;
        record.time = Duration::from_micros(micros);
        let name = HeaderName::from_static("x-any");
        record.headers.insert(name, HeaderValue::from_bytes(&value).unwrap());
        let line = line(&record);
        prop_assert!(line.bytes().all(|byte| byte >= 0x20));
        let stored = StoredRecord::decode(line.as_bytes()).unwrap();
        prop_assert_eq!(stored.body(), body);
        prop_assert_eq!(&stored.target, &record.target);
        prop_assert_eq!(stored.time.as_microsecond(), i64::try_from(micros).unwrap());
        prop_assert_eq!(stored.id, Ulid::from_parts(1, 2));
        let pair = ("x-any".to_owned(), String::from_utf8(value).unwrap());
        prop_assert!(stored.headers.contains(&pair));
        let outline = Outline::decode(line.as_bytes()).unwrap();
        prop_assert_eq!(outline.id, stored.id);
        prop_assert_eq!(outline.route, "submit-stats");
    }
}
