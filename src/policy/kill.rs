//! The words of the kill switch: modes, keys, entries, plans, and a route's own settings.
//!
//! `rules` says which entry decides for a request, `share` which part of the clients it takes,
//! `ending` how a switch that ended lets traffic come back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::share::{Share, Sticky};
use crate::matching::When;
use crate::vocab::{ByteSize, Tier};

/// What a thrown switch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// 200; the payload is discarded.
    Drop,
    /// 200 once the payload is durable.
    Archive,
    /// 503 and `Retry-After`, for clients that behave.
    Reject,
}

impl Mode {
    /// Every mode, in the order of [`Mode::index`].
    pub const ALL: [Mode; 3] = [Mode::Drop, Mode::Archive, Mode::Reject];

    /// The name in configuration, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Drop => "drop",
            Mode::Archive => "archive",
            Mode::Reject => "reject",
        }
    }

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.as_str() == name)
    }

    /// Position in tables with one slot for each mode.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key under `[kill]`. Their order is the order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KillKey {
    /// One route.
    Route(Arc<str>),
    /// Every route of a tier: `tier:NAME`.
    Tier(Tier),
    /// Every route but those of tier `core`.
    All,
    /// The switches of a plan, by the plan's name: `plan:NAME`.
    Plan(Arc<str>),
}

impl fmt::Display for KillKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KillKey::Route(name) => f.write_str(name),
            KillKey::Tier(tier) => write!(f, "tier:{tier}"),
            KillKey::All => f.write_str("all"),
            KillKey::Plan(name) => write!(f, "plan:{name}"),
        }
    }
}

/// A route's `kill_switch`: what it answers when thrown, the mode for entries that name none, and
/// how switches reach and leave this route.
#[derive(Clone, Debug, PartialEq)]
pub struct KillSwitchSpec {
    /// The mode for entries that name none.
    pub mode: Option<Mode>,
    /// What `drop` and `archive` answer.
    pub answer: AnswerSpec,
    /// What tells clients apart for `percent`.
    pub sticky: Sticky,
    /// Over how long traffic comes back when a switch ends; zero is at once.
    pub restore: Duration,
    /// Whether tunnels of the route end when it is killed.
    pub close_tunnels: bool,
    /// What mode `archive` answers when no journal takes the payload.
    pub when_full: WhenFull,
    /// How much of the journal payloads of the route may take.
    pub archive_quota: Quota,
}

/// What mode `archive` answers when no journal takes the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// 503: the client keeps its payload.
    #[default]
    Reject,
    /// The answer of the switch all the same; the payload is lost, and counted so.
    Drop,
}

impl WhenFull {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            WhenFull::Reject => "reject",
            WhenFull::Drop => "drop",
        }
    }
}

/// A part of the journal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quota {
    /// A share of `max_bytes`.
    Share(Share),
    /// This many bytes.
    Bytes(u64),
}

impl Quota {
    /// Bytes, of a journal of `max_bytes`.
    pub fn of(self, max_bytes: u64) -> u64 {
        match self {
            Quota::Share(share) => (max_bytes as f64 * share.fraction()) as u64,
            Quota::Bytes(bytes) => bytes,
        }
    }
}

/// As the configuration writes it.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quota::Share(share) => write!(f, "{}%", share.percent()),
            Quota::Bytes(bytes) => ByteSize(*bytes).fmt(f),
        }
    }
}

impl Default for Quota {
    fn default() -> Quota {
        Quota::Share(Share::from_percent(25.0).unwrap_or(Share::WHOLE))
    }
}

/// Default of `restore`.
pub const DEFAULT_RESTORE: Duration = Duration::from_secs(30);

impl Default for KillSwitchSpec {
    fn default() -> KillSwitchSpec {
        KillSwitchSpec {
            mode: None,
            answer: AnswerSpec::default(),
            sticky: Sticky::default(),
            restore: DEFAULT_RESTORE,
            close_tunnels: false,
            when_full: WhenFull::default(),
            archive_quota: Quota::default(),
        }
    }
}

/// The answer of a thrown switch as far as it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerSpec {
    /// The status; 200 by default.
    pub status: Option<StatusCode>,
    /// The body; empty by default.
    pub body: Option<Bytes>,
    /// The body's type; none by default.
    pub content_type: Option<HeaderValue>,
}

/// Whether an entry throws a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Thrown, in that mode; `None` means the mode of the route's `kill_switch`.
    Thrown(Option<Mode>),
    /// `"off"`: the routes of this key are exempt from less specific keys.
    Off,
}

/// One entry of a key under `[kill]` or in a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct KillEntry {
    /// Thrown or off.
    pub position: Position,
    /// The share of the clients it takes; those outside it pass.
    pub share: Share,
    /// Which requests it is about; others go on to the next entry.
    pub when: When,
    /// When it ends, since the Unix epoch.
    pub until: Option<Duration>,
    /// Only counts what it would take.
    pub dry_run: bool,
    /// What it answers, over the route's own `kill_switch`. A `status` here also holds for `reject`.
    pub answer: AnswerSpec,
    /// When a client may come back; `reject` only. Default [`DEFAULT_RETRY_AFTER`].
    pub retry_after: Option<Duration>,
    /// Why, for people.
    pub reason: Option<Arc<str>>,
    /// Who, for people.
    pub owner: Option<Arc<str>>,
}

/// Default of `retry_after`.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(10);

impl KillEntry {
    /// An entry of one word: everything, for good.
    pub fn word(position: Position) -> KillEntry {
        KillEntry {
            position,
            share: Share::WHOLE,
            when: When::default(),
            until: None,
            dry_run: false,
            answer: AnswerSpec::default(),
            retry_after: None,
            reason: None,
            owner: None,
        }
    }
}

/// What a key under `[kill]` says.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// The entries of a route, a tier or `all`: the first that applies decides.
    Entries(Vec<KillEntry>),
    /// A plan, on or off.
    Plan(PlanUse),
}

impl Setting {
    /// Whether it throws anything.
    pub fn throws(&self) -> bool {
        match self {
            Setting::Entries(entries) => entries
                .iter()
                .any(|entry| matches!(entry.position, Position::Thrown(_))),
            Setting::Plan(plan) => plan.on,
        }
    }
}

/// The switches of a plan; no key is a plan.
pub type Plan = BTreeMap<KillKey, Vec<KillEntry>>;

/// `"plan:NAME"` under `[kill]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanUse {
    /// Whether it is thrown.
    pub on: bool,
    /// Its switches, as the structure gave them when this was read.
    pub plan: Arc<Plan>,
    /// When it ends, since the Unix epoch; an entry of the plan may end earlier.
    pub until: Option<Duration>,
    /// Only counts what it would take.
    pub dry_run: bool,
    /// Why, for entries that do not say.
    pub reason: Option<Arc<str>>,
    /// Who, for entries that do not say.
    pub owner: Option<Arc<str>>,
}

impl PlanUse {
    /// An entry of the plan, under what is said of the plan as a whole.
    pub fn applied(&self, entry: &KillEntry) -> KillEntry {
        let ends = [entry.until, self.until].into_iter().flatten();
        KillEntry {
            until: ends.min(),
            dry_run: entry.dry_run || self.dry_run,
            reason: entry.reason.clone().or_else(|| self.reason.clone()),
            owner: entry.owner.clone().or_else(|| self.owner.clone()),
            ..entry.clone()
        }
    }
}

/// Everything under `[kill]`.
pub type KillSettings = BTreeMap<KillKey, Setting>;
