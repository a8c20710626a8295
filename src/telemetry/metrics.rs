//! The metrics table: what is counted, where, and by whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::archive::ArchiveMetrics;
use super::branch::{BranchMetrics, RetryOutcome};
use super::counters::{CodeCounters, Duration4, Histogram, Sample};
use crate::vocab::{By, Reason};

/// One slot for each kill mode, in the order of `policy::kill::Mode`.
pub type Mode3<T> = [T; 3];

/// Names of the kill modes, in the order of [`Mode3`].
pub(crate) const MODES: Mode3<&str> = ["drop", "archive", "reject"];

/// What became of a killed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillOutcome {
    /// Answered; the payload was discarded.
    Dropped,
    /// Answered; the payload is durable.
    Archived,
    /// Told to come back later.
    Rejected,
    /// Answered although the payload could not be kept.
    Lost,
    /// Refused because the payload could not be kept.
    Refused,
    /// The client went away first.
    Aborted,
}

impl KillOutcome {
    pub(crate) const NAMES: [&str; 6] = [
        "dropped", "archived", "rejected", "lost", "refused", "aborted",
    ];

    /// Every outcome, in the order of the metric's labels.
    pub const ALL: [KillOutcome; 6] = [
        KillOutcome::Dropped,
        KillOutcome::Archived,
        KillOutcome::Rejected,
        KillOutcome::Lost,
        KillOutcome::Refused,
        KillOutcome::Aborted,
    ];
}

/// Everything counted for one route. Survives reloads with the route's name.
#[derive(Debug, Default)]
pub struct RouteMetrics {
    pub(crate) codes: CodeCounters,
    pub(crate) durations: Duration4,
    pub(crate) in_flight: AtomicI64,
    pub(crate) request_bytes: AtomicU64,
    pub(crate) response_bytes: AtomicU64,
    pub(crate) refusals: [AtomicU64; Reason::COUNT],
    pub(crate) killed: Mode3<[AtomicU64; 6]>,
    pub(crate) killed_bytes: Mode3<AtomicU64>,
    pub(crate) rehearsed: Mode3<AtomicU64>,
    pub(crate) client_retries: AtomicU64,
    pub(crate) kill_share: Mode3<AtomicU64>,
    pub(crate) kill_expires: AtomicU64,
    pub(crate) retries: [AtomicU64; RetryOutcome::NAMES.len()],
    pub(crate) limited: [AtomicU64; 2],
}

impl RouteMetrics {
    /// Makes the series of this status exist, at 0.
    pub fn announce(&self, by: By, code: u16) {
        self.codes.add(by, code, 0);
    }

