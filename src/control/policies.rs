//! The effective policies of a route, as `/api/v1/routes` says them.

use std::time::Duration;

use serde::Serialize;

use crate::config::{HostRewrite, RouteSettings};
use crate::policy::breaker::BreakerSpec;
use crate::policy::outcome::Failure;
use crate::policy::rate::{RateKey, RateLimitSpec};
use crate::policy::retry::{Resend, Trigger};
use crate::snapshot::Route;

/// Times in milliseconds; `None` where there is no bound, and where a policy is off.
#[derive(Debug, Serialize)]
pub(super) struct PolicyReport {
    timeout_ms: u64,
    attempt_timeout_ms: Option<u64>,
    stream_idle_timeout_ms: Option<u64>,
    max_body: Option<u64>,
    path_rewrite: bool,
    host_rewrite: String,
    on_failure: &'static str,
    rate_limit: Option<RateLimitReport>,
    concurrency: Option<ConcurrencyReport>,
    retry: RetryReport,
    retry_budget: RetryBudgetReport,
    breaker: Option<BreakerReport>,
    client_retry_budget: Option<ClientRetryBudgetReport>,
    auto_kill: Option<AutoKillReport>,
    kill_switch_mode: Option<&'static str>,
}

/// Rates as they are written.
#[derive(Debug, Serialize)]
struct RateLimitReport {
    rate: String,
    burst: u32,
    key: String,
    /// `None` for key `route`, which has one.
    max_keys: Option<u32>,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct ConcurrencyReport {
    max: u32,
    queue: u32,
    queue_timeout_ms: u64,
}

#[derive(Debug, Serialize)]
struct RetryReport {
    attempts: u32,
    on: Vec<&'static str>,
    backoff_ms: u64,
    max_backoff_ms: u64,
    non_idempotent: bool,
}

#[derive(Debug, Serialize)]
struct RetryBudgetReport {
    percent: f64,
    min_per_second: u32,
    window_ms: u64,
}

#[derive(Debug, Serialize)]
struct BreakerReport {
    on: Vec<&'static str>,
    consecutive_failures: Option<u32>,
    failure_percent: Option<f64>,
    min_requests: Option<u32>,
    window_ms: Option<u64>,
    open_for_ms: u64,
    ramp_ms: u64,
}

#[derive(Debug, Serialize)]
struct ClientRetryBudgetReport {
    percent: f64,
}

#[derive(Debug, Serialize)]
struct AutoKillReport {
    above: String,
    for_ms: u64,
    mode: &'static str,
    hold_ms: u64,
}

/// What holds for the route.
pub(super) fn policies(route: &Route) -> PolicyReport {
    let spec = &route.spec;
    PolicyReport {
        timeout_ms: ms(spec.timeout),
        attempt_timeout_ms: spec.attempt_timeout.map(ms),
        // Without an upstream there is no bound.
        stream_idle_timeout_ms: u64::try_from(route.stream_idle_timeout.as_millis()).ok(),
        max_body: spec.max_body.map(|size| size.0),
        path_rewrite: spec.path_rewrite.is_some(),
        host_rewrite: match &spec.host_rewrite {
            HostRewrite::Keep => "keep".to_owned(),
            HostRewrite::Upstream => "upstream".to_owned(),
            HostRewrite::Name(name) => String::from_utf8_lossy(name.as_bytes()).into_owned(),
        },
        on_failure: spec.on_failure.as_str(),
        rate_limit: spec.rate_limit.as_ref().map(rate_limit),
        concurrency: spec.concurrency.map(|spec| ConcurrencyReport {
            max: spec.max,
            queue: spec.queue,
            queue_timeout_ms: ms(spec.queue_timeout),
        }),
        retry: retry(spec),
        retry_budget: RetryBudgetReport {
            percent: spec.retry_budget.share.percent(),
            min_per_second: spec.retry_budget.min_per_second,
            window_ms: ms(spec.retry_budget.window),
        },
        breaker: spec.breaker.as_ref().map(breaker),
        client_retry_budget: spec
            .client_retry_budget
            .map(|budget| ClientRetryBudgetReport {
                percent: budget.share.percent(),
            }),
        auto_kill: spec.auto_kill.map(|auto| AutoKillReport {
            above: auto.spec.above.to_string(),
            for_ms: ms(auto.spec.lasting),
            mode: auto.mode.as_str(),
            hold_ms: ms(auto.spec.hold),
        }),
        kill_switch_mode: spec.kill_switch.mode.map(|mode| mode.as_str()),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn rate_limit(spec: &RateLimitSpec) -> RateLimitReport {
    RateLimitReport {
        rate: spec.rate.to_string(),
        burst: spec.burst,
        key: spec.key.to_string(),
        max_keys: match spec.key {
            RateKey::Route => None,
            RateKey::ClientIp | RateKey::Header(_) => Some(spec.max_keys),
        },
        dry_run: spec.dry_run,
    }
}

fn retry(route: &RouteSettings) -> RetryReport {
    let spec = &route.retry;
    RetryReport {
        attempts: spec.attempts,
        on: spec.on.listed().map(Trigger::as_str).collect(),
        backoff_ms: ms(spec.backoff),
        max_backoff_ms: ms(spec.max_backoff),
        non_idempotent: match spec.resend {
            Resend::Idempotent => false,
            Resend::All => true,
        },
    }
}

fn breaker(spec: &BreakerSpec) -> BreakerReport {
    BreakerReport {
        on: spec.on.listed().map(Failure::as_str).collect(),
        consecutive_failures: spec.consecutive_failures,
        failure_percent: spec.ratio.map(|ratio| ratio.failures.percent()),
        min_requests: spec.ratio.map(|ratio| ratio.min_requests),
        window_ms: spec.ratio.map(|ratio| ms(ratio.window)),
        open_for_ms: ms(spec.open_for),
        ramp_ms: ms(spec.ramp),
    }
}
