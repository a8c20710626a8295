//! Asks the switches of a route about a request.

use std::sync::Arc;

use http::{HeaderMap, Request};

use super::absorb::{Order, Taken};
use super::exchange::Exchange;
use super::headers;
use crate::matching::Asker;
use crate::policy::kill::Mode;
use crate::policy::rules::{Decision, OrderAt, Rules, Verdict};
use crate::snapshot::{Route, RouteTable};
use crate::upstream::RequestBody;
use crate::vocab::{Clock, RouteId};

/// The switch that takes this request, if one does.
pub(crate) fn ask(
    exchange: &Exchange,
    request: &Request<RequestBody>,
    route: RouteId,
) -> Option<Taken> {
    let rules = exchange.view.snapshot.rules(route)?;
    if let Some(order) = rules.plain() {
        return Some(by_switch(route, order));
    }
    let decision = decide(exchange, rules, request.headers(), request.uri().query());
    if let Some(mode) = decision.rehearsed {
        exchange.metrics().rehearsed(mode.index());
    }
    taken(route, decision.verdict)
}

/// The switch that takes this request now, after it has waited: other switches may hold than
/// when it came. They are asked about the request as the client sent it; the exchange goes on
/// in the view of the switch that takes it.
///
/// A route that is gone by then takes no switch: its requests end under their old policies. A
/// dry run counted the request when it came, or not at all.
pub(crate) fn ask_again(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
) -> Option<Taken> {
    if !exchange.worker.is_outdated(&exchange.view) {
        return None;
    }
    let view = exchange.worker.view();
    let earlier = Arc::clone(&exchange.view);
    let before = earlier.snapshot.route(exchange.route?);
    let route = successor(&view.snapshot.table, before)?;
    let rules = view.snapshot.rules(route)?;
    let taken = match rules.plain() {
        Some(order) => by_switch(route, order),
        None => {
            let headers = exchange.displaced.restored(request.headers(), before);
            let query = request.uri().query();
            taken(route, decide(exchange, rules, &headers, query).verdict)?
        }
    };
    if taken.order(&view.snapshot)?.mode == Mode::Archive {
        // What is kept is what the client sent.
        exchange.displaced.restore(request, before);
    }
    exchange.adopt(view, route);
    Some(taken)
}

/// The route of the same name in another table.
pub(super) fn successor(table: &RouteTable, before: &Route) -> Option<RouteId> {
    let same = |route: &&Route| route.spec.name == before.spec.name;
    if let Some(route) = table.routes.get(before.id.index()).filter(same) {
        return Some(route.id);
    }
    let name = &before.spec.name;
    let found = table
        .routes
        .binary_search_by(|route| route.spec.name.cmp(name));
    found.ok().map(|index| table.routes[index].id)
}

fn decide(
    exchange: &Exchange,
    rules: &Rules,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Decision {
    let trusted = &exchange.view.snapshot.settings().server.trusted_proxies;
    let asker = Asker {
        headers,
        client: headers::client_ip(headers, &exchange.peer, trusted),
        query,
    };
    rules.decide(&asker, exchange.request_id.as_bytes(), Clock::unix())
}

fn by_switch(route: RouteId, order: OrderAt) -> Taken {
    let order = Order::Switch(order);
    Taken { route, order }
}

fn taken(route: RouteId, verdict: Verdict) -> Option<Taken> {
    match verdict {
        Verdict::Kill(order) => Some(by_switch(route, order)),
        Verdict::Pass => None,
    }
}
