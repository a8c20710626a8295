//! One attempt at an upstream: a connection to an endpoint, the request sent, the response head.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::absorb::Taken;
use super::budget::{Budget, TimedOut, within};
use super::exchange::Exchange;
use super::headers;
use super::learn;
use super::refusal::Refusal;
use super::resend::{Original, take};
use super::switch;
use crate::config::HostRewrite;
use crate::policy::endpoint::Busy;
use crate::policy::retry::Remains;
use crate::snapshot::Route;
use crate::telemetry::{AttemptOutcome, UpstreamMetrics};
use crate::upstream::{
    BodyFault, Connection, Endpoint, Failure, InFlight, Progress, RequestBody, ResponseBody, Terms,
    Upstream,
};
use crate::vocab::{Clock, Reason};

/// An upstream's answer, its head checked.
pub(crate) type Answered = Response<ResponseBody>;

/// How the attempts at an upstream ended.
// Lives for a moment on the stack; a box would cost more than its size.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Got {
    Answer(Answered),
    /// While it waited, a switch took the request, untouched: what is sent is sent whole, or was
    /// given back, or had no body.
    Killed(Taken),
}

/// That there is no response head, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered {
    pub(crate) reason: Reason,
    /// When the client may come back, if that is known.
    pub(crate) retry_after: Option<Duration>,
}

impl From<Reason> for Unanswered {
    fn from(reason: Reason) -> Unanswered {
        Unanswered {
            reason,
            retry_after: None,
        }
    }
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Refusal {
        let refusal = Refusal::from(unanswered.reason);
        Refusal {
            retry_after: unanswered.retry_after.unwrap_or(refusal.retry_after),
            ..refusal
        }
    }
}

/// Whether an upstream may have seen a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing of it was sent.
    Never,
    /// It was sent, or part of it.
    Maybe,
}

/// Why an endpoint gave no response head.
pub(super) enum Stop {
    Failed(Broken),
    Killed(Taken),
}

/// How an attempt failed, and what it left of its request.
pub(super) struct Broken {
    pub(super) reason: Reason,
    pub(super) remains: Remains,
}

/// Nothing was sent.
impl From<Reason> for Stop {
    fn from(reason: Reason) -> Stop {
        let remains = Remains::Unsent;
        Stop::Failed(Broken { reason, remains })
    }
}

pub(super) struct Attempt<'a> {
    pub(super) exchange: &'a mut Exchange,
    pub(super) route: &'a Route,
    pub(super) upstream: &'a Arc<Upstream>,
    pub(super) endpoint: &'a Arc<Endpoint>,
    pub(super) original: &'a mut Original,
    /// In flight at the endpoint, from now on to the end of the response body.
    pub(super) busy: Option<Busy>,
    /// Sent again, after a connection that was used before turned out to be closed.
    pub(super) resent: bool,
    /// Counted in the exchange.
    pub(super) counted: bool,
    /// The clock when something was last waited for.
    pub(super) now: Instant,
}

/// A connection that was idle for so long may have been closed for that. One that breaks although
/// it was just used says something about the upstream, and what follows is a retry: it is in the
/// budget, so that an upstream in trouble is not asked twice as much.
const IDLE: Duration = Duration::from_millis(500);

