//! What a route does about failures of its upstream: `retry`, `retry_budget` and `breaker`.

use std::time::Duration;

use super::cursor::{Cursor, Decoded, Switchable};
use super::keys;
use super::limits::opened;
use super::report::{Complaint, did_you_mean};
use super::tree::{Node, Value};
use super::value::{
    boolean, duration, duration_within, expected, number, percent, positive_percent,
};
use crate::policy::breaker::{BreakerSpec, RatioSpec};
use crate::policy::budget::{LONGEST_WINDOW, RetryBudgetSpec, SHORTEST_WINDOW};
use crate::policy::outcome::{Failure, Failures};
use crate::policy::retry::{Resend, RetrySpec, Trigger, Triggers};
use crate::policy::share::Share;
use crate::vocab::format_duration;

/// Most attempts of a request: more never helped anybody.
const MOST_ATTEMPTS: u32 = 10;

/// Largest `min_per_second`.
const MOST_PER_SECOND: u32 = 1_000_000;

/// Largest counts of a breaker.
const MOST_COUNTED: u32 = 1_000_000;

/// Longest `open_for` and `ramp`.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// `retry`; `"off"` is one attempt.
pub(super) fn retry(route: &Cursor<'_>) -> RetrySpec {
    let default = RetrySpec::default();
    let cursor = match route.switchable("retry", keys::RETRY, "{ attempts = 2 }") {
        Switchable::Absent => return default,
        Switchable::Off => {
            return RetrySpec {
                attempts: 1,
                ..default
            };
        }
        Switchable::Table(cursor) => cursor,
    };
    let attempts = cursor.read("attempts", |node| number(node, 1, MOST_ATTEMPTS));
    let backoff = cursor.read("backoff", duration).unwrap_or(default.backoff);
    let resend = match cursor.read("non_idempotent", boolean) {
        Some(true) => Resend::All,
        Some(false) | None => Resend::Idempotent,
    };
    RetrySpec {
        attempts: attempts.unwrap_or(default.attempts),
        on: triggers(&cursor).unwrap_or(default.on),
        backoff,
        max_backoff: max_backoff(&cursor, backoff),
        resend,
    }
}

/// The default follows a longer `backoff`.
fn max_backoff(cursor: &Cursor<'_>, backoff: Duration) -> Duration {
    const KEY: &str = "max_backoff";
    let Some(most) = cursor.read(KEY, duration) else {
        return RetrySpec::default().max_backoff.max(backoff);
    };
    if most < backoff && (cursor.owns(KEY) || cursor.owns("backoff")) {
        let complaint = Complaint::new(format!(
            "shorter than the first wait (`backoff`, {})",
            format_duration(backoff)
        ));
        cursor.complain(
            KEY,
            cursor.place_of(KEY),
            complaint.hint("raise it, or lower `backoff`"),
        );
    }
    most
}

fn triggers(cursor: &Cursor<'_>) -> Option<Triggers> {
    const KEY: &str = "on";
    let listed = cursor.read_items(KEY, "a list such as [\"connect\", \"reset\"]", trigger)?;
    if listed.is_empty() && cursor.owns(KEY) {
        let complaint = Complaint::new("expected at least one failure");
        let hint = "for no retries write retry = \"off\"";
        cursor.complain(KEY, cursor.place_of(KEY), complaint.hint(hint));
    }
    Some(Triggers::new(&listed))
}

fn trigger(node: &Node<'_>) -> Decoded<Trigger> {
    let names = Trigger::ALL.map(Trigger::as_str);
    by_name(node, &names, Trigger::from_name)
}

/// A failure by name; a status may be written as a number.
fn by_name<T>(node: &Node<'_>, names: &[&str], from_name: fn(&str) -> Option<T>) -> Decoded<T> {
    let number;
    let name = match &node.value {
        Value::Text(text) => text.as_ref(),
        Value::Integer(Some(status)) => {
            number = status.to_string();
            &number
        }
        Value::Integer(None)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Broken(_) => "",
    };
    from_name(name).ok_or_else(|| {
        // A status that is not listed was meant.
        let known = names.iter().copied();
        let hint = node.as_text().and_then(|text| did_you_mean(text, known));
        expected(format_args!("one of {}", names.join(", ")), node).maybe_hint(hint)
    })
}

