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

/// A failure that a breaker may count: `breaker.on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made.
    Connect,
    /// The connection broke before a whole response head, or what came was not HTTP.
    Reset,
    /// There was no response head in time.
    Timeout,
    /// The upstream answered 500.
    InternalError,
    /// The upstream answered 501.
    NotImplemented,
    /// The upstream answered 502.
    BadGateway,
    /// The upstream answered 503.
    Unavailable,
    /// The upstream answered 504.
    GatewayTimeout,
}

impl Failure {
    /// Every failure, in the order of their bits in [`Failures`].
    pub const ALL: [Failure; 8] = [
        Failure::Connect,
        Failure::Reset,
        Failure::Timeout,
        Failure::InternalError,
        Failure::NotImplemented,
        Failure::BadGateway,
        Failure::Unavailable,
        Failure::GatewayTimeout,
    ];

    /// The name in configuration; those that `retry.on` has too mean the same there.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Connect => "connect",
            Failure::Reset => "reset",
            Failure::Timeout => "timeout",
            Failure::InternalError => "500",
            Failure::NotImplemented => "501",
            Failure::BadGateway => "502",
            Failure::Unavailable => "503",
            Failure::GatewayTimeout => "504",
        }
    }

    /// The failure of that name.
    pub fn from_name(name: &str) -> Option<Failure> {
        Failure::ALL
            .into_iter()
            .find(|failure| failure.as_str() == name)
    }

    /// The failure that a status is.
    pub(super) fn of_status(status: u16) -> Option<Failure> {
        match status {
            500 => Some(Failure::InternalError),
            501 => Some(Failure::NotImplemented),
            502 => Some(Failure::BadGateway),
            503 => Some(Failure::Unavailable),
            504 => Some(Failure::GatewayTimeout),
            _ => None,
        }
    }

    /// The failure of an attempt without a usable answer, by the reason the client gets.
    pub(super) fn of_reason(reason: Reason) -> Option<Failure> {
        match reason {
            Reason::ConnectFailed => Some(Failure::Connect),
            Reason::UpstreamReset | Reason::UpstreamInvalid => Some(Failure::Reset),
            Reason::UpstreamTimeout => Some(Failure::Timeout),
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
            | Reason::Internal => None,
        }
    }
}

/// The failures that a route's breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures(u8);

impl Default for Failures {
    fn default() -> Failures {
        Failures::new(&[
            Failure::Connect,
            Failure::Reset,
            Failure::Timeout,
            Failure::BadGateway,
            Failure::Unavailable,
            Failure::GatewayTimeout,
        ])
    }
}

impl Failures {
    /// The set of a list.
    pub fn new(listed: &[Failure]) -> Failures {
        let bits = listed.iter().map(|failure| 1 << *failure as u8);
        Failures(bits.fold(0, |set, bit: u8| set | bit))
    }

    /// Those in the set, in the order of [`Failure::ALL`].
    pub fn listed(self) -> impl Iterator<Item = Failure> {
        let held = move |failure: &Failure| self.holds(*failure);
        Failure::ALL.into_iter().filter(held)
    }

    fn holds(self, failure: Failure) -> bool {
        self.0 & 1 << failure as u8 != 0
    }

    /// What an answer says: one that is not listed is a success.
    pub fn of_status(self, status: u16) -> Outcome {
        match Failure::of_status(status) {
            Some(failure) if self.holds(failure) => Outcome::Failure,
            Some(_) | None => Outcome::Success,
        }
    }

    /// What an attempt without a usable answer says, by the reason the client gets: one that is
    /// not listed says nothing, because there is no answer to go by.
    pub fn of_reason(self, reason: Reason) -> Outcome {
        match Failure::of_reason(reason) {
            Some(failure) if self.holds(failure) => Outcome::Failure,
            Some(_) | None => Outcome::Unknown,
        }
    }
}

impl Outcome {
    /// What an attempt without a usable answer says, by the reason the client gets.
    pub fn of_reason(reason: Reason) -> Outcome {
        match Failure::of_reason(reason) {
            Some(_) => Outcome::Failure,
            None => Outcome::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statuses_of_a_struggling_upstream_are_failures_and_500_if_listed() {
        let usual = Failures::default();
        for status in [502, 503, 504] {
            assert_eq!(usual.of_status(status), Outcome::Failure);
        }
        for status in [100, 200, 304, 404, 429, 499, 500, 501, 505, 599, 600, 999] {
            assert_eq!(usual.of_status(status), Outcome::Success, "{status}");
        }
        let listed = Failures::new(&[Failure::InternalError, Failure::Timeout]);
        assert_eq!(listed.of_status(500), Outcome::Failure);
        assert_eq!(listed.of_status(503), Outcome::Success);
        assert_eq!(listed.of_reason(Reason::UpstreamTimeout), Outcome::Failure);
        assert_eq!(listed.of_reason(Reason::UpstreamReset), Outcome::Unknown);
    }

    #[test]
    fn every_failure_is_known_by_its_name_and_has_a_place_of_its_own() {
        for (at, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(Failure::from_name(failure.as_str()), Some(failure));
            assert_eq!(failure as usize, at);
            assert!(Failures::new(&[failure]).listed().eq([failure]));
        }
        assert!(Failures::new(&Failure::ALL).listed().eq(Failure::ALL));
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
            let counted = Failures::default().of_reason(row.reason);
            assert_eq!(counted, wanted, "{}", row.name);
        }
    }
}
