//! What an attempt's end says about the upstream: whether it failed, did well, or neither.
//!
//! Failures are what a struggling upstream does: timeouts, connections that cannot be made or
//! break, 502 to 504. A 500 is none unless listed: one client that sends what the upstream cannot
//! digest must not turn away everybody (Nygard, Release It!). What the client or the gateway
//! itself did says nothing.

use crate::vocab::Reason;

/// What an attempt says about its upstream and its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Success,
    /// It failed.
    Failure,
    /// Nothing can be said: the client went away, or broke its request.
    Unknown,
}

/// Which statuses of 500 to 599 are failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureStatuses(u128);

impl Default for FailureStatuses {
    fn default() -> FailureStatuses {
        [502, 503, 504]
            .into_iter()
            .fold(FailureStatuses(0), FailureStatuses::with)
    }
}

impl FailureStatuses {
    /// The same and that one; a status that is not 5xx is never a failure.
    #[must_use]
    pub fn with(self, status: u16) -> FailureStatuses {
        FailureStatuses(self.0 | bit(status))
    }

    /// What a status says.
    pub fn outcome(self, status: u16) -> Outcome {
        match self.0 & bit(status) {
            0 => Outcome::Success,
            _ => Outcome::Failure,
        }
    }
}

fn bit(status: u16) -> u128 {
    match status {
        500..=599 => 1 << (status - 500),
        _ => 0,
    }
}

impl Outcome {
    /// What an attempt without a usable answer says, by the reason the client gets.
    pub fn of_reason(reason: Reason) -> Outcome {
        match reason {
            Reason::ConnectFailed
            | Reason::UpstreamReset
            | Reason::UpstreamInvalid
            | Reason::UpstreamTimeout => Outcome::Failure,
            Reason::NoRoute
            | Reason::MethodNotAllowed
            | Reason::BadRequest
            | Reason::HeadTooLarge
            | Reason::BodyTooLarge
            | Reason::RequestTimeout
            | Reason::UpgradeRefused
            | Reason::RateLimited
            | Reason::Overloaded
            | Reason::TooManyConnections
            | Reason::NoEndpoint
            | Reason::BreakerOpen
            | Reason::ArchiveUnavailable
            | Reason::Killed
            | Reason::Loop
            | Reason::Internal => Outcome::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statuses_of_a_struggling_upstream_are_failures_and_500_if_listed() {
        let usual = FailureStatuses::default();
        for status in [502, 503, 504] {
            assert_eq!(usual.outcome(status), Outcome::Failure);
        }
        for status in [100, 200, 304, 404, 429, 499, 500, 501, 505, 599, 600, 999] {
            assert_eq!(usual.outcome(status), Outcome::Success, "{status}");
        }
        assert_eq!(usual.with(500).outcome(500), Outcome::Failure);
        assert_eq!(usual.with(599).outcome(599), Outcome::Failure);
        assert_eq!(usual.with(404), usual);
    }

    #[test]
    fn only_what_the_upstream_did_is_its_failure() {
        for row in &Reason::TABLE {
            let upstream = matches!(
                row.name,
                "connect_failed" | "upstream_reset" | "upstream_invalid" | "upstream_timeout"
            );
            let wanted = match upstream {
                true => Outcome::Failure,
                false => Outcome::Unknown,
            };
            assert_eq!(Outcome::of_reason(row.reason), wanted, "{}", row.name);
        }
    }
}
