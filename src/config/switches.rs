//! `switches.toml`: what is thrown now. A broken file can throw, never restore.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeTable;

use super::answer::{answer, mode};
use super::cursor::{Cursor, Decoded, Path, unknown_key};
use super::error::{Problem, Severity};
use super::file::SourceFile;
use super::keys::{self, NOT_YET};
use super::report::{Complaint, Report, did_you_mean};
use super::routes::{hollow, is_hollow};
use super::salvage::{Document, Found, Trust, misplaced, salvage, table_like_kill};
use super::settings::{RouteSettings, Settings};
use super::tree::{Builder, Entry, Node, Value};
use super::value::{expected, none_of, positive_duration, words};
use crate::policy::kill::{KillEntry, KillKey, KillSettings, Mode, Position, Setting};
use crate::vocab::Tier;

/// What `switches.toml` says.
#[derive(Clone, Debug, Default)]
pub struct SwitchesRead {
    /// The entries that are free of errors.
    pub entries: KillSettings,
    /// Keys that were seen but cannot be used: they keep what they had.
    pub in_error: BTreeSet<KillKey>,
    /// Every error.
    pub problems: Vec<Problem>,
    /// What somebody should look at.
    pub warnings: Vec<Problem>,
    /// Whether there is a table `kill`. Without one, no absent key has been taken away.
    pub has_kill_table: bool,
    /// `false` when nothing of the file could be read as TOML.
    pub parsed: bool,
}

/// Reads the entries of `switches.toml` for the routes there are. Never fails: errors are part
/// of the result, and each concerns its own entry alone.
pub fn read_switch_entries(file: &SourceFile, settings: &Settings) -> SwitchesRead {
    let report = Report::new(std::slice::from_ref(file));
    let document = document(file, &report);
    let mut read = SwitchesRead {
        has_kill_table: document.has_kill_table,
        parsed: document.parsed,
        ..SwitchesRead::default()
    };
    let mut outcomes: BTreeMap<KillKey, Vec<Outcome>> = BTreeMap::new();
    for found in &document.found {
        if let Some((key, outcome)) = decide(found, settings, &report) {
            outcomes.entry(key).or_default().push(outcome);
        }
    }
    for (key, outcomes) in outcomes {
        match settle(outcomes) {
            Some(entry) => {
                read.entries.insert(key, Setting::Entries(vec![entry]));
            }
            None => {
                read.in_error.insert(key);
            }
        }
    }
    (read.problems, read.warnings) = report.finish();
    if !read.has_kill_table && read.problems.is_empty() {
        read.warnings.push(no_kill_table(file));
    }
    read
}

/// Whoever empties the file means to restore everything, and does not.
fn no_kill_table(file: &SourceFile) -> Problem {
    let message = "has no table [kill]: what is thrown stays thrown";
    let mut problem = Problem::placeless(&file.path, message);
    problem.severity = Severity::Warning;
    problem.with_hint("add the line `[kill]`; an empty one restores everything")
}

const ROOT: Path<'static> = Path::ROOT;

/// What one mention of a key says; `None` when it is broken.
struct Outcome {
    entry: Option<KillEntry>,
    trust: Trust,
}

/// Of a repeated key the last mention wins. If that one is broken or may not restore, the last
/// before it that throws does: a broken file can throw.
fn settle(outcomes: Vec<Outcome>) -> Option<KillEntry> {
    let last = outcomes.len() - 1;
    let decides = |(index, outcome): (usize, Outcome)| {
        let entry = outcome.entry?;
        let restores = entry.position == Position::Off;
        let may = !restores || (index == last && outcome.trust == Trust::Sound);
        may.then_some(entry)
    };
    outcomes.into_iter().enumerate().rev().find_map(decides)
}

/// The entries as written: all at once if the file is well-formed, else line by line.
fn document<'t>(file: &'t SourceFile, report: &Report<'_>) -> Document<'t> {
    let (table, errors) = DeTable::parse_recoverable(&file.text);
    if errors.is_empty() && !file.text.contains(char::REPLACEMENT_CHARACTER) {
        let builder = Builder {
            file: 0,
            base: 0,
            environment: None,
        };
        return well_formed(file, builder.table(table.into_inner()).entries, report);
    }
    let mut document = salvage(file, report);
    let mut seen = BTreeMap::new();
    for found in &mut document.found {
        if let Some(first) = seen.insert(found.key.clone(), found.key_place) {
            let message = format!(
                "repeats the key of {}; the last one holds",
                report.name(first)
            );
            let key = format!("kill.{}", found.key);
            let complaint = Complaint::new(message).hint("remove one of them");
            report.error(found.key_place, key, complaint);
        }
    }
    if report.errors() == 0 {
        errors.iter().for_each(|error| report.syntax(0, 0, error));
    }
    document
}

