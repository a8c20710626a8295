//! The fail-safe reading of `switches.toml`: a broken file can throw, never restore.
//!
//! A change *restores* when a request that is killed now would pass, now or until its switch
//! ends; [`covers`] judges that for every route that the key reaches. What the gateway threw by
//! itself is killed as well. Throwing acts at once; whatever restores waits.
//!
//! | the file | a change that restores nothing | `"off"` that restores | another change that restores | a key that is not in it |
//! |---|---|---|---|---|
//! | free of errors | holds at once | holds at once | holds once the file was so, and unchanged, for [`CALM`] | ends likewise |
//! | free of errors, no `[kill]` | | | | keeps what it had |
//! | any error | holds at once | keeps what it had | keeps what it had | keeps what it had |
//! | missing, unreadable | | | | keeps what it had |
//!
//! A file that was cut short may be well-formed: `percent = 5` of `percent = 50`, a list that lost
//! its tail. So only the word that means it, `"off"`, restores without delay. While a change waits,
//! those of its entries that kill more are already added to what its key had. An entry in error
//! says nothing: its key counts as not in the file. Time is an argument and files are somebody
//! else's, so that the tests reach every cell.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::config::{RouteSettings, SwitchesRead};
use crate::policy::auto_kill::AutoEntries;
use crate::policy::ending::covers;
use crate::policy::kill::{KillEntry, KillKey, KillSettings, Position, Setting};
use crate::policy::rules::{Rules, Subject};
use crate::policy::share::Share;
use crate::vocab::Tier;

/// How long a file must be good and unchanged before what it leaves out ends.
pub(super) const CALM: Duration = Duration::from_secs(1);

/// Most entries of one key while a change of it waits.
const MOST_ENTRIES: usize = 64;

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

/// A moment on both clocks: one never steps, the other is what `until` is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Monotonic.
    pub(super) steady: Instant,
    /// Since the Unix epoch.
    pub(super) unix: Duration,
}

/// What a change is judged over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground<'a> {
    /// Sorted by name.
    pub(super) routes: &'a [RouteSettings],
    /// What the gateway threw by itself: it kills behind all that is written.
    pub(super) auto: &'a AutoEntries,
}

impl Ground<'_> {
    fn compile(&self, route: &RouteSettings, entries: &Entries, now: Duration) -> Option<Rules> {
        let subject = Subject {
            auto: self.auto.get(&route.name),
            ..subject(route)
        };
        Rules::compile(subject, entries, None, now)
    }
}

impl Seen<'_> {
    /// Of both of its tables.
    pub(super) fn free_of_errors(&self) -> bool {
        let read = self.read;
        let in_error = !read.in_error.is_empty() || !read.breakers.in_error.is_empty();
        read.parsed && read.problems.is_empty() && !in_error
    }
}

/// What is thrown, and why it still is.
#[derive(Clone, Debug, Default)]
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

    /// Keys whose value in effect is not what the file says.
    pub(super) fn held(&self) -> &BTreeSet<KillKey> {
        &self.held
    }

    /// Takes in what the file says now; `None` while it is missing or unreadable. Returns when
    /// to look again, if what waits holds then.
    pub(super) fn observe(
        &mut self,
        seen: Option<Seen<'_>>,
        ground: Ground<'_>,
        now: Moment,
    ) -> Option<Instant> {
        let Some(seen) = seen else {
            self.calm = None;
            self.held = self.entries.keys().cloned().collect();
            return None;
        };
        let said = &seen.read.entries;
        let end = self.calm_at(seen, now.steady);
        if end.is_some_and(|end| end <= now.steady) {
            self.entries.clone_from(said);
        } else {
            self.take(seen, ground, now.unix);
        }
        let keys = self.entries.keys().chain(said.keys());
        let held = keys.filter(|key| self.entries.get(key) != said.get(key));
        self.held = held.cloned().collect();
        end.filter(|_| !self.held.is_empty())
    }

    /// What would hold under another structure, once no plan waits for the file: that a
    /// plan changed with the structure says nothing of how long the structure is as it is.
    pub(super) fn under(&self, seen: Option<Seen<'_>>, ground: Ground<'_>, now: Moment) -> Entries {
        let mut next = self.clone();
        next.observe(seen, ground, now);
        if let Some(seen) = seen.filter(Seen::free_of_errors) {
            let plans = seen
                .read
                .entries
                .iter()
                .filter(|(_, setting)| match setting {
                    Setting::Plan(_) => true,
                    Setting::Entries(_) => false,
                });
            let plans = plans.map(|(key, setting)| (key.clone(), setting.clone()));
            next.entries.extend(plans);
        }
        next.entries
    }

    /// When the file will have been good and unchanged for [`CALM`], if it is good now.
    fn calm_at(&mut self, seen: Seen<'_>, now: Instant) -> Option<Instant> {
        let digest = seen.digest;
        let good = seen.free_of_errors() && seen.read.has_kill_table;
        self.calm = match self.calm.filter(|calm| calm.digest == digest) {
            Some(calm) if good => Some(calm),
            None if good => Some(Calm { digest, since: now }),
            Some(_) | None => None,
        };
        self.calm.map(|calm| calm.since + CALM)
    }

    /// Takes what may hold at once. The order of the keys does not matter: what one of them kills
    /// may be what allows another to let go.
    fn take(&mut self, seen: Seen<'_>, ground: Ground<'_>, now: Duration) {
        let said = &seen.read.entries;
        let changed = said
            .iter()
            .filter(|(key, setting)| self.entries.get(key) != Some(setting));
        let mut open: Vec<(&KillKey, &Setting)> = changed.collect();
        if open.is_empty() {
            return;
        }
        if seen.free_of_errors() {
            open.retain(|(key, setting)| {
                let clear = is_plainly_off(setting) && !begins_with_off(self.entries.get(key));
                if clear {
                    self.entries.insert((*key).clone(), (*setting).clone());
                }
                !clear
            });
        }
        let before = self.entries.clone();
        let judge = Judge {
            before,
            ground,
            now,
        };
        self.take_all(&mut open, &judge);
        for (key, setting) in &open {
            let had = self.entries.get(*key);
            let Some(both) = had.and_then(|had| joined(had, setting, now)) else {
                continue;
            };
            let previous = self.entries.clone();
            if self.takes(key, both, &judge) && !judge.exceeds(key, &self.entries, &previous) {
                self.entries = previous;
            }
        }
        self.take_all(&mut open, &judge);
    }

    /// Takes each value that restores nothing, until none is left that does not.
    fn take_all(&mut self, open: &mut Vec<(&KillKey, &Setting)>, judge: &Judge<'_>) {
        let mut left = usize::MAX;
        while open.len() < left {
            left = open.len();
            open.retain(|(key, setting)| !self.takes(key, (*setting).clone(), judge));
        }
    }

    /// Takes a value if that restores nothing; says whether it did.
    fn takes(&mut self, key: &KillKey, setting: Setting, judge: &Judge<'_>) -> bool {
        let previous = self.entries.insert(key.clone(), setting);
        if !judge.restores(key, &self.entries) {
            return true;
        }
        match previous {
            Some(previous) => self.entries.insert(key.clone(), previous),
            None => self.entries.remove(key),
        };
        false
    }
}

