//! The journal by itself, in this program: its rate with fsync beside a plain writer on the same
//! disk, and how long a record waits for its acknowledgement.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version};
use seawall::archive::{
    Answer, Commit, Disk, Durability, Event, Journal, KillNote, Options, RealDisk, Record,
    Redaction, Submission, Watch,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::{Finding, Times};

const BODY: usize = 1024;
const SUBMITTERS: usize = 64;
const TURNS: usize = 25;
const TURN: Duration = Duration::from_millis(400);
const BAR: f64 = 0.7;
/// Records a second at which acknowledgements are timed.
const RATES: [u32; 2] = [1000, 5000];
const SPAN: Duration = Duration::from_secs(5);

/// The journal's own bars. The binary is not asked: this program must be an optimised build.
pub(crate) fn measure(_: &Path) -> io::Result<Vec<Finding>> {
    if cfg!(debug_assertions) {
        return Err(io::Error::other(
            "the journal runs in this program: measure with `cargo bench`",
        ));
    }
    let scratch = TempDir::with_prefix("seawall-bars-")?;
    let mut findings = vec![fsync(scratch.path())?];
    for durability in [Durability::Written, Durability::Fsync] {
        for rate in RATES {
            let times = acknowledgements(&scratch.path().join("timed"), durability, rate)?;
            let what = match durability {
                Durability::Fsync => "fsync",
                Durability::Written => "written",
            };
            let what = format!("acknowledged at {rate}/s, {what} (no bar)");
            findings.push(Finding::new(what, times, true));
        }
    }
    Ok(findings)
}

/// Collects the commits.
#[derive(Default)]
struct Commits(Mutex<Vec<Commit>>);

impl Commits {
    fn all(&self) -> Vec<Commit> {
        let commits = self.0.lock();
        commits.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Watch for Commits {
    fn committed(&self, commit: &Commit) {
        let commits = self.0.lock();
        commits
            .unwrap_or_else(PoisonError::into_inner)
            .push(*commit);
    }

    fn happened(&self, _: &Event) {}
}

/// The journal and a plain writer take turns on one disk.
fn fsync(directory: &Path) -> io::Result<Finding> {
    let mut ratios = Vec::new();
    let (mut ours, mut theirs) = (0.0, 0.0);
    let (mut records, mut commits) = (0, 0);
    for turn in 0..TURNS {
        let place = directory.join(format!("turn-{turn}"));
        let watch = Arc::new(Commits::default());
        let journal = open(&place, Durability::Fsync, watch.clone())?;
        let started = Instant::now();
        closed_loop(&journal, started + TURN)?;
        let took = started.elapsed().as_secs_f64();
        let made = watch.all();
        let stored: u64 = made.iter().map(|commit| commit.stored).sum();
        let rate = stored as f64 / took;
        let plain = stored as f64 / plain(&place, &made)?.as_secs_f64();
        ratios.push(rate / plain);
        (ours, theirs) = (ours + rate, theirs + plain);
        (records, commits) = (records + stored, commits + made.len());
        runtime()?.block_on(journal.close());
    }
    // Not after each turn: the disk is busy for a while with what was freed.
    for turn in 0..TURNS {
        fs::remove_dir_all(directory.join(format!("turn-{turn}")))?;
    }
    ratios.sort_by(f64::total_cmp);
    let turns = TURNS as f64;
    Ok(Finding::new(
        "records a second with fsync over those of a plain writer (bar: at least 0.70)",
        format!(
            "{:.2} ({:.0} over {:.0}, {:.1} records a commit); of {TURNS} turns median {:.2}, \
             quartiles {:.2} and {:.2}",
            ours / theirs,
            ours / turns,
            theirs / turns,
            records as f64 / commits as f64,
            ratios[TURNS / 2],
            ratios[TURNS / 4],
            ratios[TURNS * 3 / 4],
        ),
        ours / theirs >= BAR,
    ))
}

/// Appends batches of these sizes to one file, each followed by fdatasync.
fn plain(directory: &Path, commits: &[Commit]) -> io::Result<Duration> {
    let mut file = File::create(directory.join("plain"))?;
    let longest = commits.iter().map(|commit| commit.bytes).max();
    let bytes = vec![b'x'; longest.unwrap_or_default() as usize];
    let started = Instant::now();
    for commit in commits {
        file.write_all(&bytes[..commit.bytes as usize])?;
        file.sync_data()?;
    }
    Ok(started.elapsed())
}

/// Stores from `SUBMITTERS` tasks, each as soon as its last one was answered.
fn closed_loop(journal: &Journal, until: Instant) -> io::Result<()> {
    let failed = Rc::new(Cell::new(0_u64));
    let local = LocalSet::new();
    let runtime = runtime()?;
    runtime.block_on(async {
        let (desk, deliveries) = journal.desk();
        local.spawn_local(deliveries.run());
        for _ in 0..SUBMITTERS {
            let (desk, failed) = (desk.clone(), Rc::clone(&failed));
            local.spawn_local(async move {
                while Instant::now() < until {
                    let submission = submission(desk.journal());
                    match desk.store(submission).await {
                        Answer::Stored { .. } => {}
                        Answer::Full(_) | Answer::Failed(_) | Answer::Busy(_) => {
                            failed.set(failed.get() + 1);
                        }
                    }
                }
            });
        }
        drop(desk);
        local.await;
    });
    none_failed(failed.get())
}

fn none_failed(failed: u64) -> io::Result<()> {
    match failed {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("{failed} records not stored"))),
    }
}

/// Records come at a fixed rate, in groups one a millisecond, whether or not the ones before
/// were answered; the time is from when each was due.
fn acknowledgements(place: &Path, durability: Durability, rate: u32) -> io::Result<Times> {
    let journal = open(place, durability, Arc::new(()))?;
    let times = Rc::new(Cell::new(Vec::new()));
    let failed = Rc::new(Cell::new(0_u64));
    let local = LocalSet::new();
    let runtime = runtime()?;
    runtime.block_on(local.run_until(async {
        let (desk, deliveries) = journal.desk();
        tokio::task::spawn_local(deliveries.run());
        let mut tasks = Vec::new();
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let started = Instant::now();
        while started.elapsed() < SPAN {
            tick.tick().await;
            let due = Instant::now();
            for _ in 0..rate / 1000 {
                let (desk, times, failed) = (desk.clone(), Rc::clone(&times), Rc::clone(&failed));
                tasks.push(tokio::task::spawn_local(async move {
                    let submission = submission(desk.journal());
                    match desk.store(submission).await {
                        Answer::Stored { .. } => {
                            let mut all = times.take();
                            all.push(due.elapsed());
                            times.set(all);
                        }
                        Answer::Full(_) | Answer::Failed(_) | Answer::Busy(_) => {
                            failed.set(failed.get() + 1);
                        }
                    }
                }));
            }
        }
        for task in tasks {
            let _ = task.await;
        }
        journal.close().await;
    }));
    fs::remove_dir_all(place)?;
    none_failed(failed.get())?;
    Ok(Times::new(times.take()))
}

fn open(directory: &Path, durability: Durability, watch: Arc<dyn Watch>) -> io::Result<Journal> {
    let mut options = Options::new(vec![directory.to_owned()]);
    options.limits.durability = durability;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    Journal::open(options, disk, watch).map_err(io::Error::other)
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
}

/// A record as a game's client would cause it.
/// The body of every record, made once: making it is no work of the journal's.
fn body() -> Bytes {
    const TEXT: &str = "{\"player\":8421972,\"score\":1234,\"items\":[1,2,3]}";
    static BYTES: LazyLock<Bytes> = LazyLock::new(|| TEXT.bytes().cycle().take(BODY).collect());
    BYTES.clone()
}

fn submission(journal: &Journal) -> Submission {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "game.example.com"),
        ("content-type", "application/json"),
        ("user-agent", "game/4.2.1"),
        ("authorization", "Bearer abcdefghijklmnopqrstuvwxyz"),
        ("x-player-id", "8421972"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let body = body();
    Submission {
        reservation: match journal.reserve(body.len() as u64) {
            Ok(reservation) => reservation,
            Err(busy) => panic!("{SUBMITTERS} records fit into max_buffer: {busy:?}"),
        },
        record: Record {
            time: seawall::vocab::Clock::unix(),
            route: "submit-stats".into(),
            instance: "gw-1".into(),
            client: [10, 1, 2, 3].into(),
            request_id: "01a200cb-612d-70c7-ae1d-df2f09cc0169".to_owned(),
            kill: KillNote {
                mode: "archive".into(),
                reason: None,
                source: "submit-stats".into(),
            },
            method: Method::POST,
            target: "/v1/stats/8421972".to_owned(),
            version: Version::HTTP_11,
            headers,
            body,
            subject: None,
            maybe_processed: false,
            context: Vec::new(),
        },
        redaction: Arc::new(Redaction::new(&["authorization".to_owned()], &[])),
        quota: u64::MAX,
    }
}
