//! What was archived goes into the store: each record once, whatever happens on the way.

mod flush;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;

use seawall::archive::StoredRecord;
use seawall::archive::store::{Existence, Selection, StoreUrl, StoredObject};
use support::*;

const ANY: &str = "[kill]\nany = \"archive\"\n";
const UPLOADS: &str = "seawall_archive_uploads_total";

fn uploading(upstream: &Upstream, shelf: &Shelf) -> Config {
    shelf
        .uploaded_by(Config::passing(upstream).switches(ANY))
        .server("drain_delay", "\"0s\"")
}

/// What a directory holds as a store.
fn stored(directory: &Path) -> Vec<(StoredObject, Vec<StoredRecord>)> {
    let url = format!("file:{}", directory.display());
    let url = StoreUrl::parse(&url).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut objects = Vec::new();
        let Ok(store) = url.open(&[], Existence::Required) else {
            return objects;
        };
        let mut walk = store.walk(Selection::default());
        while let Some(object) = walk.next().await.expect("a list") {
            let mut lines = store.read(&object).await.expect("an object");
            let mut records = Vec::new();
            while let Some(line) = lines.next_line().await.expect("a line") {
                records.push(StoredRecord::decode(line).expect("a record"));
            }
            objects.push((object, records));
        }
        objects
    })
}

/// The payloads in the store; panics if one is there twice.
fn payloads(shelf: &Shelf) -> BTreeSet<String> {
    let mut payloads = BTreeSet::new();
    for (object, records) in stored(&shelf.path("store")) {
        for record in records {
            let body = String::from_utf8(record.body()).expect("text");
            assert!(payloads.insert(body), "twice: {}", object.path());
        }
    }
    payloads
}

fn send(gateway: &Gateway, payloads: impl Iterator<Item = String>) {
    let mut client = gateway.connect();
    for payload in payloads {
        assert_killed(&client.ask(post("/a", payload)));
    }
}

fn numbered(numbers: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    numbers.map(|n| format!("payload {n}"))
}

fn flush(gateway: &Gateway, more: &[&str]) -> Exit {
    let config = gateway.directory().to_str().expect("a path");
    run_to_exit(&[&["--config", config, "archive", "flush"], more].concat())
}

fn stop(mut gateway: Gateway) {
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit(), Some(0));
}

#[test]
fn sealed_segments_go_to_the_store_and_leave_the_journal() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let route = |name: &str| format!("path = \"/{name}\"\nupstream = \"u\"");
    let config = Config::new()
        .upstream("u", &upstream)
        .route("a", &route("a"))
        .route("b", &route("b"))
        .switches("[kill]\nall = \"archive\"\n")
        .server("instance", "\"gw-7\"");
    let config = shelf.uploaded_by(config).archive("seal_after", "\"100ms\"");
    let gateway = Gateway::start(&config);
    for result in ["uploaded", "exists", "failed"] {
        let metrics = gateway.metrics();
        assert!(metrics.has(UPLOADS, &[("result", result)]), "{result}");
        assert_eq!(metrics.sum(UPLOADS, &[]), 0.0);
    }
    for n in 0..10 {
        assert_killed(&gateway.ask(post("/a", format!("a {n}"))));
        assert_killed(&gateway.ask(post("/b", format!("b {n}"))));
    }
    wait_for("every record to be in the store", || {
        payloads(&shelf).len() == 20
    });
    wait_for("the journal to be empty", || {
        segments(&shelf.path("a")).is_empty()
    });
    for (object, records) in stored(&shelf.path("store")) {
        let partition = &object.name.partition;
        assert_eq!(object.name.instance, "gw-7");
        assert!(records.iter().all(|record| record.route == partition.route));
        let path = object.path();
        let expected = format!("route={}/date=20", partition.route);
        assert!(path.starts_with(&expected), "{path}");
        assert!(
            path.contains("/hour=") && path.ends_with(".ndjson.zst"),
            "{path}"
        );
        let bytes = std::fs::read(shelf.path("store").join(path)).expect("a file");
        assert_eq!(bytes[..4], [0x28, 0xb5, 0x2f, 0xfd], "zstd");
    }
    let uploaded = gateway.metric(UPLOADS, &[("result", "uploaded")]);
    assert_eq!(uploaded, stored(&shelf.path("store")).len() as f64);
    wait_for("the status to show no lag", || {
        let store = &gateway.status()["archive"]["store"];
        store["waiting_segments"] == 0 && store["failures"] == 0 && store["lag_seconds"] == 0.0
    });
    assert_eq!(gateway.metric("seawall_archive_oldest_seconds", &[]), 0.0);
    assert!(!gateway.events("segment is in the store").is_empty());
}

