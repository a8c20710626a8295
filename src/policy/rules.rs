//! Which switch decides for a request, and what it then does.
//!
//! The rules of a route are its clauses in order of precedence: its own key, its tier, `all`;
//! within each what `[kill]` says itself, then plans by name; within a key as written. A route of
//! tier `core` is not reached by `all`.
//!
//! 1. A clause whose `when` fails, that has expired, or that is a dry run is passed over.
//! 2. The first that remains decides alone: it takes its share of the clients, and lets the
//!    others pass, or lets all pass if it is `"off"`.
//! 3. What passes may still be taken by a switch that ended and lets traffic come back slowly.

use std::sync::Arc;
use std::time::Duration;

use super::clause::{Clause, Hand, KillOrder, Origin, clauses};
use super::ending::{Fading, ahead, ended};
use super::kill::{KillEntry, KillSettings, KillSwitchSpec, Mode};
use super::share::{Share, Sticky};
use crate::matching::{Asker, When};
use crate::vocab::Tier;

/// A route, as the switches see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a Arc<str>,
    /// Its tier.
    pub tier: Tier,
    /// Its own `kill_switch`.
    pub own: &'a KillSwitchSpec,
    /// What the gateway threw by itself.
    pub auto: Option<&'a KillEntry>,
}

/// The switches of one route.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// In order of precedence.
    pub clauses: Vec<Clause>,
    /// Switches that ended by an edit, and let traffic come back.
    pub fading: Vec<Fading>,
    /// What tells clients apart.
    pub sticky: Sticky,
    /// Over how long traffic comes back.
    pub restore: Duration,
    plain: bool,
}

/// Which order of [`Rules`]; look it up with [`Rules::order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderAt(usize);

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// A switch takes it.
    Kill(OrderAt),
}

/// What happens to a request, and what would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// The mode of the dry run that would have taken it.
    pub rehearsed: Option<Mode>,
}

impl Rules {
    /// The rules of a route under these settings. `before` are its rules until now: what ended
    /// since lets traffic come back slowly. `None` if nothing concerns the route.
    ///
    /// An entry that names no mode for a route whose `kill_switch` names none is inert for that
    /// route; reading the configuration reports it.
    pub fn compile(
        route: Subject<'_>,
        settings: &KillSettings,
        before: Option<&Rules>,
        now: Duration,
    ) -> Option<Rules> {
        let mut rules = Rules::written(route, settings);
        if let Some(before) = before {
            rules.fading = ended(before, &rules, now);
            if route.tier == Tier::Core {
                rules
                    .fading
                    .retain(|fading| fading.clause.origin.hand != Hand::Auto);
            }
        }
        let acts = rules.clauses.iter().any(|clause| clause.order.is_some());
        (acts || !rules.fading.is_empty()).then_some(rules)
    }

    /// Whether `"off"` decides for the route: nothing is to kill it without a person's hand.
    pub fn exempts(&self, now: Duration) -> bool {
        self.clauses.iter().any(|clause| {
            let decides = clause.when.is_always() && !clause.dry_run && !clause.expired(now);
            decides && clause.order.is_none()
        })
    }

    /// The rules of a route as these settings alone have them, also if they take nothing.
    pub fn written(route: Subject<'_>, settings: &KillSettings) -> Rules {
        let clauses = clauses(route, settings);
        Rules {
            plain: clauses.first().is_some_and(|first| {
                first.ends_the_list() && first.order.is_some() && first.share == Share::WHOLE
            }),
            clauses,
            fading: Vec::new(),
            sticky: route.own.sticky.clone(),
            restore: route.own.restore,
        }
    }

    /// The order that takes every request whoever asks, if there is one. It spares finding out
    /// who asks.
    pub fn plain(&self) -> Option<OrderAt> {
        self.plain.then_some(OrderAt(0))
    }

    /// What happens to a request. `request_id` serves `sticky = "request"`; `now` is since the
    /// Unix epoch.
    pub fn decide(&self, asker: &Asker<'_>, request_id: &[u8], now: Duration) -> Decision {
        let hash = || self.hash(asker, request_id);
        let mut rehearsed = None;
        let mut would_decide = false;
        for (index, clause) in self.clauses.iter().enumerate() {
            if clause.expired(now) || !clause.when.holds(asker) {
                continue;
            }
            if clause.dry_run {
                if !would_decide && takes(clause.share, hash) {
                    rehearsed = clause.order.as_ref().map(|order| order.mode);
                }
                would_decide = true;
                continue;
            }
            if clause.order.is_some() && takes(clause.share, hash) {
                let verdict = Verdict::Kill(OrderAt(index));
                return Decision { verdict, rehearsed };
            }
            break;
        }
        let verdict = self.fade(asker, hash, now);
        Decision { verdict, rehearsed }
    }

