//! Mode `archive`: a request is kept before it is answered.
//!
//! Room in `max_buffer` is taken before the body is read, the body is read whole, and the answer
//! waits until the journal has the record. The disk is the journal's thread's alone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;

use super::absorb::{self, Close, Taken};
use super::attempt::Seen;
use super::exchange::Exchange;
use super::record::{self, Note};
use super::refusal::Refusal;
use crate::archive::{Answer, Busy, Desk, Failed, Journal, Record, Reservation, Submission};
use crate::policy::clause::KillOrder;
use crate::policy::kill::{Mode, WhenFull};
use crate::telemetry::{KillOutcome, RouteMetrics};
use crate::upstream::{BodyFault, RequestBody};
use crate::vocab::{Reason, RouteId};

/// How long a request waits for a journal that is being opened: the switch was flipped just now.
const OPENING: Duration = Duration::from_secs(1);

/// Keeps a request. The outcome is in the exchange; the error is the refusal of a payload that
/// is not kept.
pub(crate) async fn keep(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    taken: Taken,
) -> Result<Close, Refusal> {
    let snapshot = Arc::clone(&exchange.view.snapshot);
    let Some(order) = taken.order(&snapshot) else {
        return Err(Reason::Internal.into());
    };
    let route = snapshot.route(taken.route);
    let announced = request.body().announced();
    if announced.is_some_and(|bytes| bytes > route.max_body) {
        return Err(refused(exchange, Reason::BodyTooLarge.into()));
    }
    let worker = Arc::clone(&exchange.worker);
    let journal = worker.live.archive.journal(OPENING).await;
    let room = journal.map(|journal| (journal, journal.reserve(announced.unwrap_or(0))));
    let Some((journal, Ok(reservation))) = room else {
        return without_room(exchange, request, (route.spec.kill_switch.when_full, order)).await;
    };
    exchange.meter(request.body_mut(), route.max_body);
    let mut reading = Reading::new(reservation, announced);
    match reading.read(request.body_mut()).await {
        Ok(()) => {}
        Err(Stop::Busy(Busy)) => {
            let when_full = (route.spec.kill_switch.when_full, order);
            return unread(exchange, request, when_full).await;
        }
        Err(Stop::Fault(fault)) => return Err(broken(exchange, fault)),
    }
    // It has sent what it waited with.
    exchange.expects_continue = false;
    let Reading { reservation, body } = reading;
    let note = Note {
        route: taken.route,
        reason: order.reason.clone(),
        source: taken.source(&snapshot),
        // A switch may have taken it before it was sent once more.
        maybe_processed: exchange.seen == Seen::Maybe,
    };
    let record = record::of(exchange, request, (note, body.into()));
    let answer = store(exchange, (taken.route, journal), (record, reservation)).await;
    decide(exchange, answer, (route.spec.kill_switch.when_full, order))
}

/// Hands a record to the journal, and waits until it is decided.
pub(super) async fn store(
    exchange: &mut Exchange,
    (route, journal): (RouteId, &Journal),
    (record, reservation): (Record, Reservation),
) -> Answer {
    let snapshot = Arc::clone(&exchange.view.snapshot);
    let route = snapshot.route(route);
    let settings = &snapshot.settings().archive;
    let quota = &route.spec.kill_switch.archive_quota;
    let submission = Submission {
        record,
        redaction: Arc::clone(&settings.redaction),
        quota: quota.of(settings.limits.max_bytes),
        reservation,
    };
    let worker = Arc::clone(&exchange.worker);
    Pending::submit(exchange, (worker.desk(journal), &route.metrics), submission).await
}

/// What the journal's answer means for the client.
fn decide(
    exchange: &mut Exchange,
    answer: Answer,
    when_full: (WhenFull, &KillOrder),
) -> Result<Close, Refusal> {
    match answer {
        Answer::Stored { .. } => {
            exchange.killed = Some((Mode::Archive, KillOutcome::Archived));
            Ok(Close(false))
        }
        // However often it comes back.
        Answer::Failed(Failed::TooLong) => Err(refused(exchange, Reason::BodyTooLarge.into())),
        Answer::Full(_)
        | Answer::Busy(_)
        | Answer::Failed(Failed::NoDirectory | Failed::Slow | Failed::Closed) => {
            not_kept(exchange, when_full).map(|()| Close(false))
        }
    }
}

/// No journal takes the payload: the answer that the route's `when_full` gives.
fn not_kept(
    exchange: &mut Exchange,
    (when_full, order): (WhenFull, &KillOrder),
) -> Result<(), Refusal> {
    match when_full {
        WhenFull::Drop => {
            exchange.killed = Some((Mode::Archive, KillOutcome::Lost));
            Ok(())
        }
        WhenFull::Reject => {
            let refusal = Refusal {
                retry_after: order.retry_after,
                ..Reason::ArchiveUnavailable.into()
            };
            Err(refused(exchange, refusal))
        }
    }
}

