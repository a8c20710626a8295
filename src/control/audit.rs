//! Log lines of what changed and of what is wrong: one structured line each.

use std::collections::BTreeSet;

use super::switches::{Entries, reached};
use crate::config::{Problem, RouteSettings};
use crate::policy::kill::{KillEntry, KillKey, Mode, Position, Setting};

/// Most route names that one line lists.
const NAMES: usize = 20;

/// One key whose entry in effect is not what it was.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// The key.
    pub(super) key: KillKey,
    /// Its entry before.
    pub(super) from: Option<Setting>,
    /// Its entry now.
    pub(super) to: Option<Setting>,
}

/// What differs between two states of the switches, by key.
pub(super) fn changes(before: &Entries, after: &Entries) -> Vec<Change> {
    let keys: BTreeSet<&KillKey> = before.keys().chain(after.keys()).collect();
    let change = |key: &KillKey| {
        let (from, to) = (before.get(key), after.get(key));
        (from != to).then(|| Change {
            key: key.clone(),
            from: from.cloned(),
            to: to.cloned(),
        })
    };
    keys.into_iter().filter_map(change).collect()
}

/// Logs each change. `digest` is that of the file, if there is one.
pub(super) fn log_changes(changes: &[Change], routes: &[RouteSettings], digest: Option<u64>) {
    let digest = digest.map_or_else(String::new, |digest| format!("{digest:016x}"));
    for change in changes {
        let entry = change.to.as_ref().or(change.from.as_ref()).and_then(first);
        let word = |text: fn(&KillEntry) -> &Option<std::sync::Arc<str>>| {
            entry.and_then(|entry| text(entry).as_deref()).unwrap_or("")
        };
        let from = position(&change.key, change.from.as_ref().and_then(first), routes);
        let to = position(&change.key, change.to.as_ref().and_then(first), routes);
        let exempt = matches!(change.to.as_ref().and_then(first), Some(entry) if entry.position == Position::Off);
        tracing::info!(
            key = %change.key,
            routes = %names(reached(&change.key, routes)),
            from = %from,
            to = %to,
            mode = %if to == "off" { &from } else { &to },
            percent = 100,
            exempt,
            reason = word(|entry| &entry.reason),
            owner = word(|entry| &entry.owner),
            source = "file",
            %digest,
            "kill switch changed"
        );
    }
}

/// The entry that a key begins with.
pub(super) fn first(setting: &Setting) -> Option<&KillEntry> {
    match setting {
        Setting::Entries(entries) => entries.first(),
        Setting::Plan(_) => None,
    }
}

/// What an entry does to the routes of its key: `"off"`, or the mode; several modes, with
/// commas, when the entry leaves the mode to routes that differ.
pub(super) fn position(
    key: &KillKey,
    entry: Option<&KillEntry>,
    routes: &[RouteSettings],
) -> String {
    match entry.map(|entry| entry.position) {
        None | Some(Position::Off) => "off".to_owned(),
        Some(Position::Thrown(Some(mode))) => mode.as_str().to_owned(),
        Some(Position::Thrown(None)) => {
            let modes: BTreeSet<Mode> = reached(key, routes)
                .filter_map(|route| route.kill_switch.mode)
                .collect();
            let modes: Vec<&str> = modes.iter().map(|mode| mode.as_str()).collect();
            if modes.is_empty() {
                "off".to_owned()
            } else {
                modes.join(",")
            }
        }
    }
}

/// Names with commas, cut with a count.
fn names<'a>(routes: impl Iterator<Item = &'a RouteSettings>) -> String {
    let all: Vec<&str> = routes.map(|route| &*route.name).collect();
    cut(&all)
}

/// Words with commas, cut with a count.
pub(super) fn cut(all: &[&str]) -> String {
    let shown = all[..all.len().min(NAMES)].join(",");
    match all.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Logs each error on a line of its own.
pub(super) fn log_errors(problems: &[Problem]) {
    for problem in problems {
        tracing::error!(
            file = %problem.file.display(),
            line = problem.line,
            column = problem.column,
            key = problem.key,
            hint = problem.hint.as_deref().unwrap_or(""),
            "{}",
            problem.message
        );
    }
}

/// Logs each warning on a line of its own.
pub(super) fn log_warnings(problems: &[Problem]) {
    for problem in problems {
        tracing::warn!(
            file = %problem.file.display(),
            line = problem.line,
            column = problem.column,
            key = problem.key,
            hint = problem.hint.as_deref().unwrap_or(""),
            "{}",
            problem.message
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_with_a_count() {
        assert_eq!(cut(&["a", "b"]), "a,b");
        let many = vec!["r"; 25];
        assert!(cut(&many).ends_with(",r and 5 more"));
    }

    #[test]
    fn what_did_not_change_is_not_reported() {
        let entry = |position| Setting::Entries(vec![KillEntry::word(position)]);
        let key = |name: &str| KillKey::Route(name.into());
        let thrown = entry(Position::Thrown(Some(Mode::Drop)));
        let before = Entries::from([(key("a"), thrown.clone()), (key("b"), thrown.clone())]);
        let after = Entries::from([(key("b"), thrown), (key("c"), entry(Position::Off))]);
        let changes = changes(&before, &after);
        let keys: Vec<String> = changes.iter().map(|c| c.key.to_string()).collect();
        assert_eq!(keys, ["a", "c"]);
        assert_eq!(
            position(&key("c"), changes[1].to.as_ref().and_then(first), &[]),
            "off"
        );
        assert_eq!(
            position(&key("a"), changes[0].from.as_ref().and_then(first), &[]),
            "drop"
        );
    }
}
