//! The record of one request. Whatever happens to the request, it is counted once: on Drop.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, Request};
use serde_json::{Map, Value};

use super::absorb::Taken;
use super::admission::Permits;
use super::attempt::Seen;
use super::correlation;
use super::displaced::Displaced;
use super::failure::{self, Cause};
use super::headers;
use super::peer::Peer;
use super::repeated::{self, Awaited};
use super::worker::{View, Worker};
use crate::policy::kill::Mode;
use crate::snapshot::Phase;
use crate::telemetry::{KillOutcome, LineSink, RouteMetrics};
use crate::upstream::{BodyLimits, Progress, RequestBody};
use crate::vocab::{By, Clock, Reason, RouteId};

/// One request, from its head to the end of its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) view: Arc<View>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) start: Instant,
    /// The clock when something was last waited for, before its first attempt.
    pub(crate) now: Instant,
    /// Kept from the client or made.
    pub(crate) request_id: HeaderValue,
    pub(crate) route: Option<RouteId>,
    pub(crate) by: By,
    pub(crate) code: u16,
    pub(crate) reason: Option<Reason>,
    pub(crate) killed: Option<(Mode, KillOutcome)>,
    pub(crate) progress: Option<Arc<Progress>>,
    /// What is left to know of it, when its body has come, to tell whether it came before.
    pub(super) awaited: Option<Awaited>,
    /// The client waits for 100 Continue: nothing of the body was sent yet.
    pub(crate) expects_continue: bool,
    /// What the client sent of what the upstream gets otherwise.
    pub(crate) displaced: Displaced,
    /// Its places under concurrency limits, given back when this is dropped.
    pub(super) permits: Permits,
    /// Which of the route's upstreams.
    pub(crate) branch: usize,
    /// Hash of what the upstream's `balance = "hash:..."` names, if it does.
    pub(crate) hash: u64,
    pub(crate) attempts: u32,
    /// Whether an attempt may have shown it to an upstream.
    pub(crate) seen: Seen,
    pub(crate) sent: u64,
    /// The response was made whole; until then an end means that the client went away.
    pub(crate) complete: bool,
    log: Option<Box<LogLine>>,
}

/// What the access log needs of a request head that is gone by then.
#[derive(Debug)]
struct LogLine {
    sink: LineSink,
    method: Method,
    target: String,
    client: IpAddr,
    headers: Vec<(String, String)>,
    /// What the upstream did, of a request that was kept instead.
    failure: Option<Cause>,
    /// What killed it, as records name it; `None` for what was kept because the upstream failed.
    killer: Option<Arc<str>>,
}

impl Exchange {
    pub(crate) fn begin(
        worker: &Arc<Worker>,
        peer: &Arc<Peer>,
        request: &Request<RequestBody>,
    ) -> Exchange {
        peer.begin();
        let view = worker.view();
        let log = worker
            .access
            .as_ref()
            .map(|sink| LogLine::of(sink, request, peer, &view));
        let request_id = match correlation::kept(request.headers()) {
            Some(id) => id.clone(),
            None => correlation::make(worker),
        };
        let start = Clock::now();
        Exchange {
            view,
            worker: Arc::clone(worker),
            peer: Arc::clone(peer),
            start,
            now: start,
            request_id,
            route: None,
            by: By::Client,
            code: 499,
            reason: None,
            killed: None,
            progress: None,
            awaited: None,
            expects_continue: false,
            displaced: Displaced::default(),
            permits: Permits::default(),
            branch: 0,
            hash: 0,
            attempts: 0,
            seen: Seen::Never,
            sent: 0,
            complete: false,
            log,
        }
    }

    /// Which route the request belongs to, from now on.
    pub(crate) fn enter(&mut self, route: RouteId) {
        self.route = Some(route);
        self.metrics().begin();
    }

    /// Goes on in another view, whose switch took it: there the same route may have another place,
    /// and a killed request takes none of those that others wait for.
    pub(crate) fn adopt(&mut self, view: Arc<View>, route: RouteId) {
        let kept = std::ptr::eq(self.metrics(), &*view.snapshot.route(route).metrics);
        if !kept {
            // The route was gone in between: this request is in flight at its successor.
            self.metrics().leave();
            view.snapshot.route(route).metrics.begin();
        }
        self.permits = Permits::default();
        self.view = view;
        self.route = Some(route);
    }

    /// Holds the body to the timers of the server and to `max` bytes.
    pub(crate) fn meter(&mut self, body: &mut RequestBody, max: u64) {
        let server = &self.view.snapshot.settings().server;
        let limits = BodyLimits {
            max,
            silence: server.body_timeout,
            min_rate: server.min_body_rate.0,
        };
        self.progress = body.meter(limits, self.start);
        if let (Some(progress), Some(awaited)) = (&self.progress, &self.awaited) {
            awaited.follow(progress);
        }
    }

    /// The counters of the route, or of requests without one.
    pub(crate) fn metrics(&self) -> &RouteMetrics {
        match self.route {
            Some(id) => &self.view.snapshot.route(id).metrics,
            None => &self.worker.live.metrics.unmatched,
        }
    }

