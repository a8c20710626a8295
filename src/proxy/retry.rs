//! The attempts of one request, one after the other, as `policy::retry` decides and the breaker
//! lets them through.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response};

use super::absorb::Taken;
use super::attempt::{Answered, Attempt, Broken, Got, Stop, Unanswered};
use super::breaker::{self, Passing, Prospect};
use super::budget::Budget;
use super::exchange::Exchange;
use super::failure::Cause;
use super::headers::X_SEAWALL_ATTEMPT;
use super::resend::Original;
use super::switch;
use crate::policy::balance::Tried;
use crate::policy::outcome::Outcome;
use crate::policy::retry::{FailedAttempt, Purse, Remains, RetryVerdict, Trigger, Withheld};
use crate::snapshot::{Branch, Route};
use crate::telemetry::RetryOutcome;
use crate::upstream::{Aim, RequestBody};
use crate::vocab::{Clock, Reason};

/// Most bytes of a failed answer that are read so that its connection is of further use. They are
/// kept until the next attempt is let through.
const MOST_DRAINED: u64 = 64 << 10;

/// How long they are read at least, if the wait before the next attempt is shorter.
const DRAINING: Duration = Duration::from_millis(10);

/// Gets a response head from the upstream that was chosen; its breaker, if there is one, has let
/// the first attempt through.
pub(super) async fn run<'a>(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    (route, passing): (&'a Route, Option<Passing<'a>>),
) -> Result<Got, Unanswered> {
    let failure = Unanswered::from(Reason::NoEndpoint);
    let Some(branch) = route.branches.get(exchange.branch) else {
        return Err(failure);
    };
    let retry = &route.spec.retry;
    if retry.attempts > 1 {
        branch.state.budget.request(Clock::uptime(exchange.now));
    }
    let mut course = Course {
        route,
        branch,
        passing,
        original: Original::begin(request, retry),
        tried: Tried::default(),
        failure,
        now: exchange.now,
    };
    for number in 1_u32.. {
        if number >= retry.attempts {
            course.original.last();
        }
        let Some(ended) = course.attempt(exchange, request).await else {
            break;
        };
        let failed = match ended {
            Ended::Answered(response) => return Ok(Got::Answer(response)),
            Ended::Killed(taken) => return Ok(Got::Killed(taken)),
            Ended::Failed(failed) => failed,
        };
        let wait = match failed.decide(exchange, request.method(), (&course, number)) {
            Next::Wait(wait) => wait,
            Next::End => match failed.answer {
                Some(response) => return Ok(Got::Answer(response)),
                None => break,
            },
        };
        // Boxed: seldom needed, and large.
        let pausing = failed.pause(exchange, request, (&mut course, wait));
        match Box::pin(pausing).await {
            Paused::Onward => {}
            Paused::Killed(taken) => return Ok(Got::Killed(taken)),
            Paused::Stopped(Some(response)) => return Ok(Got::Answer(response)),
            Paused::Stopped(None) => break,
        }
        exchange.metrics().retried(RetryOutcome::Sent);
        let next = HeaderValue::from(number + 1);
        request.headers_mut().insert(X_SEAWALL_ATTEMPT, next);
        course.now = Clock::now();
    }
    Err(course.failure)
}

/// One request on its way from attempt to attempt.
struct Course<'a> {
    route: &'a Route,
    branch: &'a Branch,
    /// The breaker's word for the attempt that is made, if there is a breaker.
    passing: Option<Passing<'a>>,
    original: Original,
    tried: Tried,
    /// What the client gets if no attempt is left.
    failure: Unanswered,
    /// The clock when something was last waited for.
    now: Instant,
}

/// How an attempt ended.
// Lives for a moment on the stack; a box would cost more than its size.
#[allow(clippy::large_enum_variant)]
enum Ended {
    Answered(Answered),
    Killed(Taken),
    Failed(Failed),
}

