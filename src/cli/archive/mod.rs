//! `seawall archive`: what mode archive kept, in the journal and in the store. Both are only
//! read, also while a gateway writes to them; `flush` alone moves records.

mod cat;
mod ls;
mod places;
mod verify;

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use self::cat::CatArguments;
use self::places::Places;
pub(super) use self::places::is_missing;
use super::flush;
use crate::archive::store::{FORMS, StoreError, StoreUrl};
use crate::vocab::{Clock, parse_duration};

/// Options of `archive`.
#[derive(Args, Debug)]
pub(super) struct ArchiveArguments {
    #[command(subcommand)]
    action: Action,
    /// Read this directory instead of what the configuration names; may be repeated.
    #[arg(long, value_name = "DIR", global = true)]
    journal: Vec<PathBuf>,
    /// Read this store instead of what the configuration names: as `archive.store`.
    #[arg(long, value_name = "URL", global = true, value_parser = store_url)]
    store: Option<StoreUrl>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the segments of the journal and the objects of the store, oldest first.
    Ls {
        /// One JSON object a line, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Prints records, oldest first, one JSON object a line, each record once.
    Cat(CatArguments),
    /// Reads everything and checks every checksum; exits with 1 if something is damaged.
    Verify,
    /// Seals now, and waits until everything is in the store; also of a gateway that is gone.
    Flush(flush::FlushArguments),
}

/// A time, or how long ago.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
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

/// Whether a span of time has anything in it: typed the wrong way round, "nothing was found"
/// would be a false answer.
pub(super) fn in_order(since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(), String> {
    match (since, until) {
        (Some(since), Some(until)) if since >= until => Err(format!(
            "--since {since:.0} is not before --until {until:.0}: no record can be in between"
        )),
        (..) => Ok(()),
    }
}

fn store_url(text: &str) -> Result<StoreUrl, String> {
    StoreUrl::parse(text).map_err(|error| match error {
        StoreError::Url { problem, .. } => format!("{problem}; expected {FORMS}"),
        other => other.to_string(),
    })
}

/// Why the command ends early.
#[derive(Debug)]
enum Stop {
    /// What was typed.
    Usage(String),
    /// The configuration does not say where to read.
    Configuration(String),
    /// Standard output takes no more.
    Output(io::Error),
    /// The runtime of the store's client cannot be made.
    Runtime(io::Error),
    /// Nothing could be read; why has been told.
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

impl Found {
    /// Tells what is wrong.
    fn fault(&mut self, what: impl std::fmt::Display) {
        eprintln!("seawall: {what}");
        *self = Found::Faulty;
    }
}

pub(super) fn run(dir: &Path, arguments: &ArchiveArguments) -> ExitCode {
    if let Action::Flush(flush) = &arguments.action {
        if arguments.store.is_some() {
            eprintln!("seawall: archive flush takes no --store: it uploads to archive.store");
            return ExitCode::from(2);
        }
        return flush::run(dir, &arguments.journal, flush);
    }
    if let Action::Cat(cat) = &arguments.action
        && let Err(why) = cat.in_order()
    {
        eprintln!("seawall: {why}");
        return ExitCode::from(2);
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
        Stop::Usage(why) => {
            eprintln!("seawall: {why}");
            return ExitCode::from(2);
        }
        Stop::Configuration(why) => eprintln!("seawall: {why}"),
        Stop::Runtime(error) => eprintln!("seawall: no runtime can be started: {error}"),
        Stop::Nothing => {}
    }
    ExitCode::FAILURE
}

fn act(dir: &Path, arguments: &ArchiveArguments) -> Result<Found, Stop> {
    let places = Places::find(dir, &arguments.journal, arguments.store.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Stop::Runtime)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let found = runtime.block_on(async {
        match &arguments.action {
            Action::Ls { json } => ls::ls(&places, &mut out, *json).await,
            Action::Cat(arguments) => cat::cat(&places, &mut out, arguments).await,
            Action::Verify => verify::verify(&places, &mut out).await,
            Action::Flush(_) => Ok(places.found),
        }
    })?;
    out.flush()?;
    Ok(found)
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
