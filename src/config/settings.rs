//! The validated configuration: what `seawall.toml` and `routes.d/*.toml` say, typed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

use crate::archive::store::{Retain, StoreUrl};
use crate::archive::{Limits, Redaction};
use crate::matching::{MatchSpec, PathTemplate};
use crate::policy::auto_kill::AutoKillSpec;
use crate::policy::breaker::BreakerSpec;
use crate::policy::budget::RetryBudgetSpec;
use crate::policy::concurrency::ConcurrencySpec;
use crate::policy::kill::{KillEntry, KillSwitchSpec, Mode, Plan, Position};
use crate::policy::rate::RateLimitSpec;
use crate::policy::retry::RetrySpec;
use crate::telemetry::ObserveKey;
use crate::upstream::UpstreamSpec;
use crate::vocab::{ByteRate, ByteSize, Secret, Tier};

/// One configuration, validated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[server]`.
    pub server: ServerSettings,
    /// `[admin]`.
    pub admin: AdminSettings,
    /// `[telemetry]`.
    pub telemetry: TelemetrySettings,
    /// `[archive]`.
    pub archive: ArchiveSettings,
    /// `[upstreams]`, by name.
    pub upstreams: BTreeMap<Arc<str>, UpstreamSpec>,
    /// `[routes]`, sorted by name.
    pub routes: Vec<RouteSettings>,
    /// `[plans]`, by name.
    pub plans: BTreeMap<Arc<str>, Arc<Plan>>,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where clients connect.
    pub listen: Vec<SocketAddr>,
    /// This gateway's name in records and logs.
    pub instance: Arc<str>,
    /// Worker threads; at least 1 (the configuration's 0 is already resolved to the CPU count).
    pub workers: usize,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Name servers for the names of endpoints; empty: the system's.
    pub resolvers: Vec<SocketAddr>,
    /// The whole request head must arrive within it.
    pub header_timeout: Duration,
    /// Longest silence of a client inside a request body.
    pub body_timeout: Duration,
    /// Average rate a request body must keep from the second `body_timeout` on.
    pub min_body_rate: ByteRate,
    /// Longest time a client may refuse to read.
    pub write_timeout: Duration,
    /// Keep-alive between requests.
    pub idle_timeout: Duration,
    /// Largest request head.
    pub max_header_bytes: ByteSize,
    /// Most header fields of a request.
    pub max_headers: usize,
    /// Most client connections at once.
    pub max_connections: usize,
    /// From SIGTERM to the end of accepting.
    pub drain_delay: Duration,
    /// From the end of accepting to the forced end.
    pub shutdown_grace: Duration,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where the admin listener is.
    pub listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` alone are served.
    pub probe_listen: Option<SocketAddr>,
    /// Who may change switches over HTTP, by name; without any nobody may.
    pub tokens: BTreeMap<Arc<str>, Secret>,
}

/// `[telemetry]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// The tracing filter; already checked to be one.
    pub log: String,
    /// Where access log lines go.
    pub access_log: AccessLog,
    /// Request headers that log lines carry as fields.
    pub log_headers: Vec<HeaderName>,
}

/// `[archive]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// Whether the section is written: then the journal is opened at start.
    pub written: bool,
    /// Directories of the journal, tried in order.
    pub journal: Vec<PathBuf>,
    /// Directories that must hold a record before it is acknowledged.
    pub copies: usize,
    /// What may change while the journal is open.
    pub limits: Limits,
    /// What is left out of records.
    pub redaction: Arc<Redaction>,
    /// Where sealed segments go; `None`: records stay in the journal.
    pub store: Option<StoreUrl>,
    /// How long they stay there.
    pub retain: Retain,
}

impl Settings {
    /// Whether something may archive: the section is written, or a route or a plan names the mode.
    pub fn may_archive(&self) -> bool {
        let archives = |entry: &KillEntry| entry.position == Position::Thrown(Some(Mode::Archive));
        let mut plans = self.plans.values().flat_map(|plan| plan.values());
        self.archive.written
            || self.routes.iter().any(RouteSettings::may_archive)
            || plans.any(|entries| entries.iter().any(archives))
    }
}

