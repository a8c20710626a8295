//! What a route admits and how it meets failures, key by key, as configuration writes it.

use super::policies::{Pair, list};
use crate::config::RouteSettings;
use crate::policy::breaker::{BreakerSpec, RatioSpec};
use crate::policy::outcome::Failure;
use crate::policy::rate::{RateKey, RateLimitSpec};
use crate::policy::retry::{Resend, Trigger};
use crate::vocab::{Tier, format_duration};

const OFF: &str = "off";

/// Every limit of the route; one that is off is one line.
pub(super) fn limits(route: &RouteSettings) -> Vec<Pair> {
    let mut all = route
        .rate_limit
        .as_ref()
        .map_or_else(|| vec![("rate_limit", OFF.to_owned())], rate_limit);
    all.extend(concurrency(route));
    all.extend(retry(route));
    all.extend(
        route
            .breaker
            .as_ref()
            .map_or_else(|| vec![("breaker", OFF.to_owned())], breaker),
    );
    all.push(match &route.client_retry_budget {
        None => ("client_retry_budget", OFF.to_owned()),
        Some(budget) => (
            "client_retry_budget.percent",
            budget.share.percent().to_string(),
        ),
    });
    all.extend(auto_kill(route));
    all
}

fn rate_limit(spec: &RateLimitSpec) -> Vec<Pair> {
    let mut all = vec![
        ("rate_limit.rate", spec.rate.to_string()),
        ("rate_limit.burst", spec.burst.to_string()),
        ("rate_limit.key", spec.key.to_string()),
        ("rate_limit.dry_run", spec.dry_run.to_string()),
    ];
    match spec.key {
        RateKey::Route => {}
        RateKey::ClientIp | RateKey::Header(_) => {
            all.push(("rate_limit.max_keys", spec.max_keys.to_string()));
        }
    }
    all
}

fn concurrency(route: &RouteSettings) -> Vec<Pair> {
    let Some(spec) = &route.concurrency else {
        return vec![("concurrency", OFF.to_owned())];
    };
    vec![
        ("concurrency.max", spec.max.to_string()),
        ("concurrency.queue", spec.queue.to_string()),
        (
            "concurrency.queue_timeout",
            format_duration(spec.queue_timeout),
        ),
    ]
}

fn retry(route: &RouteSettings) -> Vec<Pair> {
    let (retry, budget) = (&route.retry, &route.retry_budget);
    if retry.attempts == 1 {
        return vec![("retry", OFF.to_owned())];
    }
    let on: Vec<&str> = retry.on.listed().map(Trigger::as_str).collect();
    let non_idempotent = match retry.resend {
        Resend::Idempotent => false,
        Resend::All => true,
    };
    vec![
        ("retry.attempts", retry.attempts.to_string()),
        ("retry.on", list(&on, "nothing")),
        ("retry.backoff", format_duration(retry.backoff)),
        ("retry.max_backoff", format_duration(retry.max_backoff)),
        ("retry.non_idempotent", non_idempotent.to_string()),
        ("retry_budget.percent", budget.share.percent().to_string()),
        (
            "retry_budget.min_per_second",
            budget.min_per_second.to_string(),
        ),
        ("retry_budget.window", format_duration(budget.window)),
    ]
}

fn breaker(spec: &BreakerSpec) -> Vec<Pair> {
    let number = |number: Option<String>| number.unwrap_or_else(|| OFF.to_owned());
    let in_a_row = spec.consecutive_failures.map(|number| number.to_string());
    let share = spec.ratio.map(|ratio| ratio.failures.percent().to_string());
    let on: Vec<&str> = spec.on.listed().map(Failure::as_str).collect();
    let mut all = vec![
        ("breaker.on", list(&on, "nothing")),
        ("breaker.consecutive_failures", number(in_a_row)),
        ("breaker.failure_percent", number(share)),
    ];
    if let Some(RatioSpec {
        min_requests,
        window,
        ..
    }) = spec.ratio
    {
        all.push(("breaker.min_requests", min_requests.to_string()));
        all.push(("breaker.window", format_duration(window)));
    }
    all.push(("breaker.open_for", format_duration(spec.open_for)));
    all.push(("breaker.ramp", format_duration(spec.ramp)));
    all
}

fn auto_kill(route: &RouteSettings) -> Vec<Pair> {
    let Some(auto) = &route.auto_kill else {
        let why = match route.tier {
            Tier::Core => "off, as on every core route",
            Tier::Standard | Tier::Sheddable => OFF,
        };
        return vec![("auto_kill", why.to_owned())];
    };
    vec![
        ("auto_kill.above", auto.spec.above.to_string()),
        ("auto_kill.for", format_duration(auto.spec.lasting)),
        ("auto_kill.mode", auto.mode.to_string()),
        ("auto_kill.hold", format_duration(auto.spec.hold)),
    ]
}
