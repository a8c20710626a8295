//! Every entry in effect, one by one: those of `[kill]`, and those of the plans that are on.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::switches::reached;
use crate::config::RouteSettings;
use crate::policy::clause::Hand;
use crate::policy::kill::{KillEntry, KillKey, Mode, PlanUse, Position, Setting};

/// One entry in effect.
#[derive(Clone, Debug)]
pub(super) struct Listed<'a> {
    /// Its key, in `[kill]` or in its plan; never a plan.
    pub(super) key: &'a KillKey,
    /// Its place among the entries of that key.
    pub(super) index: usize,
    /// The plan that throws it.
    pub(super) plan: Option<&'a Arc<str>>,
    /// Who throws it.
    pub(super) hand: Hand,
    /// What it says, under what is said of the plan as a whole.
    pub(super) entry: Cow<'a, KillEntry>,
}

impl Listed<'_> {
    /// The routes that it is about.
    pub(super) fn routes<'a>(&'a self, routes: &'a [RouteSettings]) -> Vec<&'a str> {
        let found = reached(self.key, routes);
        found.map(|route| &*route.name).collect()
    }
}

/// The entries of one key under `[kill]`; none of a plan that is off.
pub(super) fn entries<'a>(key: &'a KillKey, setting: &'a Setting) -> Vec<Listed<'a>> {
    match (key, setting) {
        (_, Setting::Entries(entries)) => {
            let listed = entries.iter().enumerate().map(|(index, entry)| Listed {
                key,
                index,
                plan: None,
                hand: Hand::Person,
                entry: Cow::Borrowed(entry),
            });
            listed.collect()
        }
        (KillKey::Plan(name), Setting::Plan(plan)) if plan.on => of_plan(name, plan),
        (_, Setting::Plan(_)) => Vec::new(),
    }
}

fn of_plan<'a>(name: &'a Arc<str>, plan: &'a PlanUse) -> Vec<Listed<'a>> {
    let each = plan.plan.iter().flat_map(|(key, entries)| {
        entries
            .iter()
            .enumerate()
            .map(move |(index, entry)| Listed {
                key,
                index,
                plan: Some(name),
                hand: Hand::Person,
                entry: Cow::Owned(plan.applied(entry)),
            })
    });
    each.collect()
}

/// The routes that a plan is about.
pub(super) fn routes_of_plan<'a>(plan: &PlanUse, routes: &'a [RouteSettings]) -> Vec<&'a str> {
    let names = plan.plan.keys().flat_map(|key| {
        let found = reached(key, routes);
        // Collected, because what is found lives no longer than its key.
        let found = found.map(|route| Arc::clone(&route.name));
        found.collect::<Vec<_>>()
    });
    let names: BTreeSet<Arc<str>> = names.collect();
    let all = routes.iter().map(|route| &*route.name);
    all.filter(|name| names.contains(*name)).collect()
}

/// The modes that an entry has on the routes of its key; more than one when it leaves the mode
/// to routes that differ.
pub(super) fn modes(key: &KillKey, entry: &KillEntry, routes: &[RouteSettings]) -> BTreeSet<Mode> {
    match entry.position {
        Position::Off => BTreeSet::new(),
        Position::Thrown(Some(mode)) => BTreeSet::from([mode]),
        Position::Thrown(None) => reached(key, routes)
            .filter_map(|route| route.kill_switch.mode)
            .collect(),
    }
}
