//! Log lines of what changed and of what is wrong: one structured line each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::listing::{Listed, entries, modes, routes_of_plan};
use super::status::rfc3339;
use super::switches::Entries;
use crate::config::{Problem, RouteSettings};
use crate::policy::clause::Hand;
use crate::policy::kill::{KillKey, Mode, PlanUse, Position, Setting};

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

/// The file that says so, and who wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writer {
    /// Digest of the file's bytes, if there is a file.
    pub(super) digest: Option<u64>,
    /// The name of the token that edited it, if it was edited through the admin listener.
    pub(super) token: Option<Arc<str>>,
}

impl Writer {
    /// Where the entries of this plan, or of none, come from.
    pub(super) fn source(&self, plan: Option<&Arc<str>>) -> &'static str {
        match (plan, &self.token) {
            (Some(_), _) => "plan",
            (None, Some(_)) => "admin",
            (None, None) => "file",
        }
    }
}

/// What one line says about one switch.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    pub(super) key: String,
    pub(super) plan: Option<&'a Arc<str>>,
    pub(super) hand: Hand,
    pub(super) routes: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) mode: String,
    pub(super) percent: f64,
    pub(super) when: Option<String>,
    pub(super) until: Option<Duration>,
    pub(super) reason: Option<Arc<str>>,
    pub(super) owner: Option<Arc<str>>,
    pub(super) exempt: bool,
}

impl Line<'_> {
    /// Logs it. `message` is what happened.
    pub(super) fn log(&self, message: &str, writer: &Writer) {
        // Whole percentages are written as such; there are only 101.
        #[allow(clippy::cast_possible_truncation)]
        let whole = self.percent as i64;
        let percent: &dyn tracing::Value = match self.percent.fract() == 0.0 {
            true => &whole,
            false => &self.percent,
        };
        // What nobody wrote stands in no file.
        let nobody = Writer::default();
        let (writer, source) = match self.hand {
            Hand::Person => (writer, writer.source(self.plan)),
            Hand::Auto => (&nobody, Hand::AUTO),
        };
        let digest = writer.digest.map(|digest| format!("{digest:016x}"));
        tracing::info!(
            key = self.key,
            plan = self.plan.map(|plan| &**plan),
            routes = self.routes,
            from = self.from,
            to = self.to,
            mode = self.mode,
            percent,
            when = self.when,
            until = self.until.map(rfc3339),
            exempt = self.exempt,
            reason = self.reason.as_deref().unwrap_or(""),
            owner = self.owner.as_deref().unwrap_or(""),
            source,
            token = writer.token.as_deref(),
            digest = digest.unwrap_or_default(),
            "{message}"
        );
    }
}

/// Logs each change: one line for each entry of its key that is not what it was.
pub(super) fn log_changes(changes: &[Change], routes: &[RouteSettings], writer: &Writer) {
    for change in changes {
        for line in lines(change, routes) {
            line.log("kill switch changed", writer);
        }
    }
}

fn lines<'a>(change: &'a Change, routes: &[RouteSettings]) -> Vec<Line<'a>> {
    let list = |setting: &'a Option<Setting>| {
        let setting = setting.as_ref();
        setting.map_or_else(Vec::new, |setting| entries(&change.key, setting))
    };
    let (from, to) = (list(&change.from), list(&change.to));
    let mut pairs = pairs(&from, &to);
    let plan = plan_line(change, routes);
    if pairs.is_empty() && plan.is_none() {
        // The same entries in another order.
        pairs.extend(
            from.first()
                .zip(to.first())
                .map(|(f, t)| (Some(f), Some(t))),
        );
    }
    let lines = pairs.into_iter().map(|(from, to)| line(from, to, routes));
    plan.into_iter().chain(lines.flatten()).collect()
}

type Pair<'l, 'a> = (Option<&'l Listed<'a>>, Option<&'l Listed<'a>>);