    /// A request began.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A request that began here ends elsewhere.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// A request ended.
    pub fn end(&self, by: By, code: u16, duration: Duration) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.codes.add(by, code, 1);
        self.durations.of(by).observe(duration);
    }

    /// Body bytes that came from the client and went to it.
    pub fn transferred(&self, request_bytes: u64, response_bytes: u64) {
        if request_bytes > 0 {
            self.request_bytes.fetch_add(request_bytes, Relaxed);
        }
        if response_bytes > 0 {
            self.response_bytes.fetch_add(response_bytes, Relaxed);
        }
    }

    /// The gateway refused.
    pub fn refused(&self, reason: Reason) {
        self.refusals[reason.index()].fetch_add(1, Relaxed);
    }

    /// A kill switch answered; `mode` is its index.
    pub fn killed(&self, mode: usize, outcome: KillOutcome, bytes: u64) {
        self.killed[mode][outcome as usize].fetch_add(1, Relaxed);
        if bytes > 0 {
            self.killed_bytes[mode].fetch_add(bytes, Relaxed);
        }
    }

    /// A dry run would have taken a request; `mode` is its index.
    pub fn rehearsed(&self, mode: usize) {
        self.rehearsed[mode].fetch_add(1, Relaxed);
    }

    /// An attempt failed in a way that the route retries.
    pub fn retried(&self, outcome: RetryOutcome) {
        self.retries[outcome as usize].fetch_add(1, Relaxed);
    }

    /// A client sent a request again.
    pub fn client_retried(&self) {
        self.client_retries.fetch_add(1, Relaxed);
    }

    /// Requests that clients sent again, so far.
    pub fn client_retries(&self) -> u64 {
        self.client_retries.load(Relaxed)
    }

    /// A rate limit said no: the request was refused, or passed in a dry run.
    pub fn limited(&self, enforced: Enforced) {
        self.limited[enforced as usize].fetch_add(1, Relaxed);
    }

    /// States when the next switch of the route ends by itself, since the Unix epoch; zero: none
    /// does.
    pub fn set_kill_expires(&self, unix: Duration) {
        self.kill_expires
            .store(unix.as_secs_f64().to_bits(), Relaxed);
    }

    /// States the share of traffic that each mode takes, 0 to 1.
    pub fn set_kill_share(&self, share: Mode3<f64>) {
        for (slot, value) in self.kill_share.iter().zip(share) {
            slot.store(value.to_bits(), Relaxed);
        }
    }

    /// Requests by who answered and with what status, so far.
    pub fn requests(&self) -> Vec<(By, u16, u64)> {
        self.codes.read()
    }

    /// Requests in all, so far; cheaper than [`RouteMetrics::requests`].
    pub fn requests_total(&self) -> u64 {
        self.codes.total()
    }

    /// Requests that a kill switch answered with this outcome, in any mode, so far.
    pub fn killed_total(&self, outcome: KillOutcome) -> u64 {
        let modes = self.killed.iter();
        modes.map(|mode| mode[outcome as usize].load(Relaxed)).sum()
    }

    /// Latency of answers made by `by`, so far.
    pub fn latency(&self, by: By) -> Sample {
        self.durations.of(by).sample()
    }

    /// Requests that began so far, within the few that begin or end meanwhile: those that hang
    /// count, too.
    pub fn begun_total(&self) -> u64 {
        let in_flight = u64::try_from(self.in_flight()).unwrap_or_default();
        self.requests_total().saturating_add(in_flight)
    }

    /// Requests in flight now.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.load(Relaxed)
    }
}

/// Whether a rate limit refuses what is beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// It does.
    Yes,
    /// It only counts: a dry run.
    No,
}

impl Enforced {
    /// The `enforced` label of each, in the order of the variants.
    pub(crate) const NAMES: [&str; 2] = ["true", "false"];
}

/// How one attempt at an upstream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// A response head with this status.
    Status(u16),
    /// No response head.
    Failed(Reason),
    /// The client went away first.
    Abandoned,
}

/// Everything counted for one upstream. Survives reloads with the upstream's name.
#[derive(Debug, Default)]
pub struct UpstreamMetrics {
    pub(crate) classes: [AtomicU64; 5],
    pub(crate) failures: [AtomicU64; Reason::COUNT],
    pub(crate) abandoned: AtomicU64,
    pub(crate) duration: Histogram,
    pub(crate) in_flight: AtomicI64,
    /// 0: no limit.
    concurrency_limit: AtomicU32,
}

impl UpstreamMetrics {
    /// States how many requests may be in flight to it; `None`: any number.
    pub fn set_concurrency_limit(&self, most: Option<u32>) {
        self.concurrency_limit.store(most.unwrap_or(0), Relaxed);
    }

    /// The limit that was stated last; infinite without one, so that a ratio to it is 0.
    pub(crate) fn concurrency_limit(&self) -> f64 {
        match self.concurrency_limit.load(Relaxed) {
            0 => f64::INFINITY,
            most => f64::from(most),
        }
    }

    /// An attempt began.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// An attempt got its response head, or will not.
    pub fn outcome(&self, outcome: AttemptOutcome, duration: Duration) {
        match outcome {
            AttemptOutcome::Status(code) => {
                let class = usize::from(code / 100).clamp(1, 5) - 1;
                self.classes[class].fetch_add(1, Relaxed);
            }
            AttemptOutcome::Failed(reason) => {
                self.failures[reason.index()].fetch_add(1, Relaxed);
            }
            AttemptOutcome::Abandoned => {
                self.abandoned.fetch_add(1, Relaxed);
            }
        }
        self.duration.observe(duration);
    }

    /// An attempt's response body ended, or the attempt failed.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}

/// What is told of one endpoint as configured. Survives reloads with it.
#[derive(Debug, Default)]
pub struct EndpointMetrics {
    up: AtomicU64,
}

impl EndpointMetrics {
    /// States the share of its addresses that are up, 0 to 1.
    pub fn set_up(&self, share: f64) {
        self.up.store(share.to_bits(), Relaxed);
    }

