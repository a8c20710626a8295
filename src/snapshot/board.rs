//! The switches, compiled to the rules of each route.

use std::time::Duration;

use super::{Route, RouteTable};
use crate::policy::breaker::Forced;
use crate::policy::kill::KillSettings;
use crate::policy::rules::Rules;
use crate::vocab::RouteId;

/// What is thrown, by route.
#[derive(Debug, Default)]
pub struct Board {
    /// What is in effect.
    pub settings: KillSettings,
    rules: Vec<Option<Box<Rules>>>,
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
    /// Compiles the settings for each route of the table; `now` is since the Unix epoch.
    pub fn compile(
        table: &RouteTable,
        settings: KillSettings,
        before: Option<Before<'_>>,
        now: Duration,
    ) -> Board {
        let before = before.filter(|before| before.board.concerns_routes());
        if settings.is_empty() && before.is_none() {
            return Board::default();
        }
        let compile = |route: &Route| {
            let held = before.and_then(|before| before.rules(route));
            Rules::compile(route.subject(), &settings, held, now).map(Box::new)
        };
        let rules: Vec<_> = table.routes.iter().map(compile).collect();
        let some = rules.iter().any(Option::is_some);
        Board {
            settings,
            rules: if some { rules } else { Vec::new() },
        }
    }

    /// What the switches say about this route, if anything.
    pub fn rules(&self, id: RouteId) -> Option<&Rules> {
        self.rules.get(id.index())?.as_deref()
    }

    /// Where a hand holds the breakers of this route.
    pub fn forced_breaker(&self, _id: RouteId) -> Option<Forced> {
        None
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
