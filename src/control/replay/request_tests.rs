use super::*;
use crate::matching::{PathPattern, PathTemplate};
use crate::upstream::{EndpointKind, EndpointSpec};
use serde_json::json;

fn record(target: &str, headers: serde_json::Value, body: serde_json::Value) -> StoredRecord {
    let mut record = json!({
        "id": "01ARYZ6S410000000000000000", "time": "2026-11-06T09:00:00.123456Z", "route": "r",
        "instance": "i", "client": "203.0.113.7", "request_id": "q-1",
        "kill": {"mode": "archive", "reason": null, "source": "r"}, "method": "POST",
        "target": target, "version": "HTTP/1.1", "headers": headers, "subject": null,
        "maybe_processed": false,
    });
    let (record_map, body_map) = (record.as_object_mut().unwrap(), body);
    record_map.extend(body_map.as_object().unwrap().clone());
    StoredRecord::decode(record.to_string().as_bytes()).unwrap()
}

fn recipe() -> Recipe {
    Recipe {
        as_received: true,
        prefix: String::new(),
        path_rewrite: None,
        host: HostRewrite::Keep,
        edits: crate::config::HeaderEdits::default(),
    }
}

fn endpoint() -> Endpoint {
    Endpoint::new(EndpointSpec {
        kind: EndpointKind::Host,
        text: "http://u:9".into(),
        host: "u".into(),
        port: 9,
    })
}

fn request(record: &StoredRecord, recipe: &Recipe, given: &Given) -> Request<RequestBody> {
    let outgoing = Outgoing::of(record, recipe, given).unwrap();
    outgoing.request(recipe, &endpoint())
}

#[test]
fn what_belonged_to_the_connection_or_is_ours_is_not_sent_and_ours_is_added() {
    let record = record(
        "/a/%7eb?x=1",
        json!([
            ["host", "game.example"],
            ["connection", "keep-alive, x-hop"],
            ["x-hop", "1"],
            ["transfer-encoding", "chunked"],
            ["te", "trailers"],
            ["expect", "100-continue"],
            ["x-seawall-replay", "forged"],
            ["x-seawall-other", "forged"],
            ["x-forwarded-for", "6.6.6.6"],
            ["x-request-id", "forged"],
            ["via", "1.0 edge"],
            ["x-twice", "1"],
            ["x-twice", "2"],
            ["x-name", "Zoë"]
        ]),
        json!({"body_base64": "AP8K"}),
    );
    let sent = request(&record, &recipe(), &Given::default());
    assert_eq!(sent.uri(), "/a/%7eb?x=1");
    let mut lines: Vec<(String, Vec<u8>)> = sent
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    lines.sort();
    let expected: [(&str, &str); 14] = [
        ("content-length", "3"),
        ("host", "game.example"),
        ("via", "1.0 edge"),
        ("via", "1.1 seawall-replay"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-host", "game.example"),
        ("x-forwarded-proto", "http"),
        ("x-name", "Zoë"),
        ("x-real-ip", "203.0.113.7"),
        ("x-request-id", "q-1"),
        ("x-seawall-original-time", "2026-11-06T09:00:00.123456Z"),
        ("x-seawall-replay", "01ARYZ6S410000000000000000"),
        ("x-twice", "1"),
        ("x-twice", "2"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    assert_eq!(lines, expected);
    assert_eq!(sent.body().announced(), Some(3));
}

#[test]
fn a_request_without_a_body_is_framed_as_it_was() {
    let length = |headers| {
        let sent = request(
            &record("/", headers, json!({"body": ""})),
            &recipe(),
            &Given::default(),
        );
        sent.headers().get("content-length").cloned()
    };
    assert_eq!(length(json!([])), None);
    assert_eq!(length(json!([["content-length", "0"]])).unwrap(), "0");
    assert_eq!(
        length(json!([["transfer-encoding", "chunked"]])).unwrap(),
        "0"
    );
}

#[test]
fn a_route_sends_what_it_matched_with_its_rewrites() {
    let pattern = PathPattern::parse("/v1/{player}").unwrap();
    let edits = crate::config::HeaderEdits {
        remove: vec![HeaderName::from_static("x-debug")],
        set: vec![(
            HeaderName::from_static("x-gateway"),
            HeaderValue::from_static("s"),
        )],
        add: Vec::new(),
    };
    let recipe = Recipe {
        as_received: false,
        path_rewrite: Some(PathTemplate::parse("/stats/{player}", &pattern).unwrap()),
        host: HostRewrite::Upstream,
        edits,
        ..recipe()
    };
    let headers = json!([["host", "game"], ["x-debug", "1"], ["x-gateway", "forged"]]);
    let record = record("/v1/x/../%61my?q=%61", headers, json!({"body": "b"}));
    let sent = request(&record, &recipe, &Given::default());
    assert_eq!(sent.uri(), "/stats/amy?q=%61");
    assert_eq!(sent.headers()["host"], "u:9");
    assert_eq!(sent.headers()["x-gateway"], "s");
    assert!(!sent.headers().contains_key("x-debug"));
}

#[test]
fn values_that_were_left_out_are_needed_or_given_or_left_out() {
    let headers = json!([
        ["authorization", REDACTED],
        ["cookie", REDACTED],
        ["x-a", "1"]
    ]);
    let record = record(
        "/a?token=[redacted]&b=1;key=[redacted]&c",
        headers,
        json!({"body": ""}),
    );
    let header = |name: &str| Lacking::Header(name.to_owned());
    let query = |name: &str| Lacking::Query(name.to_owned());
    let mut given = Given::default();
    let all = [
        header("authorization"),
        header("cookie"),
        query("key"),
        query("token"),
    ];
    assert_eq!(lacking(&record, &given), all);
    given.headers = vec![(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))];
    given.query = vec![("token".to_owned(), "t%20".to_owned())];
    assert_eq!(lacking(&record, &given), [header("cookie"), query("key")]);
    given.redacted = RedactedValues::LeftOut;
    assert!(lacking(&record, &given).is_empty());
    let sent = request(&record, &recipe(), &given);
    assert_eq!(sent.uri(), "/a?token=t%20&b=1&c");
    assert_eq!(sent.headers()["authorization"], "Bearer x");
    assert_eq!(sent.headers()["x-a"], "1");
    assert!(!sent.headers().contains_key("cookie"));
    given.query.clear();
    assert_eq!(request(&record, &recipe(), &given).uri(), "/a?b=1&c");
}

#[test]
fn headers_that_are_given_stand_in_place_of_those_recorded() {
    let given = Given {
        headers: vec![(header::HOST, HeaderValue::from_static("staging"))],
        ..Given::default()
    };
    let record = record(
        "/",
        json!([["host", "a"], ["host", "b"]]),
        json!({"body": ""}),
    );
    let sent = request(&record, &recipe(), &given);
    assert_eq!(sent.headers().get_all("host").iter().count(), 1);
    assert_eq!(sent.headers()["host"], "staging");
}

#[test]
fn what_cannot_be_sent_is_told() {
    let of = |target: &str, headers| {
        let record = record(target, headers, json!({"body": ""}));
        Outgoing::of(&record, &recipe(), &Given::default()).map(|_| ())
    };
    assert_eq!(of("/a b", json!([])), Err(Unsendable::Target));
    assert_eq!(of("/%00", json!([])), Err(Unsendable::Target));
    let wrong = Err(Unsendable::Header("x-a".to_owned()));
    assert_eq!(of("/", json!([["x-a", "a\nb"]])), wrong);
    assert_eq!(of("/", json!([])), Ok(()));
}
