//! Which switch decides for a route, and what the switch then answers.
//!
//! Precedence (most specific first): the route's own key, its tier, `all`. A route of tier
//! `core` is not reached by `all`: it dies by its own name or by `tier:core` only.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::vocab::Tier;

/// What a thrown switch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// 200; the payload is discarded.
    Drop,
    /// 200; the payload is kept. Not supported yet: configuration refuses it.
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
}

impl fmt::Display for KillKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KillKey::Route(name) => f.write_str(name),
            KillKey::Tier(tier) => write!(f, "tier:{tier}"),
            KillKey::All => f.write_str("all"),
        }
    }
}

/// A route's `kill_switch`: what it answers when thrown, and the mode for entries that name none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KillSwitchSpec {
    /// The mode for entries that name none.
    pub mode: Option<Mode>,
    /// What `drop` and `archive` answer.
    pub answer: AnswerSpec,
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

/// The value of one key under `[kill]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillEntry {
    /// Thrown or off.
    pub position: Position,
    /// What it answers, over the route's own `kill_switch`. A `status` here also holds for `reject`.
    pub answer: AnswerSpec,
    /// When a client may come back; `reject` only. Default 10 s.
    pub retry_after: Option<Duration>,
    /// Why, for people.
    pub reason: Option<Arc<str>>,
    /// Who, for people.
    pub owner: Option<Arc<str>>,
}

/// What a thrown switch does to a request, completely: computed when the switches are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillOrder {
    /// The mode.
    pub mode: Mode,
    /// The key whose entry decided.
    pub key: KillKey,
    /// Status of the answer.
    pub status: StatusCode,
    /// Body of the answer; for `reject` the problem body is made by the walk.
    pub body: Bytes,
    /// Type of the body, if one was configured.
    pub content_type: Option<HeaderValue>,
    /// `reject` only: the delay before jitter.
    pub retry_after: Duration,
    /// Why, for people.
    pub reason: Option<Arc<str>>,
    /// Who, for people.
    pub owner: Option<Arc<str>>,
}

/// Default of `retry_after`.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(10);

/// The order for a route, if a switch is thrown for it.
///
/// The first key of the precedence that has an entry decides alone. An entry that names no mode
/// for a route whose `kill_switch` names none is inert for that route (`check` reports it).
pub fn decide(
    name: &str,
    tier: Tier,
    own: &KillSwitchSpec,
    entries: &BTreeMap<KillKey, KillEntry>,
) -> Option<KillOrder> {
    let (key, entry) = deciding_entry(name, tier, entries)?;
    let mode = match entry.position {
        Position::Off => return None,
        Position::Thrown(mode) => mode.or(own.mode)?,
    };
    Some(order(mode, key, entry, own))
}

fn deciding_entry<'a>(
    name: &str,
    tier: Tier,
    entries: &'a BTreeMap<KillKey, KillEntry>,
) -> Option<(&'a KillKey, &'a KillEntry)> {
    if entries.is_empty() {
        return None;
    }
    let all = (tier != Tier::Core).then_some(KillKey::All);
    [
        Some(KillKey::Route(name.into())),
        Some(KillKey::Tier(tier)),
        all,
    ]
    .into_iter()
    .flatten()
    .find_map(|key| entries.get_key_value(&key))
}

fn order(mode: Mode, key: &KillKey, entry: &KillEntry, own: &KillSwitchSpec) -> KillOrder {
    let (status, body, content_type) = match mode {
        Mode::Drop | Mode::Archive => (
            entry
                .answer
                .status
                .or(own.answer.status)
                .unwrap_or(StatusCode::OK),
            entry
                .answer
                .body
                .clone()
                .or_else(|| own.answer.body.clone()),
            entry
                .answer
                .content_type
                .clone()
                .or_else(|| own.answer.content_type.clone()),
        ),
        Mode::Reject => (
            entry
                .answer
                .status
                .unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            None,
            None,
        ),
    };
    KillOrder {
        mode,
        key: key.clone(),
        status,
        body: body.unwrap_or_default(),
        content_type,
        retry_after: entry.retry_after.unwrap_or(DEFAULT_RETRY_AFTER),
        reason: entry.reason.clone(),
        owner: entry.owner.clone(),
    }
}
