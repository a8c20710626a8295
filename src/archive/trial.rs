//! What the tests of the journal share: a journal over the simulated disk, and records that
//! carry a number.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};

use tokio::sync::oneshot;

use super::batch::{Batch, Waiting};
use super::desk::Waiter;
use super::sim::{Leaves, SimDisk};
use super::writer::{Moment, Shared, Surroundings, Writer};
use super::{
    Answer, Backoff, Commit, Cursor, Disk, Event, Journal, KillNote, Options, Record, Redaction,
    SegmentInfo, StoredRecord, Submission, Ulid, Watch,
};
use crate::vocab::Clock;

/// Collects what the writer tells.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) events: Mutex<Vec<Event>>,
    pub(super) commits: Mutex<Vec<Commit>>,
}

impl Watch for Heard {
    fn committed(&self, commit: &Commit) {
        self.commits.lock().unwrap().push(*commit);
    }

    fn happened(&self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
    }
}

/// A disk with directories `/0`, `/1`, ...
pub(super) fn options(directories: usize) -> Options {
    let directories = (0..directories).map(|n| PathBuf::from(format!("/{n}")));
    Options {
        backoff: Backoff {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(4),
        },
        answer_within: Duration::from_secs(30),
        ..Options::new(directories.collect())
    }
}

pub(super) fn open(disk: &SimDisk, options: &Options) -> (Journal, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let journal = Journal::open(options.clone(), disk, heard.clone()).unwrap();
    (journal, heard)
}

pub(super) fn record(number: u64, body: usize) -> Record {
    // Half of the bodies are text, the others are not UTF-8.
    let filler = if number.is_multiple_of(2) { b'x' } else { 0xfe };
    Record {
        time: Duration::from_secs(1),
        route: if number.is_multiple_of(3) { "a" } else { "b" }.into(),
        instance: "i".into(),
        client: [127, 0, 0, 1].into(),
        request_id: number.to_string(),
        kill: KillNote {
            mode: "archive".into(),
            reason: None,
            source: "a".into(),
        },
        method: Method::POST,
        target: "/".to_owned(),
        version: Version::HTTP_11,
        headers: HeaderMap::new(),
        body: Bytes::from(vec![filler; body]),
        subject: None,
        maybe_processed: false,
        context: Vec::new(),
    }
}

pub(super) fn submission(journal: &Journal, number: u64, body: usize) -> Submission {
    Submission {
        record: record(number, body),
        redaction: Arc::new(Redaction::default()),
        quota: u64::MAX,
        reservation: journal.reserve(body as u64).unwrap(),
    }
}

/// Submits records at the same time; their answers in order.
pub(super) async fn store_all(journal: &Journal, records: &[(u64, usize)]) -> Vec<Answer> {
    let tasks = records.iter().map(|&(number, body)| {
        let submission = submission(journal, number, body);
        let journal = journal.clone();
        tokio::spawn(async move { journal.store(submission).await })
    });
    let mut answers = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        answers.push(task.await.unwrap());
    }
    answers
}

pub(super) async fn store(journal: &Journal, number: u64, body: usize) -> Answer {
    journal.store(submission(journal, number, body)).await
}

pub(super) fn stored(answer: Answer) -> Ulid {
    match answer {
        Answer::Stored { id } => id,
        Answer::Full(_) | Answer::Failed(_) | Answer::Busy(_) => panic!("{answer:?}"),
    }
}

pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(work)
}

/// All that can be read, and the bytes that cannot.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// In the order of reading: id and number.
    pub(super) records: Vec<(Ulid, u64)>,
    pub(super) damaged: u64,
}

impl Content {
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.records.iter().map(|(_, number)| *number).collect()
    }

    /// Ids rise, no id and no number is there twice.
    pub(super) fn assert_sound(&self) {
        let rising = self.records.is_sorted_by(|one, other| one.0 < other.0);
        assert!(rising, "ids do not rise: {:?}", self.records);
        let mut seen = BTreeMap::new();
        for (id, number) in &self.records {
            let before = seen.insert(*number, *id);
            assert_eq!(before, None, "{number} is there twice, again as {id}");
        }
    }
}

