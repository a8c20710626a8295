//! THE WALK. What happens to a request, in order, on one screen.

use std::sync::Arc;

use http::{Request, Response, StatusCode};

use super::absorb;
use super::admission::{self, Admission};
use super::aim;
use super::attempt::{self, Got};
use super::displaced::Displaced;
use super::examine::{self, Facts};
use super::exchange::Exchange;
use super::failure;
use super::forward;
use super::headers;
use super::observe;
use super::peer::Peer;
use super::refusal::{CLOSE, NO_STORE, Refusal};
use super::repeated::{self, Repeat};
use super::reply::{self, ReplyBody};
use super::switch;
use super::worker::{View, Worker};
use crate::config::{HostRewrite, OnFailure, RespondSpec, Target};
use crate::matching::Lookup;
use crate::snapshot::Route;
use crate::upstream::RequestBody;
use crate::vocab::{By, Reason, RouteId};

/// Walks one request. Never fails: what goes wrong is an answer too.
pub(crate) async fn handle(
    worker: &Arc<Worker>,
    peer: &Arc<Peer>,
    request: &mut Request<RequestBody>,
) -> Response<ReplyBody> {
    let mut exchange = Exchange::begin(worker, peer, request);
    match walk(&mut exchange, request).await {
        Ok(Answer::Upstream(response)) => reply::reply(response, exchange, request.method()),
        Ok(Answer::Absorbed(absorbed)) => absorbed.answer(exchange),
        Ok(Answer::Kept(kept)) => kept.answer(exchange),
        Ok(Answer::Respond(id, close)) => respond(exchange, id, close),
        Err(mut refusal) => {
            // What ends the connection anyway does not wait for a body first.
            if !refusal.close {
                refusal.close = absorb::settle(&mut exchange, request).await.is_err();
            }
            refusal.answer(By::Gateway, exchange)
        }
    }
}

/// Lives for a moment on the stack; a box would cost more than its size.
#[allow(clippy::large_enum_variant)]
pub(super) enum Answer {
    Upstream(attempt::Answered),
    Absorbed(absorb::Absorbed),
    Kept(failure::Kept),
    Respond(RouteId, absorb::Close),
}

async fn walk(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
) -> Result<Answer, Refusal> {
    let view = Arc::clone(&exchange.view);
    let facts = examine::examine(request)?;
    exchange.expects_continue = facts.expects_continue;
    let target = find(&view, request)?;
    exchange.enter(target.route);
    let route = view.snapshot.route(target.route);
    observe::note(exchange, request, route);
    if let Some(taken) = switch::ask(exchange, request, target.route) {
        return absorb::absorb(exchange, request, taken)
            .await
            .map(Answer::Absorbed);
    }
    let seen = repeated::note(exchange, request, (route, &facts));
    if let Some(budget) = &route.repeat_budget {
        match repeated::judge(exchange, request, (route, budget, seen)).await? {
            Repeat::GoesOn => {}
            Repeat::Taken(taken) => {
                return absorb::absorb(exchange, request, taken)
                    .await
                    .map(Answer::Absorbed);
            }
        }
    }
    match admission::admit(exchange, request, route).await? {
        Admission::Admitted => {}
        Admission::Killed(taken) => {
            return absorb::absorb(exchange, request, taken)
                .await
                .map(Answer::Absorbed);
        }
    }
    if facts.upgrade {
        return Err(Reason::UpgradeRefused.into());
    }
    if let Target::Respond(_) = route.spec.target {
        let close = absorb::drain(exchange, request, route.max_body).await;
        return close.map(|close| Answer::Respond(target.route, close));
    }
    if facts.seen.via && examine::loops(request.headers(), &view.via) {
        return Err(Reason::Loop.into());
    }
    if route.spec.on_failure == OnFailure::Open {
        // Boxed: the future of every other request would grow by it.
        return Box::pin(failure::run(exchange, request, (target, &facts))).await;
    }
    bound_body(exchange, request, route)?;
    prepare(exchange, request, &facts, (route, target.path))?;
    match forward::run(exchange, request, route).await? {
        Got::Answer(response) => Ok(Answer::Upstream(response)),
        Got::Killed(taken) => absorb::absorb(exchange, request, taken)
            .await
            .map(Answer::Absorbed),
    }
}