/// Entries before and now that differ. An entry is known by its key and its condition.
fn pairs<'l, 'a>(from: &'l [Listed<'a>], to: &'l [Listed<'a>]) -> Vec<Pair<'l, 'a>> {
    let mut before: Vec<&Listed<'a>> = from.iter().collect();
    let mut pairs = Vec::new();
    for now in to {
        let same = |other: &&Listed<'a>| other.key == now.key && other.entry.when == now.entry.when;
        let found = before.iter().position(same).map(|at| before.remove(at));
        if found.is_none_or(|found| found.entry != now.entry) {
            pairs.push((found, Some(now)));
        }
    }
    pairs.extend(before.into_iter().map(|gone| (Some(gone), None)));
    pairs
}

fn line<'a>(
    from: Option<&Listed<'a>>,
    to: Option<&Listed<'a>>,
    routes: &[RouteSettings],
) -> Option<Line<'a>> {
    let listed = to.or(from)?;
    let entry = &listed.entry;
    let thrown = [to, from].into_iter().flatten();
    let thrown = thrown.filter(|listed| listed.entry.position != Position::Off);
    let mode = thrown.map(|listed| words(&modes(listed.key, &listed.entry, routes)));
    let when = (!entry.when.is_always()).then(|| entry.when.to_string());
    Some(Line {
        key: listed.key.to_string(),
        plan: listed.plan,
        hand: Hand::Person,
        routes: cut(&listed.routes(routes)),
        from: position(from, routes),
        to: position(to, routes),
        mode: mode.into_iter().next().unwrap_or_else(|| "off".to_owned()),
        percent: entry.share.percent(),
        when,
        until: entry.until,
        reason: entry.reason.clone(),
        owner: entry.owner.clone(),
        exempt: to.is_some_and(|to| to.entry.position == Position::Off),
    })
}

/// A plan as a whole, if the change is one.
fn plan_line<'a>(change: &'a Change, routes: &[RouteSettings]) -> Option<Line<'a>> {
    let plan = |setting: &'a Option<Setting>| match setting {
        Some(Setting::Plan(plan)) => Some(plan),
        Some(Setting::Entries(_)) | None => None,
    };
    let (from, to) = (plan(&change.from), plan(&change.to));
    let now = to.or(from)?;
    let word = |plan: Option<&PlanUse>| match plan {
        Some(plan) if plan.on && plan.dry_run => "dry_run",
        Some(plan) if plan.on => "on",
        Some(_) | None => "off",
    };
    Some(Line {
        key: change.key.to_string(),
        routes: cut(&routes_of_plan(now, routes)),
        from: word(from).to_owned(),
        to: word(to).to_owned(),
        mode: if now.on { "on" } else { "off" }.to_owned(),
        percent: 100.0,
        until: now.until,
        reason: now.reason.clone(),
        owner: now.owner.clone(),
        ..Line::default()
    })
}

/// What an entry does to the routes of its key: `"off"`, `"dry_run"`, or the mode.
fn position(listed: Option<&Listed<'_>>, routes: &[RouteSettings]) -> String {
    match listed {
        Some(listed) if listed.entry.position == Position::Off => "off".to_owned(),
        Some(listed) if listed.entry.dry_run => "dry_run".to_owned(),
        Some(listed) => words(&modes(listed.key, &listed.entry, routes)),
        None => "off".to_owned(),
    }
}

