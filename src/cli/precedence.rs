//! Which switches decide for a route, as a file says it.

use std::time::Duration;

use crate::config::RouteSettings;
use crate::policy::clause::Clause;
use crate::policy::kill::{KillKey, KillSettings};
use crate::policy::rules::{Rules, Subject};

/// The clauses that requests of a route meet, in order, up to the one that decides for all.
pub(super) fn met(route: &RouteSettings, settings: &KillSettings, now: Duration) -> Vec<Clause> {
    let subject = Subject {
        name: &route.name,
        tier: route.tier,
        own: &route.kill_switch,
        auto: None,
    };
    let mut met = Vec::new();
    for clause in Rules::written(subject, settings).clauses {
        if clause.expired(now) || clause.dry_run {
            continue;
        }
        let last = clause.when.is_always();
        met.push(clause);
        if last {
            break;
        }
    }
    met
}

/// The key under `[kill]` that brought a clause.
pub(super) fn key_of(clause: &Clause) -> KillKey {
    match &clause.origin.plan {
        Some(plan) => KillKey::Plan(plan.clone()),
        None => clause.origin.key.clone(),
    }
}

/// `tier:sheddable (drop, 50 %, when ...)`.
pub(super) fn name(clause: &Clause) -> String {
    let mode = clause
        .order
        .as_ref()
        .map_or("off", |order| order.mode.as_str());
    let mut text = format!("{} ({mode}", key_of(clause));
    let percent = clause.share.percent();
    if percent < 100.0 {
        text += &format!(", {percent} %");
    }
    if !clause.when.is_always() {
        text += &format!(", when {}", clause.when);
    }
    text + ")"
}