    /// What has ended takes the clients that are not back yet, of those that it took.
    fn fade(&self, asker: &Asker<'_>, hash: impl Fn() -> u64, now: Duration) -> Verdict {
        let taken = |(at, clause, share): (OrderAt, &Clause, Share)| {
            let concerns = clause.when.holds(asker) && !self.passed_by(at, asker);
            (concerns && takes(share, &hash)).then_some(at)
        };
        match self.fadings(now).find_map(taken) {
            Some(at) => Verdict::Kill(at),
            None => Verdict::Pass,
        }
    }

    /// Whether another clause decided about this asker while the one at `at` held.
    fn passed_by(&self, at: OrderAt, asker: &Asker<'_>) -> bool {
        match self.clauses.get(at.0).and_then(|clause| clause.until) {
            Some(end) => ahead(&self.clauses, at.0, end).any(|when| when.holds(asker)),
            None => self.fading[at.0 - self.clauses.len()].passed_by(asker),
        }
    }

    /// The switches that ended and still take a share of the clients, and which.
    pub fn fadings(&self, now: Duration) -> impl Iterator<Item = (OrderAt, &Clause, Share)> {
        let expired = self
            .clauses
            .iter()
            .enumerate()
            .filter_map(move |(at, clause)| {
                let until = clause.until.filter(|until| *until <= now)?;
                let acted = !ahead(&self.clauses, at, until).any(When::is_always);
                let counts = acted && !clause.dry_run && clause.order.is_some();
                counts.then_some((OrderAt(at), clause, until))
            });
        let first = self.clauses.len();
        let edited = self.fading.iter().enumerate();
        let edited = edited.map(move |(at, f)| (OrderAt(first + at), &f.clause, f.since));
        expired
            .chain(edited)
            .filter_map(move |(at, clause, since)| {
                let left = left(now.saturating_sub(since), self.restore);
                (left > 0.0).then(|| (at, clause, clause.share.times(left)))
            })
    }

    /// When the switch of this order ended, if it ended by an edit.
    pub fn fading_since(&self, at: OrderAt) -> Option<Duration> {
        let edited = at.0.checked_sub(self.clauses.len())?;
        self.fading.get(edited).map(|fading| fading.since)
    }

    /// The order at a place that [`Rules::decide`] gave.
    pub fn order(&self, at: OrderAt) -> Option<&KillOrder> {
        self.clause(at)?.order.as_ref()
    }

    /// Where the order at such a place comes from.
    pub fn origin(&self, at: OrderAt) -> Option<&Origin> {
        self.clause(at).map(|clause| &clause.origin)
    }

    fn clause(&self, at: OrderAt) -> Option<&Clause> {
        match self.clauses.get(at.0) {
            Some(clause) => Some(clause),
            None => {
                let fading = self.fading.get(at.0 - self.clauses.len())?;
                Some(&fading.clause)
            }
        }
    }

    /// The share of the traffic that each mode takes, by [`Mode::index`]; of a clause with `when`
    /// the share of the requests that it is about.
    pub fn shares(&self, now: Duration) -> [Share; 3] {
        let mut shares = [Share::NONE; 3];
        let mut add = |clause: &Clause, share: Share| {
            if let Some(order) = &clause.order {
                let slot = &mut shares[order.mode.index()];
                *slot = if share > *slot { share } else { *slot };
            }
        };
        for clause in &self.clauses {
            if clause.is_live(now) {
                add(clause, clause.share);
            }
            if clause.when.is_always() && !clause.dry_run && !clause.expired(now) {
                break;
            }
        }
        self.fadings(now)
            .for_each(|(_, clause, share)| add(clause, share));
        shares
    }

    /// When the next clause ends that takes requests now.
    pub fn expires(&self, now: Duration) -> Option<Duration> {
        let live = self.clauses.iter().filter(|clause| clause.is_live(now));
        live.filter_map(|clause| clause.until).min()
    }

    /// When something next begins or ends by itself: an expiry, or the end of a return.
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        let untils = self.clauses.iter().filter_map(|clause| clause.until);
        let edited = self.fading.iter().map(|fading| fading.since);
        let ends = untils
            .clone()
            .chain(edited)
            .map(|end| end.saturating_add(self.restore));
        untils.chain(ends).filter(|at| *at > now).min()
    }

    pub(super) fn hash(&self, asker: &Asker<'_>, request_id: &[u8]) -> u64 {
        self.sticky.hash(asker.headers, request_id, || asker.client)
    }
}

/// Whether a share holds a client; most shares are whole and need no hash.
fn takes(share: Share, hash: impl FnOnce() -> u64) -> bool {
    share == Share::WHOLE || (share != Share::NONE && share.takes(hash()))
}

/// What is left of a switch that ended `ago`: 1 at first, 0 after `restore`.
fn left(ago: Duration, restore: Duration) -> f64 {
    if ago >= restore {
        return 0.0;
    }
    1.0 - ago.as_secs_f64() / restore.as_secs_f64()
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
