//! The archive's store against real servers: Azurite for `az://`, moto's server for `s3://`,
//! DuckDB as a reader of what was put. Here with the archive's own parts; in `gateway` through
//! the whole gateway.
//!
//! Runs when `SEAWALL_REAL_SERVERS=1` is set and says so when it is not. Needs `azurite-blob`
//! (npm `azurite`) and `moto_server` (PyPI `moto[server]`) on the PATH, and a `python3` there
//! that has the package `duckdb`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "waits in real time for real processes, and fails where they do"
)]

mod archive;
mod duckdb;
mod gateway;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use seawall::archive::store::{
    Existence, Finish, Retain, Selection, Store, StoreUrl, StoredObject,
};

use crate::archive::{Archive, ODD, RECORDS};
use crate::server::{AZURITE, MOTO, Server};

/// Says why nothing runs, on a machine that was not asked to.
fn is_asked() -> bool {
    let asked = std::env::var_os("SEAWALL_REAL_SERVERS").is_some_and(|value| value == "1");
    if !asked {
        println!("SKIPPED: set SEAWALL_REAL_SERVERS=1 to run against real stores");
    }
    asked
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(work)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

async fn objects(store: &Store, selection: Selection) -> Vec<StoredObject> {
    let mut walk = store.walk(selection);
    let mut objects = Vec::new();
    while let Some(object) = walk.next().await.unwrap() {
        objects.push(object);
    }
    objects
}

/// Uploads, uploads the same again as after a crash, reads back, deletes.
async fn journey(url: &str, environment: Vec<(String, String)>) {
    let mut archive = Archive::new(url, environment.clone());
    archive.fill().await;
    let kept = archive.copy();
    assert_eq!(archive.upload().await, Finish::Done, "{archive:?}");
    let (uploaded, exists, failed) = archive.heard.puts();
    assert_eq!((exists, failed), (0, 0), "{archive:?}");
    // The segments are there again, as if the process had ended before it removed them.
    archive.bring_back(&kept);
    assert_eq!(archive.upload().await, Finish::Done, "{archive:?}");
    assert_eq!(archive.heard.puts(), (uploaded, uploaded, 0), "{archive:?}");

    let url = StoreUrl::parse(url).unwrap();
    let store = url.open(&environment, Existence::Required).unwrap();
    let all = objects(&store, Selection::default()).await;
    assert_eq!(all.len() as u64, uploaded);
    let mut records = 0;
    for object in &all {
        records += store.verify(object).await.unwrap().records;
    }
    assert_eq!(records, RECORDS);
    let one = Selection {
        routes: vec![ODD.to_owned()],
        ..Selection::default()
    };
    let some = objects(&store, one).await;
    assert!(!some.is_empty() && some.len() < all.len());
    assert!(some.iter().all(|object| object.name.partition.route == ODD));

    let retain = Retain::For(Duration::from_secs(3600));
    let kept = store.retain(retain, now(), 1000).await.unwrap();
    assert_eq!(kept.deleted, 0, "they were put just now");
    let later = now() + Duration::from_secs(7200);
    let first = store.retain(retain, later, 2).await.unwrap();
    assert_eq!((first.deleted, first.more), (2, true));
    let rest = store.retain(retain, later, 1000).await.unwrap();
    assert_eq!((rest.deleted, rest.more), (uploaded - 2, false));
    assert_eq!(objects(&store, Selection::default()).await, []);
}

#[test]
fn azure_gets_every_record_once() {
    if is_asked() {
        let server = Server::start(&AZURITE);
        run(journey("az://archive/some/prefix", server.environment()));
    }
}

#[test]
fn s3_gets_every_record_once() {
    if is_asked() {
        let server = Server::start(&MOTO);
        run(journey("s3://archive/some/prefix", server.environment()));
    }
}

#[test]
fn a_directory_gets_every_record_once() {
    if is_asked() {
        let scratch = tempfile::tempdir().unwrap();
        let url = format!("file:{}", scratch.path().join("store").display());
        run(journey(&url, Vec::new()));
    }
}

#[test]
fn a_server_that_goes_away_amid_uploads_gets_the_rest_when_it_is_back() {
    if !is_asked() {
        return;
    }
    run(async {
        let mut server = Server::start(&AZURITE);
        let archive = Archive::new("az://archive", server.environment());
        archive.fill().await;
        server.stop();
        let uploading = archive.begin();
        while uploading.figures().failures < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.again();
        while uploading.figures().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let finish = uploading.finish(Duration::from_secs(10)).await;
        assert_eq!(finish, Finish::Done);
        archive.journal.close().await;
        let url = StoreUrl::parse("az://archive").unwrap();
        let store = url
            .open(&server.environment(), Existence::Required)
            .unwrap();
        let mut records = 0;
        for object in objects(&store, Selection::default()).await {
            records += store.verify(&object).await.unwrap().records;
        }
        assert_eq!(records, RECORDS);
    });
}

#[test]
fn wrong_credentials_and_a_missing_container_say_what_to_set() {
    if !is_asked() {
        return;
    }
    run(async {
        let server = Server::start(&AZURITE);
        let mut environment = server.environment();
        for (url, expected) in [
            ("az://missing", "does the bucket or container exist?"),
            ("az://archive", "set AZURE_STORAGE_ACCOUNT_NAME"),
        ] {
            if url == "az://archive" {
                environment.retain(|(name, _)| name != "AZURE_STORAGE_ACCOUNT_KEY");
                let wrong = "d3Jvbmc=".to_owned();
                environment.push(("AZURE_STORAGE_ACCOUNT_KEY".to_owned(), wrong));
            }
            let mut archive = Archive::new(url, environment.clone());
            archive.fill().await;
            let left = archive.upload().await;
            assert!(matches!(left, Finish::Left { .. }), "{left:?}");
            let said = archive.heard.errors();
            println!("{said}");
            assert!(said.contains(expected), "{said}");
        }
    });
}

#[test]
fn duckdb_reads_the_objects_as_they_are() {
    if !is_asked() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("store");
    run(async {
        let mut archive = Archive::new(&format!("file:{}", root.display()), Vec::new());
        archive.fill().await;
        assert_eq!(archive.upload().await, Finish::Done);
    });
    let query = format!(
        "select route, hour, count(*), count(distinct id), min(typeof(date)), min(method) \
         from read_json_auto('{}/**/*.ndjson.zst', hive_partitioning=true) \
         group by all order by all",
        root.display()
    );
    type Row = (String, serde_json::Value, u64, u64, String, String);
    let rows: Vec<Row> = duckdb::rows(&query);
    let mut routes: BTreeMap<String, u64> = BTreeMap::new();
    for (route, _, records, ids, _, method) in &rows {
        assert_eq!((records, method.as_str()), (ids, "POST"));
        *routes.entry(route.clone()).or_default() += records;
    }
    assert_eq!(routes.values().sum::<u64>(), RECORDS);
    assert!(routes.contains_key(ODD), "{routes:?}");
    assert_eq!(rows.len(), 6, "three routes, two hours: {rows:?}");
}