impl Attempt<'_> {
    /// Sends on pooled connections until one takes the request, else on a fresh one. One that was
    /// idle and turns out to be closed is replaced once, if the request may be sent again: that is
    /// no attempt of its own. What waits asks the switch that holds now: after a connection was
    /// waited for, and before anything is sent once more.
    pub(super) async fn run(
        &mut self,
        request: &mut Request<RequestBody>,
    ) -> Result<Answered, Stop> {
        self.set_host(request.headers_mut());
        loop {
            let pooled = match self.resent {
                true => None,
                false => self.client().pooled(self.endpoint, self.now),
            };
            let connection = match pooled {
                Some(connection) => connection,
                None => {
                    let connected = self.connect().await;
                    self.ask_switch(request)?;
                    self.now = Clock::now();
                    connected?
                }
            };
            let reused = connection.reused;
            let stale = connection.idle >= IDLE;
            self.original.before_sending(request, stale);
            match self.send(connection, request).await {
                Ok(response) => return Ok(response),
                Err(Failed::Unsent(back)) => {
                    *request = *back;
                    if !reused {
                        return Err(Reason::UpstreamReset.into());
                    }
                    self.ask_switch(request)?;
                }
                Err(Failed::Sent(Reason::UpstreamReset)) if stale && self.original.resendable() => {
                    self.now = Clock::now();
                    self.resent = true;
                    self.original.restore(request);
                    self.ask_switch(request)?;
                }
                Err(Failed::Sent(reason)) => {
                    let remains = self.original.remains();
                    return Err(Stop::Failed(Broken { reason, remains }));
                }
            }
        }
    }

    fn client(&self) -> &crate::upstream::Client {
        &self.exchange.worker.client
    }

    fn set_host(&self, headers: &mut HeaderMap) {
        match &self.route.spec.host_rewrite {
            HostRewrite::Keep => {}
            HostRewrite::Upstream => {
                headers.insert(header::HOST, self.endpoint.authority.clone());
            }
            HostRewrite::Name(name) => {
                headers.insert(header::HOST, name.clone());
            }
        }
    }

    fn ask_switch(&mut self, request: &mut Request<RequestBody>) -> Result<(), Stop> {
        match switch::ask_again(self.exchange, request) {
            Some(taken) => Err(Stop::Killed(taken)),
            None => Ok(()),
        }
    }

    async fn connect(&mut self) -> Result<Connection, Reason> {
        let start = Clock::now();
        let metrics = Arc::clone(&self.upstream.metrics);
        let budget = self.budget(start);
        let whole = budget
            .deadline(self.exchange.progress.as_deref(), start)
            .saturating_duration_since(start);
        let allowed = self.upstream.spec.connect_timeout.min(whole);
        // Boxed: seldom needed, and large.
        let connecting = Box::pin(self.client().connect(self.endpoint));
        let reason = match tokio::time::timeout(allowed, connecting).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => {
                tracing::debug!(endpoint = &*self.endpoint.spec.text, %error, "connect failed");
                Reason::ConnectFailed
            }
            Err(_) if allowed < self.upstream.spec.connect_timeout => Reason::UpstreamTimeout,
            Err(_) => Reason::ConnectFailed,
        };
        let now = Clock::now();
        if reason == Reason::ConnectFailed {
            self.endpoint.rest(now);
        }
        self.count();
        metrics.outcome(
            AttemptOutcome::Failed(reason),
            now.saturating_duration_since(start),
        );
        Err(reason)
    }

    /// One attempt, however often it is sent on connections that turn out to be closed.
    fn count(&mut self) {
        if !self.counted {
            self.counted = true;
            self.exchange.attempts += 1;
        }
    }

    fn budget(&self, start: Instant) -> Budget {
        Budget {
            request: self.exchange.start,
            attempt: start,
            timeout: self.route.spec.timeout,
            attempt_timeout: self.route.spec.attempt_timeout,
        }
    }

    /// One request on one connection. The request is moved out, its method copied back.
    async fn send(
        &mut self,
        mut connection: Connection,
        request: &mut Request<RequestBody>,
    ) -> Result<Answered, Failed> {
        let start = self.now;
        let budget = self.budget(start);
        let mut record = AttemptRecord::begin(&self.upstream.metrics, start);
        self.count();
        let reused = connection.reused;
        let sent = {
            let sending = pin!(connection.send(take(request)));
            within(sending, &budget, self.exchange.progress.as_deref()).await
        };
        match sent {
            Ok(Ok(response)) => self.accept(response, connection, record),
            Ok(Err(error)) => Err(self.failed(Failure::of(error), reused, &mut record)),
            Err(TimedOut) => {
                self.exchange.seen = Seen::Maybe;
                learn::timed_out(self.upstream, start);
                Err(record.fail(Reason::UpstreamTimeout))
            }
        }
    }

    fn failed(&mut self, failure: Failure, reused: bool, record: &mut AttemptRecord) -> Failed {
        match failure {
            Failure::Unsent(request) => {
                match reused {
                    true => {
                        record.forget();
                        self.counted = false;
                        self.exchange.attempts -= 1;
                    }
                    false => record.reset(),
                }
                Failed::Unsent(request)
            }
            failure => {
                self.exchange.seen = Seen::Maybe;
                record.fail(reason_of(&failure, self.exchange.progress.as_deref()))
            }
        }
    }

    /// Checks a response head and ties the connection to the body.
    fn accept(
        &mut self,
        mut response: Response<Incoming>,
        connection: Connection,
        mut record: AttemptRecord,
    ) -> Result<Answered, Failed> {
        self.exchange.seen = Seen::Maybe;
        let status = response.status();
        if status.is_informational() {
            return Err(record.fail(Reason::UpstreamInvalid));
        }
        headers::scrub_response(response.headers_mut()).map_err(|reason| record.fail(reason))?;
        let now = record.head(status);
        let waiting = self.exchange.progress.as_deref().map(Progress::waiting);
        let sent = learn::sent_at(self.now, waiting);
        learn::answered(self.upstream, status, (sent, now));
        let busy = self.busy.take();
        let terms = Terms {
            keep: self.upstream.spec.keepalive,
            progress: self.original.sent(self.exchange.progress.as_ref()),
            silence: self.route.stream_idle_timeout,
            in_flight: record.into_guard(busy),
        };
        Ok(response.map(connection.lend(self.client(), terms)))
    }
}

