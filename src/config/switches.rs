//! `switches.toml`: what is thrown now. A broken file can throw, never restore.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::de::DeTable;

use super::breakers::{self, BreakersRead};
use super::cursor::{Decoded, Path, unknown_key};
use super::entries::{self, Keyed, Scope};
use super::error::{Problem, Severity};
use super::file::SourceFile;
use super::keys;
use super::plans;
use super::report::{Complaint, Report};
use super::salvage::{Document, Extent, Found, Trust, misplaced, salvage, table_like};
use super::settings::{RouteSettings, Settings};
use super::tree::{Builder, Entry, Table, Value};
use crate::policy::kill::{KillKey, KillSettings, Position, Setting};
use crate::vocab::Clock;
use crate::vocab::Tier;

/// What `switches.toml` says.
#[derive(Clone, Debug, Default)]
pub struct SwitchesRead {
    /// The entries that are free of errors.
    pub entries: KillSettings,
    /// Keys that were seen but cannot be used: they keep what they had.
    pub in_error: BTreeSet<KillKey>,
    /// What it says of breakers.
    pub breakers: BreakersRead,
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
    let mut document = document(file, &report);
    breakers::sort_out(&mut document, &report);
    let mut read = SwitchesRead {
        has_kill_table: document.has_kill_table,
        parsed: document.parsed,
        ..SwitchesRead::default()
    };
    let scope = Scope {
        routes: &settings.routes,
        report: &report,
        now: Clock::unix(),
    };
    let mut outcomes: BTreeMap<KillKey, Vec<Outcome>> = BTreeMap::new();
    for found in &document.found {
        if let Some((key, outcome)) = decide(found, settings, scope) {
            outcomes.entry(key).or_default().push(outcome);
        }
    }
    for (key, outcomes) in outcomes {
        match settle(outcomes) {
            Some(setting) => {
                read.entries.insert(key, setting);
            }
            None => {
                read.in_error.insert(key);
            }
        }
    }
    read.breakers = breakers::read(&document, settings, &report);
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
    setting: Option<Setting>,
    trust: Trust,
}

/// Of a repeated key the last mention wins. If that one is broken or may not restore, the last
/// before it that throws does: a broken file can throw.
fn settle(outcomes: Vec<Outcome>) -> Option<Setting> {
    let last = outcomes.len() - 1;
    let decides = |(index, outcome): (usize, Outcome)| {
        let setting = outcome.setting?;
        let may = !exempts(&setting) || (index == last && outcome.trust == Trust::Sound);
        may.then_some(setting)
    };
    outcomes.into_iter().enumerate().rev().find_map(decides)
}

