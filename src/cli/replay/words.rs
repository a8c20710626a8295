//! What a replay says before and after it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::super::amount::count;
use crate::control::replay::{Counts, Ending, Lacking, Prepared, Report, Survey, Terms};

/// Says what is about to be sent, and where. Standard output is for the ledger.
pub(super) fn introduce(prepared: &Prepared, terms: &Terms, history: bool) {
    let survey = &prepared.survey;
    for damage in &survey.damage {
        eprintln!("seawall: {damage}");
    }
    for path in &survey.unreadable_history {
        eprintln!("seawall: {path}: damaged; what it says was accepted is sent again");
    }
    if let Some(earlier) = &prepared.earlier {
        eprintln!(
            "seawall: goes on with the replay of {:.0}: {} accepted, {} refused so far",
            earlier.begun, earlier.accepted, earlier.refused
        );
    }
    let times = survey.times.map_or(String::new(), |(first, last)| {
        format!(", received from {first:.0} to {last:.0}")
    });
    eprintln!(
        "seawall: {} to send{times}",
        count(survey.records, "record")
    );
    for (route, records) in &survey.routes {
        let addresses = prepared.destinations().addresses(route);
        let addresses: Vec<&str> = addresses.iter().map(|address| &**address).collect();
        eprintln!("  {route}: {records} to {}", addresses.join(", "));
    }
    let mut notes = String::new();
    let mut note = |records: u64, what: &str| {
        if records > 0 {
            let _ = writeln!(notes, "  {records} {what}");
        }
    };
    note(
        survey.skipped,
        "skipped: accepted by this target before; --again sends them too",
    );
    note(
        survey.duplicates,
        "copies of records that stand in several places; each is sent once",
    );
    note(
        survey.maybe_processed,
        "that an upstream may have seen already; they carry x-seawall-maybe-processed: true",
    );
    note(
        survey.late,
        "came into the archive late; run the same command once more when this run is done",
    );
    eprint!("{notes}");
    if survey.records > 1 && survey.clients() == Some(1) {
        eprintln!("  all are of one client: each waits for the answer to the one before");
    }
    if !history && survey.records > 0 {
        eprintln!("  no store is read: a later run will not know what this one got accepted");
    }
    if survey.records > 0 {
        let rate = terms.rate.per_second();
        eprintln!(
            "  at {rate:.1}/s that takes {:.0} s or longer",
            survey.records as f64 / rate
        );
    }
}

/// Whether everything can be sent; otherwise what to do.
pub(super) fn possible(survey: &Survey) -> Result<(), String> {
    let mut text = String::new();
    for (route, (why, records)) in &survey.without_target {
        let _ = write!(
            text,
            "{} of the route {route} cannot be sent: {why}; ",
            count(*records, "record")
        );
    }
    if !text.is_empty() {
        return Err(text.trim_end_matches("; ").to_owned());
    }
    if survey.lacking.is_empty() {
        return Ok(());
    }
    for (lacking, records) in &survey.lacking {
        let _ = write!(text, "\n  {lacking}: in {}", count(*records, "record"));
    }
    let first = survey.lacking.keys().next();
    Err(format!(
        "nothing was sent: values were left out of these records when they were archived:{text}\n\
         {}",
        first.map_or(String::new(), remedy)
    ))
}

/// Routes that were asked for, of which there is nothing: `route` has no record that is sent or
/// was sent before, and the names it may stand for.
pub(super) fn nothing_of(survey: &Survey, asked: &[String]) -> Vec<String> {
    let found = |route: &String| survey.routes.contains_key(route);
    match survey.records + survey.skipped {
        0 => asked.to_vec(),
        // What was skipped is not known by route.
        _ if survey.skipped > 0 => Vec::new(),
        _ => asked
            .iter()
            .filter(|route| !found(route))
            .cloned()
            .collect(),
    }
}

/// What a rehearsal found, as one JSON document.
pub(super) fn write_survey(out: &mut impl Write, survey: &Survey) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        dry_run: bool,
        records: u64,
        maybe_processed: u64,
        routes: &'a std::collections::BTreeMap<String, u64>,
        skipped: u64,
        duplicates: u64,
        damaged_bytes: u64,
    }
    let document = Document {
        dry_run: true,
        records: survey.records,
        maybe_processed: survey.maybe_processed,
        routes: &survey.routes,
        skipped: survey.skipped,
        duplicates: survey.duplicates,
        damaged_bytes: survey.damaged_bytes,
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

/// What a rehearsal found: it fails as the run itself would, if not everything can be read.
pub(super) fn rehearsed(survey: &Survey) -> ExitCode {
    eprintln!("seawall: nothing was sent: --dry-run");
    match survey.damaged_bytes {
        0 => ExitCode::SUCCESS,
        bytes => {
            eprintln!("  {bytes} bytes of the archive cannot be read");
            ExitCode::FAILURE
        }
    }
}

fn remedy(lacking: &Lacking) -> String {
    let option = match lacking {
        Lacking::Header(name) => format!("--header {name}=VALUE (or {name}=@FILE)"),
        Lacking::Query(name) => format!("--query {name}=VALUE (or {name}=@FILE)"),
    };
    format!("give each, with {option}, or send without them: --without-redacted")
}

#[derive(Serialize)]
struct Line<'a> {
    instance: &'a str,
    #[serde(flatten)]
    counts: Figures,
}

