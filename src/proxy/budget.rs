//! How long an attempt may take, while the body of its request may still be coming.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::upstream::{Progress, Waiting};
use crate::vocab::Clock;

/// The time an exchange and its attempt may take until the response head.
pub(super) struct Budget {
    pub(super) request: Instant,
    pub(super) attempt: Instant,
    pub(super) timeout: Duration,
    pub(super) attempt_timeout: Option<Duration>,
}

impl Budget {
    /// The clock runs from the moment the request was received whole. While its body is still
    /// coming, time spent waiting for the client is the client's (`body_timeout`), time spent
    /// waiting for the upstream to take more is the upstream's.
    pub(super) fn deadline(&self, progress: Option<&Progress>, now: Instant) -> Instant {
        let since = match progress.map(Progress::waiting) {
            None => self.request,
            Some(Waiting::Client) => now,
            Some(Waiting::Upstream(since)) => since.max(self.request),
        };
        let whole = since + self.timeout;
        match self.attempt_timeout {
            Some(attempt) => whole.min(since.max(self.attempt) + attempt),
            None => whole,
        }
    }
}

/// The budget was used up.
pub(super) struct TimedOut;

/// Runs a future within a budget whose end may move while the request body flows.
pub(super) async fn within<F: Future>(
    mut future: Pin<&mut F>,
    budget: &Budget,
    progress: Option<&Progress>,
) -> Result<F::Output, TimedOut> {
    let first = budget.deadline(progress, budget.attempt);
    let mut timer = pin!(tokio::time::sleep_until(first.into()));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Clock::now();
            let deadline = budget.deadline(progress, now);
            if deadline <= now {
                return Poll::Ready(Err(TimedOut));
            }
            timer.as_mut().reset(deadline.into());
        }
        Poll::Pending
    })
    .await
}
