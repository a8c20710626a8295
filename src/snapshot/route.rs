//! Compiles settings into the route table; what has a name keeps its state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{RouteSettings, Settings, Target};
use crate::matching::Matcher;
use crate::policy::rules::Subject;
use crate::telemetry::RouteMetrics;
use crate::upstream::Upstream;
use crate::vocab::{By, RouteId};

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
    /// Where it goes; `None` for a route with `respond`.
    pub upstream: Option<Arc<Upstream>>,
    /// Largest request body in bytes; `u64::MAX` without a bound.
    pub max_body: u64,
    /// Longest silence inside a response body.
    pub stream_idle_timeout: Duration,
}

impl Route {
    /// The route, as the switches see it.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            name: &self.spec.name,
            tier: self.spec.tier,
            own: &self.spec.kill_switch,
        }
    }
}

impl RouteTable {
    /// Compiles the settings. Counters and pools of names that the previous table has are kept.
    pub fn compile(settings: Arc<Settings>, previous: Option<&RouteTable>) -> RouteTable {
        let upstreams = compile_upstreams(&settings, previous);
        let known: HashMap<&str, &Arc<RouteMetrics>> = previous
            .map(|table| {
                let routes = table.routes.iter();
                routes
                    .map(|route| (&*route.spec.name, &route.metrics))
                    .collect()
            })
            .unwrap_or_default();
        let matcher = Matcher::build(settings.routes.iter().map(|r| (&*r.name, &r.matches)));
        let routes = settings.routes.iter().enumerate().map(|(index, spec)| {
            let metrics = match known.get(&*spec.name) {
                Some(metrics) => Arc::clone(metrics),
                None => Arc::default(),
            };
            compile_route(RouteId(index as u32), spec, metrics, &upstreams)
        });
        let routes = routes.collect();
        RouteTable {
            settings,
            matcher,
            routes,
            upstreams,
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

fn compile_route(
    id: RouteId,
    spec: &RouteSettings,
    metrics: Arc<RouteMetrics>,
    upstreams: &BTreeMap<Arc<str>, Arc<Upstream>>,
) -> Route {
    let upstream = match &spec.target {
        Target::Upstream(name) => upstreams.get(name).cloned(),
        Target::Respond(_) => None,
    };
    match &spec.target {
        Target::Upstream(_) => metrics.announce(By::Upstream, 200),
        Target::Respond(respond) => metrics.announce(By::Gateway, respond.status.as_u16()),
    }
    metrics.announce(By::Kill, 200);
    let read_timeout = upstream
        .as_ref()
        .map_or(Duration::MAX, |u| u.spec.read_timeout);
    Route {
        id,
        spec: spec.clone(),
        metrics,
        upstream,
        max_body: spec.max_body.map_or(u64::MAX, |size| size.0),
        stream_idle_timeout: spec.stream_idle_timeout.unwrap_or(read_timeout),
    }
}
