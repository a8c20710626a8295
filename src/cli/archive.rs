//! `seawall archive`: what the journal's directories hold. They are only read, also while a
//! gateway writes to them.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::flush;
use crate::archive::{Checksum, Cursor, Disk, RealDisk, SegmentInfo, Ulid, segments_in, verify};
use crate::config::{examine, process_environment, read_structure};
use crate::vocab::{Clock, parse_duration};

/// Options of `archive`.
#[derive(Args, Debug)]
pub(super) struct ArchiveArguments {
    #[command(subcommand)]
    action: Action,
    /// Read this directory instead of those that the configuration names; may be repeated.
    #[arg(long, value_name = "DIR", global = true)]
    journal: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the segments, oldest first.
    Ls {
        /// One JSON object a line, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Prints records, oldest first, one JSON object a line.
    Cat(CatArguments),
    /// Reads everything and checks every checksum; exits with 1 if something is damaged.
    Verify,
    /// Seals now, and waits until everything is in the store; also of a gateway that is gone.
    Flush(flush::FlushArguments),
}

#[derive(Args, Debug)]
struct CatArguments {
    /// Records of this route alone.
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Requests received from then on: an RFC 3339 time, or how long ago ("15m").
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Requests received before then.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
}

/// A time, or how long ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    let ago = |ago: Duration| {
        let unix = Clock::unix().saturating_sub(ago).as_micros();
        Timestamp::from_microsecond(i64::try_from(unix).ok()?).ok()
    };
    let time = text.parse().ok();
    time.or_else(|| ago(parse_duration(text).ok()?))
        .ok_or_else(|| {
            "expected a time such as 2026-11-06T09:00:00Z, or a duration such as 15m".to_owned()
        })
}

/// Why the command ends early.
#[derive(Debug)]
enum Stop {
    /// The configuration does not say where the journal is.
    Configuration(String),
    /// Standard output takes no more.
    Output(io::Error),
    /// No directory could be read.
    Nothing,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Output(error)
    }
}

/// Whether everything was found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Whole,
    Faulty,
}

pub(super) fn run(dir: &Path, arguments: &ArchiveArguments) -> ExitCode {
    if let Action::Flush(flush) = &arguments.action {
        return flush::run(dir, &arguments.journal, flush);
    }
    let stop = match act(dir, arguments) {
        Ok(Found::Whole) => return ExitCode::SUCCESS,
        Ok(Found::Faulty) => return ExitCode::FAILURE,
        Err(stop) => stop,
    };
    match stop {
        // A closed pipe is how a reader says that it has seen enough.
        Stop::Output(error) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Stop::Output(error) => eprintln!("seawall: cannot write: {error}"),
        Stop::Configuration(why) => eprintln!("seawall: {why}"),
        Stop::Nothing => {}
    }
    ExitCode::FAILURE
}

fn act(dir: &Path, arguments: &ArchiveArguments) -> Result<Found, Stop> {
    let directories = match arguments.journal.is_empty() {
        true => configured(dir)?,
        false => arguments.journal.clone(),
    };
    let mut journal = Journal::read(directories)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match &arguments.action {
        Action::Ls { json } => journal.list(&mut out, *json)?,
        Action::Cat(arguments) => journal.cat(&mut out, arguments)?,
        Action::Verify => journal.verify(&mut out)?,
        Action::Flush(_) => {}
    }
    out.flush()?;
    Ok(journal.found)
}

/// The directories that a configuration names; errors elsewhere in it do not matter here.
fn configured(dir: &Path) -> Result<Vec<PathBuf>, Stop> {
    let hint = "; give --journal DIR";
    let files = read_structure(dir).map_err(|problems| {
        let first = problems.first().map(ToString::to_string);
        Stop::Configuration(first.unwrap_or_default() + hint)
    })?;
    let examined = examine(&files, &*process_environment());
    let mut errors = examined.errors.iter();
    match errors.find(|problem| problem.key.starts_with("archive") || problem.key.is_empty()) {
        Some(problem) => Err(Stop::Configuration(format!("{problem}{hint}"))),
        None => Ok(examined.settings.archive.journal),
    }
}

/// What was read of a journal.
struct Journal {
    disk: Arc<dyn Disk>,
    segments: Vec<SegmentInfo>,
    found: Found,
}

impl Journal {
    /// Directories that cannot be read are reported; the others are used.
    fn read(directories: Vec<PathBuf>) -> Result<Journal, Stop> {
        let disk = RealDisk;
        let mut readable = Vec::new();
        let mut found = Found::Whole;
        for directory in directories {
            match disk.names(&directory) {
                Ok(_) => readable.push(directory),
                Err(error) => {
                    eprintln!("seawall: {}: {error}", directory.display());
                    found = Found::Faulty;
                }
            }
        }
        if readable.is_empty() {
            return Err(Stop::Nothing);
        }
        let segments = segments_in(&disk, &readable).map_err(|error| {
            eprintln!("seawall: the journal cannot be read: {error}");
            Stop::Nothing
        })?;
        Ok(Journal {
            disk: Arc::new(disk),
            segments,
            found,
        })
    }