pub(super) fn read(disk: &SimDisk, segments: Vec<SegmentInfo>) -> Content {
    try_read(disk, segments).unwrap()
}

pub(super) fn try_read(disk: &SimDisk, segments: Vec<SegmentInfo>) -> io::Result<Content> {
    let mut content = Content::default();
    for info in segments {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut cursor = Cursor::open(disk, info)?;
        while let Some(line) = cursor.next_line()? {
            let stored = StoredRecord::decode(line.json).unwrap();
            let number: u64 = stored.request_id.parse().unwrap();
            let body = stored.body();
            assert_eq!(body, record(number, body.len()).body, "of {number}");
            content.records.push((stored.id, number));
        }
        content.damaged += cursor.damaged();
    }
    Ok(content)
}

/// A writer whose time the test decides.
pub(super) struct Bench {
    pub(super) disk: SimDisk,
    pub(super) options: Options,
    pub(super) heard: Arc<Heard>,
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Writer,
    pub(super) at: Moment,
    pub(super) next: u64,
}

impl Bench {
    pub(super) fn new(options: Options) -> Bench {
        Bench::on(SimDisk::new(1), options, Duration::from_secs(1000))
    }

    pub(super) fn on(disk: SimDisk, options: Options, unix: Duration) -> Bench {
        let heard = Arc::new(Heard::default());
        let shared = Arc::new(Shared::new(1 << 30));
        let at = Moment {
            now: Clock::now(),
            unix,
        };
        let around = Surroundings {
            disk: Arc::new(disk.clone()),
            watch: heard.clone(),
            shared: shared.clone(),
        };
        let writer = Writer::open(options.clone(), around, at);
        Bench {
            disk,
            options,
            heard,
            shared,
            writer,
            at,
            next: 0,
        }
    }

    /// Another process over the same disk, with its own clock.
    pub(super) fn restart(self, leaves: Leaves, unix: Duration) -> Bench {
        let Bench {
            disk,
            options,
            next,
            ..
        } = self;
        disk.restart(leaves);
        let mut bench = Bench::on(disk, options, unix);
        bench.next = next;
        bench
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.at.now += time;
        self.at.unix += time;
        self.writer.tick(self.at);
    }

    pub(super) fn commit(&mut self, bodies: &[usize]) -> Vec<Answer> {
        self.commit_with(bodies, u64::MAX)
    }

    pub(super) fn commit_with(&mut self, bodies: &[usize], quota: u64) -> Vec<Answer> {
        let mut batch = Batch::default();
        let mut answers = Vec::new();
        for body in bodies {
            let (waiter, answer) = oneshot::channel();
            batch.add(Waiting {
                submission: Submission {
                    record: record(self.next, *body),
                    redaction: Arc::new(Redaction::default()),
                    quota,
                    reservation: self.shared.buffer.reserve(0).unwrap(),
                },
                waiter: Waiter::new(waiter, None),
            });
            answers.push(answer);
            self.next += 1;
        }
        self.writer.commit(&mut batch, self.at);
        let answers = answers.into_iter();
        answers.map(|mut a| a.try_recv().unwrap()).collect()
    }

    pub(super) fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.catalog().all().cloned().collect()
    }

    pub(super) fn content(&self) -> Content {
        read(&self.disk, self.segments())
    }

    pub(super) fn files(&self, directory: &str) -> Vec<PathBuf> {
        self.disk.files_in(Path::new(directory))
    }

    pub(super) fn has_event(&self, matches: impl Fn(&Event) -> bool) -> bool {
        self.heard.events.lock().unwrap().iter().any(matches)
    }
}

/// A wall-clock time behind those that a bench begins with.
pub(super) const LATER: Duration = Duration::from_secs(2000);
