//! Requests that clients send again: recognised, counted, and held to the route's budget.
//!
//! Every route counts them. What tells a request from another is its head and a digest of its
//! body, which is made while the body passes to wherever it goes: nothing waits for it, nothing of
//! it is held. The exchange looks the request up when its answer is made, or when its client has
//! gone; one without a body is looked up at once.
//!
//! A route with `client_retry_budget` must know before the request goes on. It holds a request
//! back until its body is there, if it is announced and small; another one is counted as on any
//! route, and goes on. Of a longer body a part says nothing: of that nobody could tell a retry
//! from another upload.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};

use super::absorb::{Order, Taken};
use super::examine::Facts;
use super::exchange::Exchange;
use super::headers::client_ip;
use super::refusal::Refusal;
use super::switch;
use crate::policy::client_retries::{self, Asked, Client, ClientRetryVerdict, Seen, marked};
use crate::snapshot::{RepeatBudget, Route};
use crate::upstream::{BodyFault, BoxError, Progress, RequestBody};
use crate::vocab::{Clock, Reason};

/// Longest body that is looked at; on a route with a budget it is read whole before the request
/// goes on.
const MOST_READ: u32 = 16 * 1024;

/// The digest of no body.
const NOTHING: u64 = 0;

/// What becomes of a request, and where it stands.
pub(super) enum Repeat {
    GoesOn,
    /// It is beyond the budget; or a switch was thrown while its body came.
    Taken(Taken),
}

/// A request that is looked up when its body has come.
#[derive(Debug)]
pub(crate) struct Awaited {
    asked: Asked,
    /// Whether its headers say that it is a retry: then it is counted already.
    marked: Seen,
}

impl Awaited {
    /// Has a digest made of the body that comes.
    pub(super) fn follow(&self, body: &Progress) {
        body.digest_up_to(MOST_READ);
    }
}

/// Counts a request that was sent before, as far as its head tells; if it has a body, the rest is
/// left to [`recall`].
#[inline]
pub(super) fn note(
    exchange: &mut Exchange,
    request: &Request<RequestBody>,
    (route, facts): (&Route, &Facts),
) -> Seen {
    let marked = match facts.seen.attempts {
        true => marked(request.headers()),
        false => Seen::First,
    };
    if marked == Seen::Again {
        exchange.metrics().client_retried();
    }
    let body = request.body();
    let most = u64::from(MOST_READ);
    if body.announced().is_some_and(|bytes| bytes > most) {
        return marked;
    }
    let asked = asked(exchange, request, route);
    let awaited = Awaited { asked, marked };
    if body.is_empty() {
        return look_up(exchange, &awaited, NOTHING);
    }
    exchange.awaited = Some(awaited);
    marked
}

/// Looks a request up whose body has come; `None` if that is done already, or cannot be told yet.
#[inline]
pub(super) fn recall(exchange: &mut Exchange) -> Option<Seen> {
    exchange.awaited.as_ref()?;
    let digest = exchange.progress.as_ref()?.digest()?;
    let awaited = exchange.awaited.take()?;
    Some(look_up(exchange, &awaited, digest))
}

/// Whether the same request came lately. Remembered even if it says so itself: the next may not.
fn look_up(exchange: &Exchange, awaited: &Awaited, body: u64) -> Seen {
    // The time when it came, also if its answer took long.
    let now = Clock::uptime(exchange.start);
    let seen = exchange.worker.live.recent.see(awaited.asked, body, now);
    match (awaited.marked, seen) {
        (Seen::Again, _) => Seen::Again,
        (Seen::First, Seen::First) => Seen::First,
        (Seen::First, Seen::Again) => {
            exchange.metrics().client_retried();
            Seen::Again
        }
    }
}

fn asked(exchange: &Exchange, request: &Request<RequestBody>, route: &Route) -> Asked {
    let headers = request.headers();
    let trusted = &exchange.view.snapshot.settings().server.trusted_proxies;
    let target = request.uri().path_and_query();
    let recent = &exchange.worker.live.recent;
    recent.asked(&client_retries::Request {
        route: &route.spec.name,
        client: Client::of(&route.spec.kill_switch.sticky, headers, || {
            client_ip(headers, &exchange.peer, trusted)
        }),
        method: request.method(),
        target: target.map_or("/", |target| target.as_str()),
    })
}

/// Holds a request to the budget of its route. A small body is waited for; `seen` is what is known
/// without it.
///
/// # Errors
/// When its body did not come well.
pub(super) async fn judge(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    (route, budget, mut seen): (&Route, &RepeatBudget, Seen),
) -> Result<Repeat, Refusal> {
    if is_small(exchange, request.body(), route) {
        // Boxed: the future of every other request would grow by it.
        Box::pin(take_in(exchange, request, route)).await?;
        exchange.now = Clock::now();
        if let Some(taken) = switch::ask_again(exchange, request) {
            return Ok(Repeat::Taken(taken));
        }
        seen = recall(exchange).unwrap_or(seen);
    }
    let now = Clock::uptime(exchange.now);
    Ok(match budget.state.admit(Some(&budget.spec), seen, now) {
        ClientRetryVerdict::Passed => Repeat::GoesOn,
        ClientRetryVerdict::OverBudget => Repeat::Taken(Taken {
            route: route.id,
            order: Order::ClientRetries,
        }),
    })
}

/// Whether there is a body worth waiting for. One that is too large is refused unread, further on.
fn is_small(exchange: &Exchange, body: &RequestBody, route: &Route) -> bool {
    let most = u64::from(MOST_READ).min(route.max_body);
    let small = body.announced().is_some_and(|bytes| bytes <= most);
    small && !body.is_empty() && !exchange.expects_continue
}

/// Reads the body, and puts it back in one piece.
async fn take_in(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    route: &Route,
) -> Result<(), Refusal> {
    let most = u64::from(MOST_READ).min(route.max_body);
    exchange.meter(request.body_mut(), most);
    let whole = match read(request.body_mut()).await {
        Ok(whole) => whole,
        Err(BodyFault::TooLarge) => return Err(Reason::BodyTooLarge.into()),
        Err(BodyFault::TooSlow) => return Err(Reason::RequestTimeout.into()),
        Err(BodyFault::Malformed | BodyFault::Gone) => return Err(Reason::BadRequest.into()),
    };
    *request.body_mut() = RequestBody::other(whole);
    Ok(())
}

async fn read(body: &mut RequestBody) -> Result<Whole, BodyFault> {
    let mut pieces = Vec::new();
    let mut trailers = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => pieces.push(data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let data = match pieces.len() {
        0 | 1 => pieces.pop(),
        _ => Some(Bytes::from(pieces.concat())),
    };
    let data = data.filter(|data| !data.is_empty());
    Ok(Whole { data, trailers })
}

/// A body that is all there.
struct Whole {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Whole {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let data = self.data.take().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// The name that records give for what took a request beyond the budget.
pub(super) fn source() -> Arc<str> {
    "client-retries".into()
}