/// A request whose connection ended before its walk could begin: it is counted as one whose
/// client went away, and under the switch that would have taken it.
pub(super) fn missed(worker: &Arc<Worker>, peer: &Arc<Peer>, request: &Request<RequestBody>) {
    let mut exchange = Exchange::begin(worker, peer, request);
    let view = Arc::clone(&exchange.view);
    let Ok(facts) = examine::examine(request) else {
        return;
    };
    let Ok(target) = find(&view, request) else {
        return;
    };
    exchange.enter(target.route);
    let route = view.snapshot.route(target.route);
    observe::note(&exchange, request, route);
    match switch::ask(&exchange, request, target.route) {
        Some(taken) => absorb::missed(&mut exchange, taken),
        None => _ = repeated::note(&mut exchange, request, (route, &facts)),
    }
}

/// Where a request goes, and the path that was matched if it is not the one received.
pub(super) struct Destination {
    pub(super) route: RouteId,
    pub(super) path: Option<String>,
}

fn find(view: &View, request: &Request<RequestBody>) -> Result<Destination, Refusal> {
    let matcher = &view.snapshot.table.matcher;
    match matcher.look_up(request.method(), request.uri(), request.headers()) {
        Lookup::Route { route, path } => Ok(Destination {
            route,
            path: match path {
                std::borrow::Cow::Borrowed(_) => None,
                std::borrow::Cow::Owned(path) => Some(path),
            },
        }),
        Lookup::Method(allow) => Err(Refusal {
            allow,
            ..Reason::MethodNotAllowed.into()
        }),
        Lookup::Nothing => Err(Reason::NoRoute.into()),
        Lookup::Malformed(_) | Lookup::TwoReadings { .. } => Err(Reason::BadRequest.into()),
    }
}

pub(super) fn bound_body(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    route: &Route,
) -> Result<(), Refusal> {
    let body = request.body_mut();
    if body.announced().is_some_and(|bytes| bytes > route.max_body) {
        return Err(Reason::BodyTooLarge.into());
    }
    exchange.meter(body, route.max_body);
    Ok(())
}

/// Makes the request the one that the upstream gets.
pub(super) fn prepare(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    facts: &Facts,
    destination: (&Route, Option<String>),
) -> Result<(), Refusal> {
    let (route, path) = destination;
    aim::take(exchange, request, route);
    let mut displaced = Displaced::default();
    if !facts.seen.host {
        displaced.without_host();
        headers::give_host(request, route.branches.get(exchange.branch));
    } else if route.spec.host_rewrite != HostRewrite::Keep {
        displaced.keep(request.headers(), &http::header::HOST);
    }
    headers::retarget(request, route, path, &mut displaced)?;
    displaced.keep_version(request.version());
    let map = request.headers_mut();
    headers::prepare_request(map, facts, exchange, &mut displaced);
    headers::edit_request(map, &route.spec.request_headers, &mut displaced);
    headers::frame(request, facts);
    exchange.displaced = displaced;
    Ok(())
}

fn respond(mut exchange: Exchange, id: RouteId, close: absorb::Close) -> Response<ReplyBody> {
    let view = Arc::clone(&exchange.view);
    let route = view.snapshot.route(id);
    let nothing = RespondSpec {
        status: StatusCode::OK,
        body: bytes::Bytes::new(),
        content_type: None,
    };
    let spec = match &route.spec.target {
        Target::Respond(spec) => spec,
        Target::Upstream(_) | Target::Split(_) => &nothing,
    };
    exchange.answered(By::Gateway, spec.status.as_u16());
    let id = exchange.request_id.clone();
    let close = close.0 || exchange.closes();
    let mut response = Response::new(ReplyBody::full(spec.body.clone(), exchange));
    *response.status_mut() = spec.status;
    let map = response.headers_mut();
    map.insert(http::header::CACHE_CONTROL, NO_STORE);
    map.insert(headers::X_REQUEST_ID, id);
    if let Some(kind) = &spec.content_type {
        map.insert(http::header::CONTENT_TYPE, kind.clone());
    }
    if close {
        map.insert(http::header::CONNECTION, CLOSE);
    }
    headers::edit(map, &route.spec.response_headers);
    response
}
