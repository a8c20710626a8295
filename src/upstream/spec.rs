//! An upstream as configured.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;

use crate::policy::adaptive::AdaptiveSpec;
use crate::policy::balance::BalanceSpec;
use crate::policy::health::HealthSpec;
use crate::policy::outlier::OutlierSpec;
use crate::policy::share::Sticky;

/// A named service behind the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamSpec {
    /// Its name.
    pub name: Arc<str>,
    /// Its addresses, at least one.
    pub endpoints: Vec<EndpointSpec>,
    /// Longest time to make a connection.
    pub connect_timeout: Duration,
    /// Longest silence inside a response body.
    pub read_timeout: Duration,
    /// The pool, per worker and endpoint.
    pub keepalive: KeepaliveSpec,
    /// Which endpoint takes an attempt.
    pub balance: BalanceSpec,
    /// What is hashed for `balance = "hash:..."`; not asked otherwise.
    pub hash: Sticky,
    /// How its endpoints are checked; `None`: they are not.
    pub health: Option<HealthCheckSpec>,
    /// When an endpoint is ejected for its failures; `None`: never.
    pub outlier: Option<OutlierSpec>,
    /// How many requests may be in flight to it.
    pub concurrency: UpstreamLimit,
}

/// An upstream's `health`, without `panic_percent`, which is of the balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheckSpec {
    /// What is asked for: a path, and a query if there is one.
    pub path: PathAndQuery,
    /// How often, and what follows from it.
    pub spec: HealthSpec,
}

/// An upstream's `concurrency`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamLimit {
    /// Any number.
    #[default]
    Off,
    /// So many.
    Fixed(u32),
    /// As many as its latency allows.
    Adaptive(AdaptiveSpec),
}

/// One entry of an upstream's `endpoints`: `http://host:port`, or `http+srv://name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSpec {
    /// As configured; the `endpoint` label of metrics.
    pub text: Arc<str>,
    /// What is looked up to find its addresses.
    pub kind: EndpointKind,
    /// A name or an address (IPv6 without brackets).
    pub host: Arc<str>,
    /// The port; 80 when the configuration names none, 0 for SRV records, which name their own.
    pub port: u16,
}

impl EndpointSpec {
    /// The address, if it is not a name.
    pub fn literal(&self) -> Option<SocketAddr> {
        match self.kind {
            EndpointKind::Host => {
                let ip: IpAddr = self.host.parse().ok()?;
                Some(SocketAddr::new(ip, self.port))
            }
            EndpointKind::Srv => None,
        }
    }
}

/// What is looked up to find the addresses of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EndpointKind {
    /// The addresses of a name, or nothing for an address.
    #[default]
    Host,
    /// The SRV records of a name, and the addresses of what they name.
    Srv,
}

/// How many idle connections are kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveSpec {
    /// Idle connections kept for each worker and endpoint.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub max_idle_time: Duration,
}
