//! Rate limits: who is limited, what they are told, and what a reload keeps.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use support::*;

/// The catch-all route with further keys.
fn limited(upstream: &Upstream, keys: &str) -> Config {
    Config::new().upstream("u", upstream).route(
        "any",
        &format!("path = \"/{{*rest}}\"\nupstream = \"u\"\n{keys}"),
    )
}

/// A GET with one more header.
fn with(name: &str, value: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: test\r\n{name}: {value}\r\n\r\n")
}

fn statuses(gateway: &Gateway, request: impl AsRef<[u8]>, count: usize) -> Vec<u16> {
    let request = request.as_ref();
    (0..count).map(|_| gateway.ask(request).status).collect()
}

/// Replaces the structure, and waits until it holds.
fn reload(gateway: &Gateway, config: &Config) {
    let labels = [("result", "applied")];
    let before = gateway.metric("seawall_config_reloads_total", &labels);
    gateway.write_structure(config);
    gateway.wait_metric("seawall_config_reloads_total", &labels, before + 1.0);
}

fn rate_limited(gateway: &Gateway, enforced: &str) -> f64 {
    let labels = [("route", "any"), ("enforced", enforced)];
    gateway.metrics().one("seawall_rate_limited_total", &labels)
}

/// The number after `name` in a field such as `"any";r=0;t=20`.
fn parameter(field: &str, name: &str) -> u64 {
    let found = field
        .split(';')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let value = found.unwrap_or_else(|| panic!("no {name} in {field}"));
    value.parse().expect("a number")
}

#[test]
fn a_burst_passes_and_the_next_is_told_when_to_come_back() {
    let upstream = Upstream::echo();
    let keys = "rate_limit = { rate = \"3/m\", burst = 3, key = \"route\" }";
    let gateway = Gateway::start(&limited(&upstream, keys));
    assert_eq!(rate_limited(&gateway, "true"), 0.0);
    assert_eq!(rate_limited(&gateway, "false"), 0.0);
    for _ in 0..3 {
        assert_passed(&gateway.get("/"));
    }
    let response = gateway.get("/");
    assert_refusal(&response, 429, "rate_limited");
    let field = |name: &str| response.header(name).expect("the field");
    assert_eq!(field("ratelimit-policy"), "\"any\";q=3;w=60");
    let limit = field("ratelimit");
    assert!(limit.starts_with("\"any\";"), "{limit}");
    assert_eq!(parameter(&limit, "r"), 0);
    let wait = parameter(&limit, "t");
    // The 20 s that one takes, and no more.
    assert!((1..=20).contains(&wait), "{limit}");
    let retry: u64 = field("retry-after").parse().expect("seconds");
    assert!((wait..=2 * wait).contains(&retry), "{retry} for {limit}");
    assert!(!response.closes(), "the connection may be kept");
    assert_eq!(upstream.heads(), 3);
    assert_eq!(rate_limited(&gateway, "true"), 1.0);
    assert_eq!(rate_limited(&gateway, "false"), 0.0);
    let labels = [("route", "any"), ("reason", "rate_limited")];
    gateway.wait_metric("seawall_refusals_total", &labels, 1.0);
}

