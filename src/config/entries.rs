//! What a key of `[kill]` or of a plan says: one entry, or several of which the first that
//! applies decides.

use std::time::Duration;

use super::answer::{answer, mode};
use super::cursor::{Cursor, Decoded, Path};
use super::keys;
use super::moment::moment;
use super::report::{Complaint, Report, did_you_mean};
use super::settings::RouteSettings;
use super::tree::{Node, Place};
use super::value::{boolean, expected, none_of, percent, positive_duration, words};
use super::warnings::{hollow, is_hollow};
use super::when::when;
use crate::policy::kill::{KillEntry, KillKey, Mode, Position};
use crate::policy::share::Share;
use crate::vocab::Tier;

/// What entries are about, and where they are reported.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Every route, sorted by name.
    pub(super) routes: &'a [RouteSettings],
    pub(super) report: &'a Report<'a>,
    /// Since the Unix epoch.
    pub(super) now: Duration,
}

/// A key and where it is written.
#[derive(Clone, Copy)]
pub(super) struct Keyed<'a> {
    pub(super) key: &'a KillKey,
    pub(super) path: Path<'a>,
    pub(super) place: Place,
}

/// The route, tier or `all` that a key names.
pub(super) fn resolve(key: &str, routes: &[RouteSettings]) -> Decoded<KillKey> {
    if let Some(route) = route(key, routes) {
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
        _ => {
            let names = routes.iter().map(|route| &*route.name);
            let near = did_you_mean(key, names.chain(["all"]));
            Err(Complaint::new(format!("there is no route `{key}`")).maybe_hint(near))
        }
    }
}

/// The route of that name.
pub(super) fn route<'s>(name: &str, routes: &'s [RouteSettings]) -> Option<&'s RouteSettings> {
    let found = routes.binary_search_by(|route| (*route.name).cmp(name));
    routes.get(found.ok()?)
}

/// Reads the value of a key; `None`: it has an error, which is reported. One entry in error
/// leaves nothing of its neighbours in the list, since which of them applies depends on it.
pub(super) fn entries(node: &Node<'_>, at: Keyed<'_>, scope: Scope<'_>) -> Option<Vec<KillEntry>> {
    let before = scope.report.errors();
    let items = node.as_list().unwrap_or(std::slice::from_ref(node));
    if items.is_empty() {
        let complaint = Complaint::new("expected at least one entry, found an empty list");
        let complaint = complaint.hint("write \"off\", or remove the key");
        scope
            .report
            .error(node.place, at.path.to_string(), complaint);
    }
    let alone = node.as_list().is_none();
    let placed = |item: &Node<'_>| Keyed {
        place: if alone { at.place } else { item.place },
        ..at
    };
    let decoded: Vec<Option<KillEntry>> = items
        .iter()
        .map(|item| entry(item, placed(item), scope))
        .collect();
    if scope.report.errors() > before {
        return None;
    }
    let entries: Vec<KillEntry> = decoded.into_iter().flatten().collect();
    for (item, entry) in items.iter().zip(&entries) {
        check_reach(entry, placed(item), scope);
    }
    warn_of_unreached(items, &entries, at, scope);
    if !reached(at.key, scope.routes).any(|_| true) {
        warn(at, scope, Complaint::new("no route is reached by this key"));
    }
    (scope.report.errors() == before).then_some(entries)
}

fn entry(node: &Node<'_>, at: Keyed<'_>, scope: Scope<'_>) -> Option<KillEntry> {
    if let Some(table) = node.as_table() {
        let cursor = Cursor::open(table, keys::KILL_ENTRY, (at.path, at.place), scope.report);
        return Some(table_entry(&cursor, scope.now));
    }
    match word(node) {
        Ok(position) => Some(KillEntry::word(position)),
        Err(complaint) => {
            scope
                .report
                .error(node.place, at.path.to_string(), complaint);
            None
        }
    }
}

const WORDS: [&str; 4] = ["drop", "archive", "reject", "off"];

/// A value that is one word.
fn word(node: &Node<'_>) -> Decoded<Position> {
    match node.as_text() {
        Some("off") => Ok(Position::Off),
        Some(name) if Mode::from_name(name).is_some() => {
            mode(node).map(|mode| Position::Thrown(Some(mode)))
        }
        Some("on") => Err(none_of(&WORDS, node).hint("name what it shall do")),
        Some(_) => Err(none_of(&WORDS, node)),
        None => Err(expected(
            "\"drop\", \"archive\", \"reject\", \"off\", a table or a list of tables",
            node,
        )),
    }
}

