//! Which header fields pass, which end at the gateway, and which it adds.

mod support;

use support::*;

fn request(headers: &str) -> String {
    format!("GET /a HTTP/1.1\r\nhost: test\r\n{headers}\r\n")
}

/// What the upstream saw of a request with these headers.
fn seen(gateway: &Gateway, upstream: &Upstream, headers: &str) -> Request {
    assert_passed(&gateway.ask(request(headers)));
    upstream.last()
}

#[test]
fn hop_by_hop_headers_and_those_that_connection_names_end_at_the_gateway() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let headers = "connection: keep-alive, X-Private\r\nx-private: 1\r\nkeep-alive: timeout=5\r\n\
                   proxy-connection: keep-alive\r\nte: trailers\r\nx-public: 1\r\n";
    let request = seen(&gateway, &upstream, headers);
    for name in ["x-private", "keep-alive", "proxy-connection", "te"] {
        assert!(!request.head.has(name), "{name} was passed on");
    }
    assert_eq!(request.header("x-public").as_deref(), Some("1"));
    let connection = request.header("connection").unwrap_or_default();
    assert!(!connection.to_ascii_lowercase().contains("x-private"));
}

#[test]
fn hop_by_hop_headers_of_an_answer_end_at_the_gateway() {
    let upstream = Upstream::serving(|_| {
        b"HTTP/1.1 200 OK\r\nx-from: upstream\r\nconnection: x-private, keep-alive\r\n\
          x-private: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\
          x-public: 1\r\ncontent-length: 2\r\n\r\nok"
            .to_vec()
    });
    let gateway = Gateway::start(&Config::passing(&upstream));
    let response = gateway.get("/");
    assert_passed(&response);
    for name in ["x-private", "keep-alive", "proxy-connection"] {
        assert!(!response.head.has(name), "{name} was passed on");
    }
    assert_eq!(response.header("x-public").as_deref(), Some("1"));
    assert_eq!(response.text(), "ok");
}

#[test]
fn connection_cannot_nominate_what_frames_or_routes_a_message() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let nominated = "POST /a HTTP/1.1\r\nhost: test\r\n\
                     connection: host, content-length, x-request-id, x-forwarded-for, via\r\n\
                     content-length: 5\r\n\r\nhello";
    let response = gateway.ask(nominated);
    if response.status == 400 {
        assert_refusal(&response, 400, "bad_request");
        assert_eq!(upstream.heads(), 0);
        return;
    }
    assert_eq!(response.text(), "hello");
    let request = upstream.last();
    for name in ["host", "x-request-id", "x-forwarded-for", "via"] {
        assert!(request.head.has(name), "{name} was taken away");
    }
}

#[test]
fn repeated_and_unusual_headers_pass_unchanged() {
    let upstream = Upstream::serving(|_| {
        b"HTTP/1.1 200 OK\r\nx-from: upstream\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
          content-length: 0\r\n\r\n"
            .to_vec()
    });
    let gateway = Gateway::start(&Config::passing(&upstream));
    let long = "v".repeat(8000);
    let headers = format!(
        "cookie: a=1; b=2\r\naccept: a\r\naccept: b\r\nx-empty:\r\nx-long: {long}\r\n\
         authorization: Bearer x\r\n"
    );
    assert_passed(&gateway.ask(request(&headers)));
    let head = upstream.last().head;
    assert_eq!(head.all("cookie"), ["a=1; b=2"]);
    assert_eq!(head.all("accept"), ["a", "b"]);
    assert_eq!(head.all("x-empty"), [""]);
    assert_eq!(head.all("x-long"), [long.as_str()]);
    assert_eq!(head.all("authorization"), ["Bearer x"]);
    let response = gateway.get("/");
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
}

#[test]
fn forwarding_headers_of_a_stranger_are_replaced() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let headers = "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n\
                   x-forwarded-host: other\r\nx-real-ip: 203.0.113.9\r\n";
    for headers in ["", headers] {
        let head = seen(&gateway, &upstream, headers).head;
        assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(head.all("x-forwarded-proto"), ["http"]);
        assert_eq!(head.all("x-forwarded-host"), ["test"]);
        assert_eq!(head.all("x-real-ip"), ["127.0.0.1"]);
    }
}

#[test]
fn forwarding_headers_of_a_trusted_proxy_are_believed_and_appended_to() {
    let upstream = Upstream::echo();
    let trusted = "[\"127.0.0.0/8\", \"10.0.0.0/8\"]";
    let gateway = Gateway::start(&Config::passing(&upstream).server("trusted_proxies", trusted));
    let headers = "x-forwarded-for: 198.51.100.1, 203.0.113.9\r\nx-forwarded-for: 10.1.2.3\r\n\
                   x-forwarded-proto: https\r\nx-forwarded-host: stats.example.com\r\n";
    let request = seen(&gateway, &upstream, headers);
    let chain = request.header("x-forwarded-for").unwrap_or_default();
    let chain: Vec<&str> = chain.split(',').map(str::trim).collect();
    let expected = ["198.51.100.1", "203.0.113.9", "10.1.2.3", "127.0.0.1"];
    assert_eq!(chain, expected);
    // The rightmost address that is not ours: what stands further left anyone may have written.
    assert_eq!(request.head.all("x-real-ip"), ["203.0.113.9"]);
    assert_eq!(request.head.all("x-forwarded-proto"), ["https"]);
    assert_eq!(request.head.all("x-forwarded-host"), ["stats.example.com"]);
}

