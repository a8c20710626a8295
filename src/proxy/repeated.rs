//! Requests that clients send again: recognised, counted, and held to the route's budget.
//!
//! A header that says so is looked at on every route; what a request asked and carried, on routes
//! that remember. Those hold a request back until its body is there, if it is announced and small:
//! of a part of it nobody could tell a retry from another upload. A body that is longer, comes
//! without its length or is waited for with 100 Continue says nothing.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};

use super::absorb::{Order, Taken};
use super::exchange::Exchange;
use super::handle::limits;
use super::headers::client_ip;
use super::refusal::Refusal;
use super::switch;
use crate::policy::client_retries::{self, Client, ClientRetryVerdict, Seen, marked};
use crate::snapshot::{Repeats, Route};
use crate::upstream::{BodyFault, BoxError, RequestBody};
use crate::vocab::{Clock, Reason};

/// Longest body that is read whole before the request goes on.
const MOST_READ: u64 = 16 * 1024;

/// What becomes of a request, and where it stands.
pub(super) enum Repeat {
    GoesOn,
    /// It is beyond the budget; or a switch was thrown while its body came.
    Taken(Taken),
}

/// Counts a request whose headers say that it is a retry, on a route that remembers nothing.
#[inline]
pub(super) fn count_marked(exchange: &Exchange, headers: &HeaderMap) {
    match marked(headers) {
        Seen::Again => exchange.metrics().client_retried(),
        Seen::First => {}
    }
}

/// Counts a request on a route that remembers, and holds it to the budget.
///
/// # Errors
/// When its body did not come well.
pub(super) async fn judge(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    (route, repeats): (&Route, &Repeats),
) -> Result<Repeat, Refusal> {
    let digest = if request.body().is_empty() {
        Some(0)
    } else if is_small(exchange, request.body(), route) {
        // Boxed: the future of every other request would grow by it.
        let digest = Box::pin(take_in(exchange, request, route)).await?;
        exchange.now = Clock::now();
        if let Some(taken) = switch::ask_again(exchange, request) {
            return Ok(Repeat::Taken(taken));
        }
        Some(digest)
    } else {
        None
    };
    let now = Clock::uptime(exchange.now);
    let seen = match (marked(request.headers()), digest) {
        (Seen::Again, None) => Seen::Again,
        (marked, digest) => match digest.map_or(Seen::First, |body| {
            // Remembered even if it says so itself: the next may not.
            remember(exchange, request, (route, body, now))
        }) {
            Seen::Again => Seen::Again,
            Seen::First => marked,
        },
    };
    if seen == Seen::Again {
        exchange.metrics().client_retried();
    }
    let Some(budget) = &repeats.budget else {
        return Ok(Repeat::GoesOn);
    };
    Ok(match budget.state.admit(Some(&budget.spec), seen, now) {
        ClientRetryVerdict::Passed => Repeat::GoesOn,
        ClientRetryVerdict::OverBudget => Repeat::Taken(Taken {
            route: route.id,
            order: Order::ClientRetries,
        }),
    })
}

/// Whether the same request came lately.
fn remember(
    exchange: &Exchange,
    request: &Request<RequestBody>,
    (route, body, now): (&Route, u64, std::time::Duration),
) -> Seen {
    let Some(recent) = exchange.worker.live.recent() else {
        return Seen::First;
    };
    let headers = request.headers();
    let trusted = &exchange.view.snapshot.settings().server.trusted_proxies;
    let target = request.uri().path_and_query();
    let asked = client_retries::Request {
        route: &route.spec.name,
        client: Client::of(&route.spec.kill_switch.sticky, headers, || {
            client_ip(headers, &exchange.peer, trusted)
        }),
        method: request.method(),
        target: target.map_or("/", |target| target.as_str()),
        body,
    };
    recent.see(&asked, now)
}

/// Whether the body is worth waiting for. One that is too large is refused unread, further on.
fn is_small(exchange: &Exchange, body: &RequestBody, route: &Route) -> bool {
    let most = MOST_READ.min(route.max_body);
    !exchange.expects_continue && body.announced().is_some_and(|bytes| bytes <= most)
}

/// Reads the body, puts it back in one piece, and gives its digest.
async fn take_in(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    route: &Route,
) -> Result<u64, Refusal> {
    let most = MOST_READ.min(route.max_body);
    let bounds = limits(&exchange.view, most);
    exchange.progress = request.body_mut().meter(bounds, exchange.start);
    let whole = match read(request.body_mut()).await {
        Ok(whole) => whole,
        Err(BodyFault::TooLarge) => return Err(Reason::BodyTooLarge.into()),
        Err(BodyFault::TooSlow) => return Err(Reason::RequestTimeout.into()),
        Err(BodyFault::Malformed | BodyFault::Gone) => return Err(Reason::BadRequest.into()),
    };
    let data = whole.data.as_deref().unwrap_or_default();
    let digest = (data.len() as u64) << 32 | u64::from(crc32c::crc32c(data));
    *request.body_mut() = RequestBody::other(whole);
    Ok(digest)
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
