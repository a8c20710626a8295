//! Where a request goes: which of the route's upstreams, and which of its endpoints by hash.
//!
//! Found out before the headers are changed: it is about the request as the client sent it.

use http::Request;

use super::exchange::Exchange;
use super::headers;
use crate::policy::balance::Method;
use crate::policy::share::Sticky;
use crate::snapshot::Route;
use crate::upstream::RequestBody;

/// Notes it in the exchange. A client that is told apart by its route's `sticky` stays with one
/// upstream of a split.
pub(super) fn take(exchange: &mut Exchange, request: &Request<RequestBody>, route: &Route) {
    exchange.branch = route.branch(|| hash(exchange, request, &route.spec.kill_switch.sticky));
    let Some(branch) = route.branches.get(exchange.branch) else {
        return;
    };
    let spec = &branch.upstream.spec;
    if spec.balance.method == Method::Hash {
        exchange.hash = hash(exchange, request, &spec.hash);
    }
}

fn hash(exchange: &Exchange, request: &Request<RequestBody>, sticky: &Sticky) -> u64 {
    let trusted = &exchange.view.snapshot.settings().server.trusted_proxies;
    let headers = request.headers();
    sticky.hash(headers, exchange.request_id.as_bytes(), || {
        headers::client_ip(headers, &exchange.peer, trusted)
    })
}
