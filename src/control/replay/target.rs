//! Where records go: the upstream of their route, or one URL.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::config::{HeaderEdits, HostRewrite, RouteSettings, Settings, Target};
use crate::matching::PathTemplate;
use crate::policy::balance::BalanceSpec;
use crate::policy::share::Sticky;
use crate::upstream::{
    EndpointKind, EndpointSpec, KeepaliveSpec, Upstream, UpstreamLimit, UpstreamSpec,
};

/// How the request of a record is changed on its way.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// The path as received is sent, not the one that was matched.
    pub(super) as_received: bool,
    /// Stands before the path.
    pub(super) prefix: String,
    /// The route's.
    pub(super) path_rewrite: Option<PathTemplate>,
    /// The route's.
    pub(super) host: HostRewrite,
    /// The route's edits.
    pub(super) edits: HeaderEdits,
}

/// Where the records of a route go.
#[derive(Debug)]
pub(super) struct Destination {
    /// What records of accepted requests call it.
    pub(super) label: Arc<str>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) recipe: Recipe,
}

/// Where all records of a run go.
#[derive(Debug)]
pub struct Destinations {
    label: String,
    /// Every record goes there.
    any: Option<Arc<Destination>>,
    routes: BTreeMap<Arc<str>, Result<Arc<Destination>, NoTarget>>,
}

/// Why the records of a route cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// The configuration has no such route.
    NoRoute,
    /// The gateway answers the route itself.
    Responds,
}

impl fmt::Display for NoTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoTarget::NoRoute => "the configuration has no such route; give --to URL",
            NoTarget::Responds => "the gateway answers it by itself; give --to URL",
        })
    }
}

/// A text that is no URL to send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUrl(String);

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = &self.0;
        write!(
            f,
            "expected a URL such as http://stats.internal:9001 or http://127.0.0.1:9001/prefix, \
             without a query; found {given:?}"
        )
    }
}

impl std::error::Error for BadUrl {}

impl Destinations {
    /// Each record goes to the upstream of its route, as the gateway would send it.
    pub fn by_route(settings: &Settings) -> Destinations {
        let compile = |spec| Upstream::compile(spec, None);
        let upstreams = settings.upstreams.iter();
        let upstreams: BTreeMap<_, _> = upstreams.map(|(name, s)| (name, compile(s))).collect();
        let routes = settings.routes.iter().map(|route| {
            let found = match &route.target {
                Target::Upstream(name) => upstreams.get(name).ok_or(NoTarget::NoRoute),
                // Each part counts as able to take all: a record goes to the heaviest.
                Target::Split(parts) => {
                    let heaviest = parts.iter().max_by_key(|part| part.weight);
                    let found = heaviest.and_then(|part| upstreams.get(&part.upstream));
                    found.ok_or(NoTarget::NoRoute)
                }
                Target::Respond(_) => Err(NoTarget::Responds),
            };
            let destination = |upstream: &Arc<Upstream>| {
                Arc::new(Destination {
                    label: format!("upstream:{}", upstream.spec.name).into(),
                    upstream: Arc::clone(upstream),
                    recipe: Recipe::of(route),
                })
            };
            (Arc::clone(&route.name), found.map(destination))
        });
        Destinations {
            label: "upstream".to_owned(),
            any: None,
            routes: routes.collect(),
        }
    }

    /// Every record goes to `url`, with the target and the Host that it came with.
    ///
    /// # Errors
    /// Anything but `http://HOST[:PORT][/PREFIX]`.
    pub fn to_url(url: &str, timeout: Duration) -> Result<Destinations, BadUrl> {
        let bad = || BadUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
        let plain = uri.scheme_str() == Some("http")
            && uri.query().is_none()
            && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
            && !url.contains('#');
        let port = uri.port_u16().unwrap_or(80);
        if !plain || port == 0 {
            return Err(bad());
        }
        let spec = UpstreamSpec {
            name: "to".into(),
            endpoints: vec![EndpointSpec {
                kind: EndpointKind::Host,
                text: url.into(),
                host: host.trim_matches(['[', ']']).into(),
                port,
            }],
            connect_timeout: Duration::from_secs(3).min(timeout),
            read_timeout: timeout,
            keepalive: KeepaliveSpec {
                max_idle: 512,
                max_idle_time: Duration::from_secs(15),
            },
            balance: BalanceSpec::default(),
            hash: Sticky::default(),
            health: None,
            outlier: None,
            concurrency: UpstreamLimit::Off,
        };
        let recipe = Recipe {
            as_received: true,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            path_rewrite: None,
            host: HostRewrite::Keep,
            edits: HeaderEdits::default(),
        };
        let label = format!("http://{host}:{port}{}", recipe.prefix);
        let destination = Destination {
            label: label.as_str().into(),
            upstream: Upstream::compile(&spec, None),
            recipe,
        };
        Ok(Destinations {
            label,
            any: Some(Arc::new(destination)),
            routes: BTreeMap::new(),
        })
    }

    /// What a run of it is called, and told apart by.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Where the records of a route go.
    pub(super) fn of(&self, route: &str) -> Result<&Arc<Destination>, NoTarget> {
        match &self.any {
            Some(any) => Ok(any),
            None => match self.routes.get(route) {
                Some(Ok(destination)) => Ok(destination),
                Some(Err(why)) => Err(*why),
                None => Err(NoTarget::NoRoute),
            },
        }
    }

    /// The addresses that records of a route are sent to, as they were written.
    pub fn addresses(&self, route: &str) -> Vec<Arc<str>> {
        let destination = self.of(route).ok();
        let endpoints = destination
            .into_iter()
            .flat_map(|d| &d.upstream.spec.endpoints);
        endpoints
            .map(|endpoint| Arc::clone(&endpoint.text))
            .collect()
    }
}

impl Recipe {
    fn of(route: &RouteSettings) -> Recipe {
        Recipe {
            as_received: false,
            prefix: String::new(),
            path_rewrite: route.path_rewrite.clone(),
            host: route.host_rewrite.clone(),
            edits: route.request_headers.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_plain_http_with_a_prefix_at_most() {
        let to = |url| Destinations::to_url(url, Duration::from_secs(30));
        for (url, host, port, prefix) in [
            ("http://a", "a", 80, ""),
            ("http://a:9/", "a", 9, ""),
            ("http://[::1]:9/p/q/", "::1", 9, "/p/q"),
        ] {
            let found = to(url).unwrap();
            let destination = found.of("any").unwrap();
            let spec = &destination.upstream.spec.endpoints[0];
            assert_eq!((&*spec.host, spec.port), (host, port));
            assert_eq!(destination.recipe.prefix, prefix);
        }
        for url in [
            "",
            "a:9",
            "/a",
            "https://a",
            "http://",
            "http://a:0",
            "http://a?b",
            "http://u@a",
            "http://a/#f",
            "http://a b",
        ] {
            assert!(to(url).is_err(), "{url}");
        }
    }
}
