//! The switches as `/api/v1/status` tells them: one element for each entry in effect.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::listing::{Listed, entries, modes, routes_of_plan};
use super::status::{FileTold, Noted, Told, rfc3339};
use crate::config::RouteSettings;
use crate::policy::clause::{Clause, Hand, Origin};
use crate::policy::kill::{KillEntry, KillKey, PlanUse, Position, Setting};
use crate::policy::share::Share;
use crate::snapshot::Snapshot;

/// What a switch does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It takes requests.
    Thrown,
    /// It exempts its routes; a plan: it is not thrown.
    Off,
    /// It only counts.
    DryRun,
    /// It has ended by itself.
    Expired,
    /// It has ended, and lets traffic come back.
    Restoring,
}

/// One element of `switches`.
#[derive(Debug, Serialize)]
pub(super) struct SwitchReport {
    key: String,
    index: usize,
    plan: Option<String>,
    state: State,
    mode: Option<&'static str>,
    percent: f64,
    share: f64,
    when: Option<String>,
    routes: Vec<String>,
    source: &'static str,
    since: String,
    age_seconds: f64,
    reason: Option<String>,
    owner: Option<String>,
    expires: Option<String>,
    /// When all of the traffic is back.
    ends: Option<String>,
    held: bool,
}

/// `switches_file`.
#[derive(Debug, Serialize)]
pub(super) struct FileReport {
    path: String,
    digest: Option<String>,
    read_at: String,
    held: Vec<String>,
    settles_in_ms: Option<u64>,
}

impl FileReport {
    pub(super) fn of(told: &FileTold, now: Instant) -> FileReport {
        let left = |at: Instant| at.saturating_duration_since(now).as_millis();
        FileReport {
            path: told.path.display().to_string(),
            digest: told.digest.map(|digest| format!("{digest:016x}")),
            read_at: rfc3339(told.read_at),
            held: told.held.iter().map(ToString::to_string).collect(),
            settles_in_ms: told.settles.and_then(|at| u64::try_from(left(at)).ok()),
        }
    }
}

/// Every entry in effect, each plan before its entries; then those that ended by an edit and
/// still fade.
pub(super) fn switch_reports(told: &Told, snapshot: &Snapshot, now: Duration) -> Vec<SwitchReport> {
    let reporter = Reporter {
        told,
        routes: &snapshot.settings().routes,
        returns: returns(snapshot, now),
        now,
    };
    let mut reports = Vec::new();
    for (key, setting) in &snapshot.board.settings {
        if let Setting::Plan(plan) = setting {
            reports.push(reporter.plan(key, plan));
        }
        let listed = entries(key, setting);
        reports.extend(listed.iter().map(|listed| reporter.entry(key, listed)));
    }
    for (route, entry) in &snapshot.board.auto {
        let key = KillKey::Route(Arc::clone(route));
        reports.push(reporter.automatic(route, &key, entry));
    }
    let edited = reporter.returns.values().filter(|fade| fade.edited);
    reports.extend(edited.map(|fade| reporter.restoring(fade)));
    reports
}

/// A switch that has ended, on the routes whose traffic is not all back.
struct Return<'a> {
    clause: &'a Clause,
    /// It is no longer in effect; else it expired.
    edited: bool,
    since: Duration,
    ends: Duration,
    share: Share,
    routes: Vec<&'a str>,
}

/// By origin, condition and times: routes may differ in how long they take.
type Returns<'a> = BTreeMap<(&'a Origin, String, Duration, Duration), Return<'a>>;

fn returns(snapshot: &Snapshot, now: Duration) -> Returns<'_> {
    let mut returns = Returns::new();
    for route in &snapshot.table.routes {
        let Some(rules) = snapshot.rules(route.id) else {
            continue;
        };
        for (at, clause, share) in rules.fadings(now) {
            let edited = rules.fading_since(at);
            let Some(since) = edited.or(clause.until) else {
                continue;
            };
            let ends = since.saturating_add(rules.restore);
            let identity = (&clause.origin, clause.when.to_string(), since, ends);
            let found = returns.entry(identity).or_insert(Return {
                clause,
                edited: edited.is_some(),
                since,
                ends,
                share,
                routes: Vec::new(),
            });
            found.routes.push(&route.spec.name);
        }
    }
    returns
}

struct Reporter<'a> {
    told: &'a Told,
    routes: &'a [RouteSettings],
    returns: Returns<'a>,
    now: Duration,
}