fn well_formed<'t>(file: &SourceFile, top: Vec<Entry<'t>>, report: &Report<'_>) -> Document<'t> {
    let mut document = Document {
        parsed: true,
        ..Document::default()
    };
    let mut found = Vec::new();
    let mut push = |entry: Entry<'t>, trust| {
        found.push(Found {
            key: entry.key.to_string(),
            key_place: entry.key_place,
            entry: Some(entry),
            trust,
        });
    };
    for entry in top {
        let kill = entry.key == "kill";
        if kill && entry.value.as_list().is_some() {
            let complaint = Complaint::new("is one table, not a list of tables");
            report.error(
                entry.key_place,
                "kill".to_owned(),
                complaint.hint("write [kill]"),
            );
            let Value::List(tables) = entry.value.value else {
                continue;
            };
            for table in tables {
                if let Value::Table(table) = table.value {
                    table
                        .entries
                        .into_iter()
                        .for_each(|entry| push(entry, Trust::Stray));
                }
            }
            continue;
        }
        // An inline table has its own line, like a word; other tables have a header.
        let inline = file.text[entry.value.place.start as usize..].starts_with('{');
        if entry.value.as_table().is_none() || (inline && !kill) {
            report.error(
                entry.key_place,
                entry.key.to_string(),
                misplaced(&entry.key),
            );
            push(entry, Trust::Stray);
            continue;
        }
        document.has_kill_table |= kill;
        if !kill {
            let complaint = unknown_key(&entry.key, keys::SWITCHES);
            report.error(entry.key_place, entry.key.to_string(), complaint);
        }
        let trust = if kill { Trust::Sound } else { Trust::Stray };
        let table = table_like_kill(&entry.key, entry.value);
        let entries = table.into_iter().flat_map(|table| table.entries);
        entries.for_each(|entry| push(entry, trust));
    }
    document.found = found;
    document
}

/// Which key an entry is about, and what it says.
fn decide(
    found: &Found<'_>,
    settings: &Settings,
    report: &Report<'_>,
) -> Option<(KillKey, Outcome)> {
    let trust = found.trust;
    let outcome = |entry| Outcome { entry, trust };
    match resolve(&found.key, settings) {
        Ok(key) => {
            let entry = found.entry.as_ref();
            let entry = entry.and_then(|entry| decode(entry, &key, settings, report));
            Some((key, outcome(entry)))
        }
        Err(complaint) => {
            let dotted = found
                .entry
                .as_ref()
                .and_then(|entry| dotted(entry, settings));
            let complaint = match &dotted {
                Some(key) => complaint.hint(format!("a name with a dot goes in quotes: \"{key}\"")),
                None => complaint,
            };
            // What is already reported as no TOML need not also be reported as no route.
            if found.entry.is_some() && trust == Trust::Sound {
                report.error(found.key_place, format!("kill.{}", found.key), complaint);
            }
            dotted.map(|key| (key, outcome(None)))
        }
    }
}

/// The route that `a.b = ...` was meant for, when `a` is none.
fn dotted(entry: &Entry<'_>, settings: &Settings) -> Option<KillKey> {
    let mut name = entry.key.to_string();
    let mut node = &entry.value;
    while let Some([entry]) = node.as_table().map(|table| table.entries.as_slice()) {
        name = format!("{name}.{}", entry.key);
        node = &entry.value;
        if let Some(route) = route(&name, settings) {
            return Some(KillKey::Route(route.name.clone()));
        }
    }
    None
}

fn route<'s>(name: &str, settings: &'s Settings) -> Option<&'s RouteSettings> {
    let routes = &settings.routes;
    let index = routes
        .binary_search_by(|route| (*route.name).cmp(name))
        .ok()?;
    routes.get(index)
}

