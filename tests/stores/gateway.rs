//! The whole gateway with a real store behind it: killed requests go to the journal, from there
//! to the store, and DuckDB counts and reads them.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{AZURITE, Kind, MOTO, Server};
use crate::support::{
    Config, Gateway, Shelf, Upstream, assert_killed, assert_passed, post, segments,
};
use crate::{duckdb, is_asked, run};

/// Longest wait for what a store has a part in.
const PATIENCE: Duration = Duration::from_secs(120);
const CLIENTS: usize = 4;
const EACH: usize = 100;

fn config(upstream: &Upstream, shelf: &Shelf, store: &str) -> Config {
    let route = |name: &str| format!("path = \"/{name}/{{*rest}}\"\nupstream = \"u\"");
    let config = Config::new()
        .upstream("u", upstream)
        .route("stats", &route("stats"))
        .route("reports", &route("reports"))
        .route("open", &route("open"))
        .switches("[kill]\nstats = \"archive\"\nreports = \"archive\"\n")
        .server("instance", "\"gw-7\"");
    shelf
        .used_by(config)
        .archive("store", &format!("{store:?}"))
        .archive("seal_after", "\"200ms\"")
}

/// Killed requests from several clients; their payloads.
fn storm(gateway: &Gateway, name: &str) -> BTreeSet<String> {
    thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|client| {
            scope.spawn(move || {
                let mut connection = gateway.connect();
                let payloads =
                    (0..EACH).map(|n| format!("{{\"{name}\":[{client},{n},\"\\u00e9\"]}}"));
                let payloads: Vec<String> = payloads.collect();
                for (n, payload) in payloads.iter().enumerate() {
                    let route = ["stats", "reports"][n % 2];
                    assert_killed(&connection.ask(post(&format!("/{route}/{n}"), payload)));
                }
                payloads
            })
        });
        let clients: Vec<_> = clients.collect();
        let payloads = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap());
        payloads.collect()
    })
}

fn wait_for_store(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What DuckDB makes of the store: every payload once, in its partition.
fn assert_kept(server: &Server, scratch: &Path, payloads: &BTreeSet<String>) {
    let mirror = scratch.join("mirror");
    run(server.mirror(&mirror));
    let from = format!(
        "from read_json_auto('{}/**/*.ndjson.zst', hive_partitioning=true, \
         hive_types={{'date': DATE, 'hour': VARCHAR, 'route': VARCHAR}})",
        mirror.display()
    );
    let counts: Vec<(String, usize, usize)> = duckdb::rows(&format!(
        "select route, count(*), count(distinct id) {from} group by route order by route"
    ));
    assert_eq!(counts.len(), 2, "{counts:?}");
    let (records, ids) = counts
        .iter()
        .fold((0, 0), |(a, b), row| (a + row.1, b + row.2));
    assert_eq!(
        (records, ids),
        (payloads.len(), payloads.len()),
        "{counts:?}"
    );
    let bodies: Vec<(String,)> = duckdb::rows(&format!("select cast(body as varchar) {from}"));
    let bodies: BTreeSet<String> = bodies.into_iter().map(|(body,)| body).collect();
    assert_eq!(bodies, *payloads);
    let elsewhere: Vec<(usize,)> = duckdb::rows(&format!(
        "select count(*) {from} where strftime(cast(time as timestamp), '%Y-%m-%d %H') \
         <> strftime(date, '%Y-%m-%d') || ' ' || hour or not starts_with(target, '/' || route || '/')"
    ));
    assert_eq!(elsewhere, [(0,)]);
    println!("DuckDB: {counts:?}");
}

fn journey(kind: &'static Kind, store: &str) {
    let (server, upstream, shelf) = (Server::start(kind), Upstream::echo(), Shelf::new());
    let gateway = Gateway::start_under(&config(&upstream, &shelf, store), &server.environment());
    let mut payloads = storm(&gateway, "first");
    wait_for_store("the journal to be empty", || {
        segments(&shelf.path("a")).is_empty()
    });
    // Ended amid uploads, and started again.
    payloads.extend(storm(&gateway, "second"));
    gateway.signal("KILL");
    drop(gateway);
    let mut gateway =
        Gateway::start_under(&config(&upstream, &shelf, store), &server.environment());
    payloads.extend(storm(&gateway, "third"));
    gateway.signal("INT");
    assert_eq!(gateway.wait_exit(), Some(0));
    assert!(
        segments(&shelf.path("a")).is_empty(),
        "the end uploads the rest"
    );
    assert_kept(&server, &shelf.path(""), &payloads);
}

#[test]
fn killed_requests_are_in_azure_once_and_duckdb_reads_them() {
    if is_asked() {
        journey(&AZURITE, "az://archive/some/prefix");
    }
}

#[test]
fn killed_requests_are_in_s3_once_and_duckdb_reads_them() {
    if is_asked() {
        journey(&MOTO, "s3://archive/some/prefix");
    }
}

#[test]
fn a_store_that_is_down_all_night_costs_no_request_and_gets_everything_in_the_morning() {
    if !is_asked() {
        return;
    }
    let (mut server, upstream, shelf) = (Server::start(&AZURITE), Upstream::echo(), Shelf::new());
    server.stop();
    let config = config(&upstream, &shelf, "az://archive");
    let gateway = Gateway::start_under(&config, &server.environment());
    let store = || gateway.status()["archive"]["store"].clone();
    let mut payloads = storm(&gateway, "evening");
    let evening = gateway.metric("seawall_archive_journal_bytes", &[]);
    wait_for_store("tries to fail", || store()["failures"].as_u64() > Some(1));
    let said = store()["last_error"].to_string();
    assert!(said.contains("archive.store"), "{said}");
    payloads.extend(storm(&gateway, "night"));
    assert!(gateway.metric("seawall_archive_journal_bytes", &[]) > evening);
    let mut open = gateway.connect();
    for n in 0..200 {
        assert_passed(&open.ask(post(&format!("/open/{n}"), "x")));
    }
    assert_eq!(shelf.records().len(), payloads.len(), "all of it waits");
    server.again();
    wait_for_store("the journal to be empty", || {
        segments(&shelf.path("a")).is_empty()
    });
    wait_for_store("the status to say so", || store()["failures"] == 0);
    assert_eq!(gateway.metric("seawall_archive_oldest_seconds", &[]), 0.0);
    assert!(gateway.metric("seawall_archive_uploads_total", &[("result", "failed")]) > 0.0);
    assert_kept(&server, &shelf.path(""), &payloads);
}

#[test]
fn a_wrong_key_is_told_and_stops_no_route() {
    if !is_asked() {
        return;
    }
    let (server, upstream, shelf) = (Server::start(&AZURITE), Upstream::echo(), Shelf::new());
    let mut environment = server.environment();
    environment.retain(|(name, _)| name != "AZURE_STORAGE_ACCOUNT_KEY");
    environment.push((
        "AZURE_STORAGE_ACCOUNT_KEY".to_owned(),
        "d3Jvbmc=".to_owned(),
    ));
    let gateway = Gateway::start_under(&config(&upstream, &shelf, "az://archive"), &environment);
    let payloads = storm(&gateway, "x");
    let told = "segments cannot be brought into the store; they stay in the journal, trying again";
    wait_for_store("the log to tell it", || !gateway.events(told).is_empty());
    let said = gateway.events(told)[0]["error"].to_string();
    assert!(said.contains("set AZURE_STORAGE_ACCOUNT_NAME"), "{said}");
    assert_passed(&gateway.ask(post("/open/1", "x")));
    assert_eq!(shelf.records().len(), payloads.len());
}
