//! Which route takes a request, and what it then sends upstream.

mod support;

use support::*;

const ANY: &str = "path = \"/{*rest}\"\nupstream = \"u\"";

fn ask_with(gateway: &Gateway, method: &str, target: &str, headers: &str) -> Response {
    gateway.ask(format!(
        "{method} {target} HTTP/1.1\r\nhost: test\r\n{headers}\r\n"
    ))
}

#[test]
fn the_most_specific_path_takes_the_request() {
    let gateway = Gateway::start(
        &Config::new()
            .respond("fixed", "/v1/stats/top", "fixed")
            .respond("one", "/v1/stats/{player}", "one")
            .respond("rest", "/v1/{*rest}", "rest")
            .respond("root", "/", "root"),
    );
    for (target, body) in [
        ("/v1/stats/top", "fixed"),
        ("/v1/stats/top?page=2", "fixed"),
        ("/v1/stats/amy", "one"),
        ("/v1/stats/amy/more", "rest"),
        ("/v1/other", "rest"),
    ] {
        assert_eq!(gateway.get(target).text(), body, "{target}");
    }
}

#[test]
fn a_path_that_ends_in_a_slash_takes_everything_below_it() {
    let gateway = Gateway::start(
        &Config::new()
            .respond("assets", "/assets/", "assets")
            .respond("logo", "/assets/logo", "logo"),
    );
    for target in ["/assets/", "/assets/a", "/assets/a/b/c", "/assets/a/"] {
        assert_eq!(gateway.get(target).text(), "assets", "{target}");
    }
    assert_eq!(gateway.get("/assets/logo").text(), "logo");
    assert_refusal(&gateway.get("/assetsx"), 404, "no_route");
}

#[test]
fn paths_are_told_apart_by_case() {
    let gateway = Gateway::start(&Config::new().respond("ping", "/ping", "pong"));
    assert_eq!(gateway.get("/ping").text(), "pong");
    assert_refusal(&gateway.get("/PING"), 404, "no_route");
}

#[test]
fn what_nothing_matches_is_a_404_and_counted_under_the_route_none() {
    let gateway = Gateway::start(&Config::new().respond("ping", "/ping", "pong"));
    let mut client = gateway.connect();
    assert_refusal(&client.ask(get("/nothing")), 404, "no_route");
    // A 404 is no reason to lose the connection.
    assert_eq!(client.ask(get("/ping")).text(), "pong");
    let labels = [("route", "none"), ("reason", "no_route")];
    gateway.wait_metric("seawall_refusals_total", &labels, 1.0);
    let labels = [("route", "none"), ("code", "404"), ("by", "gateway")];
    gateway.wait_metric("seawall_requests_total", &labels, 1.0);
}

#[test]
fn a_method_that_no_route_of_the_path_takes_is_a_405_that_names_those_taken() {
    let upstream = Upstream::echo();
    let route =
        |method: &str| format!("path = \"/v1/stats\"\nmethods = [\"{method}\"]\nupstream = \"u\"");
    let gateway = Gateway::start(
        &Config::new()
            .upstream("u", &upstream)
            .route("read", &route("GET"))
            .route("write", &route("POST")),
    );
    let refused = ask_with(&gateway, "DELETE", "/v1/stats", "");
    assert_refusal(&refused, 405, "method_not_allowed");
    assert_eq!(refused.header("allow").as_deref(), Some("GET, HEAD, POST"));
    assert_eq!(upstream.heads(), 0);
    assert_passed(&gateway.get("/v1/stats"));
    assert_passed(&gateway.ask(post("/v1/stats", "x")));
}