impl Course<'_> {
    /// Makes an attempt at the endpoint whose turn it is; `None` without any.
    async fn attempt(
        &mut self,
        exchange: &mut Exchange,
        request: &mut Request<RequestBody>,
    ) -> Option<Ended> {
        let upstream = &self.branch.upstream;
        let aim = Aim {
            tried: &self.tried,
            hash: exchange.hash,
            random: exchange.worker.random_bits(),
            now: self.now,
        };
        let endpoint = &exchange.worker.client.choose(upstream, &aim)?;
        let mut attempt = Attempt {
            exchange,
            route: self.route,
            upstream,
            endpoint,
            original: &mut self.original,
            busy: Some(endpoint.state.begin()),
            resent: false,
            counted: false,
            now: self.now,
        };
        let ended = attempt.run(request).await;
        let passing = self.passing.take();
        let tell = |cause| {
            if let Some(passing) = passing {
                passing.ended(cause);
            }
        };
        let failed = match ended {
            Ok(response) => {
                tell(Cause::Answered(response.status()));
                match Trigger::of_status(response.status().as_u16()) {
                    None => {
                        upstream.attempted(endpoint, Outcome::Success, attempt.now);
                        return Some(Ended::Answered(response));
                    }
                    Some(trigger) => Failed::answered(trigger, response, self.original.remains()),
                }
            }
            Err(Stop::Killed(taken)) => return Some(Ended::Killed(taken)),
            Err(Stop::Failed(broken)) => {
                tell(Cause::Unanswered(broken.reason));
                self.failure.reason = broken.reason;
                Failed::broken(&broken)
            }
        };
        self.now = Clock::now();
        upstream.attempted(endpoint, failed.outcome, self.now);
        self.tried.add(&**endpoint);
        Some(Ended::Failed(failed))
    }
}

/// What follows a failed attempt.
enum Next {
    /// Another, after so long.
    Wait(Duration),
    /// The client gets this one's end.
    End,
}

/// An attempt that failed, and what the client gets if no other follows.
struct Failed {
    trigger: Option<Trigger>,
    outcome: Outcome,
    remains: Remains,
    answer: Option<Answered>,
}

impl Failed {
    fn broken(broken: &Broken) -> Failed {
        Failed {
            trigger: Trigger::of_reason(broken.reason),
            outcome: Outcome::of_reason(broken.reason),
            remains: broken.remains,
            answer: None,
        }
    }

    /// The statuses that may be retried are those that count as failures.
    fn answered(trigger: Trigger, response: Answered, remains: Remains) -> Failed {
        Failed {
            trigger: Some(trigger),
            outcome: Outcome::Failure,
            remains,
            answer: Some(response),
        }
    }

