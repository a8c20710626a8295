//! `seawall replay`: sends archived requests to an upstream.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::archive::{in_order, is_missing, moment};
use crate::archive::source::{SourceOptions, Wanted};
use crate::archive::store::{Existence, Store, StoreError, StoreUrl, environment};
use crate::config::{Settings, did_you_mean, examine, process_environment, read_structure};
use crate::control::replay::{
    Destinations, Given, Identity, Kind, Options, Prepared, RedactedValues, Terms,
};

mod arguments;
mod progress;
mod resend;
mod words;

pub(super) use arguments::ReplayArguments;
use progress::Shown;

/// Files of runs, where no other place is named.
const DIRECTORY: &str = "data/replay";

/// A problem with how the command was called.
struct Usage(String);

/// Why nothing was replayed.
enum Stop {
    Usage(String),
    Failed(String),
}

impl From<Usage> for Stop {
    fn from(usage: Usage) -> Stop {
        Stop::Usage(usage.0)
    }
}

pub(super) fn run(dir: &Path, arguments: &ReplayArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(replay(dir, arguments)),
        Err(error) => Err(Stop::Failed(error.to_string())),
    };
    match result {
        Ok(code) => code,
        Err(Stop::Usage(why)) => {
            eprintln!("seawall: {why}");
            ExitCode::from(2)
        }
        Err(Stop::Failed(why)) => {
            eprintln!("seawall: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn replay(dir: &Path, arguments: &ReplayArguments) -> Result<ExitCode, Stop> {
    let (options, has_store) = options(dir, arguments)?;
    let (terms, refused) = (options.terms, options.refused.clone());
    let prepared = Prepared::new(options);
    let prepared = prepared.await.map_err(|e| Stop::Failed(e.to_string()))?;
    words::introduce(&prepared, &terms, has_store);
    words::possible(&prepared.survey).map_err(Stop::Failed)?;
    for route in words::nothing_of(&prepared.survey, &arguments.route) {
        eprintln!(
            "  nothing of the route {route} is in what is read{}",
            meant(dir, &route)
        );
    }
    if arguments.dry_run {
        if arguments.json {
            let _ = words::write_survey(&mut io::stdout().lock(), &prepared.survey);
        }
        return Ok(words::rehearsed(&prepared.survey));
    }
    let total = prepared.survey.records;
    let mut shown = Shown::start(total, prepared.earlier.as_ref());
    let stop = interrupted().map_err(|e| Stop::Failed(format!("no signals: {e}")))?;
    let report = prepared.run(&mut shown, stop);
    let report = report.await.map_err(|e| Stop::Failed(e.to_string()))?;
    shown.end();
    let mut out = io::stdout().lock();
    // A closed pipe is no reason for another exit code.
    let _ = match arguments.json {
        true => words::write_json(&mut out, &report, &refused),
        false => words::write_ledger(&mut out, &report),
    };
    let _ = out.flush();
    let again = resend::command(dir, arguments, &refused);
    Ok(words::conclude(&report, &refused, &again))
}

/// A name that was mistyped, perhaps: with `--to` routes need not be configured any more.
fn meant(dir: &Path, route: &str) -> String {
    let Ok(settings) = settings(dir) else {
        return String::new();
    };
    let names = || settings.routes.iter().map(|route| &*route.name);
    match names().any(|known| known == route) {
        true => String::new(),
        false => did_you_mean(route, names()).map_or(String::new(), |hint| format!("; {hint}")),
    }
}

/// Resolves at SIGINT or SIGTERM; the second one ends the process at once.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut signals = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    #[allow(clippy::disallowed_methods)]
    tokio::spawn(async move {
        let mut sender = Some(sender);
        loop {
            tokio::select! {
                _ = signals.0.recv() => {}
                _ = signals.1.recv() => {}
            }
            match sender.take() {
                Some(sender) => {
                    eprintln!("seawall: ending; what is under way is waited for");
                    let _ = sender.send(());
                }
                None => std::process::exit(1),
            }
        }
    });
    Ok(async move {
        let _ = receiver.await;
    })
}

/// What is to be done, and whether a store is to know of it.
fn options(dir: &Path, arguments: &ReplayArguments) -> Result<(Options, bool), Stop> {
    let given = Given {
        headers: arguments.header.clone(),
        query: arguments.query.clone(),
        redacted: match arguments.without_redacted {
            true => RedactedValues::LeftOut,
            false => RedactedValues::Needed,
        },
    };
    let settings = match reads(arguments) {
        // Nothing of the configuration is needed.
        Reads::Named if arguments.to.is_some() => None,
        Reads::JournalsAndStore if arguments.to.is_some() && !dir.exists() => {
            let dir = dir.display();
            eprintln!("seawall: {dir} does not exist: no store is read, only the journal");
            None
        }
        Reads::Configured | Reads::JournalsAndStore | Reads::Named => Some(settings(dir)?),
    };
    let destinations = match (&arguments.to, &settings) {
        (Some(url), _) => Destinations::to_url(url, arguments.timeout)
            .map_err(|error| Stop::Usage(format!("--to: {error}")))?,
        (None, Some(settings)) => Destinations::by_route(settings),
        (None, None) => return Err(Stop::Usage("give --to URL".to_owned())),
    };
    if let Some(settings) = &settings {
        known(settings, arguments)?;
    }
    let (source, history) = source(arguments, settings.as_ref())?;
    let configured = settings.as_ref().and_then(|s| s.archive.store.as_ref());
    // Before the first upload a rehearsal finds none, and the run makes it.
    let has_store = history.is_some() || configured.is_some();
    let identity = identity(arguments, &source, destinations.label());
    let checkpoint = arguments.checkpoint.clone();
    let checkpoint = checkpoint
        .unwrap_or_else(|| Path::new(DIRECTORY).join(format!("{}.json", identity.file_stem())));
    let refused = arguments.refused.clone();
    let refused = refused.unwrap_or_else(|| checkpoint.with_extension("refused.ndjson"));
    if arguments.from.contains(&refused) {
        let refused = refused.display();
        return Err(Stop::Usage(format!(
            "--from {refused}: this run would append to the file that it reads; give another --refused"
        )));
    }
    let options = Options {
        source,
        destinations,
        given,
        terms: Terms {
            rate: arguments.rate,
            concurrency: arguments.concurrency.into(),
            timeout: arguments.timeout,
            give_up_after: arguments.give_up_after,
            batch: Terms::batch_of(arguments.rate),
        },
        identity,
        checkpoint,
        refused,
        history,
        kind: match arguments.dry_run {
            true => Kind::Rehearsal,
            false => Kind::Real,
        },
    };
    Ok((options, has_store))
}

/// The configuration, if what it says of routes, upstreams and the archive is free of errors.
fn settings(dir: &Path) -> Result<Settings, Stop> {
    let hint = "; `seawall check` shows every error";
    let files = read_structure(dir).map_err(|problems| {
        let first = problems.first().map(ToString::to_string);
        Stop::Failed(first.unwrap_or_default() + hint)
    })?;
    let examined = examine(&files, &*process_environment());
    let matters = |key: &str| {
        let parts = ["archive", "defaults", "routes", "upstreams"];
        key.is_empty() || parts.iter().any(|part| key.starts_with(part))
    };
    match examined.errors.iter().find(|error| matters(&error.key)) {
        Some(error) => Err(Stop::Failed(format!("{error}{hint}"))),
        None => Ok(examined.settings),
    }
}

/// Whether the configuration has the routes that were typed. Where records go elsewhere it need
/// not: the route may be gone since.
fn known(settings: &Settings, arguments: &ReplayArguments) -> Result<(), Usage> {
    if arguments.to.is_some() {
        return Ok(());
    }
    let names = || settings.routes.iter().map(|route| &*route.name);
    for route in &arguments.route {
        if !names().any(|known| known == route) {
            let hint =
                did_you_mean(route, names()).map_or(String::new(), |hint| format!("; {hint}"));
            return Err(Usage(format!(
                "--route {route}: the configuration has no such route{hint}"
            )));
        }
    }
    Ok(())
}

/// What is read, and the store with the history of earlier runs: the configured one, unless an
/// option names another.
fn source(
    arguments: &ReplayArguments,
    settings: Option<&Settings>,
) -> Result<(SourceOptions, Option<Store>), Stop> {
    let configured = settings.and_then(|settings| settings.archive.store.as_ref());
    let history = match &arguments.store {
        Some(url) => Some(open(
            &StoreUrl::parse(url).map_err(failed)?,
            Existence::Required,
        )?),
        // Before the first upload the directory is not there, and a rehearsal makes none.
        None => match (configured, arguments.dry_run) {
            (None, _) => None,
            (Some(url), false) => Some(open(url, Existence::Made)?),
            (Some(url), true) => match url.open(&environment(), Existence::Required) {
                Err(error) if is_missing(&error) => None,
                opened => Some(opened.map_err(failed)?),
            },
        },
    };
    let mut source = SourceOptions::new();
    source.files = arguments.from.clone();
    source.wanted = wanted(arguments)?;
    match reads(arguments) {
        Reads::Configured => {
            let journals = settings.map(|settings| settings.archive.journal.iter());
            // Before the first record they are not there.
            let journals = journals.into_iter().flatten().filter(|path| path.exists());
            source.journals = journals.cloned().collect();
            source.store = history.clone();
        }
        Reads::JournalsAndStore => {
            source.journals = arguments.journal.clone();
            source.store = history.clone();
        }
        Reads::Named => {
            source.journals = arguments.journal.clone();
            source.store = history.clone().filter(|_| arguments.store.is_some());
        }
    }
    Ok((source, history))
}

fn wanted(arguments: &ReplayArguments) -> Result<Wanted, Usage> {
    let time = |name: &str, text: &Option<String>| -> Result<Option<Timestamp>, Usage> {
        let parsed = text.as_deref().map(moment).transpose();
        parsed.map_err(|why| Usage(format!("--{name}: {why}")))
    };
    let since = time("since", &arguments.since)?;
    let until = time("until", &arguments.until)?;
    in_order(since, until).map_err(Usage)?;
    Ok(Wanted {
        routes: arguments.route.clone(),
        since,
        until,
    })
}

/// What is read.
enum Reads {
    /// The journal and the store that the configuration names.
    Configured,
    /// Journals that options name, and the configured store.
    JournalsAndStore,
    /// Only what options name.
    Named,
}

fn reads(arguments: &ReplayArguments) -> Reads {
    match (arguments.store.is_some(), arguments.from.is_empty()) {
        (false, true) if arguments.journal.is_empty() => Reads::Configured,
        (false, true) => Reads::JournalsAndStore,
        (true, _) | (_, false) => Reads::Named,
    }
}

fn failed(error: StoreError) -> Stop {
    Stop::Failed(error.to_string())
}

fn open(url: &StoreUrl, existence: Existence) -> Result<Store, Stop> {
    url.open(&environment(), existence).map_err(failed)
}

fn identity(arguments: &ReplayArguments, source: &SourceOptions, target: &str) -> Identity {
    let mut routes = arguments.route.clone();
    routes.sort();
    routes.dedup();
    let whole = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let paths = |kind: &str, paths: &[PathBuf]| -> Vec<String> {
        let shown = paths.iter().map(|path| whole(path).display().to_string());
        shown.map(|path| format!("{kind} {path}")).collect()
    };
    let store = source
        .store
        .iter()
        .map(|store| format!("store {}", store.url()));
    let mut sources: Vec<String> = store.collect();
    sources.extend(paths("journal", &source.journals));
    sources.extend(paths("file", &source.files));
    Identity {
        routes,
        times: [arguments.since.clone(), arguments.until.clone()],
        sources,
        target: target.to_owned(),
        again: arguments.again,
    }
}
