//! The published snapshot and the phase of the process: what server and control share.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use super::{Archive, Snapshot};
use crate::policy::client_retries::Recent;
use crate::telemetry::GatewayMetrics;
use crate::vocab::Clock;

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepting and answering.
    Serving = 0,
    /// Still accepting; answers carry `Connection: close`, `/readyz` says 503.
    Draining = 1,
    /// No longer accepting; requests in flight finish.
    Stopping = 2,
    /// What is left is cut.
    Forced = 3,
}

/// Requests that are remembered at most: up to 8 MiB, for 35,000 a second.
const REMEMBERED: usize = 1 << 20;

/// The one published snapshot.
///
/// Workers keep their own reference and compare one counter for each request, so that no
/// reference count moves between cores. What workers have let go of is freed by control, in
/// [`Live::sweep`].
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
    /// Wakes requests that wait in line. Nobody else touches it.
    changes: Notify,
    retired: Mutex<Vec<Arc<Snapshot>>>,
    phase: watch::Sender<Phase>,
    phase_now: AtomicU8,
    workers: AtomicUsize,
    /// The requests of the last half a minute, of all routes.
    pub recent: Recent,
    /// Where mode `archive` keeps payloads.
    pub archive: Archive,
    /// Everything counted.
    pub metrics: Arc<GatewayMetrics>,
}

impl Live {
    /// Publishes the first snapshot.
    pub fn new(first: Snapshot, metrics: Arc<GatewayMetrics>) -> Live {
        announce(&first, &metrics);
        first.table.adopt_limits();
        Live {
            current: ArcSwap::from_pointee(first),
            generation: AtomicU64::new(1),
            changes: Notify::new(),
            retired: Mutex::default(),
            phase: watch::Sender::new(Phase::Serving),
            phase_now: AtomicU8::new(Phase::Serving as u8),
            workers: AtomicUsize::new(0),
            recent: Recent::new(REMEMBERED),
            archive: Archive::default(),
            metrics,
        }
    }

    /// The number of one worker more; the first is 0.
    pub fn enrol(&self) -> usize {
        self.workers.fetch_add(1, Ordering::Relaxed)
    }

    /// Rises with each publication.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The snapshot that holds. For control, and for a worker whose own is outdated.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Publishes; workers see it with their next request.
    pub fn publish(&self, next: Snapshot) {
        announce(&next, &self.metrics);
        let table = Arc::clone(&next.table);
        let before = self.current.swap(Arc::new(next));
        self.generation.fetch_add(1, Ordering::Release);
        self.changes.notify_waiters();
        if !Arc::ptr_eq(&table, &before.table) {
            table.adopt_limits();
        }
        self.retired().push(before);
    }

    /// Ready at the first publication after this call: for requests that wait, which ask the
    /// switches that hold then.
    pub fn changed(&self) -> Notified<'_> {
        self.changes.notified()
    }

    /// States in the metrics what the switches take now: expiry and the return of traffic change
    /// that without a new snapshot.
    pub fn announce_switches(&self) {
        let snapshot = self.load();
        if snapshot.board.concerns_routes() {
            snapshot.board.announce(&snapshot.table, Clock::unix());
        }
    }

    /// States in the metrics where each breaker stands now: time alone changes that.
    pub fn announce_breakers(&self) {
        self.load().announce_breakers(Clock::uptime(Clock::now()));
    }

    /// States in the metrics what the archive holds now.
    pub fn announce_archive(&self) {
        if let Some(figures) = self.archive.figures() {
            self.metrics.archive.hold(figures.bytes, figures.oldest);
            self.metrics.archive.set_late(figures.late);
        }
    }

    /// States in the metrics which endpoints are up now.
    pub fn announce_endpoints(&self) {
        let now = Clock::uptime(Clock::now());
        let snapshot = self.load();
        let upstreams = snapshot.table.upstreams.values();
        for origin in upstreams.flat_map(|upstream| &upstream.origins) {
            origin.metrics.set_up(origin.share_up(now));
        }
    }

    /// Frees snapshots that no worker holds any more; returns how many are still held.
    pub fn sweep(&self) -> usize {
        let mut retired = self.retired();
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        retired.len()
    }

    fn retired(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Snapshot>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The phase now. One relaxed load.
    pub fn phase(&self) -> Phase {
        match self.phase_now.load(Ordering::Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            2 => Phase::Stopping,
            _ => Phase::Forced,
        }
    }

    /// Moves on to a later phase; an earlier one is ignored.
    pub fn advance(&self, phase: Phase) {
        if phase > self.phase() {
            self.phase_now.store(phase as u8, Ordering::Relaxed);
            self.phase.send_replace(phase);
        }
    }

    /// Follows the phase.
    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

fn announce(snapshot: &Snapshot, metrics: &GatewayMetrics) {
    let table = &snapshot.table;
    let routes = table.routes.iter();
    let upstreams = table.upstreams.iter();
    metrics.publish(
        routes
            .map(|r| (Arc::clone(&r.spec.name), Arc::clone(&r.metrics)))
            .collect(),
        upstreams
            .map(|(name, u)| (Arc::clone(name), Arc::clone(&u.metrics)))
            .collect(),
    );
    let endpoints = table.upstreams.iter().flat_map(|(name, upstream)| {
        upstream.origins.iter().map(|origin| {
            let text = Arc::clone(&origin.spec.text);
            (Arc::clone(name), text, Arc::clone(&origin.metrics))
        })
    });
    let mut endpoints: Vec<_> = endpoints.collect();
    // An endpoint may be configured twice; its series may not.
    endpoints.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    endpoints.dedup_by(|a, b| (&a.0, &a.1) == (&b.0, &b.1));
    metrics.publish_endpoints(endpoints);
    let branches = table.routes.iter().flat_map(|route| {
        let branches = route.branches.iter();
        branches.map(|branch| {
            let route = Arc::clone(&route.spec.name);
            let upstream = Arc::clone(&branch.upstream.spec.name);
            (route, upstream, Arc::clone(&branch.state.metrics))
        })
    });
    metrics.publish_branches(branches.collect());
    snapshot.announce_breakers(Clock::uptime(Clock::now()));
    snapshot.board.announce(table, Clock::unix());
}
