//! Sends one request: an endpoint, a connection, the answer.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body::Body as _;
use std::future::poll_fn;
use std::pin::Pin;

use super::outcome::{Failing, Outcome};
use super::request::Outgoing;
use super::target::Destination;
use crate::policy::balance::Tried;
use crate::upstream::{
    Aim, BodyLimits, Client, Connection, Endpoint, Failure, InFlight, RequestBody, ResponseBody,
    Terms,
};
use crate::vocab::Clock;

/// Of an answer so much is read, so that its connection can carry the next request.
const READ_OF_ANSWER: u64 = 1 << 20;
/// The longest that is waited for the rest of an answer.
const REST_OF_ANSWER: Duration = Duration::from_secs(5);

/// Connections of its own: none of live traffic is ever used.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    timeout: Duration,
}

/// No connection to an endpoint: the next one is tried.
struct Unreachable;

type Answer = (Outcome, Option<ResponseBody>);

impl Sender {
    /// `timeout` is from the first byte sent to the answer head, connecting included.
    pub(super) fn new(timeout: Duration) -> Sender {
        Sender {
            client: Client::default(),
            timeout,
        }
    }

    /// Sends a request once. A pooled connection that turns out to be closed is replaced: a
    /// record that may have arrived is sent again whatever the reason.
    pub(super) async fn send(&self, outgoing: &Outgoing, to: &Destination) -> Outcome {
        let (outcome, body) =
            match tokio::time::timeout(self.timeout, self.head(outgoing, to)).await {
                Ok(answer) => answer,
                Err(_) => return Outcome::Failing(Failing::TimedOut, None),
            };
        if let Some(body) = body {
            // However it ends, the status has said what became of the record.
            let _ = tokio::time::timeout(REST_OF_ANSWER.min(self.timeout), drain(body)).await;
        }
        outcome
    }

    /// Closes connections that were idle for too long.
    pub(super) fn sweep(&self) {
        self.client.pool().sweep(Clock::now());
    }

    async fn head(&self, outgoing: &Outgoing, to: &Destination) -> Answer {
        let mut tried = Tried::default();
        for _ in 0..to.upstream.endpoints().len() {
            let now = Clock::now();
            let aim = Aim {
                tried: &tried,
                hash: 0,
                random: u64::from(now.elapsed().subsec_nanos()),
                now,
            };
            let Some(endpoint) = self.client.choose(&to.upstream, &aim) else {
                break;
            };
            if let Ok(answer) = self.at_endpoint(outgoing, to, &endpoint).await {
                return answer;
            }
            tried.add(&*endpoint);
        }
        (Outcome::Failing(Failing::Unreachable, None), None)
    }

    async fn at_endpoint(
        &self,
        outgoing: &Outgoing,
        to: &Destination,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Answer, Unreachable> {
        let mut stale = false;
        loop {
            let pooled = match stale {
                true => None,
                false => self.client.pooled(endpoint, Clock::now()),
            };
            let connection = match pooled {
                Some(connection) => connection,
                None => self.connect(to, endpoint).await?,
            };
            let reused = connection.reused;
            let request = outgoing.request(&to.recipe, endpoint);
            match self.exchange((connection, endpoint), request, to).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Unsent(_)) if reused => {}
                Err(Failure::Reset) if reused => stale = true,
                Err(Failure::Invalid) => {
                    return Ok((Outcome::Failing(Failing::Invalid, None), None));
                }
                Err(Failure::Unsent(_) | Failure::Reset | Failure::Body) => {
                    return Ok((Outcome::Failing(Failing::Reset, None), None));
                }
            }
        }
    }

    async fn connect(
        &self,
        to: &Destination,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Connection, Unreachable> {
        let connecting = self.client.connect(endpoint);
        let within = to.upstream.spec.connect_timeout;
        match tokio::time::timeout(within, connecting).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => {
                tracing::debug!(endpoint = &*endpoint.spec.text, %error, "connect failed");
            }
            Err(_) => tracing::debug!(endpoint = &*endpoint.spec.text, "connecting takes too long"),
        }
        endpoint.rest(Clock::now());
        Err(Unreachable)
    }

    async fn exchange(
        &self,
        (mut connection, endpoint): (Connection, &Endpoint),
        mut request: Request<RequestBody>,
        to: &Destination,
    ) -> Result<Answer, Failure> {
        // Only to know whether the whole body was sent when the answer comes.
        let limits = BodyLimits {
            max: u64::MAX,
            silence: self.timeout,
            min_rate: 0,
        };
        let progress = request.body_mut().meter(limits, Clock::now());
        let busy = endpoint.state.begin();
        let response = connection.send(request).await.map_err(Failure::of)?;
        let outcome = Outcome::of(response.status(), response.headers());
        let metrics = Arc::clone(&to.upstream.metrics);
        metrics.begin();
        let terms = Terms {
            keep: to.upstream.spec.keepalive,
            progress,
            silence: REST_OF_ANSWER,
            in_flight: InFlight::begun(metrics, Some(busy)),
        };
        let lend = connection.lend(&self.client, terms);
        Ok((outcome, Some(lend(response.into_body()))))
    }
}

async fn drain(mut body: ResponseBody) {
    let mut read = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > READ_OF_ANSWER {
            return;
        }
    }
}
