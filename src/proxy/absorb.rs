//! Where a thrown kill switch acts; and how bodies that go nowhere are read.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};

use super::archive;
use super::exchange::Exchange;
use super::headers::X_REQUEST_ID;
use super::refusal::{CLOSE, NO_STORE, Refusal};
use super::repeated;
use super::reply::ReplyBody;
use crate::policy::clause::KillOrder;
use crate::policy::kill::Mode;
use crate::policy::rules::OrderAt;
use crate::snapshot::Snapshot;
use crate::telemetry::KillOutcome;
use crate::upstream::{BodyFault, RequestBody};
use crate::vocab::{By, Reason, RouteId};

/// Most bytes of a body that is read only to keep the connection after a refusal.
const SETTLE_BYTES: u64 = 64 * 1024;

/// Whether the connection must end with the answer, because the body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Close(pub(crate) bool);

/// What took a request, on a route of the exchange's own view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) route: RouteId,
    pub(crate) order: Order,
}

/// Whose order it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// A switch: in the rules of the route.
    Switch(OrderAt),
    /// The budget of client retries.
    ClientRetries,
}

impl Taken {
    /// What is to be done.
    pub(crate) fn order(self, snapshot: &Snapshot) -> Option<&KillOrder> {
        match self.order {
            Order::Switch(at) => snapshot.rules(self.route)?.order(at),
            Order::ClientRetries => {
                let budget = snapshot.route(self.route).repeat_budget.as_ref()?;
                Some(&budget.order)
            }
        }
    }

    /// Who says so, for records.
    pub(crate) fn source(self, snapshot: &Snapshot) -> Arc<str> {
        match self.order {
            Order::Switch(at) => {
                let rules = snapshot.rules(self.route);
                let origin = rules.and_then(|rules| rules.origin(at));
                origin.map(ToString::to_string).unwrap_or_default().into()
            }
            Order::ClientRetries => repeated::source(),
        }
    }
}

/// A request that a switch took; only its answer is left to make.
#[derive(Debug)]
pub(crate) struct Absorbed {
    taken: Taken,
    close: Close,
}

/// Takes a request off the walk, before anything that costs, or where it waited: nothing of its
/// body was read until then.
pub(crate) async fn absorb(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    taken: Taken,
) -> Result<Absorbed, Refusal> {
    let snapshot = &exchange.view.snapshot;
    let Some(order) = taken.order(snapshot) else {
        return Err(Reason::Internal.into());
    };
    let mode = order.mode;
    exchange.taken(taken);
    let snapshot = &exchange.view.snapshot;
    let max = snapshot.route(taken.route).max_body;
    let outcome = match mode {
        Mode::Drop => KillOutcome::Dropped,
        Mode::Reject => KillOutcome::Rejected,
        Mode::Archive => {
            exchange.killed = Some((mode, KillOutcome::Aborted));
            // Boxed: the future of every other request would grow by it.
            let close = Box::pin(archive::keep(exchange, request, taken)).await?;
            return Ok(Absorbed { taken, close });
        }
    };
    exchange.killed = Some((mode, outcome));
    let close = drain(exchange, request, max).await;
    if close.is_err() {
        exchange.killed = Some((mode, KillOutcome::Aborted));
    }
    close.map(|close| Absorbed { taken, close })
}

/// The switch would have taken a request whose client is gone already.
pub(crate) fn missed(exchange: &mut Exchange, taken: Taken) {
    if let Some(order) = taken.order(&exchange.view.snapshot) {
        exchange.killed = Some((order.mode, KillOutcome::Aborted));
        exchange.taken(taken);
    }
}

/// Reads a body and throws it away, within `max` and the body timers, so that keep-alive goes
/// on. Past either the answer comes at once and the connection ends. A client that waits for
/// 100 Continue, or announces too much, sends nothing.
pub(crate) async fn drain(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    max: u64,
) -> Result<Close, Refusal> {
    if request.body().is_empty() {
        return Ok(Close(false));
    }
    let announced = request.body().announced();
    if exchange.expects_continue || announced.is_some_and(|bytes| bytes > max) {
        return Ok(Close(true));
    }
    exchange.meter(request.body_mut(), max);
    match request.body_mut().discard().await {
        Ok(()) => Ok(Close(false)),
        Err(BodyFault::TooLarge | BodyFault::TooSlow) => Ok(Close(true)),
        Err(BodyFault::Malformed | BodyFault::Gone) => Err(Reason::BadRequest.into()),
    }
}

/// After a refusal: reads a small body that is on its way, so that the connection can be kept.
///
/// # Errors
/// When the connection must end instead.
pub(crate) async fn settle(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
) -> Result<(), Close> {
    let body = request.body();
    if body.is_empty() {
        // Empty from the start, or on its way to an upstream that failed.
        return match &exchange.progress {
            Some(progress) if !progress.done() => Err(Close(true)),
            _ => Ok(()),
        };
    }
    let large = body.announced().is_none_or(|bytes| bytes > SETTLE_BYTES);
    if exchange.expects_continue || large {
        return Err(Close(true));
    }
    if exchange.progress.is_none() {
        exchange.meter(request.body_mut(), SETTLE_BYTES);
    }
    request.body_mut().discard().await.map_err(|_| Close(true))
}

impl Absorbed {
    /// The answer of the switch.
    pub(crate) fn answer(self, exchange: Exchange) -> Response<ReplyBody> {
        let Absorbed { taken, close } = self;
        // Borrowed from the snapshot: a count of references would move between cores.
        let view = Arc::clone(&exchange.view);
        let Some(order) = taken.order(&view.snapshot) else {
            return Refusal::from(Reason::Internal).answer(By::Gateway, exchange);
        };
        if order.mode == Mode::Reject {
            let refusal = Refusal {
                close: close.0,
                status: Some(order.status),
                retry_after: order.retry_after,
                ..Reason::Killed.into()
            };
            return refusal.answer(By::Kill, exchange);
        }
        let answer = KillAnswer {
            status: order.status,
            body: order.body.clone(),
            content_type: order.content_type.clone(),
        };
        answer.send(exchange, close)
    }
}

/// What a request is answered that goes nowhere, and is told so as if it had.
pub(super) struct KillAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    pub(super) content_type: Option<HeaderValue>,
}

impl KillAnswer {
    pub(super) fn send(self, mut exchange: Exchange, close: Close) -> Response<ReplyBody> {
        exchange.answered(By::Kill, self.status.as_u16());
        let id = exchange.request_id.clone();
        let close = close.0 || exchange.closes();
        let mut response = Response::new(ReplyBody::full(self.body, exchange));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(kind) = self.content_type {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        headers.insert(X_REQUEST_ID, id);
        if close {
            headers.insert(header::CONNECTION, CLOSE);
        }
        response
    }
}
