//! `split`: a route's clients go to several upstreams by weight, and each stays with its own.

mod support;

use std::collections::BTreeSet;

use support::*;

fn config(upstreams: &[&Upstream], weights: &[u32], keys: &str) -> Config {
    let names = ["a", "b", "c"];
    let parts = names.iter().zip(weights);
    let parts: Vec<String> = parts
        .map(|(name, weight)| format!("{{ upstream = \"{name}\", weight = {weight} }}"))
        .collect();
    let route = format!(
        "path = \"/{{*rest}}\"\nsplit = [{}]\n{keys}",
        parts.join(", ")
    );
    let all = names.iter().zip(upstreams);
    let config = all.fold(Config::new(), |config, (name, upstream)| {
        config.upstream(name, upstream)
    });
    config.defaults("timeout", "\"60s\"").route("any", &route)
}

const BY_PLAYER: &str = "kill_switch = { sticky = \"header:x-player\" }";

fn play(gateway: &Gateway, players: std::ops::Range<u32>) {
    let mut client = gateway.connect();
    for player in players {
        let head = format!("GET / HTTP/1.1\r\nhost: t\r\nx-player: p{player}\r\n\r\n");
        assert_passed(&client.ask(head));
    }
}

fn players(upstream: &Upstream) -> BTreeSet<String> {
    let seen = upstream.requests();
    seen.iter()
        .filter_map(|request| request.header("x-player"))
        .collect()
}

#[test]
fn each_upstream_has_its_share_and_a_client_stays() {
    let (a, b, c) = (Upstream::echo(), Upstream::echo(), Upstream::echo());
    let config = config(&[&a, &b, &c], &[80, 20, 0], BY_PLAYER);
    let gateway = Gateway::start(&config);
    play(&gateway, 0..500);
    let (first, second) = (players(&a), players(&b));
    // Five standard deviations of 500 draws at 80 %.
    assert!((355..=445).contains(&first.len()), "{}", first.len());
    assert_eq!(first.len() + second.len(), 500);
    play(&gateway, 0..500);
    assert_eq!(players(&a), first);
    assert_eq!(players(&b), second);
    assert_eq!(c.heads(), 0);
    for (upstream, seen) in [("a", &first), ("b", &second)] {
        let labels = [("upstream", upstream)];
        gateway.wait_metric(
            "seawall_upstream_attempts_total",
            &labels,
            2.0 * seen.len() as f64,
        );
    }
    let labels = [("route", "any")];
    assert_eq!(gateway.metric("seawall_breaker_state", &labels), 0.0);
    for upstream in ["a", "b", "c"] {
        let labels = [("route", "any"), ("upstream", upstream)];
        assert!(gateway.metrics().has("seawall_breaker_state", &labels));
    }
}

#[test]
fn a_changed_weight_moves_clients_one_way_only() {
    let (a, b) = (Upstream::echo(), Upstream::echo());
    let gateway = Gateway::start(&config(&[&a, &b], &[50, 50], BY_PLAYER));
    play(&gateway, 0..200);
    let before = players(&b);
    let moved = config(&[&a, &b], &[50, 100], BY_PLAYER);
    gateway.write_structure(&moved.respond("new", "/new", "new"));
    wait_for("the reload", || gateway.get("/new").text() == "new");
    let heads = a.heads();
    play(&gateway, 0..200);
    // Nobody left `b`, and some came.
    assert!(players(&b).len() > before.len());
    let still: BTreeSet<String> = a.requests()[heads..]
        .iter()
        .filter_map(|request| request.header("x-player"))
        .collect();
    assert!(still.is_disjoint(&before));
}

#[test]
fn an_address_is_one_client() {
    let (a, b) = (Upstream::echo(), Upstream::echo());
    let gateway = Gateway::start(&config(&[&a, &b], &[1, 1], ""));
    (0..20).for_each(|_| assert_passed(&gateway.get("/")));
    assert_eq!(a.heads().min(b.heads()), 0);
    assert_eq!(a.heads() + b.heads(), 20);
}

#[test]
fn a_request_without_a_host_gets_that_of_its_upstream() {
    let (a, b) = (Upstream::echo(), Upstream::echo());
    let gateway = Gateway::start(&config(&[&a, &b], &[0, 1], ""));
    assert_passed(&gateway.ask("GET / HTTP/1.0\r\n\r\n"));
    assert_eq!(b.last().header("host"), Some(b.address().to_string()));
}

#[test]
fn retries_stay_with_the_upstream_of_their_client() {
    let (fails, serves) = (Upstream::closing(), Upstream::echo());
    let gateway = Gateway::start(&config(
        &[&fails, &serves],
        &[1, 0],
        "retry = { attempts = 3 }",
    ));
    assert_refusal(&gateway.get("/"), 502, "upstream_reset");
    assert_eq!((fails.heads(), serves.heads()), (3, 0));
}
