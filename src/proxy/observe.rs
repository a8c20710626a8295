//! Who is it? Requests of routes with `observe` are counted before anything decides on them:
//! whom a switch takes is who is looked for.

use http::Request;

use super::exchange::Exchange;
use super::headers::client_ip;
use crate::snapshot::Route;
use crate::upstream::RequestBody;

/// Counts the request where its route observes; elsewhere this is one branch.
#[inline]
pub(crate) fn note(exchange: &Exchange, request: &Request<RequestBody>, route: &Route) {
    let Some(observer) = &route.observer else {
        return;
    };
    let headers = request.headers();
    let trusted = &exchange.view.snapshot.settings().server.trusted_proxies;
    let client = || client_ip(headers, &exchange.peer, trusted);
    observer.note(exchange.worker.number, headers, client);
}
