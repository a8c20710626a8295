//! What the tests of the store share: a real journal, a directory as store, records.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::trial::{record, stored};
use super::super::{
    Backoff, Disk, Growth, Journal, Options, RealDisk, Redaction, SegmentInfo, StoredRecord,
    Submission, Ulid,
};
use super::faulty::Faulty;
use super::{
    Existence, Opener, Put, PutOutcome, Retain, Selection, Store, StoreEvent, StoreUrl, StoreWatch,
    UploadOptions, Uploader,
};

/// 2026-11-06T09:00:00Z.
pub(super) const NINE: Duration = Duration::from_secs(1_793_955_600);

/// Collects what the uploader tells.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) events: Mutex<Vec<StoreEvent>>,
    uploaded: std::sync::atomic::AtomicU64,
    exists: std::sync::atomic::AtomicU64,
    failed: std::sync::atomic::AtomicU64,
}

impl StoreWatch for Heard {
    fn put(&self, put: &Put<'_>) {
        let counter = match put.result {
            Ok(PutOutcome::Uploaded) => &self.uploaded,
            Ok(PutOutcome::Exists) => &self.exists,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, SeqCst);
    }

    fn happened(&self, event: &StoreEvent) {
        self.events.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    /// Puts that were uploaded, were there, failed.
    pub(super) fn puts(&self) -> (u64, u64, u64) {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(SeqCst);
        (read(&self.uploaded), read(&self.exists), read(&self.failed))
    }

    pub(super) fn any(&self, wanted: impl Fn(&StoreEvent) -> bool) -> bool {
        self.events.lock().unwrap().iter().any(wanted)
    }
}

/// A journal and a store in one scratch directory.
pub(super) struct Site {
    pub(super) scratch: TempDir,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) faulty: Arc<Faulty>,
    pub(super) store: Store,
    pub(super) heard: Arc<Heard>,
}

impl Site {
    pub(super) fn new() -> Site {
        let scratch = tempfile::tempdir().unwrap();
        let text = format!("file:{}", scratch.path().join("store").display());
        let store = StoreUrl::parse(&text).unwrap();
        let store = store.open(&[], Existence::Made).unwrap();
        let faulty = Arc::new(Faulty::over(store.client.clone()));
        let store = store.wrapped(|_| faulty.clone());
        Site {
            scratch,
            disk: Arc::new(RealDisk),
            faulty,
            store,
            heard: Arc::default(),
        }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    pub(super) fn journal(&self) -> Journal {
        let mut options = Options::new(vec![self.scratch.path().join("journal")]);
        options.answer_within = Duration::from_secs(60);
        Journal::open(options, self.disk.clone(), Arc::new(())).unwrap()
    }

    pub(super) fn opener(&self) -> Opener {
        let store = self.store.clone();
        Arc::new(move || Ok(store.clone()))
    }

    pub(super) fn uploader(&self, journal: &Journal) -> Uploader {
        self.uploader_with(journal, self.opener())
    }

    pub(super) fn uploader_with(&self, journal: &Journal, open: Opener) -> Uploader {
        let mut options = UploadOptions::new(Retain::Forever);
        options.poll = Duration::from_millis(5);
        options.backoff = Backoff {
            first: Duration::from_millis(2),
            longest: Duration::from_millis(20),
        };
        let journal = (journal.clone(), self.disk.clone());
        Uploader::start(options, journal, open, self.heard.clone()).unwrap()
    }

    /// All records in the store, by object; each object is verified.
    pub(super) async fn content(&self) -> BTreeMap<String, Vec<StoredRecord>> {
        let mut content = BTreeMap::new();
        let mut walk = self.store.walk(Selection::default());
        while let Some(object) = walk.next().await.unwrap() {
            let verified = self.store.verify(&object).await.unwrap();
            let mut lines = self.store.read(&object).await.unwrap();
            let mut records = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                records.push(StoredRecord::decode(line).unwrap());
            }
            assert_eq!(verified.records, records.len() as u64);
            content.insert(object.path().to_owned(), records);
        }
        content
    }

    /// The numbers of all records in the store, sorted.
    pub(super) async fn numbers(&self) -> Vec<u64> {
        let content = self.content().await;
        let records = content.into_values().flatten();
        let mut numbers: Vec<u64> = records.map(|r| r.request_id.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// One record.
pub(super) struct Given<'a> {
    pub(super) route: &'a str,
    pub(super) time: Duration,
    pub(super) number: u64,
    pub(super) body: usize,
}

pub(super) async fn keep(journal: &Journal, given: Given<'_>) -> Ulid {
    let mut record = record(given.number, 0);
    record.route = given.route.into();
    record.time = given.time;
    // Not to be compressed to nothing.
    let mut state = given.number | 1;
    let bytes = (0..given.body).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        b'0' + ((state >> 40) % 75) as u8
    });
    record.body = Bytes::from(bytes.collect::<Vec<u8>>());
    let submission = Submission {
        record,
        redaction: Arc::new(Redaction::default()),
        quota: u64::MAX,
        reservation: journal.reserve(given.body as u64).unwrap(),
    };
    stored(journal.store(submission).await)
}

/// Keeps numbered records in turn on these routes, and seals the segment.
pub(super) async fn keep_all(
    journal: &Journal,
    routes: &[&str],
    numbers: std::ops::Range<u64>,
    body: usize,
) -> SegmentInfo {
    for number in numbers {
        let route = routes[number as usize % routes.len()];
        let time = NINE + Duration::from_secs(number);
        let given = Given {
            route,
            time,
            number,
            body,
        };
        keep(journal, given).await;
    }
    journal.seal().await.unwrap();
    let mut segments = journal.segments();
    segments.retain(|info| info.growth == Growth::Closed);
    segments.pop().unwrap()
}

pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

pub(super) async fn wait_for(what: &str, done: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("waited in vain for {what}");
}
