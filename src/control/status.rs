//! What the gateway says about itself: `/api/v1/status`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::archive::{ArchiveReport, Uploads};
use super::audit::Writer;
use super::breakers::{BreakerReport, BreakersTold, breaker_reports};
use super::endpoints::{EndpointReport, endpoint_reports};
use super::figures::Figures;
use super::ledger::Ledger;
use super::observed::{Observed, observed};
use super::reports::{FileReport, SwitchReport, switch_reports};
use super::routes::{OpenBreaker, open_breakers};
use crate::config::Problem;
use crate::policy::kill::KillKey;
use crate::snapshot::{Live, Phase, Snapshot};
use crate::telemetry::{GatewayMetrics, ListenerKind, ReloadResult};
use crate::vocab::Clock;

/// What control knows and the admin listener shows. Workers never touch it.
#[derive(Debug)]
pub struct Status {
    /// Live figures of the routes.
    pub figures: Figures,
    started: Duration,
    told: Mutex<Told>,
    edits: Mutex<VecDeque<(u64, Arc<str>)>>,
    uploads: Arc<Uploads>,
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
    /// Since when each key has its value, and who gave it.
    pub(super) noted: BTreeMap<KillKey, Noted>,
    /// Since when each route is killed that the gateway kills by itself.
    pub(super) automatic: BTreeMap<Arc<str>, Duration>,
    /// Breakers held by hand.
    pub(super) breakers: BreakersTold,
    /// What was read and acted on.
    pub(super) file: FileTold,
    /// What is wrong with `switches.toml`.
    pub(super) switch_errors: Vec<Problem>,
}

/// How a key came to its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    /// When, since the Unix epoch.
    pub(super) since: Duration,
    /// By which file.
    pub(super) writer: Writer,
}

/// What became of `switches.toml` as it was last read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FileTold {
    pub(super) path: PathBuf,
    /// Of its bytes; `None` while it cannot be read.
    pub(super) digest: Option<u64>,
    /// When these bytes were first read, since the Unix epoch.
    pub(super) read_at: Duration,
    /// Keys whose value in effect is not what the file says.
    pub(super) held: BTreeSet<KillKey>,
    /// When what is held ends, if time alone ends it.
    pub(super) settles: Option<Instant>,
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
    #[serde(flatten)]
    switches: SwitchesReport,
    ledger: Ledger,
    /// `null` until something may archive.
    archive: Option<ArchiveReport>,
    endpoints: Vec<EndpointReport>,
    /// Breakers that refuse requests by themselves.
    open_breakers: Vec<OpenBreaker>,
    observed: Observed,
    /// What clients sent again over the last ten seconds, by route.
    client_retries: BTreeMap<String, ClientRetriesReport>,
    connections: ConnectionsReport,
    panics: u64,
}

/// What the status says of the switches alone: the body of `/api/v1/status?only=switches`. Whoever
/// waits for a flip asks again and again, and the rest takes a while with many routes.
#[derive(Debug, Serialize)]
pub struct SwitchesReport {
    switches: Vec<SwitchReport>,
    breakers: Vec<BreakerReport>,
    switches_file: FileReport,
    switch_errors: Vec<Problem>,
}

impl SwitchesReport {
    fn of(told: &Told, snapshot: &Snapshot, now: Duration) -> SwitchesReport {
        SwitchesReport {
            switches: switch_reports(told, snapshot, now),
            breakers: breaker_reports(&told.breakers, snapshot, now),
            switches_file: FileReport::of(&told.file, Clock::now()),
            switch_errors: told.switch_errors.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct ReloadReport {
    time: String,
    result: &'static str,
    errors: Vec<Problem>,
    needs_restart: Vec<&'static str>,
}

/// Requests of one route that clients sent again.
#[derive(Debug, Serialize)]
struct ClientRetriesReport {
    share: f64,
    per_second: f64,
}

#[derive(Debug, Serialize)]
struct ConnectionsReport {
    client: i64,
    admin: i64,
    probe: i64,
}

impl Status {
    pub(super) fn new(started: Duration, metrics: Arc<GatewayMetrics>) -> Status {
        Status {
            figures: Figures::default(),
            started,
            told: Mutex::default(),
            edits: Mutex::default(),
            uploads: Arc::new(Uploads::new(metrics)),
        }
    }

    /// The archive's uploads.
    pub(super) fn uploads(&self) -> Arc<Uploads> {
        Arc::clone(&self.uploads)
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

    /// What the report says of the switches, as of now.
    pub fn switches(&self, live: &Live) -> SwitchesReport {
        // In this order, as in the whole report.
        let told = self.told();
        SwitchesReport::of(&told, &live.load(), Clock::unix())
    }

    fn client_retries(&self) -> BTreeMap<String, ClientRetriesReport> {
        let routes = self.figures.client_retries().into_iter();
        let reports = routes.map(|(route, figures)| {
            let report = ClientRetriesReport {
                share: figures.client_retry_share,
                per_second: figures.client_retries_per_second,
            };
            (route.to_string(), report)
        });
        reports.collect()
    }

    /// The whole report, as of now.
    pub fn report(&self, live: &Live) -> StatusReport {
        // This takes a while with many routes and endpoints, so before the lock that reloads need.
        let observed = observed(&live.load().table.routes, Clock::now());
        let client_retries = self.client_retries();
        let endpoints = endpoint_reports(&live.load(), Clock::uptime(Clock::now()));
        let archive = ArchiveReport::of(live, &self.uploads);
        // In this order: what is told of a file comes after the snapshot that it led to.
        let told = self.told();
        let snapshot = live.load();
        let now = Clock::unix();
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
            switches: SwitchesReport::of(&told, &snapshot, now),
            ledger: Ledger::of(live, &snapshot),
            archive,
            endpoints,
            open_breakers: open_breakers(&snapshot, Clock::uptime(Clock::now())),
            observed,
            client_retries,
            connections: ConnectionsReport {
                client: connections(ListenerKind::Client),
                admin: connections(ListenerKind::Admin),
                probe: connections(ListenerKind::Probe),
            },
            panics: live.metrics.panics_total(),
        }
    }
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
