//! Attempts at an upstream: an endpoint, a connection, the request sent, the response head.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use http::header;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::absorb::Taken;
use super::budget::{Budget, TimedOut, within};
use super::exchange::Exchange;
use super::headers;
use super::learn;
use super::refusal::{CLOSE, Refusal};
use super::reply::ReplyBody;
use super::resend::{Copy, resendable, take};
use super::switch;
use crate::config::HostRewrite;
use crate::policy::balance::Tried;
use crate::snapshot::{Branch, Route};
use crate::telemetry::{AttemptOutcome, UpstreamMetrics};
use crate::upstream::{
    Aim, BodyFault, Connection, Endpoint, Failure, InFlight, Progress, RequestBody, ResponseBody,
    Terms, Upstream,
};
use crate::vocab::{By, Clock, Reason};

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

/// Gets a response head from the route's upstream. What waits asks the switch that holds now:
/// after a connection was waited for, and before anything is sent once more.
///
/// An endpoint that cannot be connected to is passed over: nothing was sent. A pooled connection
/// that turns out to be closed is replaced once, if the request may be sent again.
pub(crate) async fn run(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    route: &Route,
) -> Result<Got, Unanswered> {
    let mut failure = Unanswered {
        reason: Reason::NoEndpoint,
        seen: Seen::Never,
    };
    let Some(Branch { upstream, .. }) = route.branches.get(exchange.branch) else {
        return Err(failure);
    };
    let worker = Arc::clone(&exchange.worker);
    let mut tried = Tried::default();
    // Nothing has waited since the request began: the clock need not be read again.
    let mut now = exchange.start;
    for _ in 0..upstream.endpoints().len() {
        let aim = Aim {
            tried: &tried,
            hash: 0,
            random: worker.random_bits(),
            now,
        };
        let Some(endpoint) = &worker.client.choose(upstream, &aim) else {
            break;
        };
        let mut attempt = Attempt {
            exchange: &mut *exchange,
            route,
            upstream,
            endpoint,
            resent: false,
            seen: failure.seen,
            now,
        };
        let stop = match attempt.at_endpoint(request).await {
            Ok(response) => return Ok(Got::Answer(response)),
            Err(stop) => stop,
        };
        failure.seen = attempt.seen;
        failure.reason = match stop {
            Stop::Killed(taken) => return Ok(Got::Killed(taken)),
            Stop::Failed(reason) => reason,
        };
        if failure.reason != Reason::ConnectFailed {
            return Err(failure);
        }
        tried.add(&**endpoint);
        now = Clock::now();
    }
    Err(failure)
}

/// That there is no response head, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered {
    pub(crate) reason: Reason,
    pub(crate) seen: Seen,
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Refusal {
        unanswered.reason.into()
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
enum Stop {
    Failed(Reason),
    Killed(Taken),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Stop {
        Stop::Failed(reason)
    }
}

struct Attempt<'a> {
    exchange: &'a mut Exchange,
    route: &'a Route,
    upstream: &'a Arc<Upstream>,
    endpoint: &'a Arc<Endpoint>,
    resent: bool,
    seen: Seen,
    /// The clock when something was last waited for.
    now: Instant,
}

impl Attempt<'_> {
    /// Sends on pooled connections until one takes the request, else on a fresh one.
    async fn at_endpoint(&mut self, request: &mut Request<RequestBody>) -> Result<Answered, Stop> {
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
            let copy = (reused && resendable(request)).then(|| Copy::of(request));
            match (self.send(connection, request).await, copy) {
                (Ok(response), _) => return Ok(response),
                (Err(Failed::Unsent(back)), _) if reused => {
                    *request = *back;
                    self.ask_switch(request)?;
                }
                (Err(Failed::Sent(Reason::UpstreamReset)), Some(copy)) => {
                    self.now = Clock::now();
                    self.resent = true;
                    *request = copy.request();
                    self.ask_switch(request)?;
                }
                (Err(Failed::Unsent(_)), _) => return Err(Reason::UpstreamReset.into()),
                (Err(Failed::Sent(reason)), _) => return Err(reason.into()),
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
            .deadline(None, start)
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
        self.exchange.attempts += 1;
        metrics.outcome(
            AttemptOutcome::Failed(reason),
            now.saturating_duration_since(start),
        );
        Err(reason)
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
        self.exchange.attempts += 1;
        let sent = {
            let sending = pin!(connection.send(take(request)));
            within(sending, &budget, self.exchange.progress.as_deref()).await
        };
        match sent {
            Ok(Ok(response)) => self.accept(response, connection, record),
            Ok(Err(error)) => Err(self.failed(Failure::of(error), &mut record)),
            Err(TimedOut) => {
                self.seen = Seen::Maybe;
                learn::timed_out(self.upstream, start);
                Err(record.fail(Reason::UpstreamTimeout))
            }
        }
    }

    fn failed(&mut self, failure: Failure, record: &mut AttemptRecord) -> Failed {
        match failure {
            Failure::Unsent(request) => {
                record.forget();
                self.exchange.attempts -= 1;
                Failed::Unsent(request)
            }
            failure => {
                self.seen = Seen::Maybe;
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
        self.seen = Seen::Maybe;
        let status = response.status();
        if status.is_informational() {
            return Err(record.fail(Reason::UpstreamInvalid));
        }
        headers::scrub_response(response.headers_mut()).map_err(|reason| record.fail(reason))?;
        let now = record.head(status);
        let waiting = self.exchange.progress.as_deref().map(Progress::waiting);
        let sent = learn::sent_at(self.now, waiting);
        learn::answered(self.upstream, status, (sent, now));
        let terms = Terms {
            keep: self.upstream.spec.keepalive,
            progress: self.exchange.progress.clone(),
            silence: self.route.stream_idle_timeout,
            in_flight: record.into_guard(),
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
    fn into_guard(mut self) -> InFlight {
        self.counted = false;
        InFlight::begun(Arc::clone(&self.metrics))
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

/// Passes an upstream's answer on to the client.
pub(crate) fn reply(
    response: Answered,
    mut exchange: Exchange,
    method: &Method,
) -> Response<ReplyBody> {
    let (mut parts, body) = response.into_parts();
    let status = parts.status;
    exchange.answered(By::Upstream, status.as_u16());
    let close = exchange.closes();
    if let Some(id) = exchange.route {
        let edits = &exchange.view.snapshot.route(id).spec.response_headers;
        headers::edit(&mut parts.headers, edits);
    }
    parts
        .headers
        .insert(headers::X_REQUEST_ID, exchange.request_id.clone());
    if close {
        parts.headers.insert(header::CONNECTION, CLOSE);
    }
    parts.version = Version::HTTP_11;
    let bodiless = *method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    Response::from_parts(parts, ReplyBody::upstream(body, exchange, bodiless))
}
