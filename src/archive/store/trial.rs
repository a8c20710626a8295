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
use object_store::path::Path;

use super::faulty::Faulty;
use super::{
    Existence, Hour, ObjectName, Opener, Partition, Put, PutOutcome, Retain, Selection, Store,
    StoreEvent, StoreUrl, StoreWatch, UploadOptions, Uploader,
};

/// 2026-11-06T09:00:00Z.
pub(in crate::archive) const NINE: Duration = Duration::from_secs(1_793_955_600);

/// Collects what the uploader tells.
#[derive(Default)]
pub(in crate::archive) struct Heard {
    pub(in crate::archive) events: Mutex<Vec<StoreEvent>>,
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
    pub(in crate::archive) fn puts(&self) -> (u64, u64, u64) {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(SeqCst);
        (read(&self.uploaded), read(&self.exists), read(&self.failed))
    }

    pub(in crate::archive) fn any(&self, wanted: impl Fn(&StoreEvent) -> bool) -> bool {
        self.events.lock().unwrap().iter().any(wanted)
    }
}

/// A journal and a store in one scratch directory.
pub(in crate::archive) struct Site {
    pub(in crate::archive) scratch: TempDir,
    pub(in crate::archive) disk: Arc<dyn Disk>,
    pub(in crate::archive) faulty: Arc<Faulty>,
    pub(in crate::archive) store: Store,
    pub(in crate::archive) heard: Arc<Heard>,
}

impl Site {
    pub(in crate::archive) fn new() -> Site {
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

    pub(in crate::archive) fn root(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    pub(in crate::archive) fn journal(&self) -> Journal {
        let mut options = Options::new(vec![self.scratch.path().join("journal")]);
        options.answer_within = Duration::from_secs(60);
        Journal::open(options, self.disk.clone(), Arc::new(())).unwrap()
    }

    pub(in crate::archive) fn opener(&self) -> Opener {
        let store = self.store.clone();
        Arc::new(move || Ok(store.clone()))
    }

    pub(in crate::archive) fn uploader(&self, journal: &Journal) -> Uploader {
        self.uploader_with(journal, self.opener())
    }

    pub(in crate::archive) fn uploader_with(&self, journal: &Journal, open: Opener) -> Uploader {
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
    pub(in crate::archive) async fn content(&self) -> BTreeMap<String, Vec<StoredRecord>> {
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
    pub(in crate::archive) async fn numbers(&self) -> Vec<u64> {
        let content = self.content().await;
        let records = content.into_values().flatten();
        let mut numbers: Vec<u64> = records.map(|r| r.request_id.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// One record.
pub(in crate::archive) struct Given<'a> {
    pub(in crate::archive) route: &'a str,
    pub(in crate::archive) time: Duration,
    pub(in crate::archive) number: u64,
    pub(in crate::archive) body: usize,
}

pub(in crate::archive) async fn keep(journal: &Journal, given: Given<'_>) -> Ulid {
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
pub(in crate::archive) async fn keep_all(
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

pub(in crate::archive) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

pub(in crate::archive) async fn wait_for(what: &str, done: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("waited in vain for {what}");
}

/// Puts an empty object of that hour after nine, with a name of that id.
pub(in crate::archive) fn place(site: &Site, route: &str, after: Duration, id: Ulid) {
    let name = ObjectName {
        partition: Partition {
            hour: Hour::of_unix(NINE + after),
            route: route.to_owned(),
        },
        id,
        instance: "i".to_owned(),
    };
    let path = name.path(&Path::default());
    let file = site.root().join(path.as_ref());
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, b"").unwrap();
}
