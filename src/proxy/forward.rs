//! The part of the walk that belongs to an upstream, in order: its breaker, its concurrency
//! limit, the attempts.

use http::Request;

use super::attempt::{self, Got, Unanswered};
use super::exchange::Exchange;
use crate::snapshot::Route;
use crate::upstream::RequestBody;

/// Gets a response head from the upstream that the request goes to.
pub(super) async fn run(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    route: &Route,
) -> Result<Got, Unanswered> {
    attempt::run(exchange, request, route).await
}
