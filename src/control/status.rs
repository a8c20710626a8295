//! What the gateway says about itself: `/api/v1/status`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::audit::{first, position};
use super::figures::Figures;
use super::switches::reached;
use crate::config::Problem;
use crate::policy::kill::KillKey;
use crate::snapshot::{Live, Phase, Snapshot};
use crate::telemetry::{KillOutcome, ListenerKind, ReloadResult};
use crate::vocab::Clock;

/// What control knows and the admin listener shows. Workers never touch it.
#[derive(Debug)]
pub struct Status {
    /// Live figures of the routes.
    pub figures: Figures,
    started: Duration,
    told: Mutex<Told>,
    edits: Mutex<VecDeque<(u64, Arc<str>)>>,
}

/// Most edits whose author is remembered until the file is read.
const MOST_EDITS: usize = 64;

/// What the last looks led to. Times are since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Hash of the configuration that holds.
    pub(super) config_hash: u32,
    /// When the structure was last looked at with a result.
    pub(super) reload_time: Duration,
    /// That result.
    pub(super) reload_result: Option<ReloadResult>,
    /// What was wrong with it.
    pub(super) reload_errors: Vec<Problem>,
    /// What waits for a restart.
    pub(super) needs_restart: Vec<&'static str>,
    /// When each key got the entry that it has.
    pub(super) since: BTreeMap<KillKey, Duration>,
    /// Keys that hold although the file does not say so.
    pub(super) held: BTreeSet<KillKey>,
    /// What is wrong with `switches.toml`.
    pub(super) switch_errors: Vec<Problem>,
}

/// The body of `/api/v1/status`.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    version: &'static str,
    instance: String,
    phase: &'static str,
    started: String,
    uptime_seconds: f64,
    config_hash: String,
    routes: usize,
    upstreams: usize,
    last_reload: ReloadReport,
    switches: Vec<SwitchReport>,
    switch_errors: Vec<Problem>,
    ledger: LedgerReport,
    connections: ConnectionsReport,
    panics: u64,
}

#[derive(Debug, Serialize)]
struct ReloadReport {
    time: String,
    result: &'static str,
    errors: Vec<Problem>,
    needs_restart: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct SwitchReport {
    key: String,
    mode: String,
    routes: Vec<String>,
    source: &'static str,
    share: f64,
    since: String,
    age_seconds: f64,
    reason: Option<String>,
    owner: Option<String>,
    /// Entries that expire come later; the key is there for those who read it.
    expires: Option<String>,
    held: bool,
}

/// What became of killed requests; `killed` is the sum of the others.
#[derive(Debug, Default, Serialize)]
struct LedgerReport {
    killed: u64,
    dropped: u64,
    archived: u64,
    rejected: u64,
    lost: u64,
    refused: u64,
    aborted: u64,
}

#[derive(Debug, Serialize)]
struct ConnectionsReport {
    client: i64,
    admin: i64,
    probe: i64,
}

impl Status {
    pub(super) fn new(started: Duration) -> Status {
        Status {
            figures: Figures::default(),
            started,
            told: Mutex::default(),
            edits: Mutex::default(),
        }
    }

    /// Remembers who wrote the `switches.toml` of this digest, by the name of the token, so that
    /// the changes it makes are logged under that name. To be called before the file is in place.
    pub fn note_edit(&self, digest: u64, token: Arc<str>) {
        let mut edits = self.edits();
        edits.push_back((digest, token));
        let surplus = edits.len().saturating_sub(MOST_EDITS);
        edits.drain(..surplus);
    }

    /// Who wrote the file of this digest, if it was edited through the admin listener. The last
    /// writer counts: the same bytes may be written again.
    pub(super) fn editor(&self, digest: u64) -> Option<Arc<str>> {
        let edits = self.edits();
        let mut latest = edits.iter().rev();
        latest
            .find(|(edit, _)| *edit == digest)
            .map(|(_, token)| Arc::clone(token))
    }

    fn edits(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<str>)>> {
        self.edits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What control last told; for control to change.
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole report, as of now.
    pub fn report(&self, live: &Live) -> StatusReport {
        let snapshot = live.load();
        let now = Clock::unix();
        let told = self.told();
        let connections = |kind| live.metrics.open_connections(kind);
        StatusReport {
            version: env!("CARGO_PKG_VERSION"),
            instance: snapshot.settings().server.instance.to_string(),
            phase: phase(live.phase()),
            started: rfc3339(self.started),
            uptime_seconds: now.saturating_sub(self.started).as_secs_f64(),
            config_hash: format!("{:08x}", told.config_hash),
            routes: snapshot.table.routes.len(),
            upstreams: snapshot.table.upstreams.len(),
            last_reload: ReloadReport {
                time: rfc3339(told.reload_time),
                result: told.reload_result.map_or("applied", result),
                errors: told.reload_errors.clone(),
                needs_restart: told.needs_restart.clone(),
            },
            switches: switches(&told, &snapshot, now),
            switch_errors: told.switch_errors.clone(),
            ledger: ledger(&snapshot),
            connections: ConnectionsReport {
                client: connections(ListenerKind::Client),
                admin: connections(ListenerKind::Admin),
                probe: connections(ListenerKind::Probe),
            },
            panics: live.metrics.panics_total(),
        }
    }
}

fn switches(told: &Told, snapshot: &Snapshot, now: Duration) -> Vec<SwitchReport> {
    let routes = &snapshot.settings().routes;
    let entries = snapshot.board.settings.iter();
    let report = |(key, entry)| {
        let since = told.since.get(key).copied().unwrap_or(now);
        let entry = first(entry);
        SwitchReport {
            key: key.to_string(),
            mode: position(key, entry, routes),
            routes: reached(key, routes)
                .map(|route| route.name.to_string())
                .collect(),
            source: "file",
            share: 1.0,
            since: rfc3339(since),
            age_seconds: now.saturating_sub(since).as_secs_f64(),
            reason: entry
                .and_then(|entry| entry.reason.as_deref())
                .map(str::to_owned),
            owner: entry
                .and_then(|entry| entry.owner.as_deref())
                .map(str::to_owned),
            expires: None,
            held: told.held.contains(key),
        }
    };
    entries.map(report).collect()
}

fn ledger(snapshot: &Snapshot) -> LedgerReport {
    let mut ledger = LedgerReport::default();
    for route in &snapshot.table.routes {
        for outcome in KillOutcome::ALL {
            let n = route.metrics.killed_total(outcome);
            ledger.killed += n;
            *match outcome {
                KillOutcome::Dropped => &mut ledger.dropped,
                KillOutcome::Archived => &mut ledger.archived,
                KillOutcome::Rejected => &mut ledger.rejected,
                KillOutcome::Lost => &mut ledger.lost,
                KillOutcome::Refused => &mut ledger.refused,
                KillOutcome::Aborted => &mut ledger.aborted,
            } += n;
        }
    }
    ledger
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Serving => "serving",
        Phase::Draining => "draining",
        Phase::Stopping => "stopping",
        Phase::Forced => "forced",
    }
}

fn result(result: ReloadResult) -> &'static str {
    match result {
        ReloadResult::Applied => "applied",
        ReloadResult::Unchanged => "unchanged",
        ReloadResult::Rejected => "rejected",
    }
}

/// A time since the Unix epoch as RFC 3339, to the millisecond.
pub(super) fn rfc3339(unix: Duration) -> String {
    let ms = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        let time = Duration::from_millis(1_700_000_000_120);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.120Z");
        assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(Duration::MAX).starts_with("9999-12-30T"));
    }
}
