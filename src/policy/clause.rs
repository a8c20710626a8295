//! One entry as it concerns one route, and all of a route in order of precedence.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::kill::{
    DEFAULT_RETRY_AFTER, KillEntry, KillKey, KillSettings, KillSwitchSpec, Mode, Position, Setting,
};
use super::rules::Subject;
use super::share::Share;
use crate::matching::When;
use crate::vocab::Tier;

/// What a switch does to a request, completely: computed when the switches are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillOrder {
    /// The mode.
    pub mode: Mode,
    /// Status of the answer.
    pub status: StatusCode,
    /// Body of the answer; for `reject` the problem body is made by the walk.
    pub body: Bytes,
    /// Type of the body, if one was configured.
    pub content_type: Option<HeaderValue>,
    /// `reject` only: the delay before jitter.
    pub retry_after: Duration,
    /// Why, for people.
    pub reason: Option<Arc<str>>,
    /// Who, for people.
    pub owner: Option<Arc<str>>,
}

/// Where a clause stands in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The key; never a plan.
    pub key: KillKey,
    /// The plan that holds the key; `None`: `[kill]` itself, or none.
    pub plan: Option<Arc<str>>,
    /// Who throws it.
    pub hand: Hand,
}

/// Who throws a switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hand {
    /// A person, in the configuration.
    #[default]
    Person,
    /// The gateway itself: `auto_kill`.
    Auto,
}

impl Hand {
    /// The source of what nobody wrote.
    pub const AUTO: &'static str = "auto";
}

impl fmt::Display for Origin {
    /// The key under `[kill]`: the plan's, if it is one that throws; else `auto`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hand, &self.plan) {
            (Hand::Auto, _) => f.write_str(Hand::AUTO),
            (Hand::Person, Some(plan)) => write!(f, "plan:{plan}"),
            (Hand::Person, None) => self.key.fmt(f),
        }
    }
}

/// One entry, as it concerns one route.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// Where it comes from.
    pub origin: Origin,
    /// What it does; `None`: it lets requests pass (`"off"`).
    pub order: Option<KillOrder>,
    /// The share of the clients it takes.
    pub share: Share,
    /// Which requests it is about.
    pub when: When,
    /// When it ends, since the Unix epoch.
    pub until: Option<Duration>,
    /// Only counts.
    pub dry_run: bool,
}

impl Clause {
    /// Whether it has ended by itself.
    pub fn expired(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether it takes requests now.
    pub fn is_live(&self, now: Duration) -> bool {
        self.order.is_some() && !self.dry_run && !self.expired(now)
    }

    /// Whether no clause after it is ever asked.
    pub(super) fn ends_the_list(&self) -> bool {
        self.when.is_always() && self.until.is_none() && !self.dry_run
    }
}

impl KillOrder {
    /// The order of an entry on a route, as its own `kill_switch` completes it.
    pub fn of(mode: Mode, entry: &KillEntry, own: &KillSwitchSpec) -> KillOrder {
        let (said, own) = (&entry.answer, &own.answer);
        let (status, body, content_type) = match mode {
            Mode::Drop | Mode::Archive => (
                said.status.or(own.status).unwrap_or(StatusCode::OK),
                said.body.clone().or_else(|| own.body.clone()),
                said.content_type
                    .clone()
                    .or_else(|| own.content_type.clone()),
            ),
            Mode::Reject => (
                said.status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                None,
                None,
            ),
        };
        KillOrder {
            mode,
            status,
            body: body.unwrap_or_default(),
            content_type,
            retry_after: entry.retry_after.unwrap_or(DEFAULT_RETRY_AFTER),
            reason: entry.reason.clone(),
            owner: entry.owner.clone(),
        }
    }
}

/// The clauses of a route under these settings, in order of precedence. What is never asked is
/// left out.
pub(super) fn clauses(route: Subject<'_>, settings: &KillSettings) -> Vec<Clause> {
    let mut clauses = written(route, settings);
    let closed = clauses.last().is_some_and(Clause::ends_the_list);
    // A core route dies by a person's hand only.
    if let Some(entry) = route.auto
        && !closed
        && route.tier != Tier::Core
    {
        let origin = Origin {
            key: KillKey::Route(Arc::clone(route.name)),
            plan: None,
            hand: Hand::Auto,
        };
        add(&mut clauses, std::slice::from_ref(entry), &origin, route);
    }
    clauses
}

fn written(route: Subject<'_>, settings: &KillSettings) -> Vec<Clause> {
    let mut clauses = Vec::new();
    if settings.is_empty() {
        return clauses;
    }
    let all = (route.tier != Tier::Core).then_some(KillKey::All);
    let keys = [
        Some(KillKey::Route(Arc::clone(route.name))),
        Some(KillKey::Tier(route.tier)),
        all,
    ];
    for key in keys.into_iter().flatten() {
        if let Some(Setting::Entries(entries)) = settings.get(&key) {
            let origin = Origin {
                key: key.clone(),
                plan: None,
                hand: Hand::Person,
            };
            if add(&mut clauses, entries, &origin, route) {
                return clauses;
            }
        }
        for (plan, setting) in settings.range(KillKey::Plan("".into())..) {
            let (KillKey::Plan(name), Setting::Plan(plan)) = (plan, setting) else {
                continue;
            };
            let Some(entries) = plan.plan.get(&key).filter(|_| plan.on) else {
                continue;
            };
            let entries: Vec<KillEntry> = entries.iter().map(|entry| plan.applied(entry)).collect();
            let origin = Origin {
                key: key.clone(),
                plan: Some(Arc::clone(name)),
                hand: Hand::Person,
            };
            if add(&mut clauses, &entries, &origin, route) {
                return clauses;
            }
        }
    }
    clauses
}

/// Adds the clauses of one key; `true`: no later one is ever asked.
fn add(
    clauses: &mut Vec<Clause>,
    entries: &[KillEntry],
    origin: &Origin,
    route: Subject<'_>,
) -> bool {
    for entry in entries {
        let order = match entry.position {
            Position::Off => None,
            Position::Thrown(mode) => match mode.or(route.own.mode) {
                Some(mode) => Some(KillOrder::of(mode, entry, route.own)),
                None => continue,
            },
        };
        let clause = Clause {
            origin: origin.clone(),
            order,
            share: entry.share,
            when: entry.when.clone(),
            until: entry.until,
            dry_run: entry.dry_run,
        };
        let last = clause.ends_the_list();
        clauses.push(clause);
        if last {
            return true;
        }
    }
    false
}
