//! `[breaker]` of `switches.toml`: breakers held by hand, read as carefully as `[kill]`.
//!
//! The words of the two tables have nothing in common, so that an entry whose header is damaged
//! or gone is still known by what it says. Where it does not belong it may throw, never restore.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cursor::Decoded;
use super::entries;
use super::report::{Complaint, Report, did_you_mean};
use super::salvage::{Document, Extent, Found, Trust};
use super::settings::{RouteSettings, Settings, Target};
use super::tree::{Entry, Node, Place, Value};
use super::value::none_of;
use crate::policy::breaker::{Forced, ForcedBreakers};
use crate::policy::kill::Mode;

/// What `[breaker]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BreakersRead {
    /// The entries that are free of errors, by route.
    pub entries: ForcedBreakers,
    /// Routes that were named but cannot be used: they keep what they had.
    pub in_error: BTreeSet<Arc<str>>,
    /// Whether there is a table `breaker`.
    pub has_table: bool,
}

/// The words of an entry.
pub(super) const WORDS: [&str; 2] = ["tripped", "passing"];

/// What one mention of a route says; `None` when it is broken.
struct Outcome {
    forced: Option<Forced>,
    trust: Trust,
}

/// Reads what was found of `[breaker]`.
pub(super) fn read(
    document: &Document<'_>,
    settings: &Settings,
    report: &Report<'_>,
) -> BreakersRead {
    let mut outcomes: BTreeMap<Arc<str>, Vec<Outcome>> = BTreeMap::new();
    for found in &document.breakers {
        if let Some((route, outcome)) = decide(found, settings, report) {
            outcomes.entry(route).or_default().push(outcome);
        }
    }
    let mut read = BreakersRead {
        has_table: document.has_breaker_table,
        ..BreakersRead::default()
    };
    for (route, outcomes) in outcomes {
        match settle(&outcomes) {
            Some(forced) => _ = read.entries.insert(route, forced),
            None => _ = read.in_error.insert(route),
        }
    }
    read
}

/// Of a repeated route the last mention wins. If that one is broken or may not restore, the last
/// before it that trips does.
fn settle(outcomes: &[Outcome]) -> Option<Forced> {
    let last = outcomes.len().checked_sub(1)?;
    let decides = |(index, outcome): (usize, &Outcome)| {
        let forced = outcome.forced?;
        let may = match forced {
            Forced::Tripped => true,
            Forced::Passing => index == last && outcome.trust == Trust::Sound,
        };
        may.then_some(forced)
    };
    outcomes.iter().enumerate().rev().find_map(decides)
}

fn decide(
    found: &Found<'_>,
    settings: &Settings,
    report: &Report<'_>,
) -> Option<(Arc<str>, Outcome)> {
    let path = format!("breaker.{}", found.key);
    let trust = found.trust;
    if let Some(route) = entries::route(&found.key, &settings.routes) {
        let forced = found.entry.as_ref().and_then(|entry| {
            let forced = word(&entry.value);
            let complain = |complaint| report.error(entry.value.place, path.clone(), complaint);
            forced.map_err(complain).ok()
        });
        if let Some(forced) = forced {
            warn(route, forced, (found.key_place, &path), report);
        }
        return Some((Arc::clone(&route.name), Outcome { forced, trust }));
    }
    let entry = found.entry.as_ref()?;
    let meant = dotted(entry, &settings.routes);
    if trust == Trust::Sound {
        let complaint = Complaint::new(format!("there is no route `{}`", found.key));
        let names = settings.routes.iter().map(|route| &*route.name);
        let hint = match meant {
            Some(route) => Some(format!(
                "a name with a dot goes in quotes: \"{}\"",
                route.name
            )),
            None if found.key == "all" || found.key.contains(':') => {
                Some("breakers are held one route at a time".to_owned())
            }
            None => did_you_mean(&found.key, names),
        };
        report.error(found.key_place, path, complaint.maybe_hint(hint));
    }
    let broken = Outcome {
        forced: None,
        trust,
    };
    meant.map(|route| (Arc::clone(&route.name), broken))
}

