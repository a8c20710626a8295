//! Upstreams and endpoints as workers use them; their state survives reloads by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use http::HeaderValue;

use super::limit::Limit;
use super::spec::{EndpointSpec, UpstreamLimit, UpstreamSpec};
use crate::policy::adaptive::{Ending, Learned};
use crate::policy::balance::{Candidate, Place};
use crate::policy::endpoint::EndpointState;
use crate::telemetry::{EndpointMetrics, UpstreamMetrics};
use crate::vocab::Clock;

/// A named service behind the gateway.
#[derive(Debug)]
pub struct Upstream {
    /// As configured.
    pub spec: UpstreamSpec,
    /// Its counters.
    pub metrics: Arc<UpstreamMetrics>,
    /// How many requests may be in flight to it; shared with the upstream of that name before.
    pub limit: Arc<Limit>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
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
    /// Its load, and whether it is up.
    pub state: Arc<EndpointState>,
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
            let all = before.map(|upstream| upstream.endpoints())?;
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
            limit: before.map_or_else(
                || Arc::new(Limit::new(spec.concurrency)),
                |b| Arc::clone(&b.limit),
            ),
            endpoints: ArcSwap::from_pointee(spec.endpoints.iter().map(endpoint).collect()),
        })
    }

    /// Applies its concurrency limit as it is now.
    pub fn adopt_limit(&self) {
        let most = self.limit.adopt(self.spec.concurrency);
        self.metrics.set_concurrency_limit(most);
    }

    /// Takes note of how an attempt ended at `now`, where the limit follows from that.
    pub fn note(&self, ending: Ending, now: Instant) {
        let UpstreamLimit::Adaptive(bounds) = &self.spec.concurrency else {
            return;
        };
        match self.limit.note(bounds, ending, Clock::uptime(now)) {
            Learned::Nothing => {}
            Learned::Window { from, to } => {
                if from != to {
                    self.adopt_limit();
                }
            }
        }
    }

    /// Its endpoints now, in the order configured. Held for a moment only.
    pub fn endpoints(&self) -> Guard<Arc<Vec<Arc<Endpoint>>>> {
        self.endpoints.load()
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
            state: Arc::new(EndpointState::new(&spec.text)),
            spec,
            slot: NEXT_SLOT.fetch_add(1, Relaxed),
            metrics: Arc::default(),
        }
    }

    /// No connection could be made at `now`: prefer others for a while.
    pub fn rest(&self, now: Instant) {
        self.metrics.set_reachable(false);
        self.state.rest(Clock::uptime(now) + REST);
    }
}

impl Candidate for Endpoint {
    fn place(&self, now: Duration) -> Place {
        self.state.place(now)
    }

    fn load(&self, now: Duration) -> u32 {
        self.state.load(now)
    }

    fn name(&self) -> u64 {
        self.state.name()
    }
}
