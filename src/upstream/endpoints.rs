//! Upstreams and endpoints as workers use them; their state survives reloads by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::spec::{EndpointSpec, UpstreamSpec};
use crate::telemetry::{EndpointMetrics, UpstreamMetrics};
use crate::vocab::Clock;

/// A named service behind the gateway.
#[derive(Debug)]
pub struct Upstream {
    /// As configured.
    pub spec: UpstreamSpec,
    /// Its counters.
    pub metrics: Arc<UpstreamMetrics>,
    /// Its endpoints, in the order configured.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// One address of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    /// As configured.
    pub spec: EndpointSpec,
    /// The Host for `host_rewrite = "upstream"`.
    pub authority: HeaderValue,
    /// Where each worker's pool keeps this endpoint's connections. Never reused in a process.
    pub slot: usize,
    /// Whether it can be reached.
    pub metrics: Arc<EndpointMetrics>,
    born: Instant,
    resting_until_ms: AtomicU64,
}

/// After a connection could not be made, others are preferred for this long.
const REST: Duration = Duration::from_secs(1);

static NEXT_SLOT: AtomicUsize = AtomicUsize::new(0);

impl Upstream {
    /// Builds it, keeping the counters and endpoints that `before` has.
    pub fn compile(spec: &UpstreamSpec, before: Option<&Arc<Upstream>>) -> Arc<Upstream> {
        if let Some(before) = before
            && before.spec == *spec
        {
            return Arc::clone(before);
        }
        let kept = |wanted: &EndpointSpec| {
            let all = before.map_or(&[][..], |upstream| &upstream.endpoints);
            all.iter()
                .find(|endpoint| endpoint.spec == *wanted)
                .cloned()
        };
        let endpoint = |wanted: &EndpointSpec| {
            kept(wanted).unwrap_or_else(|| Arc::new(Endpoint::new(wanted.clone())))
        };
        Arc::new(Upstream {
            spec: spec.clone(),
            metrics: before.map(|b| Arc::clone(&b.metrics)).unwrap_or_default(),
            endpoints: spec.endpoints.iter().map(endpoint).collect(),
        })
    }
}

impl Endpoint {
    /// An endpoint without connections.
    pub fn new(spec: EndpointSpec) -> Endpoint {
        let bracketed = spec.host.contains(':');
        let text = match bracketed {
            true => format!("[{}]:{}", spec.host, spec.port),
            false => format!("{}:{}", spec.host, spec.port),
        };
        Endpoint {
            // A validated host and port have only characters that a header value may have.
            authority: HeaderValue::try_from(text)
                .unwrap_or_else(|_| HeaderValue::from_static("invalid")),
            spec,
            slot: NEXT_SLOT.fetch_add(1, Relaxed),
            metrics: Arc::default(),
            born: Clock::now(),
            resting_until_ms: AtomicU64::new(0),
        }
    }

    /// No connection could be made at `now`: prefer others for a while.
    pub fn rest(&self, now: Instant) {
        self.metrics.set_reachable(false);
        let until = now.saturating_duration_since(self.born) + REST;
        self.resting_until_ms
            .store(until.as_millis() as u64, Relaxed);
    }

    /// Whether others are preferred at `now`.
    pub fn rests(&self, now: Instant) -> bool {
        let until = self.resting_until_ms.load(Relaxed);
        until != 0 && now.saturating_duration_since(self.born).as_millis() < u128::from(until)
    }
}
