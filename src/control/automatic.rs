//! Automatic kills: the state machine of each route with `auto_kill`, looked at once a second, and
//! what follows for the switches.
//!
//! What is thrown is an entry behind all that are written, with an end: it decides, expires and
//! lets traffic come back as any other. It is in no file, and a restart forgets it. A route of
//! tier `core` is never reached by one; `"off"` ends it, and traffic comes back over `restore`. A
//! structure that would end it takes effect only once its files are calm, as `reload` sees to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::audit::Line;
use super::switches::{Entries, Moment};
use crate::config::{AutoKill, RouteSettings};
use crate::policy::auto_kill::{
    AutoEntries, AutoKill as Machine, Change, Denial, Exemption, Look, Permission,
};
use crate::policy::clause::Hand;
use crate::policy::kill::{KillEntry, Mode, Position, Setting};
use crate::policy::rules::Rules;
use crate::snapshot::{Route, RouteTable};
use crate::vocab::{Clock, format_duration};

/// Least time between two looks: the poll comes once a second, and events in between.
const PAUSE: Duration = Duration::from_millis(900);

/// How far the two clocks may be apart at the end of a hold before it is stated anew.
const DRIFT: Duration = Duration::from_millis(50);

/// Every route with `auto_kill`.
#[derive(Debug, Default)]
pub(super) struct Automatic {
    /// By name, so that they survive reloads.
    machines: BTreeMap<Arc<str>, Machine>,
    entries: AutoEntries,
    /// Routes whose traffic is back; their entries leave with the next look, once that was told.
    over: Vec<Arc<str>>,
    looked: Option<Instant>,
    /// When the next look may throw something, if it comes before a second has passed.
    due: Option<Instant>,
}

/// What happened to one route; one line of the log.
#[derive(Debug)]
pub(super) struct Event {
    route: Arc<str>,
    what: What,
    mode: Mode,
    until: Option<Duration>,
    reason: Option<Arc<str>>,
    now: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Thrown,
    Renewed,
    Lifted,
}

impl Automatic {
    /// What is thrown, or was and lets traffic come back.
    pub(super) fn entries(&self) -> &AutoEntries {
        &self.entries
    }

    /// What of it stays thrown under a structure of these routes, sorted by name.
    pub(super) fn under(&self, routes: &[RouteSettings]) -> AutoEntries {
        let mut entries = self.entries.clone();
        entries.retain(|name, _| {
            let found = routes.binary_search_by(|route| route.name.cmp(name));
            found.is_ok_and(|at| routes[at].auto_kill.is_some())
        });
        entries
    }

    /// When to look although no second has passed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time to look: a second has passed, something thrown ends now, or something
    /// may be thrown.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let passed = |looked: Instant| now.saturating_duration_since(looked) >= PAUSE;
        let uptime = Clock::uptime(now);
        let ends = |machine: &Machine| machine.until().is_some_and(|end| end <= uptime + DRIFT);
        let ripe = self.due.is_some_and(|due| due <= now);
        ripe || self.looked.is_none_or(passed) || self.machines.values().any(ends)
    }

    /// Looks at every route.
    pub(super) fn look(&mut self, table: &RouteTable, kill: &Entries, now: Moment) -> Vec<Event> {
        self.looked = Some(now.steady);
        let mut before = std::mem::take(&mut self.machines);
        for name in std::mem::take(&mut self.over) {
            let again = before
                .get(&name)
                .is_some_and(|machine| machine.until().is_some());
            if !again {
                self.entries.remove(&name);
            }
        }
        let mut events = Vec::new();
        let mut next: Option<Duration> = None;
        for route in &table.routes {
            let Some(auto) = &route.spec.auto_kill else {
                continue;
            };
            let name = &route.spec.name;
            let mut machine = before.remove(name).unwrap_or_default();
            let permission = permission(route, kill, now.unix);
            let uptime = Clock::uptime(now.steady);
            // The end by the wall clock may come a little before.
            let ending = machine.until().filter(|end| *end <= uptime + DRIFT);
            let look = Look {
                total: route.metrics.begun_total(),
                now: ending.map_or(uptime, |end| end.max(uptime)),
            };
            let change = machine.look(&auto.spec, permission, look);
            let left = machine.until().map(|end| end.saturating_sub(uptime));
            next = next.into_iter().chain(machine.due(&auto.spec)).min();
            events.extend(self.follow(name, auto, (change, left, now.unix)));
            self.machines.insert(Arc::clone(name), machine);
        }
        self.due = next.map(|at| now.steady + at.saturating_sub(Clock::uptime(now.steady)));
        events.extend(self.forget(table, now.unix));
        events
    }

    /// Makes an entry of a change. `left` is the rest of a hold.
    fn follow(
        &mut self,
        name: &Arc<str>,
        auto: &AutoKill,
        (change, left, now): (Change, Option<Duration>, Duration),
    ) -> Option<Event> {
        if let Some(left) = left {
            let mut entry = entry(auto, now + left);
            if let Some(known) = self.entries.get(name)
                && near(known.until, entry.until)
            {
                entry.until = known.until;
            }
            self.entries.insert(Arc::clone(name), entry);
        }
        let what = match change {
            Change::None => return None,
            Change::Thrown { .. } => What::Thrown,
            Change::Renewed { .. } => What::Renewed,
            Change::Ended => {
                // By the wall clock, too: it may have been set back.
                if let Some(entry) = self.entries.get_mut(name) {
                    entry.until = entry.until.map(|until| until.min(now + DRIFT));
                }
                return None;
            }
            Change::Restored => {
                self.over.push(Arc::clone(name));
                return None;
            }
            Change::Lifted(Denial::Core | Denial::Off) => What::Lifted,
        };
        self.event(name, what, now)
    }

    /// What is told of a route; takes the entry away if that is over.
    fn event(&mut self, name: &Arc<str>, what: What, now: Duration) -> Option<Event> {
        let entry = match what {
            What::Thrown | What::Renewed => self.entries.get(name).cloned(),
            What::Lifted => self.entries.remove(name),
        }?;
        let Position::Thrown(Some(mode)) = entry.position else {
            return None;
        };
        Some(Event {
            route: Arc::clone(name),
            what,
            mode,
            until: entry.until,
            reason: entry.reason,
            now,
        })
    }

    /// Lets go at once of what may not be killed automatically any more, under these switches and
    /// routes.
    pub(super) fn lift(&mut self, table: &RouteTable, kill: &Entries, now: Duration) -> Vec<Event> {
        let mut events = self.forget(table, now);
        let held: Vec<Arc<str>> = self.entries.keys().cloned().collect();
        for name in held {
            let route = find(table, &name);
            let Some(Permission::Denied(_)) = route.map(|route| permission(route, kill, now))
            else {
                continue;
            };
            // It begins anew, as the machine itself does when it is told.
            self.machines.remove(&name);
            events.extend(self.event(&name, What::Lifted, now));
        }
        events
    }

    /// Lets go of routes that are gone, or have no `auto_kill` any more.
    pub(super) fn forget(&mut self, table: &RouteTable, now: Duration) -> Vec<Event> {
        let watched =
            |name: &Arc<str>| find(table, name).is_some_and(|route| route.spec.auto_kill.is_some());
        let gone: Vec<Arc<str>> = self.entries.keys().cloned().collect();
        let gone = gone.into_iter().filter(|name| !watched(name));
        let events = gone.collect::<Vec<_>>().into_iter().filter_map(|name| {
            self.machines.remove(&name);
            self.event(&name, What::Lifted, now)
        });
        events.collect()
    }
}

