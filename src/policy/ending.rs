//! How a switch ends: what a change lets through that was killed before, and how traffic then
//! comes back.

use std::time::Duration;

use super::clause::Clause;
use super::rules::Rules;
use super::share::Share;
use crate::matching::{Asker, When};

/// Most switches of one route that fade at once; the oldest leave first.
const MOST_FADING: usize = 16;

/// A switch that ended by an edit, and lets traffic come back linearly over `restore`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fading {
    /// What it was.
    pub clause: Clause,
    /// When it ended, since the Unix epoch.
    pub since: Duration,
    /// Conditions of the clauses that decided before it until then: it took none of theirs, and
    /// its end takes none of theirs either.
    pub ahead: Vec<When>,
}

impl Fading {
    /// Whether another clause decided about this asker while this one held.
    pub(super) fn passed_by(&self, asker: &Asker<'_>) -> bool {
        self.ahead.iter().any(|when| when.holds(asker))
    }
}

/// The conditions of the clauses that decided before the one at `at`, just before `end`.
pub(super) fn ahead(clauses: &[Clause], at: usize, end: Duration) -> impl Iterator<Item = &When> {
    let held =
        move |clause: &&Clause| !clause.dry_run && clause.until.is_none_or(|until| until >= end);
    clauses[..at].iter().filter(held).map(|clause| &clause.when)
}

/// What ended between two states of a route's rules, and what had ended before and still fades.
///
/// A switch is known by its origin and its condition: with another share, mode or reason it is
/// the same switch, and the new share holds at once.
pub(super) fn ended(before: &Rules, after: &Rules, now: Duration) -> Vec<Fading> {
    let goes_on = |clause: &Clause| {
        let same = |other: &&Clause| other.origin == clause.origin && other.when == clause.when;
        let mut others = after.clauses.iter().filter(same);
        others.any(|other| other.is_live(now) || other.until == clause.until && clause.expired(now))
    };
    // A clock that was set back must not keep what is coming back away until it has caught up:
    // the return begins again.
    let fading = before.fading.iter().map(|fading| Fading {
        since: fading.since.min(now),
        ..fading.clone()
    });
    let ended = before
        .clauses
        .iter()
        .enumerate()
        .filter_map(|(at, clause)| {
            if clause.order.is_none() || clause.dry_run {
                return None;
            }
            let since = clause.until.filter(|until| *until <= now);
            if since.is_none() && still_taken(at, before, after, now) {
                return None;
            }
            let since = since.unwrap_or(now);
            let ahead: Vec<When> = ahead(&before.clauses, at, since).cloned().collect();
            if ahead.iter().any(When::is_always) {
                return None;
            }
            let clause = clause.clone();
            Some(Fading {
                clause,
                since,
                ahead,
            })
        });
    let mut all: Vec<Fading> = fading
        .chain(ended)
        .filter(|fading| !goes_on(&fading.clause))
        .filter(|fading| now.saturating_sub(fading.since) < after.restore)
        .collect();
    let surplus = all.len().saturating_sub(MOST_FADING);
    all.drain(..surplus);
    all
}

/// Whether every request that `before` takes, now or until its switches end, is also taken by
/// `after`. When in doubt it says no.
pub fn covers(after: Option<&Rules>, before: Option<&Rules>, now: Duration) -> bool {
    let Some(before) = before else {
        return true;
    };
    let mut live = before
        .clauses
        .iter()
        .enumerate()
        .filter(|(_, clause)| clause.is_live(now));
    match after {
        Some(after) => live.all(|(at, _)| still_taken(at, before, after, now)),
        None => live.next().is_none(),
    }
}

/// Whether `after` takes all that the clause at `at` of `before` takes.
fn still_taken(at: usize, before: &Rules, after: &Rules, now: Duration) -> bool {
    let clause = &before.clauses[at];
    let same_clients = after.sticky == before.sticky;
    for other in &after.clauses {
        let about_all = other.when.is_always() || other.when == clause.when;
        let as_much = match same_clients {
            true => other.share >= clause.share,
            false => other.share == Share::WHOLE || clause.share == Share::NONE,
        };
        if other.is_live(now) && about_all && as_much && lasts_as_long(other, clause) {
            return true;
        }
        let passed_over = other.dry_run || other.expired(now);
        let harmless = passed_over || (other.order.is_some() && as_much);
        if !harmless
            && !before.clauses[..at]
                .iter()
                .any(|known| takes_away(known, other))
        {
            return false;
        }
    }
    false
}

fn lasts_as_long(other: &Clause, clause: &Clause) -> bool {
    match (other.until, clause.until) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(other), Some(clause)) => other >= clause,
    }
}

/// Whether what `other` lets pass never reached later clauses before, because of `known`.
fn takes_away(known: &Clause, other: &Clause) -> bool {
    known.when == other.when
        && known.order.is_some() == other.order.is_some()
        && known.share <= other.share
        && !known.dry_run
        && known.until == other.until
}

#[cfg(test)]
mod tests;
