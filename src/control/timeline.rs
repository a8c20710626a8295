//! What switches do by themselves: they expire, and the return of traffic comes to its end.
//!
//! The request path decides by the wall clock and needs nobody for it; control only tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::audit::{Line, cut, words};
use crate::policy::clause::{Clause, Origin};
use crate::policy::kill::{KillKey, Mode};
use crate::snapshot::Snapshot;

/// What happened to a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Passed {
    /// Its `until` has come.
    Expired,
    /// All of the traffic is back.
    Restored,
}

impl Passed {
    /// The message of its log line.
    pub(super) fn message(self) -> &'static str {
        match self {
            Passed::Expired => "kill switch expired",
            Passed::Restored => "kill switch restored",
        }
    }
}

/// What happened at one moment to one switch on all its routes.
#[derive(Debug)]
pub(super) struct Event<'a> {
    /// What.
    pub(super) passed: Passed,
    routes: Vec<&'a str>,
    modes: BTreeSet<Mode>,
    clause: &'a Clause,
}

type Identity<'a> = (Duration, Passed, &'a Origin, String);

/// What happened after `last`, until `now` and then included; both since the Unix epoch.
pub(super) fn events(snapshot: &Snapshot, last: Duration, now: Duration) -> Vec<Event<'_>> {
    let mut events: BTreeMap<Identity<'_>, Event<'_>> = BTreeMap::new();
    for route in &snapshot.table.routes {
        let Some(rules) = snapshot.rules(route.id) else {
            continue;
        };
        let mut note = |at: Duration, passed: Passed, clause| {
            if at > last && at <= now {
                let identity = identity(at, passed, clause);
                let event = events.entry(identity).or_insert(Event {
                    passed,
                    routes: Vec::new(),
                    modes: BTreeSet::new(),
                    clause,
                });
                event.routes.push(&*route.spec.name);
                event
                    .modes
                    .extend(clause.order.as_ref().map(|order| order.mode));
            }
        };
        for clause in &rules.clauses {
            let Some(until) = clause.until else { continue };
            note(until, Passed::Expired, clause);
            let takes = clause.order.is_some() && !clause.dry_run;
            if takes && !rules.restore.is_zero() {
                note(
                    until.saturating_add(rules.restore),
                    Passed::Restored,
                    clause,
                );
            }
        }
        for fading in &rules.fading {
            let end = fading.since.saturating_add(rules.restore);
            note(end, Passed::Restored, &fading.clause);
        }
    }
    events.into_values().collect()
}

fn identity(at: Duration, passed: Passed, clause: &Clause) -> Identity<'_> {
    let origin = &clause.origin;
    let when = clause.when.to_string();
    (at, passed, origin, when)
}

/// Whether rules still carry a switch that has let all of its traffic back, and can do without;
/// or one that ended later than now, because the clock was set back.
pub(super) fn is_stale(snapshot: &Snapshot, now: Duration) -> bool {
    let routes = snapshot.table.routes.iter();
    let mut rules = routes.filter_map(|route| snapshot.rules(route.id));
    rules.any(|rules| {
        let over = |since: Duration| since.saturating_add(rules.restore) <= now;
        let fading = &mut rules.fading.iter();
        fading.any(|fading| over(fading.since) || fading.since > now)
    })
}

impl<'a> Event<'a> {
    /// The key under `[kill]` that it is about.
    pub(super) fn key(&self) -> KillKey {
        let origin = &self.clause.origin;
        match &origin.plan {
            Some(plan) => KillKey::Plan(Arc::clone(plan)),
            None => origin.key.clone(),
        }
    }

    /// Its log line.
    pub(super) fn line(&self) -> Line<'a> {
        let clause = self.clause;
        let mode = words(&self.modes);
        let order = clause.order.as_ref();
        Line {
            key: clause.origin.key.to_string(),
            plan: clause.origin.plan.as_ref(),
            hand: clause.origin.hand,
            routes: cut(&self.routes),
            from: match clause.dry_run {
                true => "dry_run".to_owned(),
                false => mode.clone(),
            },
            to: "off".to_owned(),
            mode,
            percent: clause.share.percent(),
            when: (!clause.when.is_always()).then(|| clause.when.to_string()),
            until: clause.until,
            reason: order.and_then(|order| order.reason.clone()),
            owner: order.and_then(|order| order.owner.clone()),
            exempt: false,
        }
    }
}
