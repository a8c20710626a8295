//! What is said of a request: its refusal, or its route with switches and policies.

use std::net::SocketAddr;

use http::Request;
use http::header::HOST;
use serde::Serialize;

use super::policies::{Policy, policies};
use super::switches::{Kill, kill};
use super::upstreams;
use crate::cli::disk::Disk;
use crate::config::{OnFailure, RouteSettings, SplitPart, Target};
use crate::matching::{Asker, Lookup, Matcher, PathError};
use crate::policy::breaker::Forced;
use crate::proxy::{Peer, client_ip, examine};
use crate::upstream::RequestBody;
use crate::vocab::{Clock, Reason};

/// Everything that is said.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) method: String,
    pub(super) host: String,
    /// As given.
    pub(super) target: String,
    /// The client's address, as switches and limits see it.
    pub(super) client: String,
    pub(super) refusal: Option<Refusal>,
    pub(super) route: Option<Taken>,
    pub(super) kill: Option<Kill>,
    /// `tripped` or `passing`, where a hand holds the breaker.
    pub(super) breaker: Option<&'static str>,
    /// What happens to what no switch takes.
    pub(super) otherwise: Option<String>,
    pub(super) policies: Vec<Policy>,
}

/// The gateway's own answer to a request that it walks no further.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) status: u16,
    pub(super) why: String,
    /// For `method_not_allowed`.
    pub(super) allow: Vec<String>,
}

/// The route that takes the request.
#[derive(Debug, Serialize)]
pub(super) struct Taken {
    pub(super) name: String,
    /// The path that was matched.
    pub(super) path: String,
    pub(super) pattern: String,
    pub(super) tier: &'static str,
    pub(super) owner: Option<String>,
    pub(super) runbook: Option<String>,
    pub(super) impact: Option<String>,
}

impl Finding {
    /// What the gateway of this configuration does with the request.
    pub(super) fn of(disk: &Disk, request: &Request<RequestBody>, client: SocketAddr) -> Finding {
        let settings = &disk.settings;
        let headers = request.headers();
        let trusted = &settings.server.trusted_proxies;
        let client = client_ip(headers, &Peer::new(client), trusted);
        let host = headers.get(HOST).map(|host| host.as_bytes());
        let mut finding = Finding {
            method: request.method().to_string(),
            host: String::from_utf8_lossy(host.unwrap_or_default()).into_owned(),
            target: request.uri().to_string(),
            client: client.to_string(),
            refusal: None,
            route: None,
            kill: None,
            breaker: None,
            otherwise: None,
            policies: Vec::new(),
        };
        let upgrade = match examine(request) {
            Ok(facts) => facts.upgrade,
            Err(reason) => {
                let why = "its headers are malformed, repeated or contradict each other";
                finding.refusal = Some(Refusal::new(reason, why.to_owned()));
                return finding;
            }
        };
        let routes = &settings.routes;
        let matcher = Matcher::build(routes.iter().map(|r| (&*r.name, &r.matches)));
        let looked_up = matcher.look_up(request.method(), request.uri(), headers);
        let (route, path) = match found(looked_up, routes) {
            Ok(found) => found,
            Err(refusal) => {
                finding.refusal = Some(refusal);
                return finding;
            }
        };
        let asker = Asker {
            headers,
            client,
            query: request.uri().query(),
        };
        finding.kill = Some(kill(route, &disk.switches.entries, &asker, Clock::unix()));
        let forced = disk.switches.breakers.entries.get(&route.name).copied();
        finding.breaker = forced.map(Forced::as_str);
        finding.otherwise = Some(match forced.and_then(|forced| held(route, forced)) {
            Some(refused) if !upgrade => refused,
            Some(_) | None => otherwise(disk, route, &path, upgrade),
        });
        finding.policies = policies(&disk.files, route);
        let below = upstreams::policies(&disk.files, settings, route);
        finding.policies.extend(below);
        finding.route = Some(Taken::new(route, path));
        finding
    }
}

