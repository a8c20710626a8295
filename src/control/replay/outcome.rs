//! What an answer of the target means for a record.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};

/// What became of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The target has it: any 2xx.
    Accepted,
    /// The target does not want it: 3xx, and 4xx that say nothing about the target's state.
    Refused(StatusCode),
    /// 401 or 403: this record's fault, or that of all.
    Denied(StatusCode),
    /// The target fails: the same record is sent again.
    Failing(Failing, Option<Duration>),
}

/// How the target fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// 408, 429, 502, 503, 504: it is overloaded, or something before it is.
    Busy(StatusCode),
    /// Another 5xx: the target, or what this record makes of it.
    Broken(StatusCode),
    /// No connection could be made.
    Unreachable,
    /// The connection ended before a whole answer head.
    Reset,
    /// What came back is not HTTP.
    Invalid,
    /// No answer in time.
    TimedOut,
}

impl Outcome {
    /// What an answer head says.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Outcome {
        match status.as_u16() {
            200..=299 => Outcome::Accepted,
            401 | 403 => Outcome::Denied(status),
            408 | 429 | 502..=504 => Outcome::Failing(Failing::Busy(status), wait(headers)),
            500..=599 => Outcome::Failing(Failing::Broken(status), None),
            300..=499 => Outcome::Refused(status),
            // 1xx as a final answer, or beyond what HTTP has.
            _ => Outcome::Failing(Failing::Invalid, None),
        }
    }
}

/// Retry-After in seconds. Its other form, a date, needs clocks that agree; it is passed over.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failing::Busy(status) | Failing::Broken(status) => {
                write!(f, "it answers {}", status.as_u16())
            }
            Failing::Unreachable => f.write_str("no connection can be made"),
            Failing::Reset => f.write_str("it ends connections without an answer"),
            Failing::Invalid => f.write_str("what it answers is not HTTP"),
            Failing::TimedOut => f.write_str("it does not answer in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, retry_after: Option<&str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(RETRY_AFTER, text.parse().unwrap());
        }
        Outcome::of(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn each_status_has_its_meaning() {
        for status in 100..=999 {
            let code = StatusCode::from_u16(status).unwrap();
            let expected = match status {
                200..=299 => Outcome::Accepted,
                401 | 403 => Outcome::Denied(code),
                408 | 429 | 502 | 503 | 504 => Outcome::Failing(Failing::Busy(code), None),
                300..=499 => Outcome::Refused(code),
                500..=599 => Outcome::Failing(Failing::Broken(code), None),
                _ => Outcome::Failing(Failing::Invalid, None),
            };
            assert_eq!(of(status, None), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_where_the_target_is_busy() {
        let busy = |status| Failing::Busy(StatusCode::from_u16(status).unwrap());
        let ten = Some(Duration::from_secs(10));
        assert_eq!(of(503, Some("10")), Outcome::Failing(busy(503), ten));
        assert_eq!(of(429, Some(" 10 ")), Outcome::Failing(busy(429), ten));
        for odd in ["soon", "-1", "1.5", "Fri, 06 Nov 2026 09:00:00 GMT"] {
            assert_eq!(
                of(503, Some(odd)),
                Outcome::Failing(busy(503), None),
                "{odd}"
            );
        }
        assert_eq!(of(200, Some("10")), Outcome::Accepted);
    }
}
