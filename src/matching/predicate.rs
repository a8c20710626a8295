//! Header matchers.

use http::{HeaderMap, HeaderName};

/// A condition on one request header.
#[derive(Clone, Debug)]
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
    /// A regular expression that matches the whole value.
    Regex(regex::bytes::Regex),
    /// The header is there (`true`) or not (`false`).
    Present(bool),
}

impl HeaderMatch {
    /// Whether the headers satisfy the condition.
    pub fn holds(&self, headers: &HeaderMap) -> bool {
        let _ = headers;
        false
    }
}
