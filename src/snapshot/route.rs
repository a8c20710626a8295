//! Compiles settings into the route table; what has a name keeps its state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::RepeatBudget;
use super::branch::Branch;
use super::state::{FormerRate, RouteRate, RouteState};
use crate::config::{RouteSettings, Settings, Target};
use crate::matching::Matcher;
use crate::policy::rules::Subject;
use crate::policy::split::{self, Portion};
use crate::telemetry::{Observer, RouteMetrics};
use crate::upstream::Upstream;
use crate::vocab::{By, Clock, RouteId};

/// The structure of one configuration.
#[derive(Debug)]
pub struct RouteTable {
    /// What it was compiled from.
    pub settings: Arc<Settings>,
    /// Finds the route of a request.
    pub matcher: Matcher,
    /// The routes, at the index of their id.
    pub routes: Vec<Route>,
    /// The upstreams by name.
    pub upstreams: BTreeMap<Arc<str>, Arc<Upstream>>,
}

/// One route, ready to be walked.
#[derive(Debug)]
pub struct Route {
    /// Its place in the table.
    pub id: RouteId,
    /// Its policies.
    pub spec: RouteSettings,
    /// Its counters; shared with the route of that name in the previous snapshot.
    pub metrics: Arc<RouteMetrics>,
    /// Counts what is observed; shared likewise while the keys stay. `None` without any.
    pub observer: Option<Arc<Observer>>,
    /// How often it may be called; `None`: as often as anybody likes.
    pub rate: Option<RouteRate>,
    /// The limit it had before, while it has none and that could still matter.
    pub(super) former_rate: Option<Box<FormerRate>>,
    /// What is known of its requests; shared likewise.
    pub state: Arc<RouteState>,
    /// How many of the requests that its clients send again may go on; `None`: all of them.
    pub repeat_budget: Option<Box<RepeatBudget>>,
    /// Where it goes: several for a route with `split`, none for one with `respond`.
    pub branches: Vec<Branch>,
    /// Which of them takes a client; empty where there is no choice.
    pub portions: Vec<Portion>,
    /// Largest request body in bytes; `u64::MAX` without a bound.
    pub max_body: u64,
    /// Longest silence inside a response body.
    pub stream_idle_timeout: Duration,
}

impl Route {
    /// The place of a client's upstream among the branches; `client` is the hash that its kill
    /// switch is sticky by.
    pub fn branch(&self, client: impl FnOnce() -> u64) -> usize {
        match self.portions.as_slice() {
            [] => 0,
            portions => split::choose(portions, client()).unwrap_or(0),
        }
    }

    /// The route, as the switches see it.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            name: &self.spec.name,
            tier: self.spec.tier,
            own: &self.spec.kill_switch,
            auto: None,
        }
    }
}

impl RouteTable {
    /// Compiles the settings. Counters and pools of names that the previous table has are kept.
    pub fn compile(settings: Arc<Settings>, previous: Option<&RouteTable>) -> RouteTable {
        let upstreams = compile_upstreams(&settings, previous);
        let now = Clock::uptime(Clock::now());
        let before = previous.into_iter().flat_map(|table| &table.routes);
        let known: HashMap<&str, &Route> = before.map(|r| (&*r.spec.name, r)).collect();
        let matcher = Matcher::build(settings.routes.iter().map(|r| (&*r.name, &r.matches)));
        let routes = settings.routes.iter().enumerate().map(|(index, spec)| {
            let before = known.get(&*spec.name).copied();
            let observer = observer(spec, settings.server.workers, before);
            let route = compile_route(RouteId(index as u32), spec, before, &upstreams);
            let rate = RouteRate::compile(spec, before, now);
            let former_rate = match &rate {
                Some(_) => None,
                None => FormerRate::of(before, now),
            };
            Route {
                observer,
                rate,
                former_rate,
                ..route
            }
        });
        let routes = routes.collect();
        RouteTable {
            settings,
            matcher,
            routes,
            upstreams,
        }
    }

    /// Applies the concurrency limits of routes and upstreams: their state is older than this
    /// table. To be called once it is published.
    pub(super) fn adopt_limits(&self) {
        for route in &self.routes {
            route.state.adopt(&route.spec);
        }
        for upstream in self.upstreams.values() {
            upstream.adopt_limit();
        }
    }
}

fn compile_upstreams(
    settings: &Settings,
    previous: Option<&RouteTable>,
) -> BTreeMap<Arc<str>, Arc<Upstream>> {
    let compile = |(name, spec): (&Arc<str>, &crate::upstream::UpstreamSpec)| {
        let before = previous.and_then(|table| table.upstreams.get(name));
        (Arc::clone(name), Upstream::compile(spec, before))
    };
    settings.upstreams.iter().map(compile).collect()
}

