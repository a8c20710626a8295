//! `on_failure = "open"`: what the upstream fails to take is kept, and answered as mode `archive`
//! would.
//!
//! The body is on its way to the upstream while nobody knows yet whether it will fail. So it is
//! copied as it passes, in room of `max_buffer` that was taken before, and what the upstream did
//! not read is read after it failed. Without room nothing is copied, and a failure is an error as
//! on any route: nobody is told 200 of what is not kept. The outcome counts as mode `archive`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, StatusCode};

use super::absorb::{self, Close, KillAnswer};
use super::archive::{self, Reading, Stop};
use super::attempt::{Answered, Got, Seen, Unanswered};
use super::examine::Facts;
use super::exchange::Exchange;
use super::forward;
use super::handle::{self, Answer, Destination};
use super::record::{self, Note};
use super::refusal::Refusal;
use super::reply::ReplyBody;
use super::retry;
use crate::archive as journal;
use crate::policy::kill::Mode;
use crate::policy::outcome::Outcome as Ending;
use crate::telemetry::KillOutcome;
use crate::upstream::{Lender, RequestBody};
use crate::vocab::{Reason, RouteId};

/// The name that records give for the switch that kept them.
pub(super) const SOURCE: &str = "on_failure";

/// What the upstream did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It gave no answer.
    Unanswered(Reason),
    /// It, or a proxy before it, says that it cannot serve.
    Answered(StatusCode),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Unanswered(reason) => f.write_str(reason.as_str()),
            Cause::Answered(status) => write!(f, "status_{}", status.as_u16()),
        }
    }
}

/// A request that was kept instead; only its answer is left to make.
pub(super) struct Kept {
    route: RouteId,
}

/// Goes on with the walk of a request to a route that is open on failure.
pub(super) async fn run(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    (destination, facts): (Destination, &Facts),
) -> Result<Answer, Refusal> {
    let view = Arc::clone(&exchange.view);
    let id = destination.route;
    let route = view.snapshot.route(id);
    handle::bound_body(exchange, request, route)?;
    let copy = Copy::begin(exchange, request);
    handle::prepare(exchange, request, facts, (route, destination.path))?;
    let got = forward::run(exchange, request, route).await;
    let (cause, end) = match got {
        Ok(Got::Killed(taken)) => {
            // The switch reads the body itself: what is left of it, after what may have been sent.
            if let Some(copy) = copy {
                copy.forget();
            }
            let absorbed = absorb::absorb(exchange, request, taken).await;
            return absorbed.map(Answer::Absorbed);
        }
        Ok(Got::Answer(response)) => match says_it_fails(response.status()) {
            Serves::Yes => {
                if let Some(copy) = copy {
                    copy.forget();
                }
                return Ok(Answer::Upstream(response));
            }
            Serves::No => {
                // It has done what it does; what is left to do is ours, and may take long.
                exchange.permits.leave_upstream();
                let cause = Cause::Answered(response.status());
                (cause, End::Answer(response))
            }
        },
        Err(unanswered) => match blame(unanswered.reason) {
            Blame::Others => {
                if let Some(copy) = copy {
                    copy.give_back(exchange, request);
                }
                return Err(unanswered.into());
            }
            Blame::Upstream => {
                let cause = Cause::Unanswered(unanswered.reason);
                (cause, End::None(unanswered))
            }
        },
    };
    exchange.killed = Some((Mode::Archive, KillOutcome::Refused));
    let Some(copy) = copy else {
        return end.reaches_the_client();
    };
    let end = end.if_whole(exchange);
    match keep(exchange, request, (copy, id, cause)).await? {
        Outcome::Kept => {
            if let End::Answer(mut response) = end {
                retry::read_off(&mut response, exchange.now).await;
            }
            exchange.failed(cause);
            Ok(Answer::Kept(Kept { route: id }))
        }
        Outcome::NotKept => end.reaches_the_client(),
    }
}

/// Reads what the upstream did not, and stores the request.
async fn keep(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    (copy, route, cause): (Copy, RouteId, Cause),
) -> Result<Outcome, Refusal> {
    let Copy {
        mut head,
        passed,
        lender,
    } = copy;
    give_back(lender, exchange, request);
    let taken = passed.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut reading) = taken else {
        return Ok(Outcome::NotKept);
    };
    exchange.killed = Some((Mode::Archive, KillOutcome::Aborted));
    if !request.body().is_empty() {
        exchange.expects_continue = false;
    }
    match reading.read(request.body_mut()).await {
        Ok(()) => {}
        Err(Stop::Busy(_)) => {
            exchange.killed = Some((Mode::Archive, KillOutcome::Refused));
            return Ok(Outcome::NotKept);
        }
        Err(Stop::Fault(fault)) => return Err(archive::broken(exchange, fault)),
    }
    let worker = Arc::clone(&exchange.worker);
    let Some(opened) = worker.live.archive.opened() else {
        return Ok(Outcome::NotKept);
    };
    let note = Note {
        route,
        reason: Some(cause.to_string().into()),
        source: SOURCE.into(),
        maybe_processed: exchange.seen == Seen::Maybe,
    };
    let Reading { reservation, body } = reading;
    let record = record::of(exchange, &mut head, (note, body.into()));
    let to = (route, &opened.journal);
    match archive::store(exchange, to, (record, reservation)).await {
        journal::Answer::Stored { .. } => {
            exchange.killed = Some((Mode::Archive, KillOutcome::Archived));
            Ok(Outcome::Kept)
        }
        journal::Answer::Full(_) | journal::Answer::Busy(_) | journal::Answer::Failed(_) => {
            exchange.killed = Some((Mode::Archive, KillOutcome::Refused));
            Ok(Outcome::NotKept)
        }
    }
}