#[test]
fn the_end_uploads_what_was_sealed_last() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = uploading(&upstream, &shelf);
    for round in 0..3 {
        let mut gateway = Gateway::start(&config);
        send(&gateway, numbered(round * 10..round * 10 + 10));
        gateway.signal(["TERM", "INT", "TERM"][round]);
        assert_eq!(gateway.wait_exit(), Some(0));
        let done = gateway.events("every record of the journal is in the store");
        assert_eq!(done.len(), 1);
        assert_eq!(gateway.events("journal closed").len(), 1);
        assert_eq!(payloads(&shelf).len(), round * 10 + 10);
        assert!(segments(&shelf.path("a")).is_empty());
    }
}

#[test]
fn a_restart_in_the_middle_uploads_each_record_once() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = uploading(&upstream, &shelf).archive("seal_after", "\"20ms\"");
    for round in 0..6 {
        let mut gateway = Gateway::start(&config);
        send(&gateway, numbered(round * 40..round * 40 + 40));
        gateway.signal("KILL");
        gateway.wait_exit();
    }
    let gateway = Gateway::start(&config);
    wait_for("every record to be in the store", || {
        payloads(&shelf).len() == 240
    });
    wait_for("the journal to be empty", || {
        segments(&shelf.path("a")).is_empty()
    });
    drop(gateway);
    assert_eq!(payloads(&shelf), numbered(0..240).collect());
}

#[test]
fn records_that_an_earlier_process_left_are_uploaded_although_nothing_archives_now() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    // No section: the journal is opened for the switch alone.
    let gateway = Gateway::start(&Config::passing(&upstream).switches(ANY));
    send(&gateway, numbered(0..5));
    let journal = gateway.directory().join("data/journal");
    std::fs::create_dir_all(shelf.path("next/data/journal")).expect("made");
    for entry in std::fs::read_dir(&journal).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = shelf.path("next/data/journal").join(entry.file_name());
        std::fs::copy(entry.path(), to).expect("copied");
    }
    drop(gateway);
    let scratch = tempfile::tempdir().expect("a directory");
    let config = scratch.path().to_owned();
    Config::passing(&upstream).write(&config);
    std::fs::rename(shelf.path("next/data"), config.join("data")).expect("moved");
    let gateway = Gateway::start_in(scratch, config.clone(), &[]);
    wait_for("the journal to be empty", || {
        segments(&config.join("data/journal")).is_empty()
    });
    let records = stored(&config.join("data/archive")).into_iter();
    assert_eq!(records.map(|(_, records)| records.len()).sum::<usize>(), 5);
    assert_passed(&gateway.get("/"));
}