    pub(crate) fn up(&self) -> f64 {
        f64::from_bits(self.up.load(Relaxed))
    }
}

/// Which socket a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// `server.listen`.
    Client,
    /// `admin.listen`.
    Admin,
    /// `admin.probe_listen`.
    Probe,
}

impl ListenerKind {
    /// The `listener` label and log field.
    pub fn as_str(self) -> &'static str {
        match self {
            ListenerKind::Client => "client",
            ListenerKind::Admin => "admin",
            ListenerKind::Probe => "probe",
        }
    }
}

/// What a look at the configuration led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// The new configuration holds.
    Applied,
    /// Nothing had changed.
    Unchanged,
    /// It had errors; the old one stays.
    Rejected,
}

/// Routes or upstreams by name, sorted.
pub(crate) type Named<T> = Vec<(Arc<str>, Arc<T>)>;

/// The endpoints of every upstream: the upstream's name, the endpoint as configured.
pub(crate) type Endpoints = Vec<(Arc<str>, Arc<str>, Arc<EndpointMetrics>)>;

/// Each route with each of its upstreams, by name.
pub(crate) type Branches = Vec<(Arc<str>, Arc<str>, Arc<BranchMetrics>)>;

/// Everything counted by one gateway process.
#[derive(Debug, Default)]
pub struct GatewayMetrics {
    /// Requests that match no route: `route="none"`.
    pub unmatched: Arc<RouteMetrics>,
    pub(crate) routes: ArcSwap<Named<RouteMetrics>>,
    pub(crate) upstreams: ArcSwap<Named<UpstreamMetrics>>,
    pub(crate) endpoints: ArcSwap<Endpoints>,
    pub(crate) branches: ArcSwap<Branches>,
    pub(crate) connections: [AtomicI64; 3],
    pub(crate) panics: AtomicU64,
    pub(crate) switch_errors: AtomicU64,
    pub(crate) reloads: [AtomicU64; 3],
    pub(crate) reload_failed: AtomicBool,
    pub(crate) reload_success_unix: AtomicU64,
    pub(crate) config_hash: AtomicU64,
    /// The archive.
    pub archive: ArchiveMetrics,
}

impl GatewayMetrics {
    /// States which routes and upstreams exist; what is not named is no longer exported.
    pub fn publish(&self, routes: Named<RouteMetrics>, upstreams: Named<UpstreamMetrics>) {
        self.routes.store(Arc::new(routes));
        self.upstreams.store(Arc::new(upstreams));
    }

    /// States which endpoints exist.
    pub fn publish_endpoints(&self, endpoints: Endpoints) {
        self.endpoints.store(Arc::new(endpoints));
    }

    /// States which upstream each route has.
    pub fn publish_branches(&self, branches: Branches) {
        self.branches.store(Arc::new(branches));
    }

    /// A connection was accepted (`1`) or ended (`-1`).
    pub fn connections(&self, listener: ListenerKind, change: i64) {
        self.connections[listener as usize].fetch_add(change, Relaxed);
    }

    /// Connections open on a listener.
    pub fn open_connections(&self, listener: ListenerKind) -> i64 {
        self.connections[listener as usize].load(Relaxed)
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// Panics caught, so far.
    pub fn panics_total(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Entries of `switches.toml` in error.
    pub fn set_switch_errors(&self, entries: usize) {
        self.switch_errors.store(entries as u64, Relaxed);
    }

    /// The first configuration holds; not counted as a reload.
    pub fn loaded(&self, unix: u64) {
        self.reload_success_unix.store(unix, Relaxed);
    }

    /// A look at the configuration ended; `unix` is now, in seconds.
    pub fn reloaded(&self, result: ReloadResult, unix: u64) {
        self.reloads[result as usize].fetch_add(1, Relaxed);
        match result {
            ReloadResult::Applied | ReloadResult::Unchanged => {
                self.reload_failed.store(false, Relaxed);
                self.reload_success_unix.store(unix, Relaxed);
            }
            ReloadResult::Rejected => self.reload_failed.store(true, Relaxed),
        }
    }

    /// The hash of the configuration that holds.
    pub fn set_config_hash(&self, hash: u32) {
        self.config_hash.store(u64::from(hash), Relaxed);
    }
}
