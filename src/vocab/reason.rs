//! The one table of answers that the gateway makes itself.
//!
//! Each row gives the name in metrics, logs and problem bodies, the status, and what else the
//! answer does. `README.md` prints the same table; a test compares them.

/// Why the gateway refused or could not proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing matches.
    NoRoute,
    /// The path matches a route, the method none.
    MethodNotAllowed,
    /// A malformed or ambiguous message.
    BadRequest,
    /// The request head is larger than allowed.
    HeadTooLarge,
    /// The request body is larger than the route allows.
    BodyTooLarge,
    /// The client is too slow.
    RequestTimeout,
    /// A protocol that the route does not tunnel.
    UpgradeRefused,
    /// The client, or the route as a whole, asks more often than its rate limit allows.
    RateLimited,
    /// No place under a concurrency limit, or shed by tier.
    Overloaded,
    /// The connection is one too many.
    TooManyConnections,
    /// The circuit breaker of the route and its upstream is open.
    BreakerOpen,
    /// The upstream has no endpoint at all.
    NoEndpoint,
    /// No connection to an endpoint could be made.
    ConnectFailed,
    /// The upstream closed or reset before a whole response head.
    UpstreamReset,
    /// The upstream did not answer in HTTP, or with ambiguous framing.
    UpstreamInvalid,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// A kill switch in mode `archive`, and no journal takes the payload.
    ArchiveUnavailable,
    /// A kill switch in mode `reject`.
    Killed,
    /// The request has been through this gateway before.
    Loop,
    /// A panic.
    Internal,
}

/// Whether an answer tells the client when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// No such header.
    Never,
    /// Sent, with jitter.
    Sent,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The reason described.
    pub reason: Reason,
    /// Its name in metrics, logs and problem bodies.
    pub name: &'static str,
    /// Status of the answer.
    pub status: u16,
    /// The answer ends the connection whatever else is so.
    pub closes: bool,
    /// Whether `Retry-After` is sent.
    pub retry_after: RetryAfter,
    /// When it happens, for people.
    pub title: &'static str,
}

const fn row(
    reason: Reason,
    name: &'static str,
    status: u16,
    closes: bool,
    retry_after: RetryAfter,
    title: &'static str,
) -> Row {
    Row {
        reason,
        name,
        status,
        closes,
        retry_after,
        title,
    }
}

use RetryAfter::{Never, Sent};

impl Reason {
    /// How many reasons there are.
    pub const COUNT: usize = 20;

    /// The table, in the order of [`Reason::index`].
    #[rustfmt::skip]
    pub const TABLE: [Row; Reason::COUNT] = [
        row(Reason::NoRoute, "no_route", 404, false, Never, "nothing matches"),
        row(Reason::MethodNotAllowed, "method_not_allowed", 405, false, Never, "the path matches a route, the method none"),
        row(Reason::BadRequest, "bad_request", 400, true, Never, "malformed or ambiguous message"),
        row(Reason::HeadTooLarge, "head_too_large", 431, true, Never, "the request head is too large"),
        row(Reason::BodyTooLarge, "body_too_large", 413, true, Never, "the request body is larger than the route allows"),
        row(Reason::RequestTimeout, "request_timeout", 408, true, Never, "the client is too slow"),
        row(Reason::UpgradeRefused, "upgrade_refused", 403, false, Never, "a protocol that the route does not tunnel"),
        row(Reason::RateLimited, "rate_limited", 429, false, Sent, "the client asks more often than the route allows"),
        row(Reason::Overloaded, "overloaded", 503, false, Sent, "as many requests are in progress as may be"),
        row(Reason::TooManyConnections, "too_many_connections", 503, true, Sent, "the gateway has as many connections as it may"),
        row(Reason::BreakerOpen, "breaker_open", 503, false, Sent, "the route's breaker is tripped"),
        row(Reason::NoEndpoint, "no_endpoint", 503, false, Never, "the upstream has no endpoint"),
        row(Reason::ConnectFailed, "connect_failed", 502, false, Never, "no connection to an endpoint could be made"),
        row(Reason::UpstreamReset, "upstream_reset", 502, false, Never, "the upstream closed before a whole response head"),
        row(Reason::UpstreamInvalid, "upstream_invalid", 502, false, Never, "the upstream did not answer in HTTP, or ambiguously"),
        row(Reason::UpstreamTimeout, "upstream_timeout", 504, false, Never, "the upstream did not answer in time"),
        row(Reason::ArchiveUnavailable, "archive_unavailable", 503, false, Sent, "the route is killed, and the request could not be archived"),
        row(Reason::Killed, "killed", 503, false, Sent, "the route's kill switch is thrown"),
        row(Reason::Loop, "loop", 508, false, Never, "the request has been through this gateway before"),
        row(Reason::Internal, "internal", 500, true, Never, "the gateway failed on this request"),
    ];

    /// Position in tables with one slot for each reason.
    pub fn index(self) -> usize {
        self as usize
    }

    /// This reason's row.
    pub fn row(self) -> &'static Row {
        const TABLE: &[Row; Reason::COUNT] = &Reason::TABLE;
        &TABLE[self.index()]
    }

    /// The name in metrics, logs and problem bodies.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_stands_at_its_own_index() {
        for (index, row) in Reason::TABLE.iter().enumerate() {
            assert_eq!(row.reason.index(), index, "{}", row.name);
        }
    }
}
