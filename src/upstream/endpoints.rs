//! Upstreams and endpoints as workers use them; their state survives reloads by name.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use http::HeaderValue;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::balance::Panic;
use super::limit::Limit;
use super::origin::{Origin, Stage};
use super::slot::Slot;
use super::spec::{EndpointKind, EndpointSpec, UpstreamLimit, UpstreamSpec};
use super::target::Target;
use crate::policy::adaptive::{Ending, Learned};
use crate::policy::balance::{Candidate, Place};
use crate::policy::endpoint::EndpointState;
use crate::telemetry::UpstreamMetrics;
use crate::vocab::Clock;

/// A named service behind the gateway.
#[derive(Debug)]
pub struct Upstream {
    /// As configured.
    pub spec: UpstreamSpec,
    /// Its counters.
    pub metrics: Arc<UpstreamMetrics>,
    pub(super) panic: Panic,
    /// How many requests may be in flight to it; shared with the upstream of that name before.
    pub limit: Arc<Limit>,
    /// Its endpoints as configured, in that order.
    pub origins: Vec<Arc<Origin>>,
    /// Those of all origins, one after the other.
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
}

/// One address of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    /// As configured.
    pub spec: EndpointSpec,
    /// The Host for `host_rewrite = "upstream"`.
    pub authority: HeaderValue,
    /// Where each worker's pool keeps this endpoint's connections.
    pub slot: usize,
    /// Its load, and whether it is up.
    pub state: Arc<EndpointState>,
    at: Where,
    place: Arc<Slot>,
}

/// Where an endpoint is.
#[derive(Debug)]
pub(super) enum Where {
    /// There.
    Address(SocketAddr),
    /// Not known yet.
    Name(watch::Receiver<Stage>),
}

/// After a connection could not be made, others are preferred for this long.
const REST: Duration = Duration::from_secs(1);

impl Upstream {
    /// Builds it, keeping the counters and endpoints that `before` has.
    pub fn compile(spec: &UpstreamSpec, before: Option<&Arc<Upstream>>) -> Arc<Upstream> {
        if let Some(before) = before
            && before.spec == *spec
        {
            return Arc::clone(before);
        }
        let known = before.map_or(&[][..], |upstream| &upstream.origins);
        let origin = |wanted: &EndpointSpec| {
            let kept = known.iter().find(|origin| origin.spec == *wanted);
            let new = || Arc::new(Origin::new(wanted.clone()));
            kept.map_or_else(new, Arc::clone)
        };
        let upstream = Upstream {
            spec: spec.clone(),
            metrics: before.map(|b| Arc::clone(&b.metrics)).unwrap_or_default(),
            panic: Panic::default(),
            limit: before.map_or_else(
                || Arc::new(Limit::new(spec.concurrency)),
                |b| Arc::clone(&b.limit),
            ),
            origins: spec.endpoints.iter().map(origin).collect(),
            endpoints: ArcSwap::default(),
        };
        upstream.gather();
        Arc::new(upstream)
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
                    let most = self.limit.follow(bounds);
                    self.metrics.set_concurrency_limit(most);
                }
            }
        }
    }

    /// Its endpoints now, in the order configured. Held for a moment only.
    pub fn endpoints(&self) -> Guard<Arc<Vec<Arc<Endpoint>>>> {
        self.endpoints.load()
    }

    /// Takes over what its origins stand for now.
    pub fn gather(&self) {
        let each = self.origins.iter().map(|origin| origin.endpoints());
        let all: Vec<Arc<Endpoint>> = each.flat_map(|some| some.to_vec()).collect();
        let before = self.endpoints.load();
        let same = |(a, b): (&Arc<Endpoint>, &Arc<Endpoint>)| Arc::ptr_eq(a, b);
        if all.len() != before.len() || !all.iter().zip(before.iter()).all(same) {
            self.endpoints.store(Arc::new(all));
        }
    }
}

impl Endpoint {
    /// An endpoint of its own, without connections.
    pub fn new(spec: EndpointSpec) -> Endpoint {
        let at = match spec.literal() {
            Some(address) => Where::Address(address),
            None => Where::Name(watch::Sender::new(Stage::Alone).subscribe()),
        };
        Endpoint::at(&spec, at)
    }

    /// An endpoint as it is configured.
    pub(super) fn at(spec: &EndpointSpec, at: Where) -> Endpoint {
        let state = EndpointState::new(&spec.text);
        Endpoint::with(spec, &authority(spec), at, state)
    }

    /// One address of a name; `joined` when others were there before.
    pub(super) fn resolved(
        spec: &EndpointSpec,
        target: &Target,
        joined: Option<Duration>,
    ) -> Endpoint {
        let name = format!("{} {}", spec.text, target.address);
        let state = match joined {
            Some(now) => EndpointState::joining(&name, now),
            None => EndpointState::new(&name),
        };
        let at = Where::Address(target.address);
        Endpoint::with(spec, &target.authority, at, state)
    }

    fn with(spec: &EndpointSpec, authority: &str, at: Where, state: EndpointState) -> Endpoint {
        let place = Slot::take();
        Endpoint {
            spec: spec.clone(),
            // A validated host and port have only characters that a header value may have.
            authority: HeaderValue::try_from(authority)
                .unwrap_or_else(|_| HeaderValue::from_static("invalid")),
            slot: place.index(),
            state: Arc::new(state),
            at,
            place,
        }
    }

    /// Where it is; `None` while its name is being resolved for the first time.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.at {
            Where::Address(address) => Some(address),
            Where::Name(_) => None,
        }
    }

    pub(super) fn is_at(&self, target: &Target) -> bool {
        self.address() == Some(target.address) && self.authority == *target.authority
    }

    /// Whether it counts as up.
    pub fn is_up(&self, now: Duration) -> bool {
        match self.state.place(now) {
            Place::Up { .. } => true,
            Place::Resting | Place::Down => false,
        }
    }

    /// The place of its connections, held by each of them.
    pub(super) fn place(&self) -> Arc<Slot> {
        Arc::clone(&self.place)
    }

    /// A socket connected to it.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let stages = match &self.at {
            Where::Address(address) => return TcpStream::connect(address).await,
            Where::Name(stages) => stages,
        };
        let mut stages = stages.clone();
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        // An error: it is no longer configured.
        let known = stages.wait_for(|stage| *stage != Stage::Awaited).await;
        let stage = known.map_err(|_| unknown())?.clone();
        match (stage, self.spec.kind) {
            (Stage::Found(targets), _) => {
                let addresses: Vec<SocketAddr> = targets.iter().map(|t| t.address).collect();
                TcpStream::connect(&*addresses).await
            }
            (Stage::Alone, EndpointKind::Host) => {
                TcpStream::connect((&*self.spec.host, self.spec.port)).await
            }
            (Stage::Alone, EndpointKind::Srv) | (Stage::Nothing | Stage::Awaited, _) => {
                Err(unknown())
            }
        }
    }

    /// No connection could be made at `now`: prefer others for a while.
    pub fn rest(&self, now: Instant) {
        self.state.rest(Clock::uptime(now) + REST);
    }
}

fn authority(spec: &EndpointSpec) -> String {
    match (spec.kind, spec.host.contains(':')) {
        (EndpointKind::Srv, _) => spec.host.to_string(),
        (EndpointKind::Host, true) => format!("[{}]:{}", spec.host, spec.port),
        (EndpointKind::Host, false) => format!("{}:{}", spec.host, spec.port),
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.place.retire();
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