/// Where access log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// `[routes.NAME]`, with `[defaults]` merged in.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Its name.
    pub name: Arc<str>,
    /// Which requests it takes.
    pub matches: MatchSpec,
    /// Where they go.
    pub target: Target,
    /// How much it matters.
    pub tier: Tier,
    /// Who owns it.
    pub owner: Option<Arc<str>>,
    /// What to read when it breaks.
    pub runbook: Option<Arc<str>>,
    /// What players lose when it is killed.
    pub impact: Option<Arc<str>>,
    /// From the request received whole to the response head, every attempt included.
    pub timeout: Duration,
    /// The same for one attempt; `None`: no bound of its own.
    pub attempt_timeout: Option<Duration>,
    /// Longest silence inside a response body; `None`: the upstream's `read_timeout`.
    pub stream_idle_timeout: Option<Duration>,
    /// Largest request body; `None`: unbounded (`"none"`).
    pub max_body: Option<ByteSize>,
    /// The path sent upstream; `None`: as matched.
    pub path_rewrite: Option<PathTemplate>,
    /// The Host sent upstream.
    pub host_rewrite: HostRewrite,
    /// Edits of request headers on their way upstream.
    pub request_headers: HeaderEdits,
    /// Edits of response headers on their way to the client.
    pub response_headers: HeaderEdits,
    /// What its kill switch does.
    pub kill_switch: KillSwitchSpec,
    /// What the client sees when the upstream fails.
    pub on_failure: OnFailure,
    /// Whose most frequent values are told.
    pub observe: Vec<ObserveKey>,
    /// How often it may be called; `None`: as often as anybody likes.
    pub rate_limit: Option<RateLimitSpec>,
    /// How many of its requests may be in progress; `None`: any number.
    pub concurrency: Option<ConcurrencySpec>,
    /// When a failed attempt is made once more.
    pub retry: RetrySpec,
    /// How many retries its requests may add, for each upstream.
    pub retry_budget: RetryBudgetSpec,
    /// When its upstream is left alone; `None`: never.
    pub breaker: Option<BreakerSpec>,
    /// How many repeated requests its clients may add; `None`: any number.
    pub client_retry_budget: Option<RetryBudgetSpec>,
    /// When it is killed without a person's hand; `None`: never.
    pub auto_kill: Option<AutoKill>,
}

impl RouteSettings {
    fn may_archive(&self) -> bool {
        let modes = [self.kill_switch.mode, self.auto_kill.map(|auto| auto.mode)];
        modes.contains(&Some(Mode::Archive))
    }
}

/// A route's `auto_kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoKill {
    /// When, and for how long.
    pub spec: AutoKillSpec,
    /// What is done then.
    pub mode: Mode,
}

/// Where a route's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To an upstream, by name.
    Upstream(Arc<str>),
    /// To several upstreams by weight; each client to one of them. At least one has a weight.
    Split(Vec<SplitPart>),
    /// Nowhere: the gateway answers.
    Respond(RespondSpec),
}

/// One upstream of a `split`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitPart {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// Its part, as a share of the sum of weights.
    pub weight: u32,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RespondSpec {
    /// Its status; default 200.
    pub status: StatusCode,
    /// Its body; default empty.
    pub body: Bytes,
    /// Its type, if one is sent; default `text/plain; charset=utf-8` for a body that is not empty.
    pub content_type: Option<HeaderValue>,
}

/// What the client sees when the upstream fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The error.
    #[default]
    Closed,
    /// The answer of mode `archive`, once the request is kept.
    Open,
}

impl OnFailure {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            OnFailure::Closed => "closed",
            OnFailure::Open => "open",
        }
    }
}

/// The Host sent upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRewrite {
    /// As the client sent it.
    Keep,
    /// The endpoint's own `host:port`.
    Upstream,
    /// This name.
    Name(HeaderValue),
}

/// Edits of headers: removed first, then set, then added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Removed, every line.
    pub remove: Vec<HeaderName>,
    /// Set to one line.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// One line more.
    pub add: Vec<(HeaderName, HeaderValue)>,
}
