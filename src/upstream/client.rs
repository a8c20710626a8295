//! The seam to upstreams: connections, one request on one of them, and the response body.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;

use super::body::RequestBody;
use super::endpoints::Endpoint;
use super::pool::{Pool, Sender};
use super::progress::Progress;
use super::slot::Slot;
use super::spec::KeepaliveSpec;
use crate::policy::endpoint::Busy;
use crate::telemetry::UpstreamMetrics;
use crate::vocab::Clock;

/// One worker's client: its pool, and the order in which endpoints take turns.
#[derive(Debug, Default)]
pub struct Client {
    pool: Arc<Pool>,
}

/// Why a request got no response head.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was written: the request comes back, and may go elsewhere whatever it is.
    Unsent(Box<Request<RequestBody>>),
    /// Closed or reset before a whole response head; an upstream may have seen the request.
    Reset,
    /// What came back is not HTTP.
    Invalid,
    /// The request's own body failed; its [`Progress`] says why.
    Body,
}

/// hyper's account of a failure; it brings the request back when nothing of it was sent.
pub type SendError = TrySendError<Request<RequestBody>>;

impl Failure {
    /// What a failure to send means.
    pub fn of(mut error: SendError) -> Failure {
        match error.take_message() {
            Some(request) => Failure::Unsent(Box::new(request)),
            None => classify(error.error()),
        }
    }
}

/// A connection with nothing in flight.
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    /// The place of its endpoint's connections in the pool.
    slot: Arc<Slot>,
    /// Whether it has carried a request before: the other side may be closing it.
    pub reused: bool,
    /// How long it had nothing to carry before.
    pub idle: Duration,
}

impl Client {
    /// This worker's pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A pooled connection to an endpoint, if there is an open one.
    pub fn pooled(&self, endpoint: &Arc<Endpoint>, now: Instant) -> Option<Connection> {
        let (sender, slot, since) = self.pool.take(endpoint.slot, now)?;
        Some(Connection {
            sender,
            slot,
            reused: true,
            idle: now.saturating_duration_since(since),
        })
    }

    /// A fresh connection to the endpoint's address. One whose name is being resolved for the
    /// first time is waited for.
    ///
    /// # Errors
    /// When none can be made; the cause is logged at level debug.
    pub async fn connect(&self, endpoint: &Arc<Endpoint>) -> Result<Connection, ConnectError> {
        let stream = endpoint.connect().await.map_err(ConnectError)?;
        stream.set_nodelay(true).map_err(ConnectError)?;
        let handshake = http1::Builder::new()
            .writev(false)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake
            .await
            .map_err(|error| ConnectError(std::io::Error::other(error)))?;
        // The connection outlives the request: this is the one task an upstream connection needs.
        #[allow(clippy::disallowed_methods)]
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Connection {
            sender,
            slot: endpoint.place(),
            reused: false,
            idle: Duration::ZERO,
        })
    }
}

impl Connection {
    /// Hands over a request. What comes back of a failure is read with [`Failure::of`]: doing it
    /// here would wrap hyper's future, and hold its place for the request once more.
    pub fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> + use<> {
        self.sender.try_send_request(request)
    }

    /// Ties the connection to the response that it carries; at its end it goes back to the pool.
    pub fn lend(self, client: &Client, terms: Terms) -> impl FnOnce(Incoming) -> ResponseBody {
        let lease = Lease {
            pool: Arc::clone(&client.pool),
            slot: self.slot,
            sender: self.sender,
            keep: terms.keep,
            progress: terms.progress,
        };
        move |incoming| ResponseBody::new(incoming, lease, terms.silence, terms.in_flight)
    }
}

/// What holds for a response body.
#[derive(Debug)]
pub struct Terms {
    /// How the connection is kept afterwards.
    pub keep: KeepaliveSpec,
    /// The body of the request that is answered.
    pub progress: Option<Arc<Progress>>,
    /// Longest silence.
    pub silence: Duration,
    /// Keeps the attempt in flight.
    pub in_flight: InFlight,
}

fn classify(error: &hyper::Error) -> Failure {
    if error.is_user() {
        return Failure::Body;
    }
    match error.is_parse() || error.is_parse_status() {
        true => Failure::Invalid,
        false => Failure::Reset,
    }
}