/// Modes with commas; none is `"off"`.
pub(super) fn words(modes: &BTreeSet<Mode>) -> String {
    let words: Vec<&str> = modes.iter().map(|mode| mode.as_str()).collect();
    match words.is_empty() {
        true => "off".to_owned(),
        false => words.join(","),
    }
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
    use crate::matching::{QueryMatch, ValueTest};
    use crate::policy::kill::{KillEntry, Plan};

    #[test]
    fn a_long_list_is_cut_with_a_count() {
        assert_eq!(cut(&["a", "b"]), "a,b");
        let many = vec!["r"; 25];
        assert!(cut(&many).ends_with(",r and 5 more"));
    }

    fn listed(from: Vec<KillEntry>, to: Vec<KillEntry>) -> Vec<(String, String, Option<String>)> {
        let change = Change {
            key: KillKey::All,
            from: (!from.is_empty()).then_some(Setting::Entries(from)),
            to: (!to.is_empty()).then_some(Setting::Entries(to)),
        };
        let lines = lines(&change, &[]).into_iter();
        lines.map(|line| (line.from, line.to, line.when)).collect()
    }

    fn thrown(mode: Mode, query: Option<&str>) -> KillEntry {
        let mut entry = KillEntry::word(Position::Thrown(Some(mode)));
        let tests = query.map(|name| QueryMatch {
            name: name.to_owned(),
            test: ValueTest::Present(true),
        });
        entry.when.query.extend(tests);
        entry
    }

    #[test]
    fn what_did_not_change_is_not_reported() {
        let key = |name: &str| KillKey::Route(name.into());
        let drop = Setting::Entries(vec![thrown(Mode::Drop, None)]);
        let off = Setting::Entries(vec![KillEntry::word(Position::Off)]);
        let before = Entries::from([(key("a"), drop.clone()), (key("b"), drop.clone())]);
        let after = Entries::from([(key("b"), drop), (key("c"), off)]);
        let changes = changes(&before, &after);
        let keys: Vec<String> = changes.iter().map(|c| c.key.to_string()).collect();
        assert_eq!(keys, ["a", "c"]);
        let line = &lines(&changes[0], &[])[0];
        assert_eq!(
            (&*line.from, &*line.to, line.exempt),
            ("drop", "off", false)
        );
        let line = &lines(&changes[1], &[])[0];
        assert_eq!((&*line.from, &*line.to, line.exempt), ("off", "off", true));
    }

    #[test]
    fn an_entry_is_known_by_its_condition() {
        let (a, b) = (Some("a"), Some("b"));
        let list = |modes: &[(Mode, Option<&str>)]| -> Vec<KillEntry> {
            modes
                .iter()
                .map(|(mode, query)| thrown(*mode, *query))
                .collect()
        };
        let text = |name: &str| Some(format!("query {name} {}", ValueTest::Present(true)));
        let word = str::to_owned;
        assert_eq!(
            listed(
                list(&[(Mode::Drop, a), (Mode::Drop, b)]),
                list(&[(Mode::Reject, b), (Mode::Drop, None)])
            ),
            [
                (word("drop"), word("reject"), text("b")),
                (word("off"), word("drop"), None),
                (word("drop"), word("off"), text("a")),
            ]
        );
        let swapped = listed(
            list(&[(Mode::Drop, a), (Mode::Drop, b)]),
            list(&[(Mode::Drop, b), (Mode::Drop, a)]),
        );
        assert_eq!(swapped.len(), 1);
        let mut rehearsal = thrown(Mode::Drop, None);
        rehearsal.dry_run = true;
        let rehearsed = listed(list(&[(Mode::Drop, None)]), vec![rehearsal]);
        assert_eq!(rehearsed, [(word("drop"), word("dry_run"), None)]);
    }

    #[test]
    fn a_plan_is_a_line_and_each_of_its_entries_another() {
        let plan = Plan::from([
            (KillKey::All, vec![thrown(Mode::Drop, None)]),
            (KillKey::Route("a".into()), vec![thrown(Mode::Reject, None)]),
        ]);
        let mut used = PlanUse {
            on: true,
            plan: Arc::new(plan),
            until: None,
            dry_run: false,
            reason: Some("INC-7".into()),
            owner: None,
        };
        let on = Setting::Plan(used.clone());
        used.on = false;
        let change = Change {
            key: KillKey::Plan("night".into()),
            from: Some(Setting::Plan(used)),
            to: Some(on),
        };
        let lines = lines(&change, &[]);
        let said: Vec<_> = lines
            .iter()
            .map(|line| {
                (
                    &*line.key,
                    line.plan.map(|plan| &**plan),
                    &*line.from,
                    &*line.to,
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                ("plan:night", None, "off", "on"),
                ("a", Some("night"), "off", "reject"),
                ("all", Some("night"), "off", "drop"),
            ]
        );
        assert!(
            lines
                .iter()
                .all(|line| line.reason.as_deref() == Some("INC-7"))
        );
    }
}
