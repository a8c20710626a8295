//! The switches, compiled to the rules of each route.

use std::time::Duration;

use super::{Route, RouteTable};
use crate::policy::auto_kill::AutoEntries;
use crate::policy::breaker::{Forced, ForcedBreakers};
use crate::policy::kill::KillSettings;
use crate::policy::rules::{Rules, Subject};
use crate::vocab::RouteId;

/// What is thrown, by route.
#[derive(Debug, Default)]
pub struct Board {
    /// What is in effect.
    pub settings: KillSettings,
    /// Breakers held by hand.
    pub breakers: ForcedBreakers,
    /// What the gateway threw by itself.
    pub auto: AutoEntries,
    forced: Vec<Option<Forced>>,
    rules: Vec<Option<Box<Rules>>>,
}

/// What is in effect, before it is compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thrown {
    /// `[kill]`.
    pub kill: KillSettings,
    /// `[breaker]`.
    pub breakers: ForcedBreakers,
    /// `auto_kill`.
    pub auto: AutoEntries,
}

impl From<KillSettings> for Thrown {
    fn from(kill: KillSettings) -> Thrown {
        Thrown {
            kill,
            ..Thrown::default()
        }
    }
}

/// The rules that held until now, so that what ended since lets traffic come back slowly.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// The routes then.
    pub table: &'a RouteTable,
    /// The switches then.
    pub board: &'a Board,
}

impl Board {
    /// Compiles what is thrown for each route of the table; `now` is since the Unix epoch.
    pub fn compile(
        table: &RouteTable,
        thrown: impl Into<Thrown>,
        before: Option<Before<'_>>,
        now: Duration,
    ) -> Board {
        let Thrown {
            kill,
            breakers,
            auto,
        } = thrown.into();
        let before = before.filter(|before| before.board.concerns_routes());
        let compile = |route: &Route| {
            let held = before.and_then(|before| before.rules(route));
            let subject = Subject {
                auto: auto.get(&route.spec.name),
                ..route.subject()
            };
            Rules::compile(subject, &kill, held, now).map(Box::new)
        };
        let mut rules = Vec::new();
        if !kill.is_empty() || !auto.is_empty() || before.is_some() {
            rules.extend(table.routes.iter().map(compile));
        }
        if rules.iter().all(Option::is_none) {
            rules = Vec::new();
        }
        let mut forced = Vec::new();
        if !breakers.is_empty() {
            let routes = table.routes.iter();
            forced.extend(routes.map(|route| breakers.get(&route.spec.name).copied()));
        }
        Board {
            settings: kill,
            breakers,
            auto,
            forced,
            rules,
        }
    }

    /// Where a hand holds the route's breakers, if one does.
    pub fn forced_breaker(&self, id: RouteId) -> Option<Forced> {
        *self.forced.get(id.index())?
    }

    /// What the switches say about this route, if anything.
    pub fn rules(&self, id: RouteId) -> Option<&Rules> {
        self.rules.get(id.index())?.as_deref()
    }

    /// Whether the switches say anything about any route.
    pub fn concerns_routes(&self) -> bool {
        !self.rules.is_empty()
    }

    /// States in each route's metrics what the switches take now, and until when.
    pub fn announce(&self, table: &RouteTable, now: Duration) {
        for route in &table.routes {
            let rules = self.rules(route.id);
            let share = rules.map_or([0.0; 3], |rules| {
                rules.shares(now).map(|share| share.fraction())
            });
            route.metrics.set_kill_share(share);
            let expires = rules.and_then(|rules| rules.expires(now));
            route.metrics.set_kill_expires(expires.unwrap_or_default());
        }
    }

    /// When a switch next ends by itself, or traffic of one is back; since the Unix epoch.
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        let rules = self.rules.iter().flatten();
        rules.filter_map(|rules| rules.next_change(now)).min()
    }
}

impl<'a> Before<'a> {
    /// The rules that the route of that name had.
    pub fn rules(&self, route: &Route) -> Option<&'a Rules> {
        let routes = &self.table.routes;
        let same = |id: usize| {
            routes
                .get(id)
                .is_some_and(|r| r.spec.name == route.spec.name)
        };
        let id = match same(route.id.index()) {
            true => route.id,
            false => {
                let name = &route.spec.name;
                let found = routes.binary_search_by(|route| route.spec.name.cmp(name));
                routes[found.ok()?].id
            }
        };
        self.board.rules(id)
    }
}