/// No connection could be made.
#[derive(Debug)]
pub struct ConnectError(std::io::Error);

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ConnectError {}

/// A connection that is carrying a response; it goes back to the pool at the response's end.
struct Lease {
    pool: Arc<Pool>,
    slot: Arc<Slot>,
    sender: Sender,
    keep: KeepaliveSpec,
    progress: Option<Arc<Progress>>,
}

impl Lease {
    /// An upstream that answered before it had read the request cannot be used again: the rest
    /// of that request would come before the next.
    fn end(self) {
        if self.progress.is_none_or(|progress| progress.done()) {
            let connection = (self.sender, self.slot);
            self.pool.put(connection, self.keep, Clock::now());
        }
    }
}

/// Counts an attempt as in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    metrics: Arc<UpstreamMetrics>,
    /// In flight at its endpoint, too.
    _busy: Option<Busy>,
}

impl InFlight {
    /// Takes over the counting of an attempt that was counted when it began.
    pub fn begun(metrics: Arc<UpstreamMetrics>, busy: Option<Busy>) -> InFlight {
        InFlight {
            metrics,
            _busy: busy,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.end();
    }
}

/// A response body on its way from an upstream.
pub struct ResponseBody {
    incoming: Incoming,
    /// What was read ahead, for whoever reads it now.
    ahead: VecDeque<Result<Frame<Bytes>, ResponseFault>>,
    in_flight: Option<InFlight>,
    lease: Option<Lease>,
    silence: Duration,
    armed: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why a response body did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFault {
    /// The upstream closed, reset, or broke its framing.
    Broken,
    /// The upstream was silent for too long.
    Silent,
}

impl fmt::Display for ResponseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResponseFault::Broken => "the upstream broke off its response",
            ResponseFault::Silent => "the upstream was silent within its response",
        })
    }
}

impl std::error::Error for ResponseFault {}

impl ResponseBody {
    fn new(
        incoming: Incoming,
        lease: Lease,
        silence: Duration,
        in_flight: InFlight,
    ) -> ResponseBody {
        let mut body = ResponseBody {
            incoming,
            ahead: VecDeque::new(),
            in_flight: Some(in_flight),
            lease: Some(lease),
            silence,
            armed: false,
            timer: None,
        };
        body.end_if_over();
        body
    }

    /// Reads a body of up to `most` bytes to its end and keeps it, so that its connection goes back
    /// to the pool although nobody knows yet who gets it. Nothing is lost if this is dropped.
    pub async fn read_ahead(&mut self, most: u64) {
        if self.size_hint().lower() > most {
            return;
        }
        let mut read = 0;
        while read <= most {
            let frame = poll_fn(|cx| self.poll_upstream(cx)).await;
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok());
            let ended = data.is_none() || self.incoming.is_end_stream();
            read += data
                .and_then(Frame::data_ref)
                .map_or(0, |data| data.len() as u64);
            self.ahead.extend(frame);
            if ended {
                self.in_flight = None;
                return;
            }
        }
    }

    /// Whether it broke off while it was read ahead.
    pub fn is_broken(&self) -> bool {
        self.ahead.iter().any(Result::is_err)
    }

    fn end_if_over(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.end();
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.armed {
            self.armed = true;
            let now = tokio::time::Instant::now();
            let Some(deadline) = now.checked_add(self.silence) else {
                return Poll::Pending;
            };
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn poll_upstream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseFault>>> {
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.poll_silence(cx));
                self.lease = None;
                return Poll::Ready(Some(Err(ResponseFault::Silent)));
            }
        };
        self.armed = false;
        match frame {
            Some(Ok(frame)) => {
                self.end_if_over();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => {
                self.lease = None;
                Poll::Ready(Some(Err(ResponseFault::Broken)))
            }
            None => {
                if let Some(lease) = self.lease.take() {
                    lease.end();
                }
                Poll::Ready(None)
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseFault>>> {
        match self.ahead.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.poll_upstream(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.incoming.size_hint();
        if self.ahead.is_empty() {
            return rest;
        }
        let data = self.ahead.iter().flatten().filter_map(Frame::data_ref);
        let ahead: u64 = data.map(|data| data.len() as u64).sum();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("incoming", &self.incoming)
            .finish_non_exhaustive()
    }
}
