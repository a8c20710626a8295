//! The archive's half of a gateway: a real journal with records, and its uploader.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use seawall::archive::store::{
    Existence, Finish, Obstacle, Put, Retain, StoreEvent, StoreUrl, StoreWatch, UploadOptions,
    Uploader,
};
use seawall::archive::{
    Answer, Backoff, Disk, Journal, KillNote, Options, RealDisk, Record, Redaction, Submission,
};
use tempfile::TempDir;

/// Records that `fill` makes.
pub(crate) const RECORDS: u64 = 900;
/// A route that a path cannot hold as it is.
pub(crate) const ODD: &str = "über/stats 100%=é";
const ROUTES: [&str; 3] = ["submit-stats", "report", ODD];
/// 2024-11-06T09:00:00Z.
const NINE: Duration = Duration::from_secs(1_730_883_600);

/// What was put, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    labels: Mutex<Vec<&'static str>>,
    errors: Mutex<Vec<String>>,
}

impl StoreWatch for Heard {
    fn put(&self, put: &Put<'_>) {
        self.labels.lock().unwrap().push(put.label());
    }

    fn happened(&self, event: &StoreEvent) {
        if let StoreEvent::Delayed {
            obstacle: Obstacle::Store(error),
            ..
        } = event
        {
            self.errors.lock().unwrap().push(error.to_string());
        }
    }
}

impl Heard {
    /// Puts that were uploaded, were there, failed.
    pub(crate) fn puts(&self) -> (u64, u64, u64) {
        let labels = self.labels.lock().unwrap();
        let count = |wanted| labels.iter().filter(|label| **label == wanted).count() as u64;
        (count("uploaded"), count("exists"), count("failed"))
    }

    /// All errors of the store.
    pub(crate) fn errors(&self) -> String {
        self.errors.lock().unwrap().join("\n")
    }
}

pub(crate) struct Archive {
    scratch: TempDir,
    disk: Arc<dyn Disk>,
    url: StoreUrl,
    environment: Vec<(String, String)>,
    pub(crate) journal: Journal,
    pub(crate) heard: Arc<Heard>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.heard)
    }
}

fn open(scratch: &Path, disk: &Arc<dyn Disk>) -> Journal {
    let options = Options::new(vec![scratch.join("journal")]);
    Journal::open(options, disk.clone(), Arc::new(())).unwrap()
}

impl Archive {
    pub(crate) fn new(url: &str, environment: Vec<(String, String)>) -> Archive {
        let scratch = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Archive {
            journal: open(scratch.path(), &disk),
            scratch,
            disk,
            url: StoreUrl::parse(url).unwrap(),
            environment,
            heard: Arc::default(),
        }
    }

    /// Three sealed segments with records of three routes in two hours.
    pub(crate) async fn fill(&self) {
        for number in 0..RECORDS {
            let submission = Submission {
                record: record(number),
                redaction: Arc::new(Redaction::default()),
                quota: u64::MAX,
                reservation: self.journal.reserve(4096).unwrap(),
            };
            let answer = self.journal.store(submission).await;
            assert!(matches!(answer, Answer::Stored { .. }), "{answer:?}");
            if (number + 1).is_multiple_of(RECORDS / 3) {
                self.journal.seal().await.unwrap();
            }
        }
    }

    pub(crate) fn begin(&self) -> Uploader {
        let mut options = UploadOptions::new(Retain::Forever);
        options.backoff = Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_millis(500),
        };
        let (url, environment) = (self.url.clone(), self.environment.clone());
        let opener = Arc::new(move || url.open(&environment, Existence::Made));
        let journal = (self.journal.clone(), self.disk.clone());
        Uploader::start(options, journal, opener, self.heard.clone()).unwrap()
    }

    pub(crate) async fn upload(&mut self) -> Finish {
        let finish = self.begin().finish(Duration::from_secs(60)).await;
        self.journal.close().await;
        finish
    }

    /// A copy of the journal's files.
    pub(crate) fn copy(&self) -> PathBuf {
        let kept = self.scratch.path().join("kept");
        copy(&self.scratch.path().join("journal"), &kept);
        kept
    }

    /// Opens the journal with the files of a copy.
    pub(crate) fn bring_back(&mut self, kept: &Path) {
        copy(kept, &self.scratch.path().join("journal"));
        self.journal = open(self.scratch.path(), &self.disk);
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn record(number: u64) -> Record {
    let body = match number % 3 {
        0 => Bytes::from(format!("{{\"player\":{number},\"text\":\"é\\n\"}}")),
        1 => Bytes::from(vec![(number % 251) as u8 | 0x80; 200]),
        _ => Bytes::new(),
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-number", number.into());
    Record {
        time: NINE + Duration::from_secs(number * 8 % 7200),
        route: ROUTES[number as usize / 7 % 3].into(),
        instance: "gateway-1".into(),
        client: [127, 0, 0, 1].into(),
        request_id: number.to_string(),
        kill: KillNote {
            mode: "archive".into(),
            reason: Some("INC-42".into()),
            source: "tier:sheddable".into(),
        },
        method: Method::POST,
        target: "/v1/stats/x?a=b".to_owned(),
        version: Version::HTTP_11,
        headers,
        body,
        subject: None,
        maybe_processed: false,
        context: Vec::new(),
    }
}