    fn list(&self, out: &mut impl Write, json: bool) -> io::Result<()> {
        if json {
            for segment in &self.segments {
                serde_json::to_writer(&mut *out, &Listed::of(segment))?;
                writeln!(out)?;
            }
            return Ok(());
        }
        writeln!(
            out,
            "{:26}  {:>9}  {:>12}  {:6}  {:24}  ROUTES",
            "SEGMENT", "RECORDS", "BYTES", "STATE", "FIRST"
        )?;
        for segment in &self.segments {
            let listed = Listed::of(segment);
            let routes: Vec<&str> = listed.routes.iter().map(|share| share.route).collect();
            writeln!(
                out,
                "{:26}  {:>9}  {:>12}  {:6}  {:24}  {}",
                listed.segment,
                listed.records,
                listed.bytes,
                listed.state,
                listed.first.as_deref().unwrap_or("-"),
                routes.join(", ")
            )?;
        }
        Ok(())
    }

    fn cat(&mut self, out: &mut impl Write, arguments: &CatArguments) -> io::Result<()> {
        for segment in &self.segments {
            let routes = &segment.summary.routes;
            if arguments
                .route
                .as_ref()
                .is_some_and(|route| !routes.contains_key(route))
            {
                continue;
            }
            if let Err(error) = cat_segment(&self.disk, segment, arguments, out) {
                match error {
                    Fault::Output(error) => return Err(error),
                    Fault::Segment(why) => {
                        eprintln!("seawall: segment {}: {why}", segment.id);
                        self.found = Found::Faulty;
                    }
                }
            }
        }
        Ok(())
    }

    fn verify(&mut self, out: &mut impl Write) -> io::Result<()> {
        for segment in &self.segments {
            let copies = match verify(&self.disk, segment) {
                Ok(copies) => copies,
                Err(error) => {
                    eprintln!("seawall: segment {}: {error}", segment.id);
                    self.found = Found::Faulty;
                    continue;
                }
            };
            for verified in copies {
                let state = match (verified.damaged, verified.checksum) {
                    (0, Checksum::Holds) => "whole",
                    (0, Checksum::Unsealed) => "whole, not sealed yet",
                    (_, Checksum::Holds | Checksum::Unsealed | Checksum::Differs) => {
                        self.found = Found::Faulty;
                        "DAMAGED"
                    }
                };
                let directory = verified.copy.directory.display();
                let (records, damaged) = (verified.records, verified.damaged);
                writeln!(
                    out,
                    "{} {directory}: {records} records, {damaged} bytes damaged: {state}",
                    segment.id
                )?;
            }
        }
        Ok(())
    }
}

enum Fault {
    Output(io::Error),
    Segment(String),
}

/// What `cat` selects by.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    route: std::borrow::Cow<'a, str>,
    time: Timestamp,
}

fn cat_segment(
    disk: &Arc<dyn Disk>,
    segment: &SegmentInfo,
    arguments: &CatArguments,
    out: &mut impl Write,
) -> Result<(), Fault> {
    let unreadable = |error: io::Error| Fault::Segment(error.to_string());
    let all = arguments.route.is_none() && arguments.since.is_none() && arguments.until.is_none();
    let mut cursor = Cursor::open(Arc::clone(disk), segment.clone()).map_err(unreadable)?;
    while let Some(line) = cursor.next_line().map_err(unreadable)? {
        if !all {
            let outline: Outline<'_> = serde_json::from_slice(line.json)
                .map_err(|error| Fault::Segment(format!("a record cannot be read: {error}")))?;
            let route = arguments.route.as_ref();
            let wanted = route.is_none_or(|route| *route == outline.route)
                && arguments.since.is_none_or(|since| outline.time >= since)
                && arguments.until.is_none_or(|until| outline.time < until);
            if !wanted {
                continue;
            }
        }
        out.write_all(line.json).map_err(Fault::Output)?;
        out.write_all(b"\n").map_err(Fault::Output)?;
    }
    match cursor.damaged() {
        0 => Ok(()),
        bytes => Err(Fault::Segment(format!("{bytes} bytes are damaged"))),
    }
}

/// One segment, as it is shown.
#[derive(Serialize)]
struct Listed<'a> {
    segment: String,
    state: &'static str,
    records: u64,
    bytes: u64,
    /// When its first and last records were stored.
    first: Option<String>,
    last: Option<String>,
    directories: Vec<String>,
    routes: Vec<Share<'a>>,
}

#[derive(Serialize)]
struct Share<'a> {
    route: &'a str,
    records: u64,
    bytes: u64,
}

impl Listed<'_> {
    fn of(segment: &SegmentInfo) -> Listed<'_> {
        let sealed = segment.copies.iter().any(|copy| copy.sealed);
        let copies = segment.copies.iter();
        let routes = segment.summary.routes.iter();
        Listed {
            segment: segment.id.to_string(),
            state: if sealed { "sealed" } else { "open" },
            records: segment.summary.records,
            bytes: segment.bytes(),
            first: segment.summary.first.map(time_of),
            last: segment.summary.last.map(time_of),
            directories: copies
                .map(|copy| copy.directory.display().to_string())
                .collect(),
            routes: routes
                .map(|(route, share)| Share {
                    route,
                    records: share.records,
                    bytes: share.bytes,
                })
                .collect(),
        }
    }
}

fn time_of(id: Ulid) -> String {
    let ms = i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_given_as_such_or_as_how_long_ago() {
        assert_eq!(
            moment("2026-11-06T10:00:00+01:00").unwrap().to_string(),
            "2026-11-06T09:00:00Z"
        );
        let hour = moment("1h").unwrap().as_second();
        let now = Clock::unix().as_secs() as i64;
        assert!((hour - (now - 3600)).abs() < 60);
        for text in ["", "yesterday", "2026-11-06", "2026-11-06T10:00:00"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
