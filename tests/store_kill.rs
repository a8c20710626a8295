//! kill -9 amid uploads, 10 times: every acknowledged record is in the store, none is there
//! twice.
//!
//! The process that is killed is this test's own binary, started again for the test
//! `the_process_that_is_killed` with a directory in its environment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use seawall::archive::store::{
    Existence, Finish, Retain, Selection, Store, StoreUrl, UploadOptions, Uploader,
};
use seawall::archive::{
    Answer, Disk, Durability, Journal, KillNote, Options, RealDisk, Record, Redaction,
    StoredRecord, Submission, Ulid,
};

const ROUNDS: u64 = 10;
const DIRECTORY: &str = "STORE_UNDER_TEST";
const ROUND: &str = "STORE_ROUND";
const ROUTES: [&str; 3] = ["a", "b", "c"];

fn mix(mut z: u64) -> u64 {
    // splitmix64
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

fn record(number: u64) -> Record {
    Record {
        time: Duration::from_secs(1_800_000_000 + number % 7200),
        route: ROUTES[(number % 3) as usize].into(),
        instance: "i".into(),
        client: [127, 0, 0, 1].into(),
        request_id: number.to_string(),
        kill: KillNote {
            mode: "archive".into(),
            reason: None,
            source: "r".into(),
        },
        method: Method::POST,
        target: "/".to_owned(),
        version: Version::HTTP_11,
        headers: HeaderMap::new(),
        body: Bytes::from(format!("{:x}", mix(number)).repeat((number % 60) as usize)),
        subject: None,
        maybe_processed: false,
        context: Vec::new(),
    }
}

fn url(directory: &Path) -> StoreUrl {
    let text = format!("file:{}", directory.join("store").display());
    StoreUrl::parse(&text).expect("a store")
}

/// A journal of many small segments, and its uploader.
fn open(directory: &Path) -> (Journal, Uploader) {
    let mut options = Options::new(vec![directory.join("journal")]);
    options.segment_bytes = 20_000;
    options.limits.durability = Durability::Written;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let journal = Journal::open(options, disk.clone(), Arc::new(())).expect("a journal");
    let mut options = UploadOptions::new(Retain::Forever);
    options.poll = Duration::from_millis(1);
    let url = url(directory);
    let opener = Arc::new(move || url.open(&[], Existence::Made));
    let source = (journal.clone(), disk);
    let uploader = Uploader::start(options, source, opener, Arc::new(()));
    (journal, uploader.expect("a thread"))
}

/// Submits and uploads until it is killed, and says what was acknowledged.
#[test]
fn the_process_that_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    runtime().block_on(async {
        let (journal, _uploader) = open(&PathBuf::from(directory));
        for count in 0.. {
            let number = round * 1_000_000 + count;
            let record = record(number);
            let submission = Submission {
                reservation: journal.reserve(record.body.len() as u64).unwrap(),
                record,
                redaction: Arc::new(Redaction::default()),
                quota: u64::MAX,
            };
            let Answer::Stored { id } = journal.store(submission).await else {
                panic!("not stored");
            };
            let line = format!("stored {id} {number}\n");
            std::io::stdout().write_all(line.as_bytes()).unwrap();
        }
    });
}

/// All that the process acknowledged before it was killed.
fn kill_amid_uploads(directory: &Path, round: u64) -> BTreeMap<u64, Ulid> {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "the_process_that_is_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a process");
    let mut stored = BTreeMap::new();
    // After a number of records, not after a time: then there are segments, however slow the
    // machine is.
    let enough = 100 + (mix(round) % 900) as usize;
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
        let Ok(line) = line else { break };
        let Some((id, number)) = line
            .strip_prefix("stored ")
            .and_then(|words| words.split_once(' '))
        else {
            continue;
        };
        let id = Ulid::from_string(id).expect("an id");
        stored.insert(number.parse().expect("a number"), id);
        if stored.len() == enough {
            // SIGKILL. What is in the pipe was acknowledged and is read on.
            child.kill().expect("it runs");
        }
    }
    let status = child.wait().expect("its status");
    assert!(!status.success(), "it ended by itself");
    stored
}

async fn numbers(store: &Store) -> BTreeMap<u64, Ulid> {
    let mut seen = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let mut walk = store.walk(Selection::default());
    while let Some(object) = walk.next().await.expect("readable") {
        store.verify(&object).await.expect("readable");
        let mut lines = store.read(&object).await.expect("readable");
        while let Some(line) = lines.next_line().await.expect("readable") {
            let record = StoredRecord::decode(line).expect("readable");
            assert!(ids.insert(record.id), "{} is there twice", record.id);
            let number = record.request_id.parse().expect("readable");
            let before = seen.insert(number, record.id);
            assert_eq!(before, None, "{number} is there twice");
        }
    }
    seen
}

#[test]
fn every_acknowledged_record_is_in_the_store_once_over_10_kills() {
    if std::env::var_os(DIRECTORY).is_some() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut stored = BTreeMap::new();
    for round in 0..ROUNDS {
        stored.extend(kill_amid_uploads(scratch.path(), round));
    }
    let segments = std::fs::read_dir(scratch.path().join("journal")).unwrap();
    let left = segments.count();
    runtime().block_on(async {
        let (journal, uploader) = open(scratch.path());
        let finish = uploader.finish(Duration::from_secs(60)).await;
        assert_eq!(finish, Finish::Done);
        journal.close().await;
        let store = url(scratch.path()).open(&[], Existence::Required).unwrap();
        let seen = numbers(&store).await;
        let lost = stored
            .iter()
            .filter(|(number, id)| seen.get(number) != Some(id));
        let lost: Vec<_> = lost.collect();
        assert!(lost.is_empty(), "lost {lost:?}");
        println!(
            "{} acknowledged, {} in the store, {left} files were left in the journal",
            stored.len(),
            seen.len()
        );
    });
}