#[test]
fn methods_are_told_apart_by_case() {
    let upstream = Upstream::echo();
    let keys = "path = \"/x\"\nmethods = [\"GET\"]\nupstream = \"u\"";
    let gateway = Gateway::start(&Config::new().upstream("u", &upstream).route("x", keys));
    let refused = ask_with(&gateway, "get", "/x", "");
    assert!(matches!(refused.status, 400 | 405), "{}", refused.status);
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn a_host_takes_its_own_requests_whatever_its_case_port_or_final_dot() {
    let route = |host: &str, body: &str| {
        format!("host = \"{host}\"\npath = \"/\"\nrespond = {{ status = 200, body = \"{body}\" }}")
    };
    let gateway = Gateway::start(
        &Config::new()
            .route("exact", &route("stats.example.com", "exact"))
            .route("wild", &route("*.example.com", "wild"))
            .respond("other", "/", "other"),
    );
    for (host, body) in [
        ("stats.example.com", "exact"),
        ("STATS.Example.COM", "exact"),
        ("stats.example.com:8080", "exact"),
        ("stats.example.com.", "exact"),
        ("chat.example.com", "wild"),
        ("example.com", "other"),
        ("stats.example.com.evil.net", "other"),
    ] {
        let response = gateway.ask(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        assert_eq!(response.text(), body, "{host}");
    }
}

#[test]
fn a_route_with_a_host_alone_takes_every_path_of_it() {
    let keys = "host = \"stats.example.com\"\nrespond = { status = 200, body = \"here\" }";
    let gateway = Gateway::start(&Config::new().route("host", keys));
    let ask = |host: &str| gateway.ask(format!("GET /a/b HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    assert_eq!(ask("stats.example.com").text(), "here");
    assert_refusal(&ask("other.example.com"), 404, "no_route");
}

#[test]
fn a_route_whose_headers_do_not_match_falls_through_to_a_less_specific_one() {
    let route = |test: &str, body: &str| {
        format!(
            "path = \"/v1\"\nheaders = {{ x-client-version = {test} }}\n\
             respond = {{ status = 200, body = \"{body}\" }}"
        )
    };
    let gateway = Gateway::start(
        &Config::new()
            .route("exact", &route("\"4.7\"", "exact"))
            .route("prefix", &route("{ prefix = \"3.\" }", "prefix"))
            .route("suffix", &route("{ suffix = \"-beta\" }", "suffix"))
            .route("regex", &route("{ regex = \"2\\\\.[0-9]+\" }", "regex"))
            .respond("plain", "/v1", "plain")
            .respond("rest", "/{*rest}", "rest"),
    );
    for (version, body) in [
        ("4.7", "exact"),
        ("4.70", "plain"),
        ("3.11", "prefix"),
        ("9.0-beta", "suffix"),
        ("2.15", "regex"),
        ("x2.15", "plain"),
        ("2.15x", "plain"),
    ] {
        let header = format!("x-client-version: {version}\r\n");
        let response = ask_with(&gateway, "GET", "/v1", &header);
        assert_eq!(response.text(), body, "{version}");
    }
    assert_eq!(gateway.get("/v1").text(), "plain");
    assert_eq!(gateway.get("/v2").text(), "rest");
}

#[test]
fn a_header_matcher_can_ask_whether_the_header_is_there() {
    let keys = "path = \"/v1\"\nheaders = { x-debug = { present = true } }\n\
                respond = { status = 200, body = \"debug\" }";
    let gateway = Gateway::start(
        &Config::new()
            .route("debug", keys)
            .respond("plain", "/v1", "plain"),
    );
    let with = ask_with(&gateway, "GET", "/v1", "x-debug:\r\n");
    assert_eq!(with.text(), "debug");
    assert_eq!(gateway.get("/v1").text(), "plain");
}

#[test]
fn what_was_matched_is_what_is_sent_upstream() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::new().upstream("u", &upstream).route("any", ANY));
    for (target, sent) in [
        ("/v1/a", "/v1/a"),
        ("/x/../v1/p%41", "/v1/pA"),
        ("/v1/./%7Eamy", "/v1/~amy"),
        ("/v1/a%20b", "/v1/a%20b"),
        ("/v1/a?q=%41&r=/../x", "/v1/a?q=%41&r=/../x"),
        ("/../../v1", "/v1"),
        ("http://test/v1/b", "/v1/b"),
        ("http://test", "/"),
    ] {
        assert_passed(&gateway.get(target));
        assert_eq!(upstream.last().target, sent, "{target}");
    }
}

#[test]
fn a_path_that_reads_differently_is_refused_only_when_it_would_reach_another_route() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(
        &Config::new()
            .upstream("u", &upstream)
            .route("any", ANY)
            .respond("special", "/special", "special"),
    );
    // Both readings belong to the same route: nothing to walk around.
    assert_passed(&gateway.get("/v1//a"));
    assert_passed(&gateway.get("/v1/a;b"));
    assert_passed(&gateway.get("/v1/a%2Fb"));
    let seen = upstream.heads();
    for target in [
        "//special",
        "/special;a",
        "/%2Fspecial",
        "/x%5c..%5cspecial",
    ] {
        let response = gateway.get(target);
        assert_refusal(&response, 400, "bad_request");
    }
    assert_eq!(upstream.heads(), seen);
}

#[test]
fn path_rewrite_sends_what_the_pattern_captured() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(
        &Config::new()
            .upstream("u", &upstream)
            .route(
                "stats",
                "path = \"/v1/stats/{player}\"\nupstream = \"u\"\npath_rewrite = \"/stats/{player}\"",
            )
            .route(
                "files",
                "path = \"/files/{*rest}\"\nupstream = \"u\"\npath_rewrite = \"/store/{rest}\"",
            ),
    );
    for (target, sent) in [
        ("/v1/stats/amy", "/stats/amy"),
        ("/v1/stats/a%20b?x=1", "/stats/a%20b?x=1"),
        ("/files/a/b/c", "/store/a/b/c"),
    ] {
        assert_passed(&gateway.get(target));
        assert_eq!(upstream.last().target, sent, "{target}");
    }
}

