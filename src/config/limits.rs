//! What a route admits: `rate_limit`, `concurrency`, `client_retry_budget` and `auto_kill`.
//!
//! Each is off unless it is written, and `"off"` leaves out what `[defaults]` has. What
//! `[defaults]` alone says may be incomplete: it counts with what each route adds.

use std::time::Duration;

use super::answer::mode;
use super::cursor::{Cursor, Decoded, Switchable};
use super::keys;
use super::report::{Complaint, did_you_mean};
use super::settings::AutoKill;
use super::target::{Chosen, chosen};
use super::tree::Node;
use super::value::{
    boolean, expected, header_name_text, lacks, number, percent, positive_duration, rate, text,
};
use crate::policy::auto_kill::AutoKillSpec;
use crate::policy::budget::RetryBudgetSpec;
use crate::policy::concurrency::ConcurrencySpec;
use crate::policy::kill::KillSwitchSpec;
use crate::policy::rate::{RateKey, RateLimitSpec};
use crate::vocab::{Rate, Tier};

/// More requests at once than any gateway holds connections.
pub(super) const MOST_AT_ONCE: u32 = 1_000_000;

/// Default of `queue_timeout`.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(100);

/// Whether the table is that of a route, which must be whole, or of `[defaults]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// It must.
    Required,
    /// Routes may add what it lacks.
    Later,
}

/// `rate_limit`.
pub(super) fn rate_limit(route: &Cursor<'_>, whole: Whole) -> Option<RateLimitSpec> {
    let cursor = opened(
        route,
        "rate_limit",
        keys::RATE_LIMIT,
        "{ rate = \"500/s\" }",
    )?;
    let burst = cursor.read("burst", |node| number(node, 1, RateLimitSpec::MOST_BURST));
    let key = cursor.read("key", rate_key).unwrap_or_default();
    let max_keys = cursor.read("max_keys", |node| number(node, 1, RateLimitSpec::MOST_KEYS));
    let dry_run = cursor.read("dry_run", boolean).unwrap_or_default();
    let rate = cursor.read("rate", rate);
    if whole == Whole::Required {
        lacks(&cursor, "rate", "add rate = \"500/s\", or write \"off\"");
    }
    let rate = rate?;
    Some(RateLimitSpec {
        rate,
        burst: burst.unwrap_or_else(|| one_second(rate)),
        key,
        max_keys: max_keys.unwrap_or(RateLimitSpec::DEFAULT_MAX_KEYS),
        dry_run,
    })
}

/// What comes in one second at this rate, at least one.
fn one_second(rate: Rate) -> u32 {
    let seconds = u32::try_from(rate.period().as_secs()).unwrap_or(u32::MAX);
    (rate.count() / seconds.max(1)).max(1)
}

fn rate_key(node: &Node<'_>) -> Decoded<RateKey> {
    let complaint = || expected("\"route\", \"client-ip\" or \"header:NAME\"", node);
    let text = text(node).map_err(|_| complaint())?;
    match text.split_once(':') {
        None if text == "route" => Ok(RateKey::Route),
        None if text == "client-ip" => Ok(RateKey::ClientIp),
        Some(("header", name)) => header_name_text(name)
            .map(RateKey::Header)
            .ok_or_else(|| complaint().hint("the name of a header goes after `header:`")),
        _ => {
            let near = did_you_mean(text, ["route", "client-ip"]);
            let name = text.rsplit(':').next().unwrap_or(text);
            let header =
                || header_name_text(name).map(|name| format!("did you mean \"header:{name}\"?"));
            Err(complaint().maybe_hint(near.or_else(header)))
        }
    }
}