/// Why a request got no response.
enum Failed {
    Unsent(Box<Request<RequestBody>>),
    Sent(Reason),
}

fn reason_of(failure: &Failure, progress: Option<&Progress>) -> Reason {
    match progress.and_then(Progress::fault) {
        Some(BodyFault::TooLarge) => return Reason::BodyTooLarge,
        Some(BodyFault::TooSlow) => return Reason::RequestTimeout,
        Some(BodyFault::Malformed | BodyFault::Gone) => return Reason::BadRequest,
        None => {}
    }
    match failure {
        Failure::Invalid => Reason::UpstreamInvalid,
        Failure::Unsent(_) | Failure::Reset | Failure::Body => Reason::UpstreamReset,
    }
}

/// Counts one attempt, also one whose client went away.
struct AttemptRecord {
    metrics: Arc<UpstreamMetrics>,
    start: Instant,
    outcome: Option<AttemptOutcome>,
    counted: bool,
}

impl AttemptRecord {
    fn begin(metrics: &Arc<UpstreamMetrics>, start: Instant) -> AttemptRecord {
        metrics.begin();
        AttemptRecord {
            metrics: Arc::clone(metrics),
            start,
            outcome: Some(AttemptOutcome::Abandoned),
            counted: true,
        }
    }

    fn fail(&mut self, reason: Reason) -> Failed {
        self.outcome = Some(AttemptOutcome::Failed(reason));
        Failed::Sent(reason)
    }

    /// The connection was closed as soon as it was made.
    fn reset(&mut self) {
        self.outcome = Some(AttemptOutcome::Failed(Reason::UpstreamReset));
    }

    /// Nothing was sent: this was no attempt.
    fn forget(&mut self) {
        self.outcome = None;
    }

    /// The head came; returns when.
    fn head(&mut self, status: StatusCode) -> Instant {
        let now = Clock::now();
        let took = now.saturating_duration_since(self.start);
        self.outcome = None;
        self.metrics
            .outcome(AttemptOutcome::Status(status.as_u16()), took);
        now
    }

    /// What remains is the response body: in flight until the guard is dropped.
    fn into_guard(mut self, busy: Option<Busy>) -> InFlight {
        self.counted = false;
        InFlight::begun(Arc::clone(&self.metrics), busy)
    }
}

impl Drop for AttemptRecord {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome {
            let took = Clock::now().saturating_duration_since(self.start);
            self.metrics.outcome(outcome, took);
        }
        if self.counted {
            self.metrics.end();
        }
    }
}
