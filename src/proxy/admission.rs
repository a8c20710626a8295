//! What a request must pass before it goes on: the rate limit of its route, the route's
//! concurrency, and, before an upstream, that of the upstream.
//!
//! A permit is held by the [`Exchange`], so that it ends with the response body, or when the
//! client has gone. Whoever waits for one asks the switches again with each change of them: a
//! switch that is thrown takes the whole line at once.

use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;

use super::absorb::Taken;
use super::attempt::Unanswered;
use super::exchange::Exchange;
use super::headers;
use super::refusal::Refusal;
use super::switch;
use super::worker::View;
use crate::policy::concurrency::{Entry, Gate, Permit, Ticket};
use crate::policy::rate::{LimitedBy, RateVerdict};
use crate::snapshot::{Route, RouteRate, Tell};
use crate::telemetry::Enforced;
use crate::upstream::{LINE_TIMEOUT, RequestBody};
use crate::vocab::{Clock, Reason, RouteId};

/// What became of a request at a limit.
pub(super) enum Admission {
    /// It goes on; its permit is the exchange's.
    Admitted,
    /// While it waited, a switch took it.
    Killed(Taken),
}

/// A route's place in the worker's own view: a reference to the gate itself would be counted in
/// a word that all workers write.
#[derive(Debug)]
pub(super) struct RouteGate {
    view: Arc<View>,
    route: RouteId,
}

impl Deref for RouteGate {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.view.snapshot.route(self.route).state.gate
    }
}

/// Likewise the place of an upstream.
#[derive(Debug)]
pub(super) struct UpstreamGate {
    view: Arc<View>,
    route: RouteId,
    branch: u32,
}

impl Deref for UpstreamGate {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        let route = self.view.snapshot.route(self.route);
        &route.branches[self.branch as usize].upstream.limit.gate
    }
}

/// The places that a request holds while it is in progress.
#[derive(Debug, Default)]
pub(super) struct Permits {
    route: Option<Permit<RouteGate>>,
    upstream: Option<Permit<UpstreamGate>>,
}

/// The limits of the route. Without any this is two branches.
#[inline]
pub(super) async fn admit(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    route: &Route,
) -> Result<Admission, Refusal> {
    if let Some(rate) = &route.rate {
        within_rate(exchange, request, (route, rate))?;
    }
    let Some(concurrency) = &route.spec.concurrency else {
        return Ok(Admission::Admitted);
    };
    let gate = RouteGate {
        view: Arc::clone(&exchange.view),
        route: route.id,
    };
    let permit = match Gate::enter(gate) {
        Entry::Admitted(permit) => permit,
        Entry::Full(_) => return Err(Reason::Overloaded.into()),
        Entry::Queued(ticket) => {
            let longest = concurrency.queue_timeout.min(route.spec.timeout);
            // Boxed: the future of every other request would grow by it.
            match Box::pin(wait(exchange, request, (ticket, longest))).await {
                Waited::Admitted(permit) => permit,
                Waited::Killed(taken) => return Ok(Admission::Killed(taken)),
                Waited::TimedOut => return Err(Reason::Overloaded.into()),
            }
        }
    };
    exchange.permits.route = Some(permit);
    Ok(Admission::Admitted)
}

/// The limit of the upstream that the request goes to, by the tier of its route. Where it is
/// off, nothing that workers share is touched.
#[inline]
pub(super) async fn enter_upstream(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    route: &Route,
) -> Result<Admission, Unanswered> {
    let Some(branch) = route.branches.get(exchange.branch) else {
        return Ok(Admission::Admitted);
    };
    let (limit, spec) = (&branch.upstream.limit, &branch.upstream.spec);
    let Some(part) = limit.part(spec.concurrency, route.spec.tier) else {
        return Ok(Admission::Admitted);
    };
    let gate = UpstreamGate {
        view: Arc::clone(&exchange.view),
        route: route.id,
        branch: exchange.branch as u32,
    };
    let shed = Unanswered::from(Reason::Overloaded);
    let permit = match Gate::enter_within(gate, part) {
        Entry::Admitted(permit) => permit,
        Entry::Full(_) => return Err(shed),
        Entry::Queued(ticket) => {
            let longest = LINE_TIMEOUT.min(route.spec.timeout);
            match Box::pin(wait(exchange, request, (ticket, longest))).await {
                Waited::Admitted(permit) => permit,
                Waited::Killed(taken) => return Ok(Admission::Killed(taken)),
                Waited::TimedOut => return Err(shed),
            }
        }
    };
    exchange.permits.upstream = Some(permit);
    Ok(Admission::Admitted)
}

