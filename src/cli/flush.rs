//! `seawall archive flush`: what the journal holds goes into the store now.
//!
//! A running gateway is asked through the journal's directory. Without one the command opens the
//! journal itself, which is how the records of a gateway that is gone are brought in.

mod alone;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use self::alone::alone;
use super::absent::Absent;
use super::amount::count;
use super::ask::{self, Gateway};
use crate::archive::{Disk, OpenError, RealDisk, SegmentId, segment_names, segments_in};
use crate::config::{ArchiveSettings, Problem, examine, process_environment, read_structure};
use crate::control::{FlushRequest, flush_request};
use crate::vocab::{Clock, format_duration, parse_duration};

/// Options of `archive flush`.
#[derive(Args, Debug)]
pub(super) struct FlushArguments {
    /// Longest wait for the store.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Wait for as long as it takes.
    #[arg(long, conflicts_with = "timeout")]
    wait: bool,
    /// A JSON document on standard output, for scripts.
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("expected {error}"))
}

/// How often the directories are looked at while the gateway works.
const POLL: Duration = Duration::from_millis(50);
/// As good as for ever.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why nothing could be done. Its text is one line for standard error.
#[derive(Debug)]
enum Stop {
    Configuration(Option<Box<Problem>>),
    Directory(PathBuf, io::Error),
    Journal(OpenError),
    Thread(io::Error),
    /// The gateway did not act on the request in time.
    Silent(PathBuf, Duration),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Configuration(Some(problem)) => write!(f, "{problem}"),
            Stop::Configuration(None) => f.write_str("the configuration cannot be read"),
            Stop::Directory(path, error) => write!(f, "{}: {error}", path.display()),
            Stop::Journal(error) => error.fmt(f),
            Stop::Thread(error) => write!(f, "no thread can be started: {error}"),
            Stop::Silent(path, waited) => write!(
                f,
                "the process that has {} did not seal within {}; is it a gateway, and does its \
                 disk work?",
                path.display(),
                format_duration(*waited)
            ),
        }
    }
}

/// What became of the segments.
#[derive(Debug, Default, Serialize)]
struct Flushed {
    /// Segments that the journal held, once it was sealed.
    segments: u64,
    /// Their records.
    records: u64,
    /// Segments of these that are still in the journal alone.
    left: u64,
    /// Why.
    why: Option<String>,
    seconds: f64,
    /// Where they went; `null`: `archive.store` is "off".
    store: Option<String>,
    /// Directories of a running gateway that nothing could be read from.
    #[serde(skip)]
    absent: Vec<Absent>,
}

pub(super) fn run(dir: &Path, journal: &[PathBuf], arguments: &FlushArguments) -> ExitCode {
    let begun = Clock::now();
    let flushed = settings(dir).and_then(|mut settings| {
        if !journal.is_empty() {
            settings.journal = journal.to_vec();
        }
        let patience = match arguments.wait {
            true => YEAR,
            false => arguments.timeout,
        };
        flush(dir, &settings, patience)
    });
    match flushed {
        Ok(mut flushed) => {
            flushed.seconds = (Clock::now() - begun).as_secs_f64();
            tell(&flushed, arguments.json)
        }
        Err(stop) => {
            eprintln!("seawall: {stop}");
            ExitCode::FAILURE
        }
    }
}

/// `[archive]`; errors elsewhere do not matter here.
fn settings(dir: &Path) -> Result<ArchiveSettings, Stop> {
    let first = |problems: Vec<Problem>| problems.into_iter().next().map(Box::new);
    let files = read_structure(dir).map_err(|problems| Stop::Configuration(first(problems)))?;
    let examined = examine(&files, &*process_environment());
    let mut errors = examined.errors;
    errors.retain(|problem| problem.key.starts_with("archive") || problem.key.is_empty());
    match errors.is_empty() {
        true => Ok(examined.settings.archive),
        false => Err(Stop::Configuration(first(errors))),
    }
}

fn flush(dir: &Path, settings: &ArchiveSettings, patience: Duration) -> Result<Flushed, Stop> {
    let mut directories = settings.journal.clone();
    // Nothing was ever kept in a directory that is not there, and none is made; unless a gateway
    // uses it, and it was taken away.
    let missing: Vec<PathBuf> = directories.extract_if(.., |d| !d.exists()).collect();
    let absent = Absent::missing(dir, &missing);
    if directories.is_empty() {
        return Ok(Flushed {
            store: store_of(settings),
            absent,
            ..Flushed::default()
        });
    }
    for directory in &directories {
        match RealDisk.lock(directory) {
            // Released at once: a gateway that starts meanwhile tries again.
            Ok(lock) => drop(lock),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let gateway = Running {
                    dir,
                    directories: &directories,
                    until: Clock::now() + patience,
                };
                let flushed = gateway.flush(directory, settings, patience)?;
                return Ok(Flushed { absent, ..flushed });
            }
            Err(error) => return Err(Stop::Directory(directory.clone(), error)),
        }
    }
    // Its own a gateway has locked: these only have the same names.
    let replaced = Absent::replaced(dir, &directories);
    if !replaced.is_empty() {
        return Ok(Flushed {
            store: store_of(settings),
            absent: replaced,
            ..Flushed::default()
        });
    }
    let flushed = alone(settings, directories, patience)?;
    Ok(Flushed { absent, ..flushed })
}

