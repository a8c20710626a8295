//! `seawall replay`: sends archived requests to an upstream.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::archive::moment;
use crate::archive::source::{SourceOptions, Wanted};
use crate::archive::store::{Existence, Store, StoreError, StoreUrl, environment};
use crate::config::{Settings, did_you_mean, examine, process_environment, read_structure};
use crate::control::replay::{
    Destinations, Given, Identity, Options, Prepared, RedactedValues, Terms,
};
use crate::policy::pace::{NoRate, ReplayRate};
use crate::vocab::parse_duration;

mod progress;
mod words;

use progress::Shown;

/// Files of runs, where no other place is named.
const DIRECTORY: &str = "data/replay";

/// Options of `replay`.
#[derive(Args, Debug)]
pub(super) struct ReplayArguments {
    /// Records of this route; may be repeated.
    #[arg(long, value_name = "ROUTE", conflicts_with = "all")]
    route: Vec<String>,
    /// Records of every route.
    #[arg(long)]
    all: bool,
    /// Requests received from then on: an RFC 3339 time, or how long ago ("15m").
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Requests received before then. Default: the start of the run.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Send to this address instead of the route's upstream, the path as it was received:
    /// http://HOST[:PORT][/PREFIX].
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Records a second or a minute, such as 500/s or 30/m.
    #[arg(long, value_name = "RATE", default_value = "100/s", value_parser = rate)]
    rate: ReplayRate,
    /// Read this journal instead of what the configuration names; may be repeated.
    #[arg(long, value_name = "DIR")]
    journal: Vec<PathBuf>,
    /// Read this store instead of what the configuration names.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Read records from this file instead: what `archive cat` prints, or the refused records of
    /// an earlier run; plain or compressed with zstd; may be repeated.
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// Send this header with every request, in place of the one recorded; @FILE reads the value
    /// from a file. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The value of a query parameter that was left out of records; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    query: Vec<(String, String)>,
    /// Send records without the values that were left out of them.
    #[arg(long)]
    without_redacted: bool,
    /// Also send records that an earlier run got accepted by the same target.
    #[arg(long)]
    again: bool,
    /// Most requests under way at once; those of one client follow each other.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=400))]
    concurrency: u16,
    /// Longest wait for the head of an answer.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span)]
    timeout: Duration,
    /// End the run when the target has done nothing but fail for so long.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = span)]
    give_up_after: Duration,
    /// The file that an interrupted run goes on from. Default: below data/replay, named after
    /// what is replayed.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The file that refused records are appended to. Default: beside the checkpoint.
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    /// Say what would be sent, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// The ledger as a JSON document on standard output, for scripts.
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<ReplayRate, NoRate> {
    ReplayRate::parse(text)
}

fn span(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text).map_err(|error| format!("expected {error}"))?;
    match span.is_zero() {
        true => Err("expected more than 0".to_owned()),
        false => Ok(span),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = split(text)?;
    Ok((name.to_owned(), value))
}

/// `NAME=VALUE` or `NAME=@FILE`.
fn split(text: &str) -> Result<(&str, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    match value.strip_prefix('@') {
        None => Ok((name, value.to_owned())),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => Ok((name, text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => Err(format!("{path}: {error}")),
        },
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    const FRAMING: [&str; 9] = [
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let (name, value) = split(text)?;
    let header: HeaderName = name
        .parse()
        .map_err(|_| format!("{name:?} is no name of a header"))?;
    if FRAMING.contains(&header.as_str()) || header.as_str().starts_with("x-seawall-") {
        return Err(format!("{header} is set by the replay itself"));
    }
    let mut value: HeaderValue = value
        .parse()
        .map_err(|_| format!("the value of {header} has a character that no header may have"))?;
    // It is a credential more often than not.
    value.set_sensitive(true);
    Ok((header, value))
}

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
    let options = options(dir, arguments)?;
    let (terms, refused) = (options.terms, options.refused.clone());
    let history = options.history.is_some();
    let prepared = Prepared::new(options);
    let prepared = prepared.await.map_err(|e| Stop::Failed(e.to_string()))?;
    words::introduce(&prepared, &terms, history);
    words::possible(&prepared.survey).map_err(Stop::Failed)?;
    if arguments.dry_run {
        eprintln!("seawall: nothing was sent: --dry-run");
        return Ok(ExitCode::SUCCESS);
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
    Ok(words::conclude(&report, &refused))
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

fn options(dir: &Path, arguments: &ReplayArguments) -> Result<Options, Stop> {
    let given = Given {
        headers: arguments.header.clone(),
        query: arguments.query.clone(),
        redacted: match arguments.without_redacted {
            true => RedactedValues::LeftOut,
            false => RedactedValues::Needed,
        },
    };
    if arguments.route.is_empty() && !arguments.all && arguments.from.is_empty() {
        let hint = "say which records: --route ROUTE, or --all for those of every route";
        return Err(Stop::Usage(hint.to_owned()));
    }
    let settings = match names_source(arguments) && arguments.to.is_some() {
        // Nothing of the configuration is needed.
        true => None,
        false => Some(settings(dir)?),
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
    Ok(Options {
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
    })
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

/// What is read, and the store with the history of earlier runs. What an option names is read
/// alone; the history is the configured store's all the same.
fn source(
    arguments: &ReplayArguments,
    settings: Option<&Settings>,
) -> Result<(SourceOptions, Option<Store>), Stop> {
    let time = |name: &str, text: &Option<String>| -> Result<Option<Timestamp>, Stop> {
        let parsed = text.as_deref().map(moment).transpose();
        parsed.map_err(|why| Stop::Usage(format!("--{name}: {why}")))
    };
    let configured = settings.and_then(|settings| settings.archive.store.as_ref());
    let history = match &arguments.store {
        Some(url) => Some(open(
            &StoreUrl::parse(url).map_err(failed)?,
            Existence::Required,
        )?),
        // Before the first upload the directory is not there.
        None => configured
            .map(|url| open(url, Existence::Made))
            .transpose()?,
    };
    let mut source = SourceOptions::new();
    source.files = arguments.from.clone();
    source.wanted = Wanted {
        routes: arguments.route.clone(),
        since: time("since", &arguments.since)?,
        until: time("until", &arguments.until)?,
    };
    match settings.filter(|_| !names_source(arguments)) {
        Some(settings) => {
            let journals = settings.archive.journal.iter();
            // Before the first record they are not there.
            source.journals = journals.filter(|path| path.exists()).cloned().collect();
            source.store = history.clone();
        }
        None => {
            source.journals = arguments.journal.clone();
            source.store = history.clone().filter(|_| arguments.store.is_some());
        }
    }
    Ok((source, history))
}

/// Whether options say what is read.
fn names_source(arguments: &ReplayArguments) -> bool {
    !arguments.journal.is_empty() || arguments.store.is_some() || !arguments.from.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_given_as_text_or_in_a_file_and_none_that_frames() {
        let (name, value) = header("Authorization=Bearer a=b").unwrap();
        assert_eq!(
            (name.as_str(), value.to_str().unwrap()),
            ("authorization", "Bearer a=b")
        );
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("token");
        std::fs::write(&path, "secret\n").unwrap();
        let (_, value) = header(&format!("x-api-key=@{}", path.display())).unwrap();
        assert_eq!(value, "secret");
        for text in [
            "authorization",
            "=x",
            "a b=c",
            "x=\u{7}",
            "x=@/nonexistent/file",
            "content-length=3",
            "Connection=close",
            "x-seawall-replay=1",
        ] {
            assert!(header(text).is_err(), "{text}");
        }
    }
}