fn table_entry(cursor: &Cursor<'_>, now: Duration) -> KillEntry {
    let position = cursor.read("mode", word);
    let entry = KillEntry {
        position: position.unwrap_or(Position::Thrown(None)),
        share: cursor.read("percent", percent).unwrap_or(Share::WHOLE),
        when: when(cursor),
        until: until(cursor, now),
        dry_run: cursor.read("dry_run", boolean).unwrap_or_default(),
        answer: answer(cursor),
        retry_after: cursor.read("retry_after", positive_duration),
        reason: cursor.read("reason", words),
        owner: cursor.read("owner", words),
    };
    let place = cursor.place_of("percent");
    if entry.position == Position::Off && cursor.has("percent") {
        let complaint = Complaint::new("\"off\" has no share: it lets every request pass");
        cursor.complain(
            "percent",
            place,
            complaint.hint("remove `percent`, or use `when`"),
        );
    } else if entry.share == Share::NONE {
        let key = cursor.path.join("percent").to_string();
        let complaint = Complaint::new("takes nobody");
        let complaint =
            complaint.hint("raise it, or write mode = \"off\" if that is what you mean");
        cursor.report.warning(place, key, complaint);
    }
    entry
}

/// `until`; a time that is past is worth a warning.
pub(super) fn until(cursor: &Cursor<'_>, now: Duration) -> Option<Duration> {
    let until = cursor.read("until", moment)?;
    if until <= now {
        let key = cursor.path.join("until").to_string();
        let complaint = Complaint::new("is in the past: this has ended");
        let complaint = complaint.hint("remove the entry, or give it a later end");
        cursor
            .report
            .warning(cursor.place_of("until"), key, complaint);
    }
    Some(until)
}

/// The routes that a key may decide for.
fn reached<'s>(
    key: &'s KillKey,
    routes: &'s [RouteSettings],
) -> impl Iterator<Item = &'s RouteSettings> {
    let routes = match key {
        KillKey::Route(name) => route(name, routes).map_or(&[][..], std::slice::from_ref),
        KillKey::Tier(_) | KillKey::All | KillKey::Plan(_) => routes,
    };
    routes.iter().filter(move |route| match key {
        KillKey::Route(_) => true,
        KillKey::Tier(tier) => route.tier == *tier,
        KillKey::All => route.tier != Tier::Core,
        KillKey::Plan(_) => false,
    })
}

/// Says which route would have no mode, or would answer a GET with 200 and nothing.
fn check_reach(entry: &KillEntry, at: Keyed<'_>, scope: Scope<'_>) {
    let Position::Thrown(mode) = entry.position else {
        return;
    };
    let mut empty = None;
    for route in reached(at.key, scope.routes) {
        match mode.or(route.kill_switch.mode) {
            None => {
                let message = format!(
                    "names no mode, and the `kill_switch` of route `{}` has none",
                    route.name
                );
                let complaint =
                    Complaint::new(message).hint("add a mode: \"drop\", \"archive\" or \"reject\"");
                return scope.report.error(at.place, at.path.to_string(), complaint);
            }
            Some(Mode::Drop | Mode::Archive)
                if empty.is_none() && is_hollow(route, &entry.answer) =>
            {
                empty = Some(&*route.name);
            }
            Some(Mode::Drop | Mode::Archive | Mode::Reject) => {}
        }
    }
    if let Some(name) = empty {
        warn(at, scope, hollow(name));
    }
}

fn warn(at: Keyed<'_>, scope: Scope<'_>, complaint: Complaint) {
    scope
        .report
        .warning(at.place, at.path.to_string(), complaint);
}

/// Entries after one that takes every request are never asked.
fn warn_of_unreached(items: &[Node<'_>], entries: &[KillEntry], at: Keyed<'_>, scope: Scope<'_>) {
    let decides_all =
        |entry: &KillEntry| entry.when.is_always() && entry.until.is_none() && !entry.dry_run;
    let Some(last) = entries.iter().position(decides_all) else {
        return;
    };
    if let Some(item) = items.get(last + 1) {
        let message = format!(
            "is never asked: the entry at {} decides for every request",
            scope.report.name(items[last].place)
        );
        let complaint = Complaint::new(message).hint("put the entry without `when` last");
        let place = item.place;
        warn(Keyed { place, ..at }, scope, complaint);
    }
}

#[cfg(test)]
mod tests;