/// The observer of the route as it was, if it observes the same still.
fn observer(spec: &RouteSettings, workers: usize, before: Option<&Route>) -> Option<Arc<Observer>> {
    if spec.observe.is_empty() {
        return None;
    }
    let kept = before.and_then(|route| route.observer.as_ref());
    let kept = kept.filter(|observer| observer.keys() == spec.observe);
    let made = || Arc::new(Observer::new(spec.observe.clone(), workers));
    Some(kept.map_or_else(made, Arc::clone))
}

fn compile_route(
    id: RouteId,
    spec: &RouteSettings,
    before: Option<&Route>,
    upstreams: &BTreeMap<Arc<str>, Arc<Upstream>>,
) -> Route {
    let metrics = before
        .map(|route| Arc::clone(&route.metrics))
        .unwrap_or_default();
    let names: Vec<&Arc<str>> = match &spec.target {
        Target::Upstream(name) => vec![name],
        Target::Split(parts) => parts.iter().map(|part| &part.upstream).collect(),
        Target::Respond(_) => Vec::new(),
    };
    let known = before.map_or(&[][..], |route| &route.branches);
    let branches = names.iter().filter_map(|name| {
        let upstream = Arc::clone(upstreams.get(*name)?);
        let mut same = known
            .iter()
            .filter(|known| known.upstream.spec.name == **name);
        let state = same.next().map(|known| Arc::clone(&known.state));
        Some(Branch {
            upstream,
            state: state.unwrap_or_default(),
        })
    });
    let branches: Vec<Branch> = branches.collect();
    let portions = match &spec.target {
        Target::Split(parts) => parts
            .iter()
            .map(|part| Portion::new(&part.upstream, part.weight))
            .collect(),
        Target::Upstream(_) | Target::Respond(_) => Vec::new(),
    };
    match &spec.target {
        Target::Upstream(_) | Target::Split(_) => metrics.announce(By::Upstream, 200),
        Target::Respond(respond) => metrics.announce(By::Gateway, respond.status.as_u16()),
    }
    metrics.announce(By::Kill, 200);
    let read_timeouts = branches
        .iter()
        .map(|branch| branch.upstream.spec.read_timeout);
    let read_timeout = read_timeouts.max().unwrap_or(Duration::MAX);
    Route {
        id,
        spec: spec.clone(),
        metrics,
        observer: None,
        rate: None,
        former_rate: None,
        state: before.map_or_else(
            || Arc::new(RouteState::new(spec)),
            |route| Arc::clone(&route.state),
        ),
        repeat_budget: RepeatBudget::compile(spec, before),
        branches,
        portions,
        max_body: spec.max_body.map_or(u64::MAX, |size| size.0),
        stream_idle_timeout: spec.stream_idle_timeout.unwrap_or(read_timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceFile, load};

    fn table(routes: &str, previous: Option<&RouteTable>) -> RouteTable {
        let files = [SourceFile::new("seawall.toml", routes)];
        let settings = load(&files, &|_| None).unwrap().settings;
        RouteTable::compile(Arc::new(settings), previous)
    }

    fn route(name: &str, keys: &str) -> String {
        format!("[routes.{name}]\npath = \"/{name}\"\nrespond = {{}}\n{keys}\n")
    }

    #[test]
    fn what_was_observed_is_kept_while_name_and_keys_are() {
        let one = route("a", "observe = [\"client-ip\"]");
        let before = table(&one, None);
        let observer = |table: &RouteTable, at: usize| table.routes[at].observer.clone();
        let first = observer(&before, 0).unwrap();
        let same = |other: &Arc<Observer>| Arc::ptr_eq(&first, other);
        let more = format!("{}{}", route("b", "observe = [\"client-ip\"]"), one);
        let after = table(&more, Some(&before));
        assert!(same(&observer(&after, 0).unwrap()));
        assert!(!same(&observer(&after, 1).unwrap()));
        let other = table(&route("a", "observe = [\"header:x\"]"), Some(&before));
        assert!(!same(&observer(&other, 0).unwrap()));
        assert!(observer(&table(&route("a", ""), Some(&before)), 0).is_none());
    }

    #[test]
    fn a_route_may_observe_what_the_defaults_say_or_nothing() {
        let text = format!(
            "[defaults]\nobserve = \"client-ip\"\n{}{}",
            route("a", ""),
            route("b", "observe = []")
        );
        let table = table(&text, None);
        assert!(table.routes[0].observer.is_some());
        assert!(table.routes[1].observer.is_none());
    }
}
