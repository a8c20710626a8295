//! What the switches do to a request, step by step.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::cli::moment::rfc3339;
use crate::cli::precedence::key_of;
use crate::config::RouteSettings;
use crate::matching::Asker;
use crate::policy::clause::Clause;
use crate::policy::kill::{KillSettings, Mode};
use crate::policy::rules::{Rules, Subject, Verdict};
use crate::policy::trace::Outcome;
use crate::vocab::format_duration;

/// What the switches say.
#[derive(Debug, Serialize)]
pub(super) struct Kill {
    /// `killed`, `passes`, or `share`: it depends on the request alone.
    pub(super) verdict: &'static str,
    /// What tells clients apart for `percent`.
    pub(super) sticky: String,
    /// Where this client stands among all, 0 to 100: a switch takes those below its percentage.
    pub(super) standing: Option<f64>,
    /// Over how long traffic comes back when a switch ends.
    pub(super) restore: String,
    /// An expired entry that has not let this client back yet.
    pub(super) returning: Option<String>,
    /// The entries that concern the route, in order of precedence.
    pub(super) entries: Vec<EntryReport>,
    /// What would kill the request, one after the other, if what kills it now were restored.
    pub(super) then: Vec<EntryReport>,
}

/// One entry, and what it says to the request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct EntryReport {
    /// The key to restore: that of the plan, if a plan brought the entry.
    pub(super) key: String,
    /// The key inside the plan.
    pub(super) within: Option<String>,
    /// A mode, or `off`.
    pub(super) mode: &'static str,
    /// What a killed request is answered.
    pub(super) status: Option<u16>,
    pub(super) percent: f64,
    pub(super) when: Option<String>,
    pub(super) until: Option<String>,
    pub(super) dry_run: bool,
    pub(super) reason: Option<String>,
    pub(super) owner: Option<String>,
    /// What it says to this request.
    pub(super) outcome: &'static str,
}

/// What the switches say to a request of the route.
pub(super) fn kill(
    route: &RouteSettings,
    settings: &KillSettings,
    asker: &Asker<'_>,
    now: Duration,
) -> Kill {
    let subject = Subject {
        name: &route.name,
        tier: route.tier,
        own: &route.kill_switch,
        auto: None,
    };
    let rules = Rules::written(subject, settings);
    let steps: Vec<(&Clause, Outcome)> = rules.trace(asker, now).collect();
    let deciding = steps.iter().find(|(_, outcome)| outcome.decides());
    let returning = match deciding {
        Some((_, Outcome::Takes)) => None,
        Some(_) | None => returning(&rules, asker, now),
    };
    let shares = steps.iter().any(|(clause, _)| is_partial(clause));
    Kill {
        verdict: match deciding {
            Some((_, Outcome::Takes)) => "killed",
            Some((_, Outcome::TakesSome)) => "share",
            Some(_) | None if returning.is_some() => "killed",
            Some(_) | None => "passes",
        },
        returning,
        sticky: route.kill_switch.sticky.to_string(),
        standing: rules.standing(asker).filter(|_| shares),
        restore: format_duration(route.kill_switch.restore),
        entries: steps
            .iter()
            .map(|(clause, outcome)| report(clause, *outcome))
            .collect(),
        then: then(subject, settings, asker, now),
    }
}

/// The expired entry whose return takes the request, if one does.
fn returning(rules: &Rules, asker: &Asker<'_>, now: Duration) -> Option<String> {
    let Verdict::Kill(at) = rules.decide(asker, b"", now).verdict else {
        return None;
    };
    let mut fadings = rules.fadings(now);
    let (_, clause, share) = fadings.find(|(fading, ..)| *fading == at)?;
    Some(format!(
        "{} has expired, and traffic comes back over {}: it still takes {:.0} % of the clients",
        key_of(clause),
        format_duration(rules.restore),
        share.percent()
    ))
}

fn is_partial(clause: &Clause) -> bool {
    let percent = clause.share.percent();
    percent > 0.0 && percent < 100.0
}

/// Restores what kills the request, again and again, until it passes.
fn then(
    subject: Subject<'_>,
    settings: &KillSettings,
    asker: &Asker<'_>,
    now: Duration,
) -> Vec<EntryReport> {
    let mut left = settings.clone();
    let mut restored = BTreeSet::new();
    let mut found = Vec::new();
    loop {
        let rules = Rules::written(subject, &left);
        let mut steps = rules.trace(asker, now);
        let taking = steps.find(|(_, outcome)| outcome.decides());
        let Some((clause, outcome @ (Outcome::Takes | Outcome::TakesSome))) = taking else {
            break;
        };
        let key = key_of(clause);
        left.remove(&key);
        if !restored.insert(key) {
            break;
        }
        found.push(report(clause, outcome));
    }
    found.into_iter().skip(1).collect()
}

fn report(clause: &Clause, outcome: Outcome) -> EntryReport {
    let order = clause.order.as_ref();
    let plan = clause.origin.plan.as_ref();
    EntryReport {
        key: key_of(clause).to_string(),
        within: plan.map(|_| clause.origin.key.to_string()),
        mode: order.map_or("off", |order| Mode::as_str(order.mode)),
        status: order.map(|order| order.status.as_u16()),
        percent: clause.share.percent(),
        when: (!clause.when.is_always()).then(|| clause.when.to_string()),
        until: clause.until.map(rfc3339),
        dry_run: clause.dry_run,
        reason: order.and_then(|order| order.reason.as_deref().map(str::to_owned)),
        owner: order.and_then(|order| order.owner.as_deref().map(str::to_owned)),
        outcome: name(outcome),
    }
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Takes => "takes it",
        Outcome::TakesSome => "takes its share of all requests",
        Outcome::Outside => "lets it pass: this client is outside the share",
        Outcome::Exempts => "lets it pass: off",
        Outcome::OtherRequests => "passed over: its conditions do not hold",
        Outcome::Expired => "passed over: expired",
        Outcome::WouldTake => "passed over: a dry run, which would have taken it",
        Outcome::WouldPass => "passed over: a dry run, which would have let it pass",
        Outcome::NotAsked => "not asked",
    }
}
