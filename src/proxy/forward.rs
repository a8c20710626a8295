//! The part of the walk that belongs to an upstream, in order: its breaker, its concurrency
//! limit, the attempts, of which each that follows another asks the breaker again.

use http::Request;

use super::admission::{self, Admission};
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
    match admission::enter_upstream(exchange, request, route).await? {
        Admission::Admitted => {}
        Admission::Killed(taken) => return Ok(Got::Killed(taken)),
    }
    let got = retry::run(exchange, request, (route, passing)).await;
    if got.is_err() {
        exchange.permits.leave_upstream();
    }
    got
}