enum Outcome {
    Kept,
    NotKept,
}

/// What the client sees if the request cannot be kept.
// Lives for a moment; a box would cost more than its size.
#[allow(clippy::large_enum_variant)]
enum End {
    None(Unanswered),
    Answer(Answered),
}

impl End {
    /// An answer that came before the request was read whole ends with the connection that the
    /// rest of the request is taken from.
    fn if_whole(self, exchange: &Exchange) -> End {
        let whole = exchange.progress.as_ref().is_none_or(|p| p.done());
        match self {
            End::Answer(_) if !whole => End::None(Reason::UpstreamReset.into()),
            End::Answer(response) => End::Answer(response),
            End::None(unanswered) => End::None(unanswered),
        }
    }

    fn reaches_the_client(self) -> Result<Answer, Refusal> {
        match self {
            End::None(unanswered) => Err(unanswered.into()),
            End::Answer(response) => Ok(Answer::Upstream(response)),
        }
    }
}

/// A request as the client sent it, copied on its way to the upstream.
struct Copy {
    /// Without the body.
    head: Request<RequestBody>,
    /// What the upstream was sent of the body; `None` once there was no more room.
    passed: Arc<Mutex<Option<Reading>>>,
    /// `None` for an empty body.
    lender: Option<Lender>,
}

impl Copy {
    /// `None` if there is no journal, or no room.
    fn begin(exchange: &Exchange, request: &mut Request<RequestBody>) -> Option<Copy> {
        let opened = exchange.worker.live.archive.opened()?;
        let announced = request.body().announced();
        let reservation = opened.journal.reserve(announced.unwrap_or(0)).ok()?;
        let mut head = Request::new(RequestBody::empty());
        head.method_mut().clone_from(request.method());
        head.uri_mut().clone_from(request.uri());
        head.headers_mut().clone_from(request.headers());
        *head.version_mut() = request.version();
        let reading = Reading::new(reservation, announced);
        let passed = Arc::new(Mutex::new(Some(reading)));
        let seen = Arc::clone(&passed);
        let lender = (!request.body().is_empty()).then(|| {
            request.body_mut().lend(Box::new(move |data| {
                let mut reading = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(copied) = &mut *reading
                    && copied.push(data).is_err()
                {
                    *reading = None;
                }
            }))
        });
        Some(Copy {
            head,
            passed,
            lender,
        })
    }

    /// The upstream answers for the request: what it has yet to read is not copied.
    fn forget(self) {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn give_back(self, exchange: &Exchange, request: &mut Request<RequestBody>) {
        give_back(self.lender, exchange, request);
    }
}

/// Gives the request what is left of its body.
fn give_back(lender: Option<Lender>, exchange: &Exchange, request: &mut Request<RequestBody>) {
    let Some(lender) = lender else { return };
    let rest = lender.take_back();
    let done = exchange.progress.as_ref().is_some_and(|p| p.done());
    *request.body_mut() = match done {
        true => RequestBody::empty(),
        false => rest,
    };
}

/// Whether an answer is the upstream's own.
enum Serves {
    Yes,
    No,
}

/// As a breaker counts: 500 is left out, because one client's request may cause it.
fn says_it_fails(status: StatusCode) -> Serves {
    let failures = [
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    match failures.contains(&status) {
        true => Serves::No,
        false => Serves::Yes,
    }
}

/// Who made a request fail.
enum Blame {
    Upstream,
    Others,
}

fn blame(reason: Reason) -> Blame {
    // Nothing was asked of the upstream in the first two, because of what it did before.
    match (reason, Ending::of_reason(reason)) {
        (Reason::NoEndpoint | Reason::BreakerOpen, _) | (_, Ending::Failure) => Blame::Upstream,
        (_, Ending::Success | Ending::Unknown) => Blame::Others,
    }
}

impl Kept {
    /// The answer that the route's switch would give.
    pub(super) fn answer(self, exchange: Exchange) -> http::Response<ReplyBody> {
        let view = Arc::clone(&exchange.view);
        let answer = &view.snapshot.route(self.route).spec.kill_switch.answer;
        let answer = KillAnswer {
            status: answer.status.unwrap_or(StatusCode::OK),
            body: answer.body.clone().unwrap_or_default(),
            content_type: answer.content_type.clone(),
        };
        answer.send(exchange, Close(false))
    }
}
