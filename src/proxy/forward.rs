//! The part of the walk that belongs to an upstream, in order: its breaker, its concurrency
//! limit, the attempts.

use http::Request;

use super::attempt::{Got, Unanswered};
use super::breaker;
use super::exchange::Exchange;
use super::retry;
use crate::snapshot::Route;
use crate::upstream::RequestBody;

/// Gets a response head from the upstream that the request goes to.
pub(super) async fn run(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    route: &Route,
) -> Result<Got, Unanswered> {
    let passing = breaker::ask(exchange, route)?;
    // The concurrency limit of the upstream comes here.
    let got = retry::run(exchange, request, route).await;
    if let Some(passing) = passing {
        passing.ended(&got);
    }
    got
}
