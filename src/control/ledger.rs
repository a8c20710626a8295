//! The loss ledger: what became of every killed request, to the unit.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::snapshot::{Live, Snapshot};
use crate::telemetry::{KillOutcome, RouteMetrics};

/// What became of killed requests; `killed` is the sum of the others.
#[derive(Debug, Default, Serialize)]
struct Line {
    killed: u64,
    dropped: u64,
    archived: u64,
    rejected: u64,
    lost: u64,
    refused: u64,
    aborted: u64,
}

/// The ledger in the status.
#[derive(Debug, Serialize)]
pub(super) struct Ledger {
    #[serde(flatten)]
    total: Line,
    /// Records that the journal took too late: they count as refused, lost or aborted, and are
    /// in it all the same. What the gateway wrote since its start is `archived` and these.
    late: u64,
    /// The routes of which a request was killed.
    routes: BTreeMap<Arc<str>, Line>,
}

impl Ledger {
    pub(super) fn of(live: &Live, snapshot: &Snapshot) -> Ledger {
        let mut ledger = Ledger {
            total: Line::default(),
            late: live.archive.figures().map_or(0, |figures| figures.late),
            routes: BTreeMap::new(),
        };
        for route in &snapshot.table.routes {
            let line = Line::of(&route.metrics);
            if line.killed > 0 {
                ledger.total.add(&line);
                ledger.routes.insert(Arc::clone(&route.spec.name), line);
            }
        }
        ledger
    }
}

impl Line {
    fn of(metrics: &RouteMetrics) -> Line {
        let mut line = Line::default();
        for outcome in KillOutcome::ALL {
            line.count(outcome, metrics.killed_total(outcome));
        }
        line
    }

    fn count(&mut self, outcome: KillOutcome, requests: u64) {
        self.killed += requests;
        *match outcome {
            KillOutcome::Dropped => &mut self.dropped,
            KillOutcome::Archived => &mut self.archived,
            KillOutcome::Rejected => &mut self.rejected,
            KillOutcome::Lost => &mut self.lost,
            KillOutcome::Refused => &mut self.refused,
            KillOutcome::Aborted => &mut self.aborted,
        } += requests;
    }

    fn add(&mut self, other: &Line) {
        self.killed += other.killed;
        self.dropped += other.dropped;
        self.archived += other.archived;
        self.rejected += other.rejected;
        self.lost += other.lost;
        self.refused += other.refused;
        self.aborted += other.aborted;
    }
}