    /// Asks the breaker, which the attempt itself may have tripped, then the policy; counts what
    /// that says.
    fn decide(
        &self,
        exchange: &Exchange,
        method: &Method,
        (course, attempts): (&Course<'_>, u32),
    ) -> Next {
        let (route, branch, now) = (course.route, course.branch, course.now);
        match breaker::prospect(exchange, route, now) {
            Prospect::Open => {}
            Prospect::Closed => return Next::End,
        }
        let asked = self.answer.as_ref().map(Response::headers);
        let failed = FailedAttempt {
            trigger: self.trigger,
            attempts,
            method,
            remains: self.remains,
            retry_after: asked.and_then(retry_after),
            time_left: time_left(exchange, route, now),
        };
        let purse = Purse {
            spec: &route.spec.retry_budget,
            budget: &branch.state.budget,
            now: Clock::uptime(now),
        };
        let random = exchange.worker.random_bits();
        let outcome = match route.spec.retry.decide(&failed, &purse, random) {
            RetryVerdict::Retry { wait } => return Next::Wait(wait),
            RetryVerdict::Final => return Next::End,
            RetryVerdict::Withheld(Withheld::NoBudget) => RetryOutcome::NoBudget,
            RetryVerdict::Withheld(Withheld::NotReplayable) => RetryOutcome::NotReplayable,
            RetryVerdict::Withheld(Withheld::Deadline) => RetryOutcome::Deadline,
        };
        exchange.metrics().retried(outcome);
        Next::End
    }

    /// Makes the request ready to be sent again, waits, and asks the breaker for the next attempt;
    /// the rest of the answer is read meanwhile.
    async fn pause(
        mut self,
        exchange: &mut Exchange,
        request: &mut Request<RequestBody>,
        (course, wait): (&mut Course<'_>, Duration),
    ) -> Paused {
        let end = Clock::now() + wait;
        let route = course.route;
        if self.remains == Remains::Kept {
            course.original.restore(request);
            if exchange.progress.as_ref().is_some_and(|p| p.received() > 0) {
                // It has sent what it waited with.
                exchange.expects_continue = false;
            }
        }
        let worker = Arc::clone(&exchange.worker);
        let mut waiting = Box::pin(pass(self.answer.as_mut(), end));
        loop {
            // Before the questions, so that no change falls between.
            let mut changed = pin!(worker.live.changed());
            if let Some(taken) = switch::ask_again(exchange, request) {
                return Paused::Killed(taken);
            }
            match breaker::prospect(exchange, route, Clock::now()) {
                Prospect::Open => {}
                Prospect::Closed => break,
            }
            let woken = poll_fn(|cx| match waiting.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Woken::Over),
                Poll::Pending => changed.as_mut().poll(cx).map(|()| Woken::Changed),
            });
            match woken.await {
                Woken::Changed => {}
                Woken::Over => {
                    if let Some(taken) = switch::ask_again(exchange, request) {
                        return Paused::Killed(taken);
                    }
                    let Ok(passing) = breaker::ask_again(exchange, route) else {
                        break;
                    };
                    course.passing = passing;
                    return Paused::Onward;
                }
            }
        }
        drop(waiting);
        if self
            .answer
            .as_ref()
            .is_some_and(|answer| answer.body().is_broken())
        {
            self.answer = None;
            course.failure.reason = Reason::UpstreamReset;
        }
        Paused::Stopped(self.answer)
    }
}

/// How the wait for a retry ended.
// Lives for a moment on the stack; a box would cost more than its size.
#[allow(clippy::large_enum_variant)]
enum Paused {
    /// The attempt is made.
    Onward,
    /// A switch took the request.
    Killed(Taken),
    /// The breaker stands in the way: the client gets the answer that failed, if there was one.
    Stopped(Option<Answered>),
}

enum Woken {
    Over,
    /// Other switches may hold.
    Changed,
}

/// Lets time pass; what is left of a failed answer is read meanwhile, if it is little.
async fn pass(answer: Option<&mut Answered>, end: Instant) {
    if let Some(response) = answer {
        read_off(response, end).await;
    }
    tokio::time::sleep_until(end.into()).await;
}

/// Reads what is left of an answer that most likely nobody gets, if it is little and comes until
/// `end` or at once: its connection is of further use then.
pub(super) async fn read_off(answer: &mut Answered, end: Instant) {
    let least = Clock::now() + DRAINING;
    let reading = answer.body_mut().read_ahead(MOST_DRAINED);
    let _ = tokio::time::timeout_at(end.max(least).into(), reading).await;
}

/// Until the request's deadline.
fn time_left(exchange: &Exchange, route: &Route, now: Instant) -> Duration {
    let whole = Budget {
        request: exchange.start,
        attempt: now,
        timeout: route.spec.timeout,
        attempt_timeout: None,
    };
    let deadline = whole.deadline(exchange.progress.as_deref(), now);
    deadline.saturating_duration_since(now)
}

/// The wait that an answer asks for (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than a number holds is later than any deadline.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let unix = Duration::from_secs(u64::try_from(date.as_second()).ok()?);
    Some(unix.saturating_sub(Clock::unix()))
}