fn find<'t>(table: &'t RouteTable, name: &str) -> Option<&'t Route> {
    let routes = &table.routes;
    let found = routes.binary_search_by(|route| (*route.spec.name).cmp(name));
    found.ok().map(|at| &routes[at])
}

/// Whether the switches and the tier let the route be killed automatically.
fn permission(route: &Route, kill: &Entries, now: Duration) -> Permission {
    let off = kill.values().any(|setting| match setting {
        Setting::Entries(entries) => entries.iter().any(|entry| entry.position == Position::Off),
        Setting::Plan(plan) => plan.on,
    });
    let exempt = off && Rules::written(route.subject(), kill).exempts(now);
    let exemption = match exempt {
        true => Exemption::Off,
        false => Exemption::Nothing,
    };
    Permission::of(route.spec.tier, exemption)
}

/// What is thrown: everything, until then, and why.
fn entry(auto: &AutoKill, until: Duration) -> KillEntry {
    let (above, lasting) = (auto.spec.above, format_duration(auto.spec.lasting));
    KillEntry {
        until: Some(until),
        reason: Some(format!("more than {above} for {lasting}").into()),
        ..KillEntry::word(Position::Thrown(Some(auto.mode)))
    }
}

fn near(one: Option<Duration>, other: Option<Duration>) -> bool {
    one.zip(other)
        .is_some_and(|(one, other)| one.abs_diff(other) <= DRIFT)
}

impl Event {
    /// The message of its log line.
    pub(super) fn message(&self) -> &'static str {
        match self.what {
            What::Thrown | What::Lifted => "kill switch changed",
            What::Renewed => "kill switch renewed",
        }
    }

    /// Notes since when routes are killed.
    pub(super) fn note(&self, since: &mut BTreeMap<Arc<str>, Duration>) {
        match self.what {
            What::Thrown => _ = since.insert(Arc::clone(&self.route), self.now),
            What::Renewed => {}
            What::Lifted => _ = since.remove(&self.route),
        }
    }

    /// Its log line.
    pub(super) fn line(&self) -> Line<'static> {
        let mode = self.mode.as_str();
        let (from, to) = match self.what {
            What::Thrown => ("off", mode),
            What::Renewed => (mode, mode),
            What::Lifted => (mode, "off"),
        };
        Line {
            key: self.route.to_string(),
            hand: Hand::Auto,
            routes: self.route.to_string(),
            from: from.to_owned(),
            to: to.to_owned(),
            mode: mode.to_owned(),
            percent: 100.0,
            until: self.until,
            reason: self.reason.clone(),
            ..Line::default()
        }
    }
}

#[cfg(test)]
mod tests;