#[test]
fn all_workers_hold_one_limit() {
    let upstream = Upstream::echo();
    let keys = "rate_limit = { rate = \"1/h\", burst = 50, key = \"client-ip\" }";
    let config = limited(&upstream, keys).server("workers", "4");
    let gateway = Gateway::start(&config);
    let (passed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                for _ in 0..10 {
                    match client.ask(get("/")).status {
                        200 => passed.fetch_add(1, Ordering::SeqCst),
                        429 => refused.fetch_add(1, Ordering::SeqCst),
                        other => panic!("{other}"),
                    };
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 50);
    assert_eq!(refused.into_inner(), 110);
    assert_eq!(upstream.heads(), 50);
}

#[test]
fn a_reload_keeps_what_was_used() {
    let upstream = Upstream::echo();
    let burst = |burst: u32, timeout: u32| {
        let keys = format!(
            "timeout = \"{timeout}s\"\n\
             rate_limit = {{ rate = \"1/h\", burst = {burst}, key = \"client-ip\" }}"
        );
        limited(&upstream, &keys)
    };
    let gateway = Gateway::start(&burst(5, 3));
    assert_eq!(
        statuses(&gateway, get("/"), 6),
        [200, 200, 200, 200, 200, 429]
    );
    // However often it is reloaded, nobody gets a burst for it.
    for round in 0..5 {
        reload(&gateway, &burst(5, 4 + round));
        assert_eq!(
            statuses(&gateway, get("/"), 1),
            [429],
            "after reload {round}"
        );
    }
    reload(&gateway, &burst(7, 3));
    assert_eq!(statuses(&gateway, get("/"), 3), [200, 200, 429]);
    reload(&gateway, &burst(4, 3));
    assert_eq!(statuses(&gateway, get("/"), 1), [429]);
    // The refusal says what holds now.
    let policy = gateway.get("/").header("ratelimit-policy");
    assert_eq!(policy.as_deref(), Some("\"any\";q=4;w=14400"));
    assert_eq!(upstream.heads(), 7);
}

#[test]
fn a_limit_that_is_taken_out_and_put_back_forgives_nobody() {
    let upstream = Upstream::echo();
    let keys = "rate_limit = { rate = \"1/h\", burst = 2, key = \"client-ip\" }";
    let (with, without) = (limited(&upstream, keys), limited(&upstream, ""));
    let gateway = Gateway::start(&with);
    assert_eq!(statuses(&gateway, get("/"), 3), [200, 200, 429]);
    reload(&gateway, &without);
    assert_eq!(statuses(&gateway, get("/"), 2), [200, 200]);
    // Another reload in between.
    reload(&gateway, &limited(&upstream, "timeout = \"9s\""));
    reload(&gateway, &with);
    assert_eq!(statuses(&gateway, get("/"), 1), [429]);
    // A route that was gone begins anew.
    reload(
        &gateway,
        &without.clone().without_route("any").respond("b", "/b", ""),
    );
    reload(&gateway, &with);
    assert_eq!(statuses(&gateway, get("/"), 3), [200, 200, 429]);
}

#[test]
fn each_client_has_a_limit_of_its_own_behind_a_trusted_proxy() {
    let upstream = Upstream::echo();
    let keys = "rate_limit = { rate = \"1/h\", burst = 1, key = \"client-ip\" }";
    let config = limited(&upstream, keys).server("trusted_proxies", "[\"127.0.0.0/8\"]");
    let gateway = Gateway::start(&config);
    let ask = |client: &str| gateway.ask(with("x-forwarded-for", client)).status;
    assert_eq!([ask("192.0.2.1"), ask("192.0.2.1")], [200, 429]);
    assert_eq!([ask("192.0.2.2"), ask("192.0.2.2")], [200, 429]);
    // Whoever is behind the nearest hop that is no proxy counts, whatever it claims.
    assert_eq!(ask("192.0.2.9, 192.0.2.2"), 429);
    // Hosts choose the lower half of an IPv6 address themselves.
    assert_eq!([ask("2001:db8::1"), ask("2001:db8::2")], [200, 429]);
    assert_eq!(ask("2001:db8:0:1::1"), 200);
}

#[test]
fn a_client_cannot_claim_to_be_another() {
    let upstream = Upstream::echo();
    let keys = "rate_limit = { rate = \"1/h\", burst = 1, key = \"client-ip\" }";
    let gateway = Gateway::start(&limited(&upstream, keys));
    let ask = |client: &str| gateway.ask(with("x-forwarded-for", client)).status;
    assert_eq!([ask("192.0.2.1"), ask("192.0.2.2")], [200, 429]);
}

#[test]
fn each_value_of_a_header_has_a_limit_of_its_own() {
    let upstream = Upstream::echo();
    let keys = "rate_limit = { rate = \"1/h\", burst = 1, key = \"header:x-player-id\" }";
    let gateway = Gateway::start(&limited(&upstream, keys));
    let ask = |player: &str| gateway.ask(with("x-player-id", player)).status;
    assert_eq!(
        [ask("a"), ask("b"), ask("a"), ask("b")],
        [200, 200, 429, 429]
    );
    // Those without the header are told apart by their address.
    assert_eq!(statuses(&gateway, get("/"), 2), [200, 429]);
}

#[test]
fn a_dry_run_counts_and_lets_pass() {
    let upstream = Upstream::echo();
    let keys = "rate_limit = { rate = \"1/h\", burst = 2, key = \"route\", dry_run = true }";
    let gateway = Gateway::start(&limited(&upstream, keys));
    for _ in 0..5 {
        let response = gateway.get("/");
        assert_passed(&response);
        assert!(!response.head.has("ratelimit"));
    }
    assert_eq!(rate_limited(&gateway, "false"), 3.0);
    assert_eq!(rate_limited(&gateway, "true"), 0.0);
    let labels = [("reason", "rate_limited")];
    assert_eq!(gateway.metric("seawall_refusals_total", &labels), 0.0);
}

#[test]
fn a_route_without_an_upstream_is_limited_too() {
    let keys = "path = \"/ping\"\nrespond = { body = \"pong\" }\n\
                rate_limit = { rate = \"1/h\", burst = 1, key = \"route\" }";
    let gateway = Gateway::start(&Config::new().route("any", keys));
    assert_eq!(gateway.get("/ping").text(), "pong");
    assert_refusal(&gateway.get("/ping"), 429, "rate_limited");
}

#[test]
fn killed_requests_are_not_charged() {
    let upstream = Upstream::echo();
    let keys = "rate_limit = { rate = \"1/h\", burst = 1, key = \"route\" }";
    let config = limited(&upstream, keys).switches("[kill]\nany = \"drop\"\n");
    let gateway = Gateway::start(&config);
    for _ in 0..5 {
        assert_killed(&gateway.get("/"));
    }
    gateway.write_switches("[kill]\nany = \"off\"\n");
    wait_for("the switch to end", || {
        gateway.get("/").status != 200 || upstream.heads() == 1
    });
    assert_eq!(
        upstream.heads(),
        1,
        "the first that came through had the whole burst"
    );
    assert_refusal(&gateway.get("/"), 429, "rate_limited");
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn a_refused_body_leaves_the_connection_as_it_was() {
    let upstream = Upstream::echo();
    let keys = "rate_limit = { rate = \"1/h\", burst = 1, key = \"route\" }";
    let gateway = Gateway::start(&limited(&upstream, keys));
    let mut client = gateway.connect();
    assert_eq!(client.ask(post("/", "first")).text(), "first");
    for _ in 0..3 {
        assert_refusal(&client.ask(post("/", "more")), 429, "rate_limited");
    }
}

#[test]
fn more_keys_than_places_are_told_of_once() {
    let upstream = Upstream::echo();
    let keys =
        "rate_limit = { rate = \"1/h\", burst = 1, key = \"header:x-player-id\", max_keys = 8 }";
    let gateway = Gateway::start(&limited(&upstream, keys));
    let asked = (0..40).map(|player| gateway.ask(with("x-player-id", &player.to_string())).status);
    let limited = asked.filter(|status| *status == 429).count();
    assert!((1..40).contains(&limited), "{limited}");
    let message = "rate_limit has more keys than places: some are limited for the requests of \
                   others; raise max_keys";
    wait_for("the warning", || gateway.events(message).len() == 1);
    let event = &gateway.events(message)[0];
    assert_eq!(event["level"], "WARN");
    assert_eq!(event["route"], "any");
    assert_eq!(event["max_keys"], 8);
}