fn resolve(key: &str, settings: &Settings) -> Decoded<KillKey> {
    if let Some(route) = route(key, settings) {
        return Ok(KillKey::Route(route.name.clone()));
    }
    match key.split_once(':') {
        None if key == "all" => Ok(KillKey::All),
        Some(("tier", name)) => Tier::from_name(name).map(KillKey::Tier).ok_or_else(|| {
            let names = Tier::ALL.map(Tier::as_str);
            let near = did_you_mean(name, names);
            Complaint::new(format!("there is no tier `{name}`"))
                .hint(near.unwrap_or_else(|| format!("tiers are {}", names.join(", "))))
        }),
        Some(("plan", _)) => Err(Complaint::new(format!("plans are {NOT_YET}"))),
        _ => {
            let names = settings.routes.iter().map(|route| &*route.name);
            let near = did_you_mean(key, names.chain(["all"]));
            Err(Complaint::new(format!("there is no route `{key}`")).maybe_hint(near))
        }
    }
}

fn decode(
    entry: &Entry<'_>,
    key: &KillKey,
    settings: &Settings,
    report: &Report<'_>,
) -> Option<KillEntry> {
    let kill = ROOT.join("kill");
    let path = kill.join(&entry.key);
    let before = report.errors();
    let decoded = if let Some(table) = entry.value.as_table() {
        let at = (path, entry.key_place);
        table_entry(&Cursor::open(table, keys::KILL_ENTRY, at, report))
    } else {
        match word(&entry.value) {
            Ok(position) => KillEntry::word(position),
            Err(complaint) => {
                report.error(entry.value.place, path.to_string(), complaint);
                return None;
            }
        }
    };
    if report.errors() > before {
        return None;
    }
    let warn = |name: &str| {
        report.warning(entry.key_place, path.to_string(), hollow(name));
    };
    match reached(&decoded, key, settings) {
        Reach::Modeless(name) => {
            let message =
                format!("names no mode, and the `kill_switch` of route `{name}` has none");
            let complaint =
                Complaint::new(message).hint("add mode = \"drop\" or mode = \"reject\"");
            report.error(entry.key_place, path.to_string(), complaint);
            return None;
        }
        Reach::Hollow(name) => warn(name),
        Reach::Fine => {}
    }
    Some(decoded)
}

/// A value that is one word.
fn word(node: &Node<'_>) -> Decoded<Position> {
    if node.as_list().is_some() {
        let complaint = Complaint::new(format!("a list of entries is {NOT_YET}"));
        return Err(complaint.hint("write one entry"));
    }
    match node.as_text() {
        Some("off") => Ok(Position::Off),
        Some(name) if Mode::from_name(name).is_some() => {
            mode(node).map(|mode| Position::Thrown(Some(mode)))
        }
        Some(_) => Err(none_of(&["drop", "reject", "off"], node)),
        None => Err(expected("\"drop\", \"reject\", \"off\" or a table", node)),
    }
}

fn table_entry(cursor: &Cursor<'_>) -> KillEntry {
    let position = cursor.read("mode", word);
    KillEntry {
        answer: answer(cursor),
        retry_after: cursor.read("retry_after", positive_duration),
        reason: cursor.read("reason", words),
        owner: cursor.read("owner", words),
        ..KillEntry::word(position.unwrap_or(Position::Thrown(None)))
    }
}

/// What an entry would do to the routes it reaches.
enum Reach<'s> {
    Fine,
    /// This route would have no mode.
    Modeless(&'s str),
    /// This route would answer a GET with 200 and nothing.
    Hollow(&'s str),
}

fn reached<'s>(entry: &KillEntry, key: &KillKey, settings: &'s Settings) -> Reach<'s> {
    let Position::Thrown(mode) = entry.position else {
        return Reach::Fine;
    };
    let routes: &[RouteSettings] = match key {
        KillKey::Route(name) => route(name, settings).map_or(&[], std::slice::from_ref),
        KillKey::Tier(_) | KillKey::All | KillKey::Plan(_) => &settings.routes,
    };
    let reaches = |route: &&RouteSettings| match key {
        KillKey::Route(_) => true,
        KillKey::Tier(tier) => route.tier == *tier,
        KillKey::All => route.tier != Tier::Core,
        KillKey::Plan(_) => false,
    };
    let mut hollow = None;
    for route in routes.iter().filter(reaches) {
        match mode.or(route.kill_switch.mode) {
            None => return Reach::Modeless(&route.name),
            Some(Mode::Drop) if hollow.is_none() && is_hollow(route, &entry.answer) => {
                hollow = Some(&*route.name);
            }
            Some(Mode::Drop | Mode::Archive | Mode::Reject) => {}
        }
    }
    hollow.map_or(Reach::Fine, Reach::Hollow)
}

#[cfg(test)]
mod tests;