impl Reporter<'_> {
    fn plan(&self, key: &KillKey, plan: &PlanUse) -> SwitchReport {
        let expired = plan.until.is_some_and(|until| until <= self.now);
        let state = match plan.on {
            false => State::Off,
            true if expired => State::Expired,
            true if plan.dry_run => State::DryRun,
            true => State::Thrown,
        };
        let routes = routes_of_plan(plan, self.routes);
        SwitchReport {
            state,
            mode: Some(if plan.on { "on" } else { "off" }),
            share: f64::from(u8::from(state == State::Thrown)),
            routes: routes.into_iter().map(str::to_owned).collect(),
            reason: plan.reason.as_deref().map(str::to_owned),
            owner: plan.owner.as_deref().map(str::to_owned),
            expires: plan.until.map(rfc3339),
            ..self.blank(key, key, None)
        }
    }

    fn entry(&self, top: &KillKey, listed: &Listed<'_>) -> SwitchReport {
        let entry = &listed.entry;
        let expired = entry.until.is_some_and(|until| until <= self.now);
        let returning = self.returning(listed);
        let state = match entry.position {
            _ if expired && returning.is_some() => State::Restoring,
            _ if expired => State::Expired,
            Position::Off => State::Off,
            Position::Thrown(_) if entry.dry_run => State::DryRun,
            Position::Thrown(_) => State::Thrown,
        };
        let modes = modes(listed.key, entry, self.routes);
        let mode = match entry.position {
            Position::Off => Some("off"),
            Position::Thrown(_) if modes.len() == 1 => modes.first().map(|mode| mode.as_str()),
            Position::Thrown(_) => None,
        };
        let share = match state {
            State::Thrown => entry.share,
            State::Restoring => returning.map_or(Share::NONE, |fade| fade.share),
            State::Off | State::DryRun | State::Expired => Share::NONE,
        };
        let routes = listed.routes(self.routes);
        SwitchReport {
            index: listed.index,
            state,
            mode,
            percent: entry.share.percent(),
            share: share.fraction(),
            when: (!entry.when.is_always()).then(|| entry.when.to_string()),
            routes: routes.into_iter().map(str::to_owned).collect(),
            reason: entry.reason.as_deref().map(str::to_owned),
            owner: entry.owner.as_deref().map(str::to_owned),
            expires: entry.until.map(rfc3339),
            ends: returning.map(|fade| rfc3339(fade.ends)),
            ..self.blank(top, listed.key, listed.plan)
        }
    }

    /// What the gateway threw by itself: in no file, and never held.
    fn automatic(&self, route: &Arc<str>, key: &KillKey, entry: &KillEntry) -> SwitchReport {
        let listed = Listed {
            key,
            index: 0,
            plan: None,
            hand: Hand::Auto,
            entry: Cow::Borrowed(entry),
        };
        let since = self.told.automatic.get(route).copied().unwrap_or(self.now);
        SwitchReport {
            source: Hand::AUTO,
            since: rfc3339(since),
            age_seconds: self.now.saturating_sub(since).as_secs_f64(),
            held: false,
            ..self.entry(key, &listed)
        }
    }

    fn restoring(&self, fade: &Return<'_>) -> SwitchReport {
        let Origin { key, plan, hand } = &fade.clause.origin;
        let top = plan.as_ref().map(|plan| KillKey::Plan(Arc::clone(plan)));
        let order = fade.clause.order.as_ref();
        let when = &fade.clause.when;
        SwitchReport {
            state: State::Restoring,
            mode: order.map(|order| order.mode.as_str()),
            percent: fade.clause.share.percent(),
            share: fade.share.fraction(),
            when: (!when.is_always()).then(|| when.to_string()),
            routes: fade.routes.iter().map(ToString::to_string).collect(),
            since: rfc3339(fade.since),
            age_seconds: self.now.saturating_sub(fade.since).as_secs_f64(),
            reason: order.and_then(|order| order.reason.as_deref().map(str::to_owned)),
            owner: order.and_then(|order| order.owner.as_deref().map(str::to_owned)),
            expires: fade.clause.until.map(rfc3339),
            ends: Some(rfc3339(fade.ends)),
            source: self.source(top.as_ref().unwrap_or(key), plan.as_ref(), *hand),
            held: false,
            ..self.blank(top.as_ref().unwrap_or(key), key, plan.as_ref())
        }
    }

    /// The return of an entry that expired, the longest of its routes.
    fn returning(&self, listed: &Listed<'_>) -> Option<&Return<'_>> {
        let returns = self.returns.values().filter(|fade| {
            let Origin { key, plan, hand } = &fade.clause.origin;
            let same = key == listed.key && plan.as_ref() == listed.plan && *hand == listed.hand;
            let same = same && fade.clause.until == listed.entry.until;
            same && !fade.edited && fade.clause.when == listed.entry.when
        });
        returns.max_by_key(|fade| fade.ends)
    }

    fn source(&self, top: &KillKey, plan: Option<&Arc<str>>, hand: Hand) -> &'static str {
        let noted = || self.told.noted.get(top).cloned().unwrap_or_default();
        match hand {
            Hand::Person => noted().writer.source(plan),
            Hand::Auto => Hand::AUTO,
        }
    }

    /// What is known of a key alone; `top` is the one under `[kill]`.
    fn blank(&self, top: &KillKey, key: &KillKey, plan: Option<&Arc<str>>) -> SwitchReport {
        let unknown = Noted {
            since: self.now,
            ..Noted::default()
        };
        let noted = self.told.noted.get(top).unwrap_or(&unknown);
        SwitchReport {
            key: key.to_string(),
            index: 0,
            plan: plan.map(|plan| plan.to_string()),
            state: State::Thrown,
            mode: None,
            percent: 100.0,
            share: 0.0,
            when: None,
            routes: Vec::new(),
            source: self.source(top, plan, Hand::Person),
            since: rfc3339(noted.since),
            age_seconds: self.now.saturating_sub(noted.since).as_secs_f64(),
            reason: None,
            owner: None,
            expires: None,
            ends: None,
            held: self.told.file.held.contains(top),
        }
    }
}