impl Permits {
    /// The request is in progress at its upstream no longer.
    pub(super) fn leave_upstream(&mut self) {
        self.upstream = None;
    }
}

fn within_rate(
    exchange: &Exchange,
    request: &Request<RequestBody>,
    (route, rate): (&Route, &RouteRate),
) -> Result<(), Refusal> {
    let headers = request.headers();
    let trusted = &exchange.view.snapshot.settings().server.trusted_proxies;
    let client = || headers::client_ip(headers, &exchange.peer, trusted);
    let spec = rate.limit.spec();
    let now = Clock::uptime(exchange.start);
    match rate.limit.check(spec.key.counted(headers, client), now) {
        RateVerdict::Passed { .. } => Ok(()),
        RateVerdict::Limited { retry_after, by } => {
            if by == LimitedBy::Crowd {
                warn_of_crowd(route, rate, now);
            }
            if spec.dry_run {
                exchange.metrics().limited(Enforced::No);
                return Ok(());
            }
            exchange.metrics().limited(Enforced::Yes);
            Err(Refusal {
                retry_after,
                ..Reason::RateLimited.into()
            })
        }
    }
}

#[cold]
fn warn_of_crowd(route: &Route, rate: &RouteRate, now: Duration) {
    match route.state.tell_crowd(now) {
        Tell::NotAgain => {}
        Tell::Now => tracing::warn!(
            route = &*route.spec.name,
            key = %rate.limit.spec().key,
            max_keys = rate.limit.spec().max_keys,
            requests = rate.limit.crowded(),
            "rate_limit has more keys than places: some are limited for the requests of others; \
             raise max_keys"
        ),
    }
}

enum Waited<G: Deref<Target = Gate>> {
    Admitted(Permit<G>),
    Killed(Taken),
    TimedOut,
}

enum Woken<G: Deref<Target = Gate>> {
    Admitted(Permit<G>),
    /// Other switches may hold.
    Changed,
    TimedOut,
}

/// Waits in line, for `longest` at most. Dropped, as when the client leaves, the place is free.
async fn wait<G: Deref<Target = Gate> + Unpin>(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    (mut ticket, longest): (Ticket<G>, Duration),
) -> Waited<G> {
    let worker = Arc::clone(&exchange.worker);
    let mut timer = pin!(tokio::time::sleep(longest));
    loop {
        // Before the question, so that no change falls between the two.
        let mut changed = pin!(worker.live.changed());
        if let Some(taken) = switch::ask_again(exchange, request) {
            return Waited::Killed(taken);
        }
        let woken = poll_fn(|cx| first(&mut ticket, changed.as_mut(), (timer.as_mut(), cx)));
        match woken.await {
            Woken::Changed => {}
            Woken::TimedOut => return Waited::TimedOut,
            Woken::Admitted(permit) => {
                // Its time in line is none of the upstream's.
                exchange.now = Clock::now();
                return match switch::ask_again(exchange, request) {
                    Some(taken) => Waited::Killed(taken),
                    None => Waited::Admitted(permit),
                };
            }
        }
    }
}

fn first<G: Deref<Target = Gate> + Unpin>(
    ticket: &mut Ticket<G>,
    changed: Pin<&mut impl Future<Output = ()>>,
    (timer, cx): (Pin<&mut tokio::time::Sleep>, &mut Context<'_>),
) -> Poll<Woken<G>> {
    // A place that comes with the last moment is taken.
    if let Poll::Ready(permit) = Pin::new(ticket).poll(cx) {
        return Poll::Ready(Woken::Admitted(permit));
    }
    if changed.poll(cx).is_ready() {
        return Poll::Ready(Woken::Changed);
    }
    timer.poll(cx).map(|()| Woken::TimedOut)
}