#[test]
fn a_trusted_proxy_that_says_nothing_is_the_client() {
    let upstream = Upstream::echo();
    let trusted = "[\"127.0.0.0/8\"]";
    let gateway = Gateway::start(&Config::passing(&upstream).server("trusted_proxies", trusted));
    for headers in ["", "x-forwarded-for: nonsense\r\n"] {
        let request = seen(&gateway, &upstream, headers);
        assert_eq!(request.head.all("x-real-ip"), ["127.0.0.1"], "{headers}");
    }
}

#[test]
fn names_that_belong_to_seawall_are_taken_from_clients() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let headers = "x-seawall-replay: 1\r\nX-Seawall-Original-Time: now\r\nx-seaw: kept\r\n";
    let request = seen(&gateway, &upstream, headers);
    assert!(!request.head.has("x-seawall-replay"));
    assert!(!request.head.has("x-seawall-original-time"));
    assert!(request.head.has("x-seaw"));
}

#[test]
fn via_is_appended_to() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let alone = seen(&gateway, &upstream, "").header("via").expect("a via");
    assert!(alone.starts_with("1.1 "), "{alone}");
    let via = seen(&gateway, &upstream, "via: 1.0 first\r\n").header("via");
    assert_eq!(via, Some(format!("1.0 first, {alone}")));
}

#[test]
fn a_request_that_comes_back_is_refused_as_a_loop() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    assert_passed(&gateway.get("/"));
    // The Via that the gateway itself wrote, as it would come back.
    let via = upstream.last().header("via").expect("a via");
    let before = upstream.heads();
    let response = gateway.ask(request(&format!("via: 1.0 first, {via}, 1.1 last\r\n")));
    assert_refusal(&response, 508, "loop");
    assert_eq!(upstream.heads(), before);
}

#[test]
fn a_gateway_that_is_its_own_upstream_ends_the_loop() {
    let config = Config::new().respond("ping", "/ping", "pong");
    let gateway = Gateway::start(&config);
    let own = format!("http://{}", gateway.client);
    let looping = config
        .endpoints("self", &[own], "")
        .route("any", "path = \"/{*rest}\"\nupstream = \"self\"");
    gateway.write_structure(&looping);
    wait_for("the looping route", || gateway.get("/a").status != 404);
    let response = gateway.get("/a");
    assert_eq!(response.status, 508);
    assert_eq!(reason_of(&response), "loop");
}

#[test]
fn a_well_formed_request_id_is_kept_and_returned() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    for id in ["abc-123", "x", &"i".repeat(128)] {
        let response = gateway.ask(request(&format!("x-request-id: {id}\r\n")));
        assert_eq!(response.head.all("x-request-id"), [id]);
        assert_eq!(upstream.last().head.all("x-request-id"), [id]);
    }
}

#[test]
fn a_missing_or_malformed_request_id_is_made_anew() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let long = format!("x-request-id: {}\r\n", "i".repeat(129));
    let mut ids = Vec::new();
    for headers in [
        "",
        "x-request-id:\r\n",
        "x-request-id: two words\r\n",
        "x-request-id: \u{e9}\r\n",
        &long,
    ] {
        let response = gateway.ask(request(headers));
        assert_passed(&response);
        let id = response.header("x-request-id").expect("an id");
        assert_eq!(id.len(), 36, "{headers} gave {id}");
        assert_eq!(upstream.last().head.all("x-request-id"), [id.as_str()]);
        ids.push(id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5, "an id was given twice");
}

#[test]
fn trace_context_is_passed_on() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = format!("traceparent: {trace}\r\ntracestate: a=1\r\nbaggage: k=v\r\n");
    let head = seen(&gateway, &upstream, &headers).head;
    assert_eq!(head.all("traceparent"), [trace]);
    assert_eq!(head.all("tracestate"), ["a=1"]);
    assert_eq!(head.all("baggage"), ["k=v"]);
}

#[test]
fn a_websocket_is_refused_where_the_route_does_not_tunnel_it() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    let response = client.ask(request(
        "connection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n",
    ));
    assert_refusal(&response, 403, "upgrade_refused");
    assert_eq!(upstream.heads(), 0);
    assert_passed(&client.ask(get("/")));
}

#[test]
fn an_upgrade_to_http_2_is_ignored() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::passing(&upstream));
    let mut client = gateway.connect();
    let response = client.ask(request(
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
         http2-settings: AAMAAABkAAQAAP__\r\n",
    ));
    assert_passed(&response);
    let head = upstream.last().head;
    assert!(!head.has("upgrade"), "{head:?}");
    assert!(!head.has("http2-settings"), "{head:?}");
    let connection = head.get("connection").unwrap_or_default();
    assert!(!connection.to_ascii_lowercase().contains("upgrade"));
    assert_passed(&client.ask(get("/")));
}

#[test]
fn the_access_log_names_request_route_and_status() {
    let upstream = Upstream::echo();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let config = Config::passing(&upstream)
        .telemetry("access_log", &format!("{path:?}"))
        .telemetry("log_headers", "[\"x-tournament-id\"]")
        .server("trusted_proxies", "[\"127.0.0.0/8\"]");
    let gateway = Gateway::start(&config);
    let headers = "x-request-id: find-me\r\nx-tournament-id: spring-cup\r\n\
                   x-forwarded-for: 198.51.100.7\r\n";
    assert_passed(&gateway.ask(request(headers)));
    let mut line = String::new();
    wait_for("the access log line", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let found = text.lines().find(|line| line.contains("find-me"));
        line = found.unwrap_or_default().to_owned();
        !line.is_empty()
    });
    let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(record["client.address"], "198.51.100.7");
    for part in ["http.route", "\"any\"", "200", "\"by\"", "spring-cup"] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
}
