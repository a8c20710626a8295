//! There is no way around a thrown switch: whatever spelling of a killed route reaches the
//! gateway is killed or refused, and never arrives upstream.

mod support;

use support::*;

const KILLED: &str = "[kill]\nkilled = \"drop\"\n";

fn killed_beside_open(upstream: &Upstream) -> Gateway {
    Gateway::start(
        &Config::passing(upstream)
            .route("killed", "path = \"/v1/killed\"\nupstream = \"u\"")
            .switches(KILLED),
    )
}

fn assert_no_way_through(upstream: &Upstream, what: &str, response: &Result<Response, End>) {
    assert_eq!(upstream.heads(), 0, "{what} reached the upstream");
    match response {
        Ok(response) if response.status == 400 => assert_refusal(response, 400, "bad_request"),
        Ok(response) => assert_killed(response),
        Err(end) => panic!("{what}: no answer, {end:?}"),
    }
}

#[test]
fn every_spelling_of_a_killed_path_is_killed_or_refused() {
    let upstream = Upstream::echo();
    let gateway = killed_beside_open(&upstream);
    for target in [
        "/v1/killed",
        "/v1/killed?x=1",
        "/v1/killed?",
        "/v1/killed#fragment",
        "/v1/../v1/killed",
        "/v1/../v1/%6billed",
        "/v1/%6Billed",
        "/v1/%6b%69%6c%6c%65%64",
        "/%761/killed",
        "/v1/./killed",
        "/v1/%2e/killed",
        "/x/%2e%2e/v1/killed",
        "/x/.%2E/v1/killed",
        "/x/../../../v1/killed",
        "//v1/killed",
        "/v1//killed",
        "///v1///killed",
        "/v1/x/..//killed",
        "/%2fv1/killed",
        "/v1%2fkilled",
        "/v1%2Fkilled",
        "/v1%5ckilled",
        "/v1\\killed",
        "/x/..\\v1/killed",
        "/x\\..\\v1\\killed",
        "/x%2f..%2fv1%2fkilled",
        "/x%5c..%5cv1%5ckilled",
        "/v1/killed;a",
        "/v1/killed;a=b?x=1",
        "/v1;a=b/killed",
        "/v1/x/..;/killed",
        "/v1/x/..;a=b/killed",
        "/v1/;x/killed",
        "http://test/v1/killed",
        "http://test//v1/killed",
        "HTTP://test/v1/killed",
        "http://test/x/../v1/killed",
    ] {
        let mut client = gateway.connect();
        client.send(get(target));
        assert_no_way_through(&upstream, target, &client.try_read());
    }
    // The open route is open: the refusals above are not those of a gateway that refuses all.
    assert_passed(&gateway.get("/v1/open"));
}

#[test]
fn nul_and_control_characters_in_a_path_are_refused() {
    let upstream = Upstream::echo();
    let gateway = killed_beside_open(&upstream);
    for target in [
        "/v1/killed%00",
        "/v1/open%00",
        "/v1/%00/killed",
        "/v1/open%0a",
        "/v1/open%1f",
        "/v1/open%7f",
    ] {
        let response = gateway.get(target);
        assert_refusal(&response, 400, "bad_request");
    }
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn a_percent_sign_without_two_hexadecimal_digits_is_refused() {
    let upstream = Upstream::echo();
    let gateway = killed_beside_open(&upstream);
    for target in ["/v1/killed%", "/v1/%6", "/v1/%6gilled", "/v1/open%%41"] {
        assert_refusal(&gateway.get(target), 400, "bad_request");
    }
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn every_spelling_of_a_killed_host_is_killed_or_refused() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(
        &Config::passing(&upstream)
            .route(
                "killed",
                "host = \"stats.example.com\"\npath = \"/{*rest}\"\nupstream = \"u\"",
            )
            .switches(KILLED),
    );
    for (target, hosts) in [
        ("/a", "host: stats.example.com"),
        ("/a", "Host: STATS.example.COM"),
        ("/a", "host: stats.example.com:80"),
        ("/a", "host: stats.example.com."),
        ("/a", "host: stats.example.com.:80"),
        ("/a", "host:\tstats.example.com \t"),
        ("/a", "host: test\r\nhost: stats.example.com"),
        ("/a", "host: stats.example.com\r\nhost: test"),
        ("/a", "host: test, stats.example.com"),
        ("/a", "host: x@stats.example.com"),
        ("http://stats.example.com/a", "host: test"),
        ("http://stats.example.com/a", "host: stats.example.com"),
        ("http://test/a", "host: stats.example.com"),
        ("http://x@stats.example.com/a", "host: stats.example.com"),
    ] {
        let mut client = gateway.connect();
        client.send(format!("GET {target} HTTP/1.1\r\n{hosts}\r\n\r\n"));
        let what = format!("{target} {hosts}");
        assert_no_way_through(&upstream, &what, &client.try_read());
    }
    assert_passed(&gateway.get("/a"));
}

#[test]
fn no_header_moves_a_request_to_another_route() {
    let upstream = Upstream::echo();
    let gateway = killed_beside_open(&upstream);
    for header in [
        "x-original-url: /v1/open",
        "x-rewrite-url: /v1/open",
        "x-http-method-override: PURGE",
        "x-forwarded-host: other",
        "x-forwarded-prefix: /x",
        "forwarded: host=other",
        "x-seawall-route: any",
    ] {
        let response = gateway.ask(format!(
            "GET /v1/killed HTTP/1.1\r\nhost: test\r\n{header}\r\n\r\n"
        ));
        assert_killed(&response);
    }
    assert_eq!(upstream.connections(), 0);
}
