//! The fail-safe reading of `switches.toml`: a broken file can throw, never restore.
//!
//! | the file | an entry in it | a key that is not in it |
//! |---|---|---|
//! | free of errors | holds at once | ends once the file was so, and unchanged, for [`CALM`] |
//! | free of errors, no `[kill]` | | keeps what it had |
//! | any error | holds at once, unless it would restore a route | keeps what it had |
//! | missing, unreadable | | keeps what it had |
//!
//! An entry in error says nothing: its key counts as not in the file. Time is an argument and
//! files are somebody else's, so that the tests reach every row.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::config::{RouteSettings, SwitchesRead};
use crate::policy::kill::{KillKey, KillSettings, Position, Setting};
use crate::policy::rules::{Rules, Subject};
use crate::vocab::Tier;

/// How long a file must be good and unchanged before what it leaves out ends.
pub(super) const CALM: Duration = Duration::from_secs(1);

/// The entries in effect, by key.
pub(super) type Entries = KillSettings;

/// What `switches.toml` said when it was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// Of the file's bytes.
    pub(super) digest: u64,
    /// What they mean under the structure that holds.
    pub(super) read: &'a SwitchesRead,
}

impl Seen<'_> {
    fn free_of_errors(&self) -> bool {
        self.read.parsed && self.read.problems.is_empty() && self.read.in_error.is_empty()
    }
}

/// What is thrown, and why it still is.
#[derive(Debug, Default)]
pub(super) struct Switches {
    entries: Entries,
    held: BTreeSet<KillKey>,
    calm: Option<Calm>,
}

/// A file that may end what it leaves out.
#[derive(Clone, Copy, Debug)]
struct Calm {
    digest: u64,
    since: Instant,
}

impl Switches {
    /// The entries in effect.
    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Keys that keep what they had although the file says otherwise, or nothing.
    pub(super) fn held(&self) -> &BTreeSet<KillKey> {
        &self.held
    }

    /// Takes in what the file says now; `None` while it is missing or unreadable. Returns when
    /// to look again, if keys end then.
    pub(super) fn observe(
        &mut self,
        seen: Option<Seen<'_>>,
        routes: &[RouteSettings],
        now: Instant,
    ) -> Option<Instant> {
        let Some(seen) = seen else {
            self.calm = None;
            self.held = self.entries.keys().cloned().collect();
            return None;
        };
        let said = &seen.read.entries;
        if seen.free_of_errors() {
            self.entries.extend(said.clone());
        } else {
            self.take_what_restores_nothing(said, routes);
        }
        let due = self.end_what_is_left_out(seen, now);
        let differs = |(key, entry): &(&KillKey, &Setting)| said.get(key) != Some(entry);
        let held = self.entries.iter().filter(differs);
        self.held = held.map(|(key, _)| key.clone()).collect();
        due
    }

    /// An entry with a mode only ever kills more. Any other, such as `"off"`, is taken when no
    /// route that is killed now would come back.
    fn take_what_restores_nothing(&mut self, said: &Entries, routes: &[RouteSettings]) {
        let before = self.entries.clone();
        let (throws, others): (Vec<_>, Vec<_>) =
            said.iter().partition(|(_, setting)| match setting {
                Setting::Entries(entries) => entries
                    .iter()
                    .all(|entry| matches!(entry.position, Position::Thrown(Some(_)))),
                Setting::Plan(plan) => plan.on,
            });
        for (key, entry) in throws {
            self.entries.insert(key.clone(), entry.clone());
        }
        for (key, entry) in others {
            let previous = self.entries.insert(key.clone(), entry.clone());
            let restores = reached(key, routes)
                .any(|route| is_killed(route, &before) && !is_killed(route, &self.entries));
            if restores {
                match previous {
                    Some(previous) => self.entries.insert(key.clone(), previous),
                    None => self.entries.remove(key),
                };
            }
        }
    }

    fn end_what_is_left_out(&mut self, seen: Seen<'_>, now: Instant) -> Option<Instant> {
        if !(seen.free_of_errors() && seen.read.has_kill_table) {
            self.calm = None;
            return None;
        }
        let calm = match self.calm {
            Some(calm) if calm.digest == seen.digest => calm,
            _ => Calm {
                digest: seen.digest,
                since: now,
            },
        };
        self.calm = Some(calm);
        let said = &seen.read.entries;
        if self.entries.keys().all(|key| said.contains_key(key)) {
            return None;
        }
        let end = calm.since + CALM;
        if now < end {
            return Some(end);
        }
        self.entries.retain(|key, _| said.contains_key(key));
        None
    }
}

/// The routes that a key may decide for; `routes` is sorted by name.
pub(super) fn reached<'a>(
    key: &'a KillKey,
    routes: &'a [RouteSettings],
) -> Box<dyn Iterator<Item = &'a RouteSettings> + 'a> {
    match key {
        KillKey::Route(name) => {
            let found = routes.binary_search_by(|route| route.name.cmp(name));
            Box::new(found.ok().map(|at| &routes[at]).into_iter())
        }
        KillKey::Tier(tier) => Box::new(routes.iter().filter(|route| route.tier == *tier)),
        KillKey::All => Box::new(routes.iter().filter(|route| route.tier != Tier::Core)),
        KillKey::Plan(_) => Box::new(routes.iter()),
    }
}

fn is_killed(route: &RouteSettings, entries: &Entries) -> bool {
    let subject = Subject {
        name: &route.name,
        tier: route.tier,
        own: &route.kill_switch,
    };
    Rules::compile(subject, entries, None, Duration::ZERO).is_some()
}

#[cfg(test)]
#[path = "switches_tests.rs"]
mod tests;