/// Whether a setting may let through what another key takes.
fn exempts(setting: &Setting) -> bool {
    match setting {
        Setting::Entries(entries) => entries.iter().any(|entry| entry.position == Position::Off),
        Setting::Plan(plan) => !plan.on,
    }
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
    let document = salvage(file, report);
    for (table, all) in [("kill", &document.found), ("breaker", &document.breakers)] {
        let mut seen = BTreeMap::new();
        for found in all {
            if let Some(first) = seen.insert(&found.key, found.key_place) {
                let message = format!(
                    "repeats the key of {}; the last one holds",
                    report.name(first)
                );
                let key = format!("{table}.{}", found.key);
                let complaint = Complaint::new(message).hint("remove one of them");
                report.error(found.key_place, key, complaint);
            }
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
    for entry in top {
        let table = ["kill", "breaker"].into_iter().find(|t| *t == entry.key);
        if let Some(table) = table
            && entry.value.as_list().is_some()
        {
            let complaint = Complaint::new("is one table, not a list of tables");
            let complaint = complaint.hint(format!("write [{table}]"));
            report.error(entry.key_place, table.to_owned(), complaint);
            let Value::List(tables) = entry.value.value else {
                continue;
            };
            for item in tables {
                if let Value::Table(below) = item.value {
                    document.put(table, below, Trust::Stray);
                }
            }
            continue;
        }
        // An inline table has its own line, like a word; other tables have a header.
        let inline = file.text[entry.value.place.start as usize..].starts_with('{');
        if entry.value.as_table().is_none() || (inline && table.is_none()) {
            let complaint = misplaced(&entry.key);
            report.error(entry.key_place, entry.key.to_string(), complaint);
            document.found.push(found(entry, Trust::Stray));
            continue;
        }
        document.has_kill_table |= entry.key == "kill";
        document.has_breaker_table |= entry.key == "breaker";
        if table.is_none() {
            let complaint = unknown_key(&entry.key, keys::SWITCHES);
            report.error(entry.key_place, entry.key.to_string(), complaint);
        }
        let trust = table.map_or(Trust::Stray, |_| Trust::Sound);
        if let Some((table, below)) = table_like(&entry.key, entry.value) {
            document.put(table, below, trust);
        }
    }
    document
}

impl<'t> Document<'t> {
    /// Takes the entries of a table that the parser has joined.
    fn put(&mut self, name: &str, table: Table<'t>, trust: Trust) {
        let to = match name {
            "breaker" => &mut self.breakers,
            _ => &mut self.found,
        };
        to.extend(table.entries.into_iter().map(|entry| found(entry, trust)));
    }
}

fn found(entry: Entry<'_>, trust: Trust) -> Found<'_> {
    Found {
        key: entry.key.to_string(),
        key_place: entry.key_place,
        entry: Some(entry),
        trust,
        // The parser has joined what belongs together.
        extent: Extent::Closed,
    }
}

/// Which key an entry is about, and what it says.
fn decide(found: &Found<'_>, settings: &Settings, scope: Scope<'_>) -> Option<(KillKey, Outcome)> {
    let trust = found.trust;
    let outcome = |setting| Outcome { setting, trust };
    match resolve(&found.key, settings) {
        Ok(key) => {
            let entry = found.entry.as_ref();
            let setting = entry.and_then(|entry| decode(entry, &key, settings, scope));
            Some((key, outcome(setting)))
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
                let key = format!("kill.{}", found.key);
                scope.report.error(found.key_place, key, complaint);
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
        if let Some(route) = entries::route(&name, &settings.routes) {
            return Some(KillKey::Route(route.name.clone()));
        }
    }
    None
}

/// A key that names nothing there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// What there is none of.
    pub message: String,
    /// The nearest name, or what else to do.
    pub hint: Option<String>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint
            .as_ref()
            .map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for UnknownKey {}

impl Settings {
    /// What a key under `[kill]` names.
    ///
    /// # Errors
    /// When there is no such route, tier or plan.
    pub fn kill_key(&self, key: &str) -> Result<KillKey, UnknownKey> {
        resolve(key, self).map_err(|complaint| UnknownKey {
            message: complaint.message,
            hint: complaint.hint,
        })
    }

    /// The routes that a key reaches; those of a plan that its keys reach.
    pub fn routes_of(&self, key: &KillKey) -> Vec<&RouteSettings> {
        let concerns = |key: &KillKey, route: &RouteSettings| match key {
            KillKey::Route(name) => route.name == *name,
            KillKey::Tier(tier) => route.tier == *tier,
            KillKey::All => route.tier != Tier::Core,
            KillKey::Plan(_) => false,
        };
        let plan = match key {
            KillKey::Plan(name) => self.plans.get(name),
            KillKey::Route(_) | KillKey::Tier(_) | KillKey::All => None,
        };
        let within = |route: &RouteSettings| {
            plan.is_some_and(|plan| plan.keys().any(|key| concerns(key, route)))
        };
        let routes = self.routes.iter();
        routes
            .filter(|route| concerns(key, route) || within(route))
            .collect()
    }
}

fn resolve(key: &str, settings: &Settings) -> Decoded<KillKey> {
    match key.strip_prefix("plan:") {
        Some(name) => {
            plans::named(name, &settings.plans).map(|(name, _)| KillKey::Plan(name.clone()))
        }
        None => entries::resolve(key, &settings.routes),
    }
}

fn decode(
    entry: &Entry<'_>,
    key: &KillKey,
    settings: &Settings,
    scope: Scope<'_>,
) -> Option<Setting> {
    let kill = ROOT.join("kill");
    let at = Keyed {
        key,
        path: kill.join(&entry.key),
        place: entry.key_place,
    };
    match key {
        KillKey::Route(_) | KillKey::Tier(_) | KillKey::All => {
            entries::entries(&entry.value, at, scope).map(Setting::Entries)
        }
        KillKey::Plan(name) => {
            let plan = settings.plans.get(name)?;
            plans::plan_use(entry, plan, at, scope).map(Setting::Plan)
        }
    }
}

#[cfg(test)]
mod tests;
