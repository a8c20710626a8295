//! What never reaches the disk: values of named headers and query parameters.

use std::borrow::Cow;

/// Stands where a redacted value stood.
pub const REDACTED: &str = "[redacted]";

/// The names whose values are left out of records: `redact_headers` and `redact_query`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    headers: Vec<String>,
    query: Vec<String>,
}

impl Redaction {
    /// Names of headers and of query parameters; case does not matter.
    pub fn new(headers: &[String], query: &[String]) -> Redaction {
        let lower = |names: &[String]| names.iter().map(|n| n.to_ascii_lowercase()).collect();
        Redaction {
            headers: lower(headers),
            query: lower(query),
        }
    }

    /// True when the values of the header `name` (in lower case) are left out.
    pub fn covers_header(&self, name: &str) -> bool {
        self.headers.iter().any(|redacted| redacted == name)
    }

    /// The target with the values of redacted query parameters replaced.
    ///
    /// Names are compared without percent-encoding and case, so that `%74oken` is no way
    /// around. Some servers also part parameters at `;`: from a redacted name behind one, all
    /// is replaced up to the next `&`.
    pub fn target<'a>(&self, target: &'a str) -> Cow<'a, str> {
        let Some((path, query)) = target.split_once('?') else {
            return Cow::Borrowed(target);
        };
        if !query.split('&').any(|piece| self.cut(piece).is_some()) {
            return Cow::Borrowed(target);
        }
        let mut redacted = String::with_capacity(target.len() + REDACTED.len());
        redacted.push_str(path);
        for (position, piece) in query.split('&').enumerate() {
            redacted.push(if position == 0 { '?' } else { '&' });
            match self.cut(piece) {
                Some(keep) => {
                    redacted.push_str(&piece[..keep]);
                    redacted.push_str(REDACTED);
                }
                None => redacted.push_str(piece),
            }
        }
        Cow::Owned(redacted)
    }

    /// Where the first redacted value of a piece begins, behind its `=`.
    fn cut(&self, piece: &str) -> Option<usize> {
        let mut start = 0;
        for pair in piece.split(';') {
            if let Some((name, _)) = pair.split_once('=') {
                let plain = decoded(name);
                if self
                    .query
                    .iter()
                    .any(|redacted| redacted.as_bytes() == plain)
                {
                    return Some(start + name.len() + 1);
                }
            }
            start += pair.len() + 1;
        }
        None
    }
}

/// A name without percent-encoding, in lower case.
fn decoded(name: &str) -> Vec<u8> {
    let bytes = name.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| name.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push(code.unwrap_or(bytes[at]).to_ascii_lowercase());
        at += if code.is_some() { 3 } else { 1 };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redaction() -> Redaction {
        Redaction::new(
            &["Authorization".to_owned(), "cookie".to_owned()],
            &["token".to_owned(), "Key".to_owned()],
        )
    }

    #[test]
    fn headers_are_covered_by_their_name_in_lower_case() {
        assert!(redaction().covers_header("authorization"));
        assert!(redaction().covers_header("cookie"));
        assert!(!redaction().covers_header("cookie2"));
    }

    #[test]
    fn values_of_redacted_parameters_are_replaced_and_others_kept() {
        for (target, expected) in [
            ("/a", "/a"),
            ("/a?", "/a?"),
            ("/a?b=1&c", "/a?b=1&c"),
            ("/a?token=1", "/a?token=[redacted]"),
            (
                "/a?token=1&b=2&token=3",
                "/a?token=[redacted]&b=2&token=[redacted]",
            ),
            ("/a?TOKEN=1&b=token=2", "/a?TOKEN=[redacted]&b=token=2"),
            ("/a?%74oke%6E=1", "/a?%74oke%6E=[redacted]"),
            ("/a?b=1;key=2;x=3&c=4", "/a?b=1;key=[redacted]&c=4"),
            ("/a?token=x=y;z?q&b", "/a?token=[redacted]&b"),
            ("/a?tokens=1&token", "/a?tokens=1&token"),
            ("/a?%=1&%7=2&%zz=3", "/a?%=1&%7=2&%zz=3"),
            ("/token=1?a=1", "/token=1?a=1"),
        ] {
            assert_eq!(redaction().target(target), expected, "{target}");
        }
    }

    proptest! {
        #[test]
        fn a_secret_behind_a_redacted_name_never_stays(
            before in "[a-z=&;%?é]{0,12}",
            after in "[a-z=&;%?é]{0,12}",
        ) {
            let target = format!("/p?{before}&token=SECRET{after}");
            prop_assert!(!redaction().target(&target).contains("SECRET"));
        }
    }
}