fn store_of(settings: &ArchiveSettings) -> Option<String> {
    settings.store.as_ref().map(|url| url.as_str().to_owned())
}

/// Records by segment.
type Held = BTreeMap<SegmentId, u64>;

fn held(directories: &[PathBuf]) -> Result<Held, Stop> {
    let segments = segments_in(&RealDisk, directories)
        .map_err(|error| Stop::Directory(directories[0].clone(), error))?;
    let counted = segments
        .iter()
        .map(|info| (info.id, info.summary.records))
        .filter(|(_, records)| *records > 0);
    Ok(counted.collect())
}

/// A gateway that has the journal.
struct Running<'a> {
    dir: &'a Path,
    directories: &'a [PathBuf],
    until: Instant,
}

impl Running<'_> {
    fn flush(
        &self,
        locked: &Path,
        settings: &ArchiveSettings,
        patience: Duration,
    ) -> Result<Flushed, Stop> {
        let mut segments = held(self.directories)?;
        let request =
            flush_request(locked).map_err(|error| Stop::Directory(locked.to_owned(), error))?;
        if !self.wait_for(|| !request.is_pending()) {
            FlushRequest::withdraw(request);
            return Err(Stop::Silent(locked.to_owned(), patience));
        }
        // The one that was written to got more meanwhile.
        for (segment, records) in held(self.directories)? {
            segments
                .entry(segment)
                .and_modify(|known| *known = records.max(*known));
        }
        let left = || {
            let names = self.directories.iter().map(|d| segment_names(&RealDisk, d));
            let names: Vec<SegmentId> = names.flatten().flatten().collect();
            segments.keys().filter(|id| names.contains(id)).count() as u64
        };
        let mut flushed = Flushed {
            segments: segments.len() as u64,
            records: segments.values().sum(),
            store: store_of(settings),
            ..Flushed::default()
        };
        if settings.store.is_some() && !self.wait_for(|| left() == 0) {
            flushed.left = left();
            flushed.why = self.last_error();
        }
        Ok(flushed)
    }

    fn wait_for(&self, mut done: impl FnMut() -> bool) -> bool {
        while !done() {
            if Clock::now() >= self.until {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    /// What the gateway says of its store.
    fn last_error(&self) -> Option<String> {
        let answer = ask::get(Gateway::Admin(self.dir), "/api/v1/status").ok()?;
        let status: Value = serde_json::from_slice(&answer.body).ok()?;
        let store = &status["archive"]["store"];
        let failing = store["failures"]
            .as_u64()
            .is_some_and(|failures| failures > 0);
        let error = store["last_error"].as_str().filter(|_| failing)?;
        Some(error.to_owned())
    }
}

fn tell(flushed: &Flushed, json: bool) -> ExitCode {
    let mut out = io::stdout().lock();
    // A closed pipe is no reason for another exit code.
    let _ = match json {
        true => serde_json::to_writer(&mut out, flushed)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out)),
        false => writeln!(out, "{}", words(flushed)),
    };
    for absent in &flushed.absent {
        eprintln!("seawall: {absent}");
    }
    match flushed.left {
        0 if flushed.absent.is_empty() => ExitCode::SUCCESS,
        0 => ExitCode::FAILURE,
        left => {
            let why = flushed.why.as_deref();
            let why = why.unwrap_or("the time was too short; --timeout gives more");
            eprintln!(
                "seawall: {} left in the journal: {why}",
                count(left, "segment")
            );
            ExitCode::FAILURE
        }
    }
}

fn words(flushed: &Flushed) -> String {
    if flushed.segments == 0 && flushed.left == 0 {
        return match flushed.absent.is_empty() {
            true => "the journal holds nothing".to_owned(),
            false => "nothing is known of what the journal holds".to_owned(),
        };
    }
    let sealed = format!(
        "sealed {} in {}",
        count(flushed.records, "record"),
        count(flushed.segments, "segment")
    );
    let Some(store) = &flushed.store else {
        return format!("{sealed}; they stay in the journal: archive.store is \"off\"");
    };
    let gone = flushed.segments.saturating_sub(flushed.left);
    let took = flushed.seconds;
    format!("{sealed}; {gone} went to {store} in {took:.1} s")
}
