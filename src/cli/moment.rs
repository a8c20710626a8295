//! Points in time and spans, as commands print them.

use std::time::Duration;

use jiff::Timestamp;

/// A time since the Unix epoch as RFC 3339 in UTC, to the second.
pub(super) fn rfc3339(unix: Duration) -> String {
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    format!("{time:.0}")
}

/// An RFC 3339 time without its fraction of a second.
pub(super) fn to_the_second(text: &str) -> String {
    match text.split_once('.') {
        Some((seconds, rest)) => {
            let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{seconds}{zone}")
        }
        None => text.to_owned(),
    }
}

/// A span in at most two units, for people: `45s`, `3m 12s`, `2h 5m`, `6d 1h`.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        (..) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_are_short() {
        assert_eq!(
            rfc3339(Duration::from_secs(1_700_000_000)),
            "2023-11-14T22:13:20Z"
        );
        assert_eq!(
            to_the_second("2023-11-14T22:13:20.120Z"),
            "2023-11-14T22:13:20Z"
        );
        assert_eq!(to_the_second("-"), "-");
        let spans = [5, 65, 3600, 93_600].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["5s", "1m 5s", "1h 0m", "1d 2h"]);
    }
}
