//! What the gateway says about its routes: `/api/v1/routes`.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::figures::{Figures, RouteFigures};
use super::policies::{PolicyReport, policies};
use super::status::rfc3339;
use crate::config::Target;
use crate::policy::breaker::{BreakerPosition, Forced};
use crate::policy::clause::{Clause, Hand, KillOrder};
use crate::policy::rules::Rules;
use crate::policy::share::Share;
use crate::snapshot::{Branch, Route, Snapshot};
use crate::vocab::Clock;

/// One element of `/api/v1/routes`.
#[derive(Debug, Serialize)]
pub(super) struct RouteReport<'a> {
    name: &'a str,
    r#match: MatchReport,
    tier: &'static str,
    owner: Option<&'a str>,
    runbook: Option<&'a str>,
    impact: Option<&'a str>,
    #[serde(flatten)]
    target: TargetReport<'a>,
    policies: PolicyReport,
    kill: Option<KillReport<'a>>,
    /// Where it has one, or a hand holds it.
    breakers: Vec<BreakerReport<'a>>,
    observe: Vec<String>,
    in_flight: i64,
    figures: RouteFigures,
}

#[derive(Debug, Serialize)]
struct MatchReport {
    host: Option<String>,
    path: String,
    methods: Vec<String>,
    headers: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum TargetReport<'a> {
    Upstream(&'a str),
    /// Upstreams and their weights.
    Split(Vec<(&'a str, u32)>),
    Respond {
        status: u16,
        body_bytes: usize,
    },
}

/// A breaker between the route and one of its upstreams.
#[derive(Debug, Serialize)]
struct BreakerReport<'a> {
    upstream: &'a str,
    state: &'static str,
}

/// The switch that decides now.
#[derive(Debug, Serialize)]
struct KillReport<'a> {
    mode: &'static str,
    key: String,
    plan: Option<&'a str>,
    status: u16,
    /// The share of the requests it is about that it takes, 0 to 1.
    share: f64,
    when: Option<String>,
    reason: Option<&'a str>,
    owner: Option<&'a str>,
    expires: Option<String>,
    /// It has ended, and lets traffic come back.
    restoring: bool,
    /// The gateway threw it by itself.
    automatic: bool,
}

/// Every route of the snapshot, by name.
pub(super) fn routes_report<'a>(snapshot: &'a Snapshot, figures: &Figures) -> Vec<RouteReport<'a>> {
    let now = Clock::unix();
    let routes = snapshot.table.routes.iter();
    let report = |route: &'a Route| {
        let rules = snapshot.rules(route.id);
        let kill = rules.and_then(|rules| kill(rules, now));
        let forced = snapshot.board.forced_breaker(route.id);
        report(route, (kill, breakers(route, forced)), figures)
    };
    routes.map(report).collect()
}

fn report<'a>(
    route: &'a Route,
    (kill, breakers): (Option<KillReport<'a>>, Vec<BreakerReport<'a>>),
    figures: &Figures,
) -> RouteReport<'a> {
    let spec = &route.spec;
    RouteReport {
        name: &spec.name,
        r#match: MatchReport {
            host: spec.matches.host.as_ref().map(ToString::to_string),
            path: spec.matches.path.as_str().to_owned(),
            methods: spec
                .matches
                .methods
                .iter()
                .map(ToString::to_string)
                .collect(),
            headers: spec.matches.headers.len(),
        },
        tier: spec.tier.as_str(),
        owner: spec.owner.as_deref(),
        runbook: spec.runbook.as_deref(),
        impact: spec.impact.as_deref(),
        target: target(&spec.target),
        policies: policies(route),
        kill,
        breakers,
        observe: spec.observe.iter().map(ToString::to_string).collect(),
        in_flight: route.metrics.in_flight(),
        figures: figures.of(&spec.name).unwrap_or_default(),
    }
}

fn breakers<'a>(route: &'a Route, forced: Option<Forced>) -> Vec<BreakerReport<'a>> {
    if route.spec.breaker.is_none() && forced.is_none() {
        return Vec::new();
    }
    let now = Clock::uptime(Clock::now());
    let branches = route.branches.iter();
    let report = |branch: &'a Branch| BreakerReport {
        upstream: &branch.upstream.spec.name,
        state: route.breaker_position(branch, forced, now).as_str(),
    };
    branches.map(report).collect()
}

/// A breaker that lets not every request pass, by what it has seen itself.
#[derive(Debug, Serialize)]
pub(super) struct OpenBreaker {
    route: Arc<str>,
    upstream: Arc<str>,
    /// `tripped`, or `probing` while a probe is out or traffic comes back.
    state: &'static str,
}

/// Those of the snapshot, by route. Breakers that a hand holds are told elsewhere.
pub(super) fn open_breakers(snapshot: &Snapshot, now: Duration) -> Vec<OpenBreaker> {
    let routes = snapshot.table.routes.iter().filter(|route| {
        route.spec.breaker.is_some() && snapshot.board.forced_breaker(route.id).is_none()
    });
    let branches = routes.flat_map(|route| route.branches.iter().map(move |b| (route, b)));
    let open = branches.filter_map(|(route, branch)| {
        let position = route.breaker_position(branch, None, now);
        (position != BreakerPosition::Passing).then(|| OpenBreaker {
            route: Arc::clone(&route.spec.name),
            upstream: Arc::clone(&branch.upstream.spec.name),
            state: position.as_str(),
        })
    });
    open.collect()
}

fn target(target: &Target) -> TargetReport<'_> {
    match target {
        Target::Upstream(name) => TargetReport::Upstream(name),
        Target::Split(parts) => {
            let parts = parts.iter();
            TargetReport::Split(parts.map(|part| (&*part.upstream, part.weight)).collect())
        }
        Target::Respond(respond) => TargetReport::Respond {
            status: respond.status.as_u16(),
            body_bytes: respond.body.len(),
        },
    }
}

/// The first switch that takes requests now; else one that ended and still takes some.
fn kill(rules: &Rules, now: Duration) -> Option<KillReport<'_>> {
    let holds = |clause: &&Clause| !clause.dry_run && !clause.expired(now);
    for clause in rules.clauses.iter().filter(holds) {
        if let Some(order) = &clause.order {
            return Some(kill_report(clause, order, clause.share));
        }
        if clause.when.is_always() {
            break;
        }
    }
    let (_, clause, share) = rules.fadings(now).next()?;
    let report = kill_report(clause, clause.order.as_ref()?, share);
    Some(KillReport {
        restoring: true,
        ..report
    })
}

fn kill_report<'a>(clause: &'a Clause, order: &'a KillOrder, share: Share) -> KillReport<'a> {
    KillReport {
        mode: order.mode.as_str(),
        key: clause.origin.key.to_string(),
        plan: clause.origin.plan.as_deref(),
        status: order.status.as_u16(),
        share: share.fraction(),
        when: (!clause.when.is_always()).then(|| clause.when.to_string()),
        reason: order.reason.as_deref(),
        owner: order.owner.as_deref(),
        expires: clause.until.map(rfc3339),
        restoring: false,
        automatic: clause.origin.hand == Hand::Auto,
    }
}