/// Before anything of the body was read.
async fn without_room(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    when_full: (WhenFull, &KillOrder),
) -> Result<Close, Refusal> {
    not_kept(exchange, when_full)?;
    let max = match exchange.route {
        Some(route) => exchange.view.snapshot.route(route).max_body,
        None => 0,
    };
    let close = absorb::drain(exchange, request, max).await;
    if close.is_err() {
        exchange.killed = Some((Mode::Archive, KillOutcome::Aborted));
    }
    close
}

/// Amid the body: what is left of it is read and thrown away, as mode `drop` does.
async fn unread(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    when_full: (WhenFull, &KillOrder),
) -> Result<Close, Refusal> {
    exchange.expects_continue = false;
    not_kept(exchange, when_full)?;
    match request.body_mut().discard().await {
        Ok(()) => Ok(Close(false)),
        Err(BodyFault::TooLarge | BodyFault::TooSlow) => Ok(Close(true)),
        Err(fault @ (BodyFault::Malformed | BodyFault::Gone)) => Err(broken(exchange, fault)),
    }
}

/// A body that did not end well is kept nowhere.
pub(super) fn broken(exchange: &mut Exchange, fault: BodyFault) -> Refusal {
    let reason = match fault {
        BodyFault::TooLarge => Reason::BodyTooLarge,
        BodyFault::TooSlow => Reason::RequestTimeout,
        BodyFault::Malformed | BodyFault::Gone => {
            exchange.killed = Some((Mode::Archive, KillOutcome::Aborted));
            return Reason::BadRequest.into();
        }
    };
    refused(exchange, reason.into())
}

fn refused(exchange: &mut Exchange, refusal: Refusal) -> Refusal {
    exchange.killed = Some((Mode::Archive, KillOutcome::Refused));
    refusal
}

/// A body on its way into memory, and the room taken for it.
pub(super) struct Reading {
    pub(super) reservation: Reservation,
    pub(super) body: Vec<u8>,
}

pub(super) enum Stop {
    Busy(Busy),
    Fault(BodyFault),
}

impl Reading {
    /// The reservation has room for what is announced.
    pub(super) fn new(reservation: Reservation, announced: Option<u64>) -> Reading {
        let bytes = announced.and_then(|bytes| usize::try_from(bytes).ok());
        Reading {
            reservation,
            body: Vec::with_capacity(bytes.unwrap_or(0)),
        }
    }

    /// Reads to the end. Bytes are copied: a slice would keep the connection's whole read buffer.
    pub(super) async fn read(&mut self, body: &mut RequestBody) -> Result<(), Stop> {
        while let Some(data) = body.next_data().await.map_err(Stop::Fault)? {
            self.push(&data).map_err(Stop::Busy)?;
        }
        Ok(())
    }

    /// Doubles what is there, as long as there is room for that.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), Busy> {
        let (length, capacity) = (self.body.len(), self.body.capacity());
        let needed = length + data.len();
        if needed > capacity {
            let doubled = needed.max(2 * capacity);
            let grown = match self.reservation.grow((doubled - capacity) as u64) {
                Ok(()) => doubled,
                Err(Busy) => {
                    self.reservation.grow((needed - capacity) as u64)?;
                    needed
                }
            };
            self.body.reserve_exact(grown - length);
        }
        self.body.extend_from_slice(data);
        Ok(())
    }
}

type Storing = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A record that the journal has. When the client goes away meanwhile, somebody still waits for
/// the answer, so that it is counted as what became of it.
struct Pending<'a> {
    storing: Option<Storing>,
    killed: &'a mut Option<(Mode, KillOutcome)>,
    metrics: Arc<RouteMetrics>,
    received: u64,
}

impl<'a> Pending<'a> {
    fn submit(
        exchange: &'a mut Exchange,
        (desk, metrics): (&Desk, &Arc<RouteMetrics>),
        submission: Submission,
    ) -> Pending<'a> {
        let received = exchange.progress.as_ref().map_or(0, |p| p.received());
        Pending {
            storing: Some(Box::pin(desk.store(submission))),
            killed: &mut exchange.killed,
            metrics: Arc::clone(metrics),
            received,
        }
    }
}

impl Future for Pending<'_> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let polled = match &mut self.storing {
            Some(storing) => storing.as_mut().poll(cx),
            None => Poll::Ready(Answer::Failed(Failed::Closed)),
        };
        if polled.is_ready() {
            self.storing = None;
        }
        polled
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let Some(storing) = self.storing.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        // Counted there instead of with the exchange.
        *self.killed = None;
        let (metrics, received) = (Arc::clone(&self.metrics), self.received);
        runtime.spawn(async move {
            let outcome = match storing.await {
                Answer::Stored { .. } => KillOutcome::Archived,
                Answer::Full(_) | Answer::Failed(_) | Answer::Busy(_) => KillOutcome::Aborted,
            };
            metrics.killed(Mode::Archive.index(), outcome, received);
        });
    }
}
