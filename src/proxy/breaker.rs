//! The breaker between a route and its upstream: asked before each attempt, told how it ended.

use std::fmt::Display;
use std::time::{Duration, Instant};

use super::attempt::Unanswered;
use super::exchange::Exchange;
use super::failure::Cause;
use super::switch;
use crate::policy::breaker::{
    BreakerAsk, BreakerPosition, BreakerSpec, BreakerVerdict, Forced, Pass,
};
use crate::policy::outcome::Outcome;
use crate::snapshot::{Branch, Route};
use crate::vocab::{Clock, Reason};

/// An attempt that the breaker let through. Whatever becomes of it, the breaker is told: on Drop,
/// if its client went away.
pub(super) struct Passing<'a> {
    route: &'a Route,
    branch: &'a Branch,
    spec: &'a BreakerSpec,
    pass: Option<Pass>,
}

/// Asks the breaker about the first attempt. A route without one costs nothing more.
///
/// # Errors
/// `breaker_open`, with the time after which it is worth while to come back.
pub(super) fn ask<'a>(
    exchange: &Exchange,
    route: &'a Route,
) -> Result<Option<Passing<'a>>, Unanswered> {
    let forced = exchange.view.snapshot.board.forced_breaker(route.id);
    about(exchange, route, (forced, exchange.now))
}

/// Asks about a retry, after its wait: as any other attempt, and with the hand that holds now.
///
/// # Errors
/// `breaker_open`.
pub(super) fn ask_again<'a>(
    exchange: &Exchange,
    route: &'a Route,
) -> Result<Option<Passing<'a>>, Unanswered> {
    about(exchange, route, (by_hand(exchange, route), Clock::now()))
}

/// Where a hand holds the route's breakers by now. A route that is gone is held by none.
fn by_hand(exchange: &Exchange, route: &Route) -> Option<Forced> {
    if !exchange.worker.is_outdated(&exchange.view) {
        return exchange.view.snapshot.board.forced_breaker(route.id);
    }
    let snapshot = &exchange.worker.view().snapshot;
    let id = switch::successor(&snapshot.table, route)?;
    snapshot.board.forced_breaker(id)
}

/// What a breaker means for a retry that is not due yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prospect {
    /// It may be made, if the breaker lets it through then.
    Open,
    /// It would be refused.
    Closed,
}

/// Whether a retry is worth its wait. Takes no probe, as asking would.
pub(super) fn prospect(exchange: &Exchange, route: &Route, now: Instant) -> Prospect {
    let forced = by_hand(exchange, route);
    let position = match (&route.spec.breaker, route.branches.get(exchange.branch)) {
        (Some(spec), Some(branch)) => {
            let breaker = &branch.state.breaker;
            breaker.position(spec, forced, Clock::uptime(now))
        }
        (None, _) | (_, None) => match forced {
            Some(Forced::Tripped) => BreakerPosition::Tripped,
            Some(Forced::Passing) | None => BreakerPosition::Passing,
        },
    };
    match position {
        BreakerPosition::Tripped => Prospect::Closed,
        BreakerPosition::Passing | BreakerPosition::Probing => Prospect::Open,
    }
}

fn about<'a>(
    exchange: &Exchange,
    route: &'a Route,
    (forced, now): (Option<Forced>, Instant),
) -> Result<Option<Passing<'a>>, Unanswered> {
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
        now: Clock::uptime(now),
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
    /// Tells the breaker how the attempt ended.
    pub(super) fn ended(mut self, cause: Cause) {
        let outcome = match cause {
            Cause::Answered(status) => self.spec.on.of_status(status.as_u16()),
            Cause::Unanswered(reason) => self.spec.on.of_reason(reason),
        };
        self.record(outcome, Some(cause));
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