#[derive(Serialize)]
struct Figures {
    #[serde(flatten)]
    counts: Counts,
    left: u64,
}

impl Figures {
    fn of(counts: Counts) -> Figures {
        Figures {
            left: counts.left(),
            counts,
        }
    }
}

/// The ledger as one JSON document.
pub(super) fn write_json(out: &mut impl Write, report: &Report, refused: &Path) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        complete: bool,
        ended: &'static str,
        total: Figures,
        instances: Vec<Line<'a>>,
        refused_for: &'a std::collections::BTreeMap<String, u64>,
        duplicates: u64,
        damaged_bytes: u64,
        seconds: f64,
        refused_file: Option<String>,
        checkpoint: Option<String>,
    }
    let ledger = &report.ledger;
    let total = ledger.total();
    let lines = ledger.instances.iter().map(|(instance, counts)| Line {
        instance,
        counts: Figures::of(*counts),
    });
    let document = Document {
        complete: report.ending == Ending::Done,
        ended: ended(&report.ending),
        total: Figures::of(total),
        instances: lines.collect(),
        refused_for: &ledger.refused_for,
        duplicates: ledger.duplicates,
        damaged_bytes: ledger.damaged_bytes,
        seconds: report.took.as_secs_f64(),
        refused_file: (total.refused > 0).then(|| refused.display().to_string()),
        checkpoint: report
            .checkpoint
            .as_ref()
            .map(|path| path.display().to_string()),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn ended(ending: &Ending) -> &'static str {
    match ending {
        Ending::Done => "done",
        Ending::Interrupted => "interrupted",
        Ending::Denied(_) => "denied",
        Ending::GaveUp(_) => "gave_up",
        Ending::Lacking(_) => "redacted",
        Ending::WithoutTarget(..) => "no_target",
        Ending::Source(_) => "source",
        Ending::Checkpoint(_) => "checkpoint",
    }
}

/// The ledger as a table, a line for each instance.
pub(super) fn write_ledger(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let ledger = &report.ledger;
    let names = ledger.instances.keys().map(|name| name.chars().count());
    let width = names.max().unwrap_or(0).max("INSTANCE".len());
    writeln!(
        out,
        "{:width$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}",
        "INSTANCE", "READ", "SENT", "ACCEPTED", "REFUSED", "SKIPPED", "LEFT", "RETRIES"
    )?;
    let mut line = |name: &str, counts: Counts| {
        writeln!(
            out,
            "{name:width$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}",
            counts.read,
            counts.sent,
            counts.accepted,
            counts.refused,
            counts.skipped,
            counts.left(),
            counts.retries
        )
    };
    for (instance, counts) in &ledger.instances {
        line(instance, *counts)?;
    }
    if ledger.instances.len() != 1 {
        line("total", ledger.total())?;
    }
    Ok(())
}

/// Says how it ended and how to go on, `again` with what was refused; gives the exit code.
pub(super) fn conclude(report: &Report, refused: &Path, again: &str) -> ExitCode {
    let ledger = &report.ledger;
    let total = ledger.total();
    let took = report.took.as_secs_f64();
    eprintln!("seawall: {}", ending_text(&report.ending, took));
    if total.refused > 0 {
        let because = ledger.refused_for.iter();
        let because: Vec<String> = because.map(|(why, n)| format!("{n} for {why}")).collect();
        eprintln!(
            "  {} refused ({}); they are in {}; to send them again: {again}",
            total.refused,
            because.join(", "),
            refused.display()
        );
    }
    if ledger.damaged_bytes > 0 {
        eprintln!(
            "  {} bytes of the archive cannot be read",
            ledger.damaged_bytes
        );
    }
    if let Some(why) = &report.unrecorded {
        eprintln!("  the store does not know yet what was accepted: {why}");
    }
    if let Some(path) = &report.checkpoint {
        eprintln!(
            "  the same command goes on where this one ended (checkpoint: {})",
            path.display()
        );
    }
    let clean = report.ending == Ending::Done
        && total.refused == 0
        && total.left() == 0
        && ledger.damaged_bytes == 0
        && report.unrecorded.is_none();
    match clean {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn ending_text(ending: &Ending, took: f64) -> String {
    let why = match ending {
        Ending::Done => return format!("done in {took:.1} s"),
        Ending::Interrupted => return format!("interrupted after {took:.1} s"),
        Ending::Denied(status) => format!(
            "the target answers {} to one record after the other; check the credentials \
             that the requests carry (--header authorization=...), and that the target is the right one",
            status.as_u16()
        ),
        Ending::GaveUp(failing) => format!(
            "the target fails and does not come back: {failing}; --give-up-after waits longer"
        ),
        Ending::Lacking(lacking) => format!(
            "a record came that lacks the {lacking}; {}",
            remedy(lacking)
        ),
        Ending::WithoutTarget(route, why) => {
            format!("a record of the route {route} came that cannot be sent: {why}")
        }
        Ending::Source(why) => format!("the archive cannot be read on: {why}"),
        Ending::Checkpoint(why) => {
            format!("what was done cannot be noted down: {why}")
        }
    };
    format!("ended after {took:.1} s: {why}")
}