/// Compares with what was killed before.
struct Judge<'a> {
    before: Entries,
    ground: Ground<'a>,
    now: Duration,
}

impl Judge<'_> {
    /// Whether a route that the key reaches lets something through that was killed.
    fn restores(&self, key: &KillKey, after: &Entries) -> bool {
        self.exceeds(key, &self.before, after)
    }

    /// Whether one state kills something on a route of the key that the other may not.
    fn exceeds(&self, key: &KillKey, more: &Entries, less: &Entries) -> bool {
        reached(key, self.ground.routes).any(|route| {
            let compile = |entries| self.ground.compile(route, entries, self.now);
            let Some(more) = compile(more) else {
                return false;
            };
            !covers(compile(less).as_ref(), Some(&more), self.now)
        })
    }
}

/// Whether a structure lets something through that is killed under another: the route of the same
/// name, each with the entries in effect there.
pub(super) fn restores(
    before: (Ground<'_>, &Entries),
    after: (Ground<'_>, &Entries),
    now: Duration,
) -> bool {
    let routes = after.0.routes;
    before.0.routes.iter().any(|route| {
        let Some(rules) = before.0.compile(route, before.1, now) else {
            return false;
        };
        let Ok(at) = routes.binary_search_by(|other| other.name.cmp(&route.name)) else {
            return false;
        };
        let next = after.0.compile(&routes[at], after.1, now);
        // Another way to tell clients apart is another choice of clients.
        let dealt_anew = rules.clauses.iter().any(|clause| {
            clause.is_live(now)
                && clause.share < Share::WHOLE
                && next.as_ref().is_none_or(|next| next.sticky != rules.sticky)
        });
        dealt_anew || !covers(next.as_ref(), Some(&rules), now)
    })
}

/// A value that can only mean to restore.
fn is_plainly_off(setting: &Setting) -> bool {
    match setting {
        Setting::Entries(entries) => match &entries[..] {
            [only] => {
                only.position == Position::Off
                    && only.when.is_always()
                    && only.until.is_none()
                    && !only.dry_run
            }
            _ => false,
        },
        Setting::Plan(plan) => !plan.on,
    }
}

/// Cut short, such a list is plainly off, and was not meant to be.
fn begins_with_off(setting: Option<&Setting>) -> bool {
    match setting {
        Some(Setting::Entries(entries)) => entries
            .first()
            .is_some_and(|entry| entry.position == Position::Off),
        Some(Setting::Plan(_)) | None => false,
    }
}

/// What a key had, with those entries of its new value that may kill more: each before the entry
/// of the same condition, else a condition before all and what has none after all.
fn joined(had: &Setting, said: &Setting, now: Duration) -> Option<Setting> {
    let (Setting::Entries(had), Setting::Entries(said)) = (had, said) else {
        return None;
    };
    let mut all = had.clone();
    let mut front = 0;
    for entry in said {
        let wider = |other: &KillEntry| other.when != entry.when || other.share < entry.share;
        let ended = entry.until.is_some_and(|until| until <= now);
        let thrown = matches!(entry.position, Position::Thrown(_)) && !entry.dry_run;
        if !thrown || ended || !had.iter().all(wider) {
            continue;
        }
        let same = all.iter().position(|other| other.when == entry.when);
        let at = match same {
            Some(at) => at,
            None if entry.when.is_always() => all.len(),
            None => front,
        };
        front += usize::from(at <= front);
        all.insert(at, entry.clone());
    }
    (all.len() > had.len() && all.len() <= MOST_ENTRIES).then_some(Setting::Entries(all))
}

/// The route, as the switches see it.
pub(super) fn subject(route: &RouteSettings) -> Subject<'_> {
    Subject {
        name: &route.name,
        tier: route.tier,
        own: &route.kill_switch,
        auto: None,
    }
}

/// The routes that a key may decide for; `routes` is sorted by name. Of a plan any.
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

#[cfg(test)]
mod tests;