fn word(node: &Node<'_>) -> Decoded<Forced> {
    let text = node.as_text();
    let complaint = || match text {
        Some("off" | "on" | "auto") => {
            none_of(&WORDS, node).hint("remove the line to let the breaker decide by itself")
        }
        Some(_) | None => none_of(&WORDS, node),
    };
    text.and_then(Forced::from_name).ok_or_else(complaint)
}

/// What would not do what it seems to.
fn warn(route: &RouteSettings, forced: Forced, (place, path): (Place, &str), report: &Report<'_>) {
    let complaint = match (&route.target, forced) {
        (Target::Respond(_), _) => Complaint::new("does nothing: the route has no upstream"),
        (Target::Upstream(_) | Target::Split(_), Forced::Passing) if route.breaker.is_none() => {
            Complaint::new("does nothing: the route has no breaker that could trip")
        }
        (Target::Upstream(_) | Target::Split(_), Forced::Passing | Forced::Tripped) => return,
    };
    report.warning(place, path.to_owned(), complaint.hint("remove the line"));
}

/// The route that `a.b = ...` was meant for, when `a` is none.
fn dotted<'s>(entry: &Entry<'_>, routes: &'s [RouteSettings]) -> Option<&'s RouteSettings> {
    let mut name = entry.key.to_string();
    let mut node = &entry.value;
    while let Some([entry]) = node.as_table().map(|table| table.entries.as_slice()) {
        name = format!("{name}.{}", entry.key);
        node = &entry.value;
        if let Some(route) = entries::route(&name, routes) {
            return Some(route);
        }
    }
    None
}

/// The table that an entry belongs to by what it says, if that is clear.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    Kill,
    Breaker,
    Unclear,
}

fn home(node: &Node<'_>) -> Home {
    match &node.value {
        Value::Text(word) if Forced::from_name(word).is_some() => Home::Breaker,
        Value::Text(word) if Mode::from_name(word).is_some() => Home::Kill,
        Value::Table(table) => match table.entries.as_slice() {
            // `a.b = "tripped"`: a name with a dot.
            [entry] if !matches!(&*entry.key, "mode") => home(&entry.value),
            _ => Home::Kill,
        },
        Value::List(_) => Home::Kill,
        Value::Text(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Broken(_) => Home::Unclear,
    }
}

/// Puts each entry into the table that its words are of: there it may throw, never restore.
pub(super) fn sort_out(document: &mut Document<'_>, report: &Report<'_>) {
    let is = |found: &Found<'_>, wanted| {
        let entry = found.entry.as_ref();
        entry.is_some_and(|entry| home(&entry.value) == wanted)
    };
    let strays: Vec<_> = document
        .found
        .extract_if(.., |found| is(found, Home::Breaker))
        .collect();
    let kills: Vec<_> = document
        .breakers
        .extract_if(.., |found| is(found, Home::Kill))
        .collect();
    for found in strays {
        let complaint = Complaint::new("says what a breaker does").hint("put it under [breaker]");
        document
            .breakers
            .push(moved(found, "kill", complaint, report));
    }
    for found in kills {
        let complaint = Complaint::new("says what a kill switch does").hint("put it under [kill]");
        document
            .found
            .push(moved(found, "breaker", complaint, report));
    }
}

fn moved<'t>(
    found: Found<'t>,
    table: &str,
    complaint: Complaint,
    report: &Report<'_>,
) -> Found<'t> {
    // What is known not to stand where it should is reported already.
    if found.trust == Trust::Sound {
        report.error(found.key_place, format!("{table}.{}", found.key), complaint);
    }
    Found {
        trust: Trust::Stray,
        extent: Extent::Closed,
        ..found
    }
}

#[cfg(test)]
mod tests;
