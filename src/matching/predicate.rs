//! Header matchers.
//!
//! A value is compared byte by byte, as received. Of several lines with the same name one must
//! satisfy the test; `Present(false)` asks that there is none.

use std::fmt;

use http::{HeaderMap, HeaderName};
use regex::bytes::Regex;

use super::PatternError;

/// A condition on one request header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The header.
    pub name: HeaderName,
    /// What its value must be. With several lines of that name, one must satisfy it.
    pub test: ValueTest,
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub enum ValueTest {
    /// The whole value.
    Exact(String),
    /// Its beginning.
    Prefix(String),
    /// Its end.
    Suffix(String),
    /// A regular expression that matches the whole value. It is used as it is, so that it has
    /// to be anchored already: [`ValueTest::regex`] does so.
    Regex(Regex),
    /// The header is there (`true`) or not (`false`).
    Present(bool),
}

impl PartialEq for ValueTest {
    fn eq(&self, other: &ValueTest) -> bool {
        match (self, other) {
            (ValueTest::Exact(a), ValueTest::Exact(b))
            | (ValueTest::Prefix(a), ValueTest::Prefix(b))
            | (ValueTest::Suffix(a), ValueTest::Suffix(b)) => a == b,
            (ValueTest::Regex(a), ValueTest::Regex(b)) => a.as_str() == b.as_str(),
            (ValueTest::Present(a), ValueTest::Present(b)) => a == b,
            (
                ValueTest::Exact(_)
                | ValueTest::Prefix(_)
                | ValueTest::Suffix(_)
                | ValueTest::Regex(_)
                | ValueTest::Present(_),
                _,
            ) => false,
        }
    }
}

impl Eq for ValueTest {}

/// For people: `= "4.2"`, `prefix "4."`, `present`.
impl fmt::Display for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueTest::Exact(text) => write!(f, "= {text:?}"),
            ValueTest::Prefix(text) => write!(f, "prefix {text:?}"),
            ValueTest::Suffix(text) => write!(f, "suffix {text:?}"),
            ValueTest::Regex(regex) => {
                let text = regex.as_str();
                let own = text
                    .strip_prefix(r"\A(?:")
                    .and_then(|text| text.strip_suffix(r")\z"));
                write!(f, "regex {:?}", own.unwrap_or(text))
            }
            ValueTest::Present(true) => f.write_str("present"),
            ValueTest::Present(false) => f.write_str("absent"),
        }
    }
}

impl ValueTest {
    /// A regular expression for the whole value: `4|5` takes neither `42` nor `15`.
    ///
    /// # Errors
    /// What is no regular expression, or too large a one.
    pub fn regex(text: &str) -> Result<ValueTest, PatternError> {
        let explain =
            |error: regex::Error| PatternError(format!("expected a regular expression: {error}"));
        // Alone first: `a)(?:b` would be well-formed inside the group, and an error message
        // should show what was written.
        Regex::new(text).map_err(explain)?;
        Regex::new(&format!(r"\A(?:{text})\z"))
            .map(ValueTest::Regex)
            .map_err(explain)
    }

    /// Whether one value satisfies the condition.
    pub(super) fn takes(&self, value: &[u8]) -> bool {
        match self {
            ValueTest::Exact(text) => value == text.as_bytes(),
            ValueTest::Prefix(text) => value.starts_with(text.as_bytes()),
            ValueTest::Suffix(text) => value.ends_with(text.as_bytes()),
            ValueTest::Regex(regex) => regex.is_match(value),
            ValueTest::Present(present) => *present,
        }
    }
}

impl HeaderMatch {
    /// A condition on the header called `name`, in whatever case.
    ///
    /// # Errors
    /// What is no header name.
    pub fn new(name: &str, test: ValueTest) -> Result<HeaderMatch, PatternError> {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => Ok(HeaderMatch { name, test }),
            Err(_) => Err(PatternError(
                "expected a header name, such as \"x-client-version\"".to_owned(),
            )),
        }
    }

    /// Whether the headers satisfy the condition.
    pub fn holds(&self, headers: &HeaderMap) -> bool {
        if let ValueTest::Present(present) = self.test {
            return headers.contains_key(&self.name) == present;
        }
        let mut lines = headers.get_all(&self.name).iter();
        lines.any(|value| self.test.takes(value.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn holds(test: ValueTest, values: &[&[u8]]) -> bool {
        let matcher = HeaderMatch::new("X-Version", test).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("other", HeaderValue::from_static("4.2"));
        for value in values {
            headers.append("x-version", HeaderValue::from_bytes(value).unwrap());
        }
        matcher.holds(&headers)
    }

    #[test]
    fn values_are_compared_as_received() {
        let exact = || ValueTest::Exact("4.2".to_owned());
        assert!(holds(exact(), &[b"4.2"]));
        assert!(!holds(exact(), &[b"4.20"]));
        assert!(!holds(exact(), &[]));
        assert!(holds(ValueTest::Prefix("4.".to_owned()), &[b"4.2"]));
        assert!(!holds(ValueTest::Prefix("4.".to_owned()), &[b"14.2"]));
        assert!(holds(ValueTest::Suffix(".2".to_owned()), &[b"4.2"]));
        assert!(!holds(ValueTest::Suffix(".2".to_owned()), &[b"4.21"]));
        assert!(holds(ValueTest::Prefix("4".to_owned()), &[b"4\xff"]));
    }

    #[test]
    fn of_several_lines_one_must_satisfy() {
        let exact = || ValueTest::Exact("b".to_owned());
        assert!(holds(exact(), &[b"a", b"b"]));
        assert!(!holds(exact(), &[b"a", b"c"]));
    }

    #[test]
    fn presence_is_about_the_name_alone() {
        assert!(holds(ValueTest::Present(true), &[b""]));
        assert!(!holds(ValueTest::Present(true), &[]));
        assert!(holds(ValueTest::Present(false), &[]));
        assert!(!holds(ValueTest::Present(false), &[b"a", b"b"]));
    }

    #[test]
    fn a_regex_takes_the_whole_value() {
        let regex = |text| ValueTest::regex(text).unwrap();
        assert!(holds(regex("4|5"), &[b"4"]));
        assert!(!holds(regex("4|5"), &[b"42"]));
        assert!(!holds(regex("4|5"), &[b"15"]));
        assert!(holds(regex("a|ab"), &[b"ab"]));
        assert!(holds(regex(r"(?i)ios/\d+"), &[b"web", b"iOS/17"]));
        assert!(!holds(regex(""), &[b"x"]));
    }

    #[test]
    fn what_is_no_regex_or_no_name_is_refused() {
        for text in ["(", "a)(?:b", "[", "*"] {
            let error = ValueTest::regex(text).unwrap_err();
            assert!(error.0.starts_with("expected a regular expression"));
        }
        for name in ["", "a b", "a:"] {
            assert!(HeaderMatch::new(name, ValueTest::Present(true)).is_err());
        }
    }
}
