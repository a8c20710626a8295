//! Asks the switches of a route about a request.

use http::Request;

use super::absorb::Taken;
use super::exchange::Exchange;
use super::headers;
use crate::matching::Asker;
use crate::policy::rules::{Rules, Verdict};
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
        return Some(Taken { route, order });
    }
    decide(exchange, request, rules).map(|order| Taken { route, order })
}

fn decide(
    exchange: &Exchange,
    request: &Request<RequestBody>,
    rules: &Rules,
) -> Option<crate::policy::rules::OrderAt> {
    let trusted = &exchange.view.snapshot.settings().server.trusted_proxies;
    let asker = Asker {
        headers: request.headers(),
        client: headers::client_ip(request.headers(), &exchange.peer, trusted),
        query: request.uri().query(),
    };
    let id = exchange.request_id.as_bytes();
    match rules.decide(&asker, id, Clock::unix()).verdict {
        Verdict::Kill(order) => Some(order),
        Verdict::Pass => None,
    }
}
