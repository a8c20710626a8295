//! What is needed of a line before it is known to be wanted.

use jiff::Timestamp;
use serde::Deserialize;

use super::super::id::Ulid;

/// Which records are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of these routes; empty: of all.
    pub routes: Vec<String>,
    /// Requests received from then on.
    pub since: Option<Timestamp>,
    /// Requests received before then.
    pub until: Option<Timestamp>,
}

/// Whether a record is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Taken,
    Left,
}

/// The fields that stand first in a record.
#[derive(Deserialize)]
pub(super) struct Outline {
    pub(super) id: Ulid,
    pub(super) time: Timestamp,
    pub(super) route: String,
}

impl Outline {
    /// Reads the first fields of a line without looking at its body. A quote inside a string is
    /// escaped, so the next key is found by its text.
    pub(super) fn decode(line: &[u8]) -> Option<Outline> {
        const NEXT: &[u8] = b",\"instance\":";
        // A record in another layout, as other tools may write it, is read whole.
        let front = line.windows(NEXT.len()).position(|text| text == NEXT);
        let short = front.and_then(|front| {
            let front = [line.get(..front)?, b"}"].concat();
            serde_json::from_slice(&front).ok()
        });
        short.or_else(|| serde_json::from_slice(line).ok())
    }
}

/// The id of a line; cheap where it stands first, as the gateway writes it.
pub(super) fn id_of(line: &[u8]) -> Option<Ulid> {
    const BEFORE: &[u8] = b"{\"id\":\"";
    let rest = line.strip_prefix(BEFORE);
    let text = rest.and_then(|rest| rest.split_at_checked(26));
    if let Some((text, [b'"', ..])) = text
        && let Ok(text) = std::str::from_utf8(text)
        && let Ok(id) = Ulid::from_string(text)
    {
        return Some(id);
    }
    Outline::decode(line).map(|outline| outline.id)
}

impl Wanted {
    /// True when every record is wanted.
    fn all(&self) -> bool {
        self.routes.is_empty() && self.since.is_none() && self.until.is_none()
    }

    /// `None` where the line is no record.
    pub(super) fn choose(&self, line: &[u8]) -> Option<Choice> {
        if self.all() {
            return Some(Choice::Taken);
        }
        let outline = Outline::decode(line)?;
        let taken = self.takes_route(&outline.route)
            && self.since.is_none_or(|since| outline.time >= since)
            && self.until.is_none_or(|until| outline.time < until);
        Some(if taken { Choice::Taken } else { Choice::Left })
    }

    /// True for a route that is wanted.
    pub fn takes_route(&self, route: &str) -> bool {
        self.routes.is_empty() || self.routes.iter().any(|wanted| wanted == route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"id":"01JBZ8Q2N00000000000000007","time":"2026-11-06T09:00:00.5Z","route":"a,\"instance\":","instance":"i"}"#;

    #[test]
    fn the_id_is_found_in_the_gateways_layout_and_in_others() {
        let id = Ulid::from_string("01JBZ8Q2N00000000000000007").unwrap();
        assert_eq!(id_of(LINE.as_bytes()), Some(id));
        let other = r#"{ "route": "a", "time": "2026-11-06T09:00:00Z", "id": "01JBZ8Q2N00000000000000007" }"#;
        assert_eq!(id_of(other.as_bytes()), Some(id));
        for none in [
            "",
            "{}",
            "{\"id\":\"x\"}",
            "{\"id\":\"01JBZ8Q2N0000000",
            "null",
        ] {
            assert_eq!(id_of(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn since_is_inclusive_and_until_is_not() {
        let time: Timestamp = "2026-11-06T09:00:00.5Z".parse().unwrap();
        let wanted = |route: &str, since, until| Wanted {
            routes: vec![route.to_owned()],
            since,
            until,
        };
        let route = "a,\"instance\":";
        for (wanted, choice) in [
            (Wanted::default(), Choice::Taken),
            (wanted(route, None, None), Choice::Taken),
            (wanted("b", None, None), Choice::Left),
            (wanted(route, Some(time), None), Choice::Taken),
            (wanted(route, None, Some(time)), Choice::Left),
        ] {
            assert_eq!(wanted.choose(LINE.as_bytes()), Some(choice), "{wanted:?}");
        }
        assert_eq!(wanted(route, None, None).choose(b"{}"), None);
    }
}
