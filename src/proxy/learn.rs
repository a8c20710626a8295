//! What an upstream's adaptive concurrency limit learns from attempts.

use std::time::Instant;

use http::StatusCode;

use crate::policy::adaptive::Ending;
use crate::upstream::{Upstream, Waiting};
use crate::vocab::Clock;

/// When an attempt that began at `begun` had sent all that its client gave: a client that is slow
/// makes no upstream slow. `None`: the client still sends.
pub(super) fn sent_at(begun: Instant, waiting: Option<Waiting>) -> Option<Instant> {
    match waiting {
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
    use std::time::Duration;

    #[test]
    fn a_slow_client_makes_no_slow_upstream() {
        let begun = Clock::now();
        let later = begun + Duration::from_secs(5);
        assert_eq!(sent_at(begun, None), Some(begun));
        assert_eq!(sent_at(begun, Some(Waiting::Client)), None);
        let sent = |since| sent_at(begun, Some(Waiting::Upstream(since)));
        assert_eq!(sent(later), Some(later));
        assert_eq!(sent(begun - Duration::from_secs(1)), Some(begun));
    }
}