    /// Whether the connection ends with this answer because the process is on its way out.
    pub(crate) fn closes(&self) -> bool {
        self.worker.live.phase() >= Phase::Draining
    }

    /// States the answer that the client is about to get.
    pub(crate) fn answered(&mut self, by: By, code: u16) {
        self.by = by;
        self.code = code;
        // By now the body has come, as a rule; the response may take long.
        repeated::recall(self);
    }

    /// Notes for the log what took the request.
    pub(crate) fn taken(&mut self, taken: Taken) {
        if let Some(log) = &mut self.log {
            log.killer = Some(taken.source(&self.view.snapshot));
        }
    }

    /// Notes for the log why the upstream's answer is not the client's.
    pub(crate) fn failed(&mut self, cause: Cause) {
        if let Some(log) = &mut self.log {
            log.failure = Some(cause);
        }
    }

    fn close_books(&mut self, now: Instant) {
        repeated::recall(self);
        let received = self
            .progress
            .as_ref()
            .map_or(0, |progress| progress.received());
        if !self.complete {
            if std::thread::panicking() {
                self.answered(By::Gateway, Reason::Internal.row().status);
                self.reason = Some(Reason::Internal);
                self.peer.leave_panicked(self.request_id.clone());
            } else if self.reason.is_none() {
                self.answered(By::Client, 499);
            }
            if let Some((_, outcome)) = &mut self.killed
                && *outcome != KillOutcome::Archived
            {
                *outcome = KillOutcome::Aborted;
            }
        }
        let metrics = self.metrics();
        if self.route.is_none() {
            // Without a route a request is in flight no longer than this.
            metrics.begin();
        }
        if let Some(reason) = self.reason {
            metrics.refused(reason);
        }
        if let Some((mode, outcome)) = self.killed {
            metrics.killed(mode.index(), outcome, received);
        }
        metrics.transferred(received, self.sent);
        let took = now.saturating_duration_since(self.start);
        metrics.end(self.by, self.code, took);
        if let Some(log) = self.log.take() {
            log.write(self, received, took.as_secs_f64() * 1e3);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = Clock::now();
        self.close_books(now);
        self.peer.end(now);
    }
}

impl LogLine {
    fn of(
        sink: &LineSink,
        request: &Request<RequestBody>,
        peer: &Peer,
        view: &View,
    ) -> Box<LogLine> {
        let settings = view.snapshot.settings();
        let trusted = &settings.server.trusted_proxies;
        let names = &settings.telemetry.log_headers;
        let context = names.iter().filter_map(|name| {
            let value = text(request.headers(), name.as_str())?;
            Some((name.as_str().to_owned(), value))
        });
        Box::new(LogLine {
            sink: sink.clone(),
            method: request.method().clone(),
            target: request.uri().path().to_owned(),
            client: headers::client_ip(request.headers(), peer, trusted),
            headers: context.collect(),
            failure: None,
            killer: None,
        })
    }

    /// One JSON object, OpenTelemetry attribute names where there are some.
    fn write(self, exchange: &Exchange, received: u64, took_ms: f64) {
        let route = exchange
            .route
            .map(|id| &exchange.view.snapshot.route(id).spec);
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| drop(line.insert(name.to_owned(), value));
        put("timestamp", now_text().into());
        put("http.request.method", self.method.as_str().into());
        put(
            "http.route",
            route.map_or("none", |spec| &*spec.name).into(),
        );
        put("url.path", self.target.into());
        put("http.response.status_code", exchange.code.into());
        put("client.address", self.client.to_string().into());
        let id = exchange.request_id.to_str().unwrap_or_default();
        put("request_id", id.into());
        put("by", exchange.by.as_str().into());
        if let Some(reason) = exchange.reason {
            put("reason", reason.as_str().into());
        } else if let Some(failure) = self.failure {
            put("reason", failure.to_string().into());
        }
        if let Some((mode, _)) = exchange.killed {
            put("mode", mode.as_str().into());
            let killer = self.killer.as_deref().unwrap_or(failure::SOURCE);
            put("kill.source", killer.into());
        }
        put("attempts", exchange.attempts.into());
        let branches = exchange
            .route
            .map(|id| &exchange.view.snapshot.route(id).branches);
        if let Some(branch) = branches.and_then(|all| all.get(exchange.branch)) {
            put("upstream", (*branch.upstream.spec.name).into());
        }
        put("duration_ms", ((took_ms * 1e3).round() / 1e3).into());
        put("http.request.body.size", received.into());
        put("http.response.body.size", exchange.sent.into());
        for (name, value) in self.headers {
            put(&name, value.into());
        }
        let mut bytes = Value::Object(line).to_string().into_bytes();
        bytes.push(b'\n');
        self.sink.put(bytes);
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn now_text() -> String {
    let mut text = String::with_capacity(32);
    let now = Clock::unix();
    let time = jiff::Timestamp::from_microsecond(now.as_micros() as i64).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(text, "{time:.6}");
    text
}
