//! Which breakers are held by hand: the fail-safe reading of `[breaker]`.
//!
//! As in `switches`, a broken file can trip, never restore. `"tripped"` holds at once.
//! `"passing"` lets through what was tripped, by hand or by itself, so it needs a file without
//! errors for that; it is a word of its own, as `"off"` is, and waits no longer. A route that is
//! not named any more is let go once the file was free of errors, and unchanged, for [`CALM`]; a
//! file that says neither `[kill]` nor `[breaker]` lets go of nothing.
//!
//! | the file | `"tripped"` | `"passing"` where it is tripped | `"passing"` elsewhere | a route that is not in it |
//! |---|---|---|---|---|
//! | free of errors | holds at once | holds at once | holds at once | is let go after [`CALM`] |
//! | any error | holds at once | keeps what it had | holds at once | keeps what it had |
//! | missing, unreadable | | | | keeps what it had |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::audit::Writer;
use super::status::{Noted, rfc3339};
use super::switches::{CALM, Seen};
use crate::config::{RouteSettings, Settings};
use crate::policy::breaker::{Forced, ForcedBreakers};
use crate::snapshot::{RouteTable, Snapshot};
use crate::vocab::Clock;

/// What is held, and why it still is.
#[derive(Clone, Debug, Default)]
pub(super) struct Breakers {
    entries: ForcedBreakers,
    held: BTreeSet<Arc<str>>,
    /// Since when the file of that digest is good.
    calm: Option<(u64, Instant)>,
}

impl Breakers {
    /// What holds.
    pub(super) fn entries(&self) -> &ForcedBreakers {
        &self.entries
    }

    /// Routes whose breaker is not held as the file says.
    pub(super) fn held(&self) -> &BTreeSet<Arc<str>> {
        &self.held
    }

    /// Takes in what the file says now; `None` while it is missing or unreadable. `trips` says of
    /// a route whether its own breaker holds requests back. Returns when to look again, if what
    /// waits ends then.
    pub(super) fn observe(
        &mut self,
        seen: Option<Seen<'_>>,
        trips: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Option<Instant> {
        let Some(seen) = seen else {
            self.calm = None;
            self.held = self.entries.keys().cloned().collect();
            return None;
        };
        let said = &seen.read.breakers.entries;
        let end = self.calm_at(seen, now);
        if end.is_some_and(|end| end <= now) {
            self.entries.clone_from(said);
        }
        for (route, forced) in said {
            let tripped = || match self.entries.get(route) {
                Some(Forced::Tripped) => true,
                Some(Forced::Passing) => false,
                None => trips(route),
            };
            let may = match forced {
                Forced::Tripped => true,
                Forced::Passing => seen.free_of_errors() || !tripped(),
            };
            if may {
                self.entries.insert(Arc::clone(route), *forced);
            }
        }
        let routes = self.entries.keys().chain(said.keys());
        let held = routes.filter(|route| self.entries.get(*route) != said.get(*route));
        self.held = held.cloned().collect();
        end.filter(|_| !self.held.is_empty())
    }

    /// When the file will have been good and unchanged for [`CALM`], if it is good now.
    fn calm_at(&mut self, seen: Seen<'_>, now: Instant) -> Option<Instant> {
        let tables = seen.read.has_kill_table || seen.read.breakers.has_table;
        let same = self.calm.filter(|(digest, _)| *digest == seen.digest);
        let good = seen.free_of_errors() && tables;
        self.calm = good.then(|| same.unwrap_or((seen.digest, now)));
        self.calm.map(|(_, since)| since + CALM)
    }
}

/// One element of `breakers` in the status: a breaker held by hand.
#[derive(Debug, Serialize)]
pub(super) struct BreakerReport {
    route: String,
    /// `tripped` or `passing`.
    forced: &'static str,
    source: &'static str,
    since: String,
    age_seconds: f64,
    /// The file no longer says so.
    held: bool,
}

/// What is told of breakers held by hand.
#[derive(Debug, Default)]
pub(super) struct BreakersTold {
    /// Since when, and by which file.
    pub(super) noted: BTreeMap<Arc<str>, Noted>,
    /// Those that are not held as the file says.
    pub(super) held: BTreeSet<Arc<str>>,
}

/// Every breaker held by hand.
pub(super) fn breaker_reports(
    told: &BreakersTold,
    snapshot: &Snapshot,
    now: Duration,
) -> Vec<BreakerReport> {
    let report = |(route, forced): (&Arc<str>, &Forced)| {
        let noted = told.noted.get(route);
        let since = noted.map_or(now, |noted| noted.since);
        BreakerReport {
            route: route.to_string(),
            forced: forced.as_str(),
            source: noted.map_or("file", |noted| noted.writer.source(None)),
            since: rfc3339(since),
            age_seconds: now.saturating_sub(since).as_secs_f64(),
            held: told.held.contains(route),
        }
    };
    snapshot.board.breakers.iter().map(report).collect()
}

/// Logs which breakers are held otherwise than before, one line each, and notes since when.
pub(super) fn tell_changes(
    before: &ForcedBreakers,
    after: &ForcedBreakers,
    (writer, told): (&Writer, &mut BreakersTold),
) {
    let since = Clock::unix();
    let routes: BTreeSet<&Arc<str>> = before.keys().chain(after.keys()).collect();
    for route in routes {
        let (from, to) = (before.get(route), after.get(route));
        if from == to {
            continue;
        }
        let word = |forced: Option<&Forced>| forced.map_or("off", |forced| forced.as_str());
        let digest = writer.digest.map(|digest| format!("{digest:016x}"));
        tracing::info!(
            key = &**route,
            route = &**route,
            from = word(from),
            to = word(to),
            source = writer.source(None),
            token = writer.token.as_deref(),
            digest = digest.unwrap_or_default(),
            "breaker switch changed"
        );
        let writer = writer.clone();
        match to {
            Some(_) => {
                _ = told
                    .noted
                    .insert(Arc::clone(route), Noted { since, writer })
            }
            None => _ = told.noted.remove(route),
        }
    }
}

/// Whether the route's breaker holds requests back by itself.
pub(super) fn breaks(table: &RouteTable, name: &str, now: Instant) -> bool {
    let routes = &table.routes;
    let found = routes.binary_search_by(|route| (*route.spec.name).cmp(name));
    found.is_ok_and(|at| routes[at].breaks(Clock::uptime(now)))
}

/// Whether a structure takes a breaker away that holds requests back by itself.
pub(super) fn unguards(table: &RouteTable, after: &Settings, now: Instant) -> bool {
    let plain = |route: &&RouteSettings| route.breaker.is_none();
    let mut without = after.routes.iter().filter(plain);
    without.any(|route| breaks(table, &route.name, now))
}

/// Tells the breakers of the routes whose hand that held them tripped has left.
pub(super) fn release(before: &Snapshot, after: &Snapshot) {
    let tripped = |snapshot: &Snapshot, route: &Arc<str>| {
        snapshot.board.breakers.get(route) == Some(&Forced::Tripped)
    };
    let left = before.board.breakers.keys();
    let left = left.filter(|route| tripped(before, route) && !tripped(after, route));
    let now = Clock::uptime(Clock::now());
    for name in left {
        let routes = &after.table.routes;
        let Ok(at) = routes.binary_search_by(|route| route.spec.name.cmp(name)) else {
            continue;
        };
        let Some(spec) = &routes[at].spec.breaker else {
            continue;
        };
        for branch in &routes[at].branches {
            branch.state.breaker.released(spec, now);
        }
    }
}

#[cfg(test)]
mod tests;