fn found<'s>(
    lookup: Lookup<'_>,
    routes: &'s [RouteSettings],
) -> Result<(&'s RouteSettings, String), Refusal> {
    let refusal = |reason: Reason, why: String| Err(Refusal::new(reason, why));
    match lookup {
        Lookup::Route { route, path } => Ok((&routes[route.index()], path.into_owned())),
        Lookup::Method(allow) => {
            let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
            let why = format!("a route has this path, but takes {}", allow.join(", "));
            let refusal = Refusal::new(Reason::MethodNotAllowed, why);
            Err(Refusal { allow, ..refusal })
        }
        Lookup::Nothing => refusal(
            Reason::NoRoute,
            "no route has this host, path and headers".to_owned(),
        ),
        Lookup::Malformed(PathError::Escape) => refusal(
            Reason::BadRequest,
            "the path has a % that is no escape, or one that servers read differently".to_owned(),
        ),
        Lookup::Malformed(PathError::Control) => refusal(
            Reason::BadRequest,
            "the path has a control character".to_owned(),
        ),
        Lookup::TwoReadings {
            route,
            other,
            lenient,
        } => {
            let own = match route {
                Some(route) => format!("to route {}", routes[route.index()].name),
                None => "to no route".to_owned(),
            };
            refusal(
                Reason::BadRequest,
                format!(
                    "the path leads {own}, but another server may read it as {lenient}, \
                     which leads to route {}: no spelling may lead around a switch",
                    routes[other.index()].name
                ),
            )
        }
    }
}

impl Refusal {
    fn new(reason: Reason, why: String) -> Refusal {
        let row = reason.row();
        Refusal {
            reason: row.name,
            status: row.status,
            why,
            allow: Vec::new(),
        }
    }
}

impl Taken {
    fn new(route: &RouteSettings, path: String) -> Taken {
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        Taken {
            name: route.name.to_string(),
            path,
            pattern: route.matches.path.as_str().to_owned(),
            tier: route.tier.as_str(),
            owner: text(&route.owner),
            runbook: text(&route.runbook),
            impact: text(&route.impact),
        }
    }
}

/// What happens to a request whose route has its breaker held by hand; `None`: what else would.
fn held(route: &RouteSettings, forced: Forced) -> Option<String> {
    match (forced, &route.target) {
        (Forced::Tripped, Target::Upstream(_) | Target::Split(_)) => {
            let why = "[breaker] holds its breaker tripped";
            Some(match route.on_failure {
                OnFailure::Closed => format!("refused with 503 breaker_open: {why}"),
                OnFailure::Open => {
                    format!("kept in the archive, as the route is open on failure: {why}")
                }
            })
        }
        (Forced::Tripped, Target::Respond(_)) | (Forced::Passing, _) => None,
    }
}

/// What happens to a request of this route that no switch takes.
fn otherwise(disk: &Disk, route: &RouteSettings, path: &str, upgrade: bool) -> String {
    if upgrade {
        return "refused with 403 upgrade_refused: the route tunnels no other protocol".to_owned();
    }
    destination(disk, route, path)
}

fn destination(disk: &Disk, route: &RouteSettings, path: &str) -> String {
    match &route.target {
        Target::Respond(respond) => format!(
            "answered by the gateway: {}, {} bytes",
            respond.status.as_u16(),
            respond.body.len()
        ),
        Target::Upstream(name) => format!(
            "goes to upstream {name} ({}) as {}",
            endpoints(disk, name),
            sent_path(route, path)
        ),
        Target::Split(parts) => {
            let sum: u64 = parts.iter().map(|part| u64::from(part.weight)).sum();
            let part = |part: &SplitPart| {
                let percent = f64::from(part.weight) * 100.0 / sum.max(1) as f64;
                let endpoints = endpoints(disk, &part.upstream);
                format!("{} ({endpoints}) {percent:.1} %", part.upstream)
            };
            let parts: Vec<String> = parts.iter().map(part).collect();
            let path = sent_path(route, path);
            format!("goes to one of {} as {path}", parts.join(", "))
        }
    }
}

fn endpoints(disk: &Disk, upstream: &str) -> String {
    let upstream = disk.settings.upstreams.get(upstream);
    let endpoints = upstream
        .into_iter()
        .flat_map(|upstream| &upstream.endpoints);
    let texts: Vec<&str> = endpoints.map(|endpoint| &*endpoint.text).collect();
    texts.join(", ")
}

fn sent_path(route: &RouteSettings, path: &str) -> String {
    match &route.path_rewrite {
        Some(template) => format!("{path}, rewritten by {}", template.as_str()),
        None => path.to_owned(),
    }
}
