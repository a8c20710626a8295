//! A route and one of its upstreams: what the two have seen of each other.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::{Route, Snapshot};
use crate::policy::breaker::{Breaker, BreakerChange, BreakerPosition, BreakerSpec, Forced};
use crate::policy::budget::RetryBudget;
use crate::telemetry::BranchMetrics;
use crate::upstream::Upstream;

/// One upstream of a route.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// What the two have seen of each other; shared with the snapshot before, by their names.
    pub state: Arc<BranchState>,
}

/// What is known of one route's requests to one upstream.
#[derive(Debug, Default)]
pub struct BranchState {
    /// How many retries they may still add.
    pub budget: RetryBudget,
    /// Whether they are let through.
    pub breaker: Breaker,
    /// What dashboards see of it.
    pub(super) metrics: Arc<BranchMetrics>,
    /// Traffic comes back, and nobody was told yet that all of it is.
    returning: AtomicBool,
}

impl Route {
    /// Where the breaker towards one of its upstreams stands; a route without one lets pass.
    pub fn breaker_position(
        &self,
        branch: &Branch,
        forced: Option<Forced>,
        now: Duration,
    ) -> BreakerPosition {
        let position = match (&self.spec.breaker, forced) {
            (Some(spec), forced) => {
                self.tell_if_closed(branch, spec, now);
                branch.state.breaker.position(spec, forced, now)
            }
            (None, Some(Forced::Tripped)) => BreakerPosition::Tripped,
            (None, Some(Forced::Passing) | None) => BreakerPosition::Passing,
        };
        branch.state.metrics.set_breaker(position.gauge());
        position
    }

    /// Whether a breaker of the route holds requests back by itself, whatever a hand says.
    pub fn breaks(&self, now: Duration) -> bool {
        let Some(spec) = &self.spec.breaker else {
            return false;
        };
        let position = |branch: &Branch| branch.state.breaker.position(spec, None, now);
        self.branches.iter().any(|branch| match position(branch) {
            BreakerPosition::Passing => false,
            BreakerPosition::Probing | BreakerPosition::Tripped => true,
        })
    }

    /// Logs what the end of a request changed; `failure` is what became of it, if it failed.
    pub fn tell_breaker(
        &self,
        branch: &Branch,
        change: BreakerChange,
        failure: Option<&dyn Display>,
    ) {
        let (route, upstream) = (&*self.spec.name, &*branch.upstream.spec.name);
        match change {
            BreakerChange::None => {}
            BreakerChange::Tripped { open_for } => {
                branch.state.returning.store(false, Relaxed);
                let open_for_ms = open_for.as_millis() as u64;
                let failure = failure.map(tracing::field::display);
                tracing::warn!(route, upstream, failure, open_for_ms, "breaker tripped");
            }
            BreakerChange::Returning => {
                branch.state.returning.store(true, Relaxed);
                tracing::info!(
                    route,
                    upstream,
                    "breaker probe succeeded, traffic comes back"
                );
            }
        }
    }

    /// Logs, once, that all traffic is back.
    pub fn tell_if_closed(&self, branch: &Branch, spec: &BreakerSpec, now: Duration) {
        let state = &branch.state;
        let closed = state.returning.load(Relaxed)
            && state.breaker.position(spec, None, now) == BreakerPosition::Passing;
        if closed && state.returning.swap(false, Relaxed) {
            let (route, upstream) = (&*self.spec.name, &*branch.upstream.spec.name);
            tracing::info!(route, upstream, "breaker passing");
        }
    }
}

impl Snapshot {
    /// States in the metrics where each breaker stands now.
    pub(super) fn announce_breakers(&self, now: Duration) {
        for route in &self.table.routes {
            let forced = self.board.forced_breaker(route.id);
            for branch in &route.branches {
                route.breaker_position(branch, forced, now);
            }
        }
    }
}