#[test]
fn host_is_kept_unless_the_route_rewrites_it() {
    let upstream = Upstream::echo();
    let route = |path: &str, keys: &str| format!("path = \"{path}\"\nupstream = \"u\"\n{keys}");
    let gateway = Gateway::start(
        &Config::new()
            .upstream("u", &upstream)
            .route("kept", &route("/kept", ""))
            .route("own", &route("/own", "host_rewrite = \"upstream\""))
            .route(
                "named",
                &route("/named", "host_rewrite = \"stats.internal\""),
            ),
    );
    let own = upstream.address().to_string();
    for (target, host) in [
        ("/kept", "test"),
        ("/own", own.as_str()),
        ("/named", "stats.internal"),
    ] {
        assert_passed(&gateway.get(target));
        assert_eq!(upstream.last().head.all("host"), [host], "{target}");
    }
}

#[test]
fn headers_are_removed_then_set_then_added_both_ways() {
    let upstream = Upstream::serving(|_| {
        b"HTTP/1.1 200 OK\r\nx-from: upstream\r\nserver: old\r\nx-a: 1\r\nx-b: 1\r\ncontent-length: 0\r\n\r\n"
            .to_vec()
    });
    let edits = "{ remove = [\"server\", \"x-a\"], set = { x-b = \"2\", x-a = \"2\" }, \
                 add = { x-b = \"3\" } }";
    let keys = format!("{ANY}\nrequest_headers = {edits}\nresponse_headers = {edits}");
    let gateway = Gateway::start(&Config::new().upstream("u", &upstream).route("any", &keys));
    let headers = "server: mine\r\nx-a: 1\r\nx-b: 1\r\nx-b: 1\r\n";
    let response = ask_with(&gateway, "GET", "/", headers);
    for head in [&response.head, &upstream.last().head] {
        assert!(!head.has("server"), "{head:?}");
        assert_eq!(head.all("x-a"), ["2"]);
        assert_eq!(head.all("x-b"), ["2", "3"]);
    }
}

#[test]
fn a_route_that_responds_answers_without_an_upstream() {
    let keys = "path = \"/teapot\"\n\
                respond = { status = 418, body = \"{}\", content_type = \"application/json\" }";
    let gateway = Gateway::start(
        &Config::new()
            .respond("ping", "/ping", "pong")
            .route("teapot", keys)
            .route("empty", "path = \"/empty\"\nrespond = { status = 204 }"),
    );
    let mut client = gateway.connect();
    let pong = client.ask(post("/ping", "ignored"));
    assert_eq!((pong.status, pong.text().as_str()), (200, "pong"));
    let kind = pong.header("content-type");
    assert_eq!(kind.as_deref(), Some("text/plain; charset=utf-8"));
    let teapot = client.ask(get("/teapot"));
    assert_eq!((teapot.status, teapot.text().as_str()), (418, "{}"));
    let kind = teapot.header("content-type");
    assert_eq!(kind.as_deref(), Some("application/json"));
    let empty = client.ask(get("/empty"));
    assert_eq!((empty.status, empty.body.len()), (204, 0));
    let labels = [("route", "ping"), ("code", "200"), ("by", "gateway")];
    gateway.wait_metric("seawall_requests_total", &labels, 1.0);
}
