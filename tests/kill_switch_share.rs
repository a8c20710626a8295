//! Which clients a switch takes: a share of them, the same ones everywhere, and only those that
//! its condition is about.

mod support;

use std::ops::RangeInclusive;

use support::*;

const CLIENTS: usize = 300;

fn config(upstream: &Upstream) -> Config {
    let keys = "path = \"/{*rest}\"\nupstream = \"u\"\n\
                kill_switch = { sticky = \"header:x-player-id\" }";
    Config::passing(upstream).route("any", keys)
}

fn share(percent: u32) -> String {
    format!("[kill]\nany = {{ mode = \"drop\", percent = {percent} }}\n")
}

fn player(n: usize) -> String {
    format!("GET / HTTP/1.1\r\nhost: test\r\nx-player-id: player-{n}\r\n\r\n")
}

/// Who is killed, on two connections that go to whichever worker.
fn killed(gateway: &Gateway) -> Vec<bool> {
    let mut clients = [gateway.connect(), gateway.connect()];
    let ask = |n: usize| !clients[n % 2].ask(player(n)).is_from_upstream();
    (0..CLIENTS).map(ask).collect()
}

fn count(killed: &[bool]) -> usize {
    killed.iter().filter(|killed| **killed).count()
}

/// Throws a share and waits until it holds.
fn throw(gateway: &Gateway, percent: u32) {
    gateway.write_switches(share(percent));
    let labels = [("route", "any"), ("mode", "drop")];
    let active = f64::from(percent) / 100.0;
    gateway.wait_metric("seawall_kill_switch_active", &labels, active);
}

#[test]
fn every_gateway_takes_the_same_clients_and_a_larger_share_takes_more() {
    let upstream = Upstream::echo();
    let first = Gateway::start(&config(&upstream).switches(&share(10)));
    let second = Gateway::start(&config(&upstream).switches(&share(50)));
    let mut before = vec![false; CLIENTS];
    // Of 300 clients, with room for chance: the exact bounds are tested with 100,000 of them.
    let bounds: [(u32, RangeInclusive<usize>); 4] = [
        (10, 15..=48),
        (50, 120..=180),
        (99, 290..=300),
        (100, 300..=300),
    ];
    for (percent, bounds) in bounds {
        throw(&first, percent);
        throw(&second, percent);
        let now = killed(&first);
        assert_eq!(
            now,
            killed(&first),
            "{percent} %: the same client, another fate"
        );
        assert_eq!(
            now,
            killed(&second),
            "{percent} %: another gateway, another fate"
        );
        assert!(
            bounds.contains(&count(&now)),
            "{percent} %: {}",
            count(&now)
        );
        let lost = before.iter().zip(&now).any(|(before, now)| *before && !now);
        assert!(!lost, "{percent} % lets through who was killed before");
        before = now;
    }
    // A lower share holds at once, and takes again whom it took.
    throw(&first, 10);
    assert!((15..=48).contains(&count(&killed(&first))));
}

#[test]
fn only_requests_that_the_condition_is_about_are_killed() {
    let upstream = Upstream::echo();
    let switches = "[kill]\nany = [\n\
        { mode = \"reject\", when = { headers = { x-client-version = { prefix = \"1.0.\" } } } },\n\
        { mode = \"drop\", when = { query = { beta = \"1\" } } },\n]\n";
    let gateway = Gateway::start(&config(&upstream).switches(switches));
    let version = |version: &str, target: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: test\r\nx-client-version: {version}\r\n\r\n")
    };
    assert_refusal(&gateway.ask(version("1.0.7", "/")), 503, "killed");
    assert_passed(&gateway.ask(version("1.1.0", "/")));
    assert_killed(&gateway.ask(version("1.1.0", "/?beta=1")));
    assert_refusal(&gateway.ask(version("1.0.7", "/?beta=1")), 503, "killed");
    assert_passed(&gateway.get("/"));
}

#[test]
fn a_dry_run_counts_and_takes_nothing() {
    let upstream = Upstream::echo();
    let switches = "[kill]\nany = { mode = \"reject\", dry_run = true, \
                    when = { headers = { x-player-id = \"player-7\" } } }\n";
    let gateway = Gateway::start(&config(&upstream).switches(switches));
    let mut client = gateway.connect();
    for n in [7, 8, 7] {
        assert_passed(&client.ask(player(n)));
    }
    let labels = [("route", "any"), ("mode", "reject")];
    gateway.wait_metric("seawall_kill_dry_run_total", &labels, 2.0);
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("seawall_killed_requests_total", &[]), 0.0);
    assert_eq!(metrics.one("seawall_kill_switch_active", &labels), 0.0);
}

#[test]
fn a_killed_route_answers_an_upgrade_as_any_request() {
    let upstream = Upstream::echo();
    let upgrade = "GET / HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZQ==\r\n\r\n";
    let gateway = Gateway::start(&config(&upstream).switches("[kill]\nany = \"drop\"\n"));
    let mut client = gateway.connect();
    assert_killed(&client.ask(upgrade));
    // No tunnel: the connection goes on with HTTP.
    assert_killed(&client.ask(get("/")));
    gateway.write_switches("[kill]\nany = \"reject\"\n");
    let labels = [("route", "any"), ("mode", "reject")];
    gateway.wait_metric("seawall_kill_switch_active", &labels, 1.0);
    assert_refusal(&client.ask(upgrade), 503, "killed");
    assert_eq!(upstream.connections(), 0);
}
