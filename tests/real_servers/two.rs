//! Two real servers of a kind behind one upstream: one stops, starts and reloads under load.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::asked_for;
use crate::haproxy::Haproxy;
use crate::nginx::Nginx;
use crate::support::{
    Client, Config, Gateway, StopAtEnd, Upstream, answer, free_address, get, wait_for,
};

const HEALTH: &str = "health = { path = \"/healthz\", interval = \"200ms\" }";

fn gateway(endpoints: &[SocketAddr], keys: &str) -> Gateway {
    let urls: Vec<String> = endpoints.iter().map(|at| format!("http://{at}")).collect();
    let config = Config::new()
        .server("workers", "1")
        .endpoints("u", &urls, keys)
        .route(
            "any",
            "path = \"/{*rest}\"\nupstream = \"u\"\ntimeout = \"10s\"",
        );
    Gateway::start(&config)
}

/// Sends GETs on four connections while something happens; gives their number and what failed.
fn under_load(
    gateway: &Gateway,
    path: &str,
    happens: impl FnOnce(&AtomicUsize),
) -> (usize, Vec<u16>) {
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed = thread::scope(|scope| {
        let ends = StopAtEnd(&stop);
        let clients: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| get_until(&stop, &sent, gateway.connect(), path)))
            .collect();
        happens(&sent);
        drop(ends);
        let ended = clients
            .into_iter()
            .map(|client| client.join().expect("a client"));
        ended.flatten().collect()
    });
    (sent.load(Ordering::SeqCst), failed)
}

fn get_until(stop: &AtomicBool, sent: &AtomicUsize, mut client: Client, path: &str) -> Vec<u16> {
    let mut failed = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let answer = client.ask(get(path));
        sent.fetch_add(1, Ordering::SeqCst);
        if answer.status != 200 || !answer.whole {
            failed.push(answer.status);
        }
    }
    failed
}

/// Lets some more requests pass.
fn more(sent: &AtomicUsize) {
    let before = sent.load(Ordering::SeqCst);
    wait_for("more requests", || {
        sent.load(Ordering::SeqCst) > before + 200
    });
}

/// Nothing fails while one of two is stopped, started and reloaded.
fn assert_none_failed(name: &str, (sent, failed): (usize, Vec<u16>)) {
    println!("{sent} requests over stops, starts and reloads of {name}");
    assert!(failed.is_empty(), "{} of {sent}: {failed:?}", failed.len());
}

#[test]
fn one_of_two_nginx_stops_starts_and_reloads_without_a_failed_get() {
    if !asked_for() {
        return;
    }
    let scratch = TempDir::with_prefix("seawall-real-").expect("a directory");
    let (first, second) = (scratch.path().join("a"), scratch.path().join("b"));
    let mut one = Nginx::start(&first);
    let two = Nginx::start(&second);
    let keys = HEALTH.replace("/healthz", "/port");
    let gateway = gateway(&[one.address, two.address], &keys);
    let happened = under_load(&gateway, "/port", |sent| {
        for _ in 0..3 {
            more(sent);
            one.stop();
            more(sent);
            one.start_again();
            more(sent);
            one.reload();
            two.reload();
            more(sent);
        }
    });
    assert_none_failed("nginx", happened);
}

#[test]
fn one_of_two_haproxies_stops_starts_and_reloads_without_a_failed_get() {
    if !asked_for() {
        return;
    }
    let scratch = TempDir::with_prefix("seawall-real-").expect("a directory");
    let mut one = Haproxy::answering(scratch.path(), free_address());
    let two = Haproxy::answering(scratch.path(), free_address());
    let gateway = gateway(&[one.address, two.address], HEALTH);
    let happened = under_load(&gateway, "/", |sent| {
        for _ in 0..3 {
            more(sent);
            one.stop();
            more(sent);
            one.start_again();
            more(sent);
            one.reload();
            two.reload();
            more(sent);
        }
    });
    assert_none_failed("haproxy", happened);
}

#[test]
fn connections_to_nginx_and_haproxy_are_used_again() {
    if !asked_for() {
        return;
    }
    let scratch = TempDir::with_prefix("seawall-real-").expect("a directory");
    let nginx = Nginx::start(scratch.path());
    let haproxy = Haproxy::answering(scratch.path(), free_address());
    for upstream in [nginx.address, haproxy.address] {
        let gateway = gateway(&[upstream], "");
        let mut client = gateway.connect();
        let mut ports: Vec<String> = (0..50)
            .filter_map(|_| client.ask(get("/port")).head.get("x-peer-port"))
            .collect();
        assert_eq!(ports.len(), 50);
        ports.dedup();
        assert_eq!(ports.len(), 1, "{ports:?}");
    }
}

#[test]
fn the_503_of_a_haproxy_whose_queue_is_full_passes_through() {
    if !asked_for() {
        return;
    }
    let scratch = TempDir::with_prefix("seawall-real-").expect("a directory");
    let slow = Upstream::serving(|request| {
        if request.target == "/slow" {
            thread::sleep(Duration::from_secs(2));
        }
        answer(200, "slow")
    });
    let haproxy = Haproxy::queueing(scratch.path(), free_address(), slow.address());
    let gateway = gateway(&[haproxy.address], "");
    let mut first = gateway.connect();
    first.send(get("/slow"));
    slow.wait_heads(1);
    let refused = gateway.get("/");
    assert_eq!(refused.status, 503);
    // HAProxy's own page, as it wrote it, and counted as the upstream's answer.
    assert!(
        refused.text().contains("<h1>503 Service Unavailable</h1>"),
        "{}",
        refused.text()
    );
    assert_eq!(first.read().text(), "slow");
    let labels = [("route", "any"), ("code", "503"), ("by", "upstream")];
    gateway.wait_metric("seawall_requests_total", &labels, 1.0);
    assert_eq!(
        gateway.metric("seawall_refusals_total", &[("route", "any")]),
        0.0
    );
}
