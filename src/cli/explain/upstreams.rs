//! The effective policies of the upstreams that a route uses.

use super::origin::Origins;
use super::policies::{Pair, Policy};
use crate::config::{RouteSettings, Settings, SourceFile, Target};
use crate::policy::balance::Method;
use crate::upstream::{UpstreamLimit, UpstreamSpec};
use crate::vocab::format_duration;

/// Every key of each upstream, but for its endpoints.
pub(super) fn policies(
    files: &[SourceFile],
    settings: &Settings,
    route: &RouteSettings,
) -> Vec<Policy> {
    let names: Vec<&str> = match &route.target {
        Target::Upstream(name) => vec![name],
        Target::Split(parts) => parts.iter().map(|part| &*part.upstream).collect(),
        Target::Respond(_) => Vec::new(),
    };
    let mut all = Vec::new();
    for spec in names
        .iter()
        .filter_map(|name| settings.upstreams.get(*name))
    {
        let origins = Origins::of_upstream(files, &spec.name);
        all.extend(values(spec).into_iter().map(|(key, value)| Policy {
            key: format!("upstreams.{}.{key}", spec.name).into(),
            value,
            from: origins.of_key(key),
        }));
    }
    all
}

fn values(spec: &UpstreamSpec) -> Vec<Pair> {
    let balance = match spec.balance.method {
        Method::LeastRequest => "least-request".to_owned(),
        Method::RoundRobin => "round-robin".to_owned(),
        Method::Hash => format!("hash:{}", spec.hash),
    };
    let concurrency = match spec.concurrency {
        UpstreamLimit::Off => "off".to_owned(),
        UpstreamLimit::Fixed(most) => most.to_string(),
        UpstreamLimit::Adaptive(_) => "adaptive".to_owned(),
    };
    let mut all = vec![
        ("balance", balance),
        ("slow_start", format_duration(spec.balance.slow_start)),
        ("concurrency", concurrency),
        ("connect_timeout", format_duration(spec.connect_timeout)),
        ("read_timeout", format_duration(spec.read_timeout)),
        ("keepalive.max_idle", spec.keepalive.max_idle.to_string()),
        (
            "keepalive.max_idle_time",
            format_duration(spec.keepalive.max_idle_time),
        ),
    ];
    all.extend(health(spec));
    all.extend(outlier(spec));
    all
}

fn health(spec: &UpstreamSpec) -> Vec<Pair> {
    let Some(health) = &spec.health else {
        return vec![("health", "off".to_owned())];
    };
    vec![
        ("health.path", health.path.to_string()),
        ("health.interval", format_duration(health.spec.interval)),
        ("health.healthy", health.spec.healthy.to_string()),
        ("health.unhealthy", health.spec.unhealthy.to_string()),
        (
            "health.panic_percent",
            spec.balance.panic.percent().to_string(),
        ),
    ]
}

fn outlier(spec: &UpstreamSpec) -> Vec<Pair> {
    let Some(outlier) = &spec.outlier else {
        return vec![("outlier", "off".to_owned())];
    };
    let most = outlier.max_ejected.percent().to_string();
    vec![
        (
            "outlier.consecutive_failures",
            outlier.consecutive_failures.to_string(),
        ),
        ("outlier.ejection", format_duration(outlier.ejection)),
        ("outlier.max_ejected_percent", most),
    ]
}
