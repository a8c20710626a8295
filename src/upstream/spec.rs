//! An upstream as configured.

use std::sync::Arc;
use std::time::Duration;

/// A named service behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSpec {
    /// Its name.
    pub name: Arc<str>,
    /// Its addresses, at least one.
    pub endpoints: Vec<EndpointSpec>,
    /// Longest time to make a connection, name resolution included.
    pub connect_timeout: Duration,
    /// Longest silence inside a response body.
    pub read_timeout: Duration,
    /// The pool, per worker and endpoint.
    pub keepalive: KeepaliveSpec,
}

/// One address of an upstream: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSpec {
    /// As configured; the `endpoint` label of metrics.
    pub text: Arc<str>,
    /// A name or an address (IPv6 without brackets).
    pub host: Arc<str>,
    /// The port; 80 when the configuration names none.
    pub port: u16,
}

/// How many idle connections are kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveSpec {
    /// Idle connections kept for each worker and endpoint.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub max_idle_time: Duration,
}