/// `retry_budget`.
pub(super) fn retry_budget(route: &Cursor<'_>) -> RetryBudgetSpec {
    const KEY: &str = "retry_budget";
    let default = RetryBudgetSpec::default();
    let table = |node: &Node<'_>| match node.as_text() {
        Some("off") => Err(expected("a table", node).hint("for no retries write retry = \"off\"")),
        _ => Ok(()),
    };
    let table = route.read(KEY, table);
    let Some(cursor) = table.and_then(|()| route.table(KEY, keys::RETRY_BUDGET)) else {
        return default;
    };
    let least = cursor.read("min_per_second", |node| number(node, 0, MOST_PER_SECOND));
    RetryBudgetSpec {
        share: cursor.read("percent", percent).unwrap_or(default.share),
        min_per_second: least.unwrap_or(default.min_per_second),
        window: cursor.read("window", window).unwrap_or(default.window),
    }
}

fn window(node: &Node<'_>) -> Decoded<Duration> {
    duration_within(node, SHORTEST_WINDOW, LONGEST_WINDOW)
}

/// `breaker`: a route has none unless it is written; `{}` is one with the defaults.
pub(super) fn breaker(route: &Cursor<'_>) -> Option<BreakerSpec> {
    const KEY: &str = "breaker";
    let cursor = opened(route, KEY, keys::BREAKER, "{}, or { open_for = \"30s\" }")?;
    let default = BreakerSpec::default();
    let pause = |least| move |node: &Node<'_>| duration_within(node, least, LONGEST_PAUSE);
    let consecutive_failures = match cursor.read("consecutive_failures", failures) {
        Some(Rule::Off) => None,
        Some(Rule::At(number)) => Some(number),
        None => default.consecutive_failures,
    };
    let ratio = ratio(&cursor);
    if consecutive_failures.is_none() && ratio.is_none() && route.owns(KEY) {
        let complaint = Complaint::new("never trips: both of its rules are \"off\"");
        let hint = "leave one of them out, or write breaker = \"off\"";
        route.complain(KEY, route.place_of(KEY), complaint.hint(hint));
    }
    let open_for = cursor.read("open_for", pause(Duration::from_millis(1)));
    Some(BreakerSpec {
        on: counted(&cursor).unwrap_or(default.on),
        consecutive_failures,
        ratio,
        open_for: open_for.unwrap_or(default.open_for),
        ramp: cursor
            .read("ramp", pause(Duration::ZERO))
            .unwrap_or(default.ramp),
    })
}

/// What a breaker counts.
fn counted(cursor: &Cursor<'_>) -> Option<Failures> {
    const KEY: &str = "on";
    let names = Failure::ALL.map(Failure::as_str);
    let failure = |node: &Node<'_>| by_name(node, &names, Failure::from_name);
    let listed = cursor.read_items(KEY, "a list such as [\"timeout\", \"503\"]", failure)?;
    if listed.is_empty() && cursor.owns(KEY) {
        let complaint = Complaint::new("expected at least one failure");
        let hint = "for no breaker write breaker = \"off\"";
        cursor.complain(KEY, cursor.place_of(KEY), complaint.hint(hint));
    }
    Some(Failures::new(&listed))
}

/// One of a breaker's two rules.
enum Rule<T> {
    Off,
    At(T),
}

fn failures(node: &Node<'_>) -> Decoded<Rule<u32>> {
    if node.as_text() == Some("off") {
        return Ok(Rule::Off);
    }
    let forms = format!("a number from 1 to {MOST_COUNTED}, or \"off\"");
    number(node, 1, MOST_COUNTED)
        .map(Rule::At)
        .map_err(|_| expected(forms, node))
}

fn failure_percent(node: &Node<'_>) -> Decoded<Rule<Share>> {
    if node.as_text() == Some("off") {
        return Ok(Rule::Off);
    }
    positive_percent(node)
        .map(Rule::At)
        .map_err(|complaint| Complaint {
            message: expected("a number above 0, up to 100, or \"off\"", node).message,
            ..complaint
        })
}

fn ratio(cursor: &Cursor<'_>) -> Option<RatioSpec> {
    let default = BreakerSpec::default().ratio?;
    let least = cursor.read("min_requests", |node| number(node, 1, MOST_COUNTED));
    let window = cursor.read("window", window);
    let failures = match cursor.read("failure_percent", failure_percent) {
        Some(Rule::Off) => return None,
        Some(Rule::At(share)) => share,
        None => default.failures,
    };
    Some(RatioSpec {
        failures,
        min_requests: least.unwrap_or(default.min_requests),
        window: window.unwrap_or(default.window),
    })
}
