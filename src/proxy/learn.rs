//! What an upstream's adaptive concurrency limit learns from attempts.

use std::time::Instant;

use http::StatusCode;

use crate::policy::adaptive::Ending;
use crate::upstream::{Progress, Upstream, Waiting};
use crate::vocab::Clock;

/// When an attempt that began at `begun` had sent all that its client gave: a client that is slow
/// makes no upstream slow. `None`: the client still sends.
pub(super) fn sent_at(begun: Instant, progress: Option<&Progress>) -> Option<Instant> {
    match progress.map(Progress::waiting) {
        None => Some(begun),
        Some(Waiting::Client) => None,
        Some(Waiting::Upstream(since)) => Some(since.max(begun)),
    }
}

/// A response head came at `now`.
pub(super) fn answered(
    upstream: &Upstream,
    status: StatusCode,
    (sent, now): (Option<Instant>, Instant),
) {
    let own = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    let ending = match sent {
        // It refused at once: that does not tell how long it takes.
        Some(sent) if !own.contains(&status) => {
            Ending::Answered(now.saturating_duration_since(sent))
        }
        Some(_) | None => Ending::Failed,
    };
    upstream.note(ending, now);
}

/// No response head came in time.
pub(super) fn timed_out(upstream: &Upstream, sent: Instant) {
    let now = Clock::now();
    upstream.note(Ending::TimedOut(now.saturating_duration_since(sent)), now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{BodyLimits, RequestBody};
    use std::time::Duration;

    #[test]
    fn the_time_of_a_request_without_a_body_runs_from_its_beginning() {
        let begun = Clock::now();
        assert_eq!(sent_at(begun, None), Some(begun));
    }

    #[test]
    fn a_body_counts_from_when_the_client_last_was_waited_for() {
        let limits = BodyLimits {
            max: 100,
            silence: Duration::from_secs(1),
            min_rate: 1,
        };
        let begun = Clock::now();
        let body = http_body_of("points");
        let mut body = RequestBody::other(body);
        let later = begun + Duration::from_millis(5);
        let progress = body.meter(limits, later).unwrap();
        assert_eq!(sent_at(begun, Some(&progress)), Some(later));
    }

    fn http_body_of(
        text: &'static str,
    ) -> impl http_body::Body<Data = bytes::Bytes, Error = crate::upstream::BoxError> {
        use http_body::{Frame, SizeHint};
        use std::pin::Pin;
        use std::task::{Context, Poll};
        struct Once(Option<&'static str>);
        impl http_body::Body for Once {
            type Data = bytes::Bytes;
            type Error = crate::upstream::BoxError;
            fn poll_frame(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<bytes::Bytes>, Self::Error>>> {
                let data = self.0.take().map(|text| Ok(Frame::data(text.into())));
                Poll::Ready(data)
            }
            fn size_hint(&self) -> SizeHint {
                SizeHint::default()
            }
        }
        Once(Some(text))
    }
}