/// `concurrency` of a route.
pub(super) fn concurrency(route: &Cursor<'_>, whole: Whole) -> Option<ConcurrencySpec> {
    let cursor = opened(route, "concurrency", keys::CONCURRENCY, "{ max = 200 }")?;
    let queue = cursor.read("queue", |node| number(node, 0, MOST_AT_ONCE));
    let queue_timeout = cursor.read("queue_timeout", positive_duration);
    let max = cursor.read("max", |node| number(node, 1, MOST_AT_ONCE));
    if whole == Whole::Required {
        lacks(&cursor, "max", "add max = 200, or write \"off\"");
    }
    Some(ConcurrencySpec {
        max: max?,
        queue: queue.unwrap_or_default(),
        queue_timeout: queue_timeout.unwrap_or(QUEUE_TIMEOUT),
    })
}

/// `client_retry_budget`. Requests past it are answered as the kill switch would, which must
/// therefore have a mode.
pub(super) fn client_retry_budget(route: &Cursor<'_>, whole: Whole) -> Option<RetryBudgetSpec> {
    const KEY: &str = "client_retry_budget";
    // A route that answers itself has no upstream to protect.
    if chosen(route) == Chosen::Respond && !route.owns(KEY) {
        return None;
    }
    let cursor = opened(route, KEY, keys::CLIENT_RETRY_BUDGET, "{ percent = 20 }")?;
    let share = cursor.read("percent", percent);
    if whole == Whole::Required {
        lacks(&cursor, "percent", "add percent = 20, or write \"off\"");
        if !route.has_within("kill_switch", "mode") {
            let complaint = Complaint::new(
                "repeated requests past the budget are answered as the kill switch would, and it has no mode",
            );
            let hint = "add kill_switch = { mode = \"reject\" }, which throws nothing by itself";
            route.complain(KEY, route.place_of(KEY), complaint.hint(hint));
        }
    }
    Some(RetryBudgetSpec {
        share: share?,
        ..RetryBudgetSpec::default()
    })
}

/// `auto_kill`. A route of tier `core` has none, whatever `[defaults]` says.
pub(super) fn auto_kill(
    route: &Cursor<'_>,
    (tier, switch): (Tier, &KillSwitchSpec),
    whole: Whole,
) -> Option<AutoKill> {
    const KEY: &str = "auto_kill";
    let cursor = opened(
        route,
        KEY,
        keys::AUTO_KILL,
        "{ above = \"2000/s\", mode = \"drop\" }",
    )?;
    let above = cursor.read("above", rate);
    let lasting = cursor.read("for", positive_duration);
    let hold = cursor.read("hold", positive_duration);
    let mode = cursor.read("mode", mode);
    if whole == Whole::Later {
        return None;
    }
    match tier {
        Tier::Core if route.owns(KEY) => {
            let complaint = Complaint::new("a core route is never killed automatically");
            let hint = "remove it, or give the route another tier";
            route.complain(KEY, route.place_of(KEY), complaint.hint(hint));
            return None;
        }
        Tier::Core => return None,
        Tier::Standard | Tier::Sheddable => {}
    }
    lacks(&cursor, "above", "add above = \"2000/s\", or write \"off\"");
    if !cursor.has("mode") && !route.has_within("kill_switch", "mode") {
        let complaint =
            Complaint::new("neither `auto_kill` nor the route's `kill_switch` has a mode");
        let hint = "add mode = \"drop\", \"archive\" or \"reject\": nothing is dropped by default";
        route.complain(KEY, route.place_of(KEY), complaint.hint(hint));
    }
    Some(AutoKill {
        spec: AutoKillSpec {
            above: above?,
            lasting: lasting.unwrap_or(AutoKillSpec::DEFAULT_LASTING),
            hold: hold.unwrap_or(AutoKillSpec::DEFAULT_HOLD),
            restore: switch.restore,
        },
        mode: mode.or(switch.mode)?,
    })
}

/// Opens a table; one that is not there, or `"off"`, is none.
pub(super) fn opened<'b>(
    cursor: &'b Cursor<'_>,
    key: &'b str,
    section: keys::Section,
    form: &str,
) -> Option<Cursor<'b>> {
    match cursor.switchable(key, section, form) {
        Switchable::Absent | Switchable::Off => None,
        Switchable::Table(cursor) => Some(cursor),
    }
}
