//! The breaker between a route and its upstream: asked before the attempts, told how they ended.

use std::fmt::Display;
use std::time::Duration;

use super::attempt::{Got, Unanswered};
use super::exchange::Exchange;
use super::failure::Cause;
use crate::policy::breaker::{BreakerAsk, BreakerSpec, BreakerVerdict, Forced, Pass};
use crate::policy::outcome::{FailureStatuses, Outcome};
use crate::snapshot::{Branch, Route};
use crate::vocab::{Clock, Reason};

/// A request that the breaker let through. Whatever becomes of it, the breaker is told: on Drop,
/// if its client went away.
pub(super) struct Passing<'a> {
    route: &'a Route,
    branch: &'a Branch,
    spec: &'a BreakerSpec,
    pass: Option<Pass>,
}

/// Asks the breaker. A route without one costs nothing more.
///
/// # Errors
/// `breaker_open`, with the time after which it is worth while to come back.
pub(super) fn ask<'a>(
    exchange: &Exchange,
    route: &'a Route,
) -> Result<Option<Passing<'a>>, Unanswered> {
    let forced = exchange.view.snapshot.board.forced_breaker(route.id);
    let Some(branch) = route.branches.get(exchange.branch) else {
        return Ok(None);
    };
    let Some(spec) = &route.spec.breaker else {
        return match forced {
            Some(Forced::Tripped) => Err(refused(BreakerSpec::default().open_for)),
            Some(Forced::Passing) | None => Ok(None),
        };
    };
    let ask = BreakerAsk {
        forced,
        now: Clock::uptime(exchange.now),
        random: exchange.worker.random_bits(),
    };
    match branch.state.breaker.check(spec, &ask) {
        BreakerVerdict::Passed(pass) => Ok(Some(Passing {
            route,
            branch,
            spec,
            pass: Some(pass),
        })),
        BreakerVerdict::Refused { retry_after } => Err(refused(retry_after)),
    }
}

fn refused(retry_after: Duration) -> Unanswered {
    Unanswered {
        retry_after: Some(retry_after),
        ..Unanswered::from(Reason::BreakerOpen)
    }
}

impl Passing<'_> {
    /// Tells the breaker how the request ended.
    pub(super) fn ended(mut self, got: &Result<Got, Unanswered>) {
        let (outcome, cause) = match got {
            Ok(Got::Answer(response)) => {
                let status = response.status();
                let outcome = FailureStatuses::default().outcome(status.as_u16());
                (outcome, Some(Cause::Answered(status)))
            }
            Ok(Got::Killed(_)) => (Outcome::Unknown, None),
            Err(unanswered) => {
                let reason = unanswered.reason;
                let cause = Some(Cause::Unanswered(reason));
                (Outcome::of_reason(reason), cause)
            }
        };
        self.record(outcome, cause);
    }

    fn record(&mut self, outcome: Outcome, cause: Option<Cause>) {
        let Some(pass) = self.pass.take() else { return };
        let now = Clock::uptime(Clock::now());
        let breaker = &self.branch.state.breaker;
        let change = breaker.record(self.spec, pass, outcome, now);
        let failure = cause.as_ref().map(|cause| cause as &dyn Display);
        self.route.tell_breaker(self.branch, change, failure);
        self.route.tell_if_closed(self.branch, self.spec, now);
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.record(Outcome::Unknown, None);
    }
}