#[test]
fn a_store_that_cannot_be_made_leaves_all_in_the_journal_until_it_can() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    // A file where the directory should be: that holds for root, too.
    std::fs::write(shelf.path("store"), "").expect("written");
    let config = uploading(&upstream, &shelf).archive("seal_after", "\"20ms\"");
    let gateway = Gateway::start(&config);
    send(&gateway, numbered(0..20));
    let store = || gateway.status()["archive"]["store"].clone();
    // The first try is made at the start, before there is a segment.
    wait_for("two tries to fail with a segment waiting", || {
        let store = store();
        store["failures"].as_u64() > Some(1)
            && store["waiting_segments"].as_u64() > Some(0)
            && store["lag_seconds"].as_f64() > Some(0.0)
    });
    assert!(
        store()["last_error"]
            .as_str()
            .is_some_and(|error| error.contains("archive.store"))
    );
    assert_eq!(shelf.records().len(), 20);
    // Said once, however often it is tried.
    let told = "segments cannot be brought into the store; they stay in the journal, trying again";
    let [event] = &gateway.events(told)[..] else {
        panic!("{:?}", gateway.events(told));
    };
    let said = event["error"].as_str().expect("a text");
    assert!(
        said.contains("must be able to make the directory"),
        "{said}"
    );
    let exit = run_to_exit(&["status", "--admin", &gateway.admin.to_string()]);
    assert!(exit.output.contains("tries failed"), "{}", exit.output);
    send(&gateway, numbered(20..30));
    std::fs::remove_file(shelf.path("store")).expect("removed");
    wait_for("every record to be in the store", || {
        payloads(&shelf).len() == 30
    });
    wait_for("the journal to be empty", || {
        segments(&shelf.path("a")).is_empty()
    });
    wait_for("the end to be told", || {
        gateway
            .events("segments are brought into the store again")
            .len()
            == 1
    });
    assert_eq!(store()["failures"], 0);
}

#[test]
fn another_store_holds_at_once_and_off_leaves_all_in_the_journal() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = uploading(&upstream, &shelf)
        .archive("store", "\"off\"")
        .archive("seal_after", "\"20ms\"");
    let gateway = Gateway::start(&config);
    send(&gateway, numbered(0..5));
    wait_for("a segment to be sealed", || {
        !gateway.events("segment sealed").is_empty()
    });
    assert!(gateway.status()["archive"]["store"].is_null());
    let exit = flush(&gateway, &[]);
    assert_eq!(exit.code, Some(0), "{}", exit.output);
    assert!(
        exit.output.contains("stay in the journal"),
        "{}",
        exit.output
    );
    assert_eq!(shelf.records().len(), 5);
    gateway.write_structure(&uploading(&upstream, &shelf));
    wait_for("every record to be in the store", || {
        payloads(&shelf).len() == 5
    });
    // A segment that is in the one store, but not yet gone from the journal, goes to the other too.
    wait_for("the journal to be empty", || shelf.records().is_empty());
    let other = shelf.path("other");
    let url = format!("\"file:{}\"", other.display());
    gateway.write_structure(&uploading(&upstream, &shelf).archive("store", &url));
    wait_for("the other store", || {
        gateway.status()["archive"]["store"]["url"] == url.trim_matches('"')
    });
    send(&gateway, numbered(5..10));
    let exit = flush(&gateway, &[]);
    assert_eq!(exit.code, Some(0), "{}", exit.output);
    // One object, or two when a segment was sealed in between.
    let records = stored(&other).into_iter();
    assert_eq!(records.map(|(_, records)| records.len()).sum::<usize>(), 5);
    assert_eq!(payloads(&shelf).len(), 5);
    assert!(
        gateway.status()["last_reload"]["needs_restart"]
            .as_array()
            .is_some_and(Vec::is_empty)
    );
}

#[test]
fn what_is_older_than_retain_is_deleted_and_nothing_else() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = uploading(&upstream, &shelf).archive("retain", "\"1s\"");
    let hour = shelf.path("store/route=any/date=2020-01-01/hour=00");
    std::fs::create_dir_all(&hour).expect("made");
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_577_840_400);
    let (old, other) = (
        hour.join("gw-01DXF6DT000000000000000001.ndjson.zst"),
        hour.join("README"),
    );
    for path in [&old, &other] {
        let file = std::fs::File::create(path).expect("made");
        file.set_modified(long_ago).expect("a time");
    }
    let gateway = Gateway::start(&config);
    send(&gateway, numbered(0..5));
    assert_eq!(flush(&gateway, &[]).code, Some(0));
    wait_for("the old object to be deleted", || !old.exists());
    wait_for("the deletion to be told", || {
        let told = gateway.events("deleted what is older than archive.retain");
        told.iter().any(|event| event["deleted"] == 1)
    });
    assert!(other.exists(), "no object");
    // Its hour is not over.
    assert_eq!(payloads(&shelf).len(), 5);
}
