//! Points in time: `until`.

use std::time::Duration;

use jiff::Timestamp;
use toml::value::Datetime;

use super::cursor::Decoded;
use super::tree::{Node, Value};
use super::value::expected;

/// A time with its offset from UTC, since the Unix epoch. Any time before the epoch is the epoch:
/// it is over in any case.
pub(super) fn moment(node: &Node<'_>) -> Decoded<Duration> {
    const WHAT: &str = "a time with its offset from UTC, such as 2026-11-06T09:00:00Z";
    let (text, quoted) = match &node.value {
        Value::Datetime(text) => (text.as_str(), false),
        Value::Text(text) => (text.as_ref(), true),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Broken(_) => return Err(expected(WHAT, node)),
    };
    if !quoted && let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Duration::try_from(time.as_duration()).unwrap_or_default());
    }
    let hint = text.trim().parse().ok().and_then(|time| mended(&time));
    Err(expected(WHAT, node).maybe_hint(hint))
}

/// What was meant, as it has to be written.
fn mended(time: &Datetime) -> Option<String> {
    Some(match (time.date, time.time, time.offset) {
        (Some(_), Some(_), Some(_)) => format!("write {time}, without quotes"),
        (Some(date), Some(time), None) => {
            format!("write {date}T{time}Z if that is UTC, else its offset in the place of Z")
        }
        (Some(date), None, _) => format!("write {date}T00:00:00Z, with the hour you mean"),
        (None, Some(time), _) => format!("write the day too, such as 2026-11-06T{time}Z"),
        (None, None, _) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::Place;

    fn read(value: Value<'_>) -> Result<u64, String> {
        let place = Place::default();
        let read = moment(&Node { place, value });
        read.map(|time| time.as_secs())
            .map_err(|complaint| complaint.hint.unwrap_or_default())
    }

    fn bare(text: &str) -> Result<u64, String> {
        let time: Datetime = text.parse().unwrap();
        read(Value::Datetime(time.to_string()))
    }

    #[test]
    fn a_time_has_an_offset_in_any_of_its_forms() {
        assert_eq!(bare("2026-11-06T09:00:00Z"), Ok(1_793_955_600));
        assert_eq!(bare("2026-11-06 10:00:00+01:00"), Ok(1_793_955_600));
        assert_eq!(bare("2026-11-06t09:00:00.25z"), Ok(1_793_955_600));
        assert_eq!(bare("1969-01-01T00:00:00Z"), Ok(0));
    }

    #[test]
    fn what_lacks_something_is_shown_as_it_should_be() {
        let hint = |text| bare(text).unwrap_err();
        assert!(hint("2026-11-06T09:00:00").starts_with("write 2026-11-06T09:00:00Z "));
        assert!(hint("2026-11-06").starts_with("write 2026-11-06T00:00:00Z,"));
        assert!(hint("09:30:00").ends_with("2026-11-06T09:30:00Z"));
        let quoted = |text: &str| read(Value::Text(text.to_owned().into())).unwrap_err();
        assert_eq!(
            quoted("2026-11-06T09:00:00Z"),
            "write 2026-11-06T09:00:00Z, without quotes"
        );
        assert!(quoted("2026-11-06 09:00:00").starts_with("write 2026-11-06T09:00:00Z "));
        assert_eq!(quoted("tomorrow"), "");
        assert_eq!(read(Value::Integer(Some(5))).unwrap_err(), "");
    }
}
