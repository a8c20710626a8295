//! What the gateway says about the endpoints of its upstreams: part of `/api/v1/status`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::snapshot::Snapshot;
use crate::upstream::{Endpoint, Origin, Upstream};

/// One address of an upstream, or a name that has none.
#[derive(Debug, Serialize)]
pub(super) struct EndpointReport {
    upstream: Arc<str>,
    /// As configured.
    endpoint: Arc<str>,
    /// `null` while its name has no address.
    address: Option<SocketAddr>,
    up: bool,
    /// Why it is down.
    down: Option<&'static str>,
    in_flight: u32,
    /// Why its name could not be resolved the last time; the address is an older answer.
    resolution_error: Option<Arc<str>>,
}

/// Every endpoint, in the order of the upstreams' names and then as configured.
pub(super) fn endpoint_reports(snapshot: &Snapshot, now: Duration) -> Vec<EndpointReport> {
    let upstreams = snapshot.table.upstreams.values();
    let origins =
        upstreams.flat_map(|upstream| upstream.origins.iter().map(move |o| (upstream, o)));
    origins
        .flat_map(|(upstream, origin)| of_origin(upstream, origin, now))
        .collect()
}

fn of_origin(upstream: &Upstream, origin: &Origin, now: Duration) -> Vec<EndpointReport> {
    let error = origin.resolution().error.clone();
    let report = |endpoint: Option<&Arc<Endpoint>>| {
        let address = endpoint.and_then(|endpoint| endpoint.address());
        let trouble = endpoint.and_then(|endpoint| endpoint.state.trouble(now));
        let down = match (address, &error) {
            (Some(_), _) => trouble.map(|trouble| trouble.as_str()),
            (None, Some(_)) => Some("unresolved"),
            (None, None) => Some("resolving"),
        };
        EndpointReport {
            upstream: Arc::clone(&upstream.spec.name),
            endpoint: Arc::clone(&origin.spec.text),
            address,
            up: down.is_none(),
            down,
            in_flight: endpoint.map_or(0, |endpoint| endpoint.state.in_flight()),
            resolution_error: error.clone(),
        }
    };
    let all = origin.endpoints();
    match all.is_empty() {
        true => vec![report(None)],
        false => all.iter().map(|endpoint| report(Some(endpoint))).collect(),
    }
}
