//! The gateway in front of a real nginx and a real HAProxy.
//!
//! Runs when `SEAWALL_REAL_SERVERS=1` is set and says so when it is not: it needs a program
//! that a plain `cargo test` must not ask for. `.ci/run` installs them and sets it.

#![allow(
    clippy::disallowed_methods,
    reason = "waits in real time for real processes"
)]

mod client;
mod gateway;
mod haproxy;
mod nginx;
mod process;
mod replay;
#[path = "../support/mod.rs"]
mod support;
mod two;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::nginx::{Nginx, page};
use crate::process::{PATIENCE, signal};

/// The gateway and nginx, or `None` when this machine is not asked to run them.
fn pair() -> Option<(TempDir, Nginx, Gateway)> {
    if !asked_for() {
        return None;
    }
    let scratch = TempDir::with_prefix("seawall-real-").expect("a scratch directory");
    let nginx = Nginx::start(scratch.path());
    let gateway = Gateway::start(scratch.path(), nginx.address);
    Some((scratch, nginx, gateway))
}

/// Whether this machine is asked to run real servers; says so when it is not.
fn asked_for() -> bool {
    let asked = std::env::var_os("SEAWALL_REAL_SERVERS").is_some_and(|value| value == "1");
    if !asked {
        println!("SKIPPED: set SEAWALL_REAL_SERVERS=1 to run against a real nginx and HAProxy");
    }
    asked
}

#[test]
fn keep_alive_gets_arrive_whole_on_one_connection() {
    let Some((_scratch, _nginx, gateway)) = pair() else {
        return;
    };
    let mut client = gateway.client();
    for _ in 0..200 {
        let answer = client.get("/page.txt").unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, page());
    }
}

#[test]
fn a_post_of_one_mebibyte_arrives_byte_for_byte() {
    let Some((_scratch, _nginx, gateway)) = pair() else {
        return;
    };
    let payload: Vec<u8> = (0..1_048_576_u32).map(|n| (n * 31 % 251) as u8).collect();
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.call("POST", "/upload", "", &payload).unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"accepted"[..]));
        let kept = answer.header("x-kept-in").unwrap();
        assert!(fs::read(kept).unwrap() == payload, "the upload differs");
    }
}

#[test]
fn a_chunked_answer_arrives_whole() {
    let Some((_scratch, nginx, gateway)) = pair() else {
        return;
    };
    let direct = Client::connect(nginx.address)
        .unwrap()
        .get("/chunked.html")
        .unwrap();
    assert_eq!(direct.header("transfer-encoding"), Some("chunked"));
    let mut client = gateway.client();
    for _ in 0..20 {
        let answer = client.get("/chunked.html").unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-length"), None);
        assert_eq!(answer.body, page());
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let Some((_scratch, _nginx, gateway)) = pair() else {
        return;
    };
    let mut client = gateway.client();
    for _ in 0..5 {
        let answer = client.call("HEAD", "/page.txt", "", b"").unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-length"),
            Some(page().len().to_string().as_str())
        );
        // A body would be taken for the next answer's head.
        assert_eq!(client.get("/page.txt").unwrap().body, page());
    }
}

#[test]
fn a_range_passes_through() {
    let Some((_scratch, _nginx, gateway)) = pair() else {
        return;
    };
    let mut client = gateway.client();
    let answer = client
        .call("GET", "/page.txt", "range: bytes=1000-1999\r\n", b"")
        .unwrap();
    assert_eq!(answer.status, 206);
    assert_eq!(answer.body, page()[1000..2000]);
    let range = format!("bytes 1000-1999/{}", page().len());
    assert_eq!(answer.header("content-range"), Some(range.as_str()));
    let beyond = client
        .call("GET", "/page.txt", "range: bytes=9999999-\r\n", b"")
        .unwrap();
    assert_eq!(beyond.status, 416);
}

#[test]
fn nginx_reloads_under_load_without_a_failed_request() {
    let Some((_scratch, nginx, gateway)) = pair() else {
        return;
    };
    let stop = AtomicBool::new(false);
    let (sent, failures) = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| get_until(&stop, gateway.client())))
            .collect();
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(500));
            nginx.reload();
        }
        thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .fold((0, Vec::new()), |(sent, mut all), (more, failures)| {
                all.extend(failures);
                (sent + more, all)
            })
    });
    println!("{sent} requests over 5 reloads of nginx");
    assert!(sent > 100, "only {sent} requests");
    assert!(
        failures.is_empty(),
        "{} of {sent}: {failures:?}",
        failures.len()
    );
}

/// Sends GETs on one connection; gives their number and what failed. A lost connection ends it.
fn get_until(stop: &AtomicBool, mut client: Client) -> (usize, Vec<String>) {
    let expected = page();
    let (mut sent, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        sent += 1;
        match client.get("/page.txt") {
            Ok(answer) if answer.status == 200 && answer.body == expected => {}
            Ok(answer) => failures.push(format!("status {}", answer.status)),
            Err(error) => {
                failures.push(error.to_string());
                break;
            }
        }
    }
    (sent, failures)
}

#[test]
fn the_gateway_ends_cleanly_with_nginx_behind_it() {
    let Some((_scratch, _nginx, mut gateway)) = pair() else {
        return;
    };
    assert_eq!(gateway.client().get("/page.txt").unwrap().status, 200);
    signal("TERM", &gateway.process.0);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = gateway.process.0.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("the gateway still runs");
}
