//! Path patterns of routes: `/v1/stats/{player}`, `/assets/{*rest}`, `/kill/`.
//!
//! The rule is in [`super`]. A pattern that no normalised path could match is an error, so that
//! a route never waits in vain for requests. The case of an escape's digits does not matter:
//! `/caf%c3%a9` is `/caf%C3%A9`.

use std::fmt;

use super::path::{decode, escapes, is_unreserved};

/// A pattern that could not be read; its text says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(pub String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

pub(super) fn expected<T>(what: impl fmt::Display) -> Result<T, PatternError> {
    Err(PatternError(format!("expected {what}")))
}

/// A compiled path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
    tail: Tail,
}

/// One whole segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// As it stands in a normalised path.
    Literal(String),
    /// `{name}`.
    Param(String),
}

/// What may follow the segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    End,
    /// A slash and whatever follows it, with its name if it has one.
    Rest(Option<String>),
}

/// Where in a path a capture is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    /// The segment of that index.
    Segment(usize),
    /// Everything from the segment of that index on.
    Rest(usize),
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is no pattern, with what was expected.
    pub fn parse(text: &str) -> Result<PathPattern, PatternError> {
        let Some(inner) = text.strip_prefix('/') else {
            return expected("a path that begins with `/`, such as \"/v1/stats/{player}\"");
        };
        check_characters(text)?;
        let mut pattern = PathPattern {
            text: text.to_owned(),
            segments: Vec::new(),
            tail: Tail::End,
        };
        let (parents, last) = inner
            .rsplit_once('/')
            .map_or((None, inner), |(p, l)| (Some(p), l));
        for segment in parents.into_iter().flat_map(|parents| parents.split('/')) {
            if segment.is_empty() {
                return expected("one `/` between segments, not `//`");
            }
            if segment.starts_with("{*") {
                return expected(format_args!("`{segment}` only as the last segment"));
            }
            pattern.push(segment)?;
        }
        if last.is_empty() {
            pattern.tail = Tail::Rest(pattern.unused_rest_name());
        } else if let Some(name) = last.strip_prefix("{*") {
            let name = pattern.new_name(last, name.strip_suffix('}'))?;
            pattern.tail = Tail::Rest(Some(name));
        } else {
            pattern.push(last)?;
        }
        Ok(pattern)
    }

    /// The pattern that takes every path.
    pub fn any() -> PathPattern {
        PathPattern {
            text: "/{*rest}".to_owned(),
            segments: Vec::new(),
            tail: Tail::Rest(Some("rest".to_owned())),
        }
    }

    /// As written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names that a `path_rewrite` may use, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let params = self.segments.iter().filter_map(|segment| match segment {
            Segment::Param(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        });
        let rest = match &self.tail {
            Tail::Rest(name) => name.as_deref(),
            Tail::End => None,
        };
        params.chain(rest)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Where the capture called `name` is found.
    pub(super) fn capture(&self, name: &str) -> Option<Capture> {
        if matches!(&self.tail, Tail::Rest(Some(rest)) if rest == name) {
            return Some(Capture::Rest(self.segments.len()));
        }
        self.segments
            .iter()
            .position(|segment| matches!(segment, Segment::Param(param) if param == name))
            .map(Capture::Segment)
    }

    fn push(&mut self, segment: &str) -> Result<(), PatternError> {
        let parsed = if let Some(name) = segment.strip_prefix('{') {
            Segment::Param(self.new_name(segment, name.strip_suffix('}'))?)
        } else {
            Segment::Literal(read_literal(segment)?)
        };
        self.segments.push(parsed);
        Ok(())
    }

    /// The name inside the braces of `segment`; `None` when they do not enclose it.
    fn new_name(&self, segment: &str, name: Option<&str>) -> Result<String, PatternError> {
        let Some(name) = name.filter(|name| !name.contains(['{', '}'])) else {
            return expected(format_args!(
                "`{{name}}` or `{{*rest}}` as a whole segment, found `{segment}`"
            ));
        };
        if name.is_empty() {
            return expected("a name inside the braces, such as `{player}`");
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !name.bytes().all(allowed) {
            return expected(format_args!(
                "a name of letters, digits, `_` and `-`, found `{segment}`"
            ));
        }
        if self.names().any(|other| other == name) {
            return expected(format_args!("each name once, found `{name}` twice"));
        }
        Ok(name.to_owned())
    }

    /// The rest after a trailing slash is called `rest`, as if written `{*rest}`, unless a
    /// parameter has that name; it then has none.
    fn unused_rest_name(&self) -> Option<String> {
        let taken = self.names().any(|name| name == "rest");
        (!taken).then(|| "rest".to_owned())
    }
}

/// What no normalised path contains, or what cannot stand in a path at all.
pub(super) fn check_characters(text: &str) -> Result<(), PatternError> {
    for c in text.chars() {
        match c {
            '?' | '#' => return expected(format_args!("a path alone, without `{c}`")),
            ';' | '\\' => {
                return expected(format_args!(
                    "a path without `{c}`: servers differ in how they read it"
                ));
            }
            ' ' => return expected("`%20` instead of a space"),
            _ if c.is_control() => return expected("a path without control characters"),
            _ if !c.is_ascii() => {
                let escaped: String = c
                    .encode_utf8(&mut [0; 4])
                    .bytes()
                    .map(|b| format!("%{b:02X}"))
                    .collect();
                return expected(format_args!(
                    "`{escaped}` instead of `{c}`: percent-encode it"
                ));
            }
            _ => {}
        }
    }
    for escape in escapes(text) {
        match escape {
            Err(_) => return expected("two hexadecimal digits after `%`"),
            Ok(byte) if is_unreserved(byte) => {
                let c = char::from(byte);
                return expected(format_args!("`{c}` instead of `%{byte:02X}`"));
            }
            Ok(byte) if byte.is_ascii_control() => {
                return expected("a path without control characters");
            }
            Ok(byte @ (b'/' | b'\\' | b';')) => {
                return expected(format_args!(
                    "a path without `%{byte:02X}`: servers differ in how they read it"
                ));
            }
            Ok(_) => {}
        }
    }
    let twice = |(at, _): (usize, &str)| {
        let digits = text.as_bytes().get(at + 3..at + 5);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if text.match_indices("%25").any(twice) {
        return expected("a path that is percent-encoded once, without an encoded escape");
    }
    Ok(())
}

/// A literal segment in the spelling of a normalised path.
fn read_literal(segment: &str) -> Result<String, PatternError> {
    if segment.contains(['{', '}']) {
        return expected(format_args!(
            "`{{name}}` as a whole segment, or no brace at all, found `{segment}`"
        ));
    }
    if segment == "." || segment == ".." {
        return expected(format_args!(
            "a path without `{segment}`: dot segments are removed before matching"
        ));
    }
    Ok(decode(segment).unwrap_or_else(|_| segment.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.to_owned())
    }

    fn param(text: &str) -> Segment {
        Segment::Param(text.to_owned())
    }

    fn rest(text: &str) -> Tail {
        Tail::Rest(Some(text.to_owned()))
    }

    #[test]
    fn patterns_become_segments_and_a_tail() {
        for (text, segments, tail) in [
            ("/", vec![], rest("rest")),
            ("/a", vec![literal("a")], Tail::End),
            ("/a/{b}", vec![literal("a"), param("b")], Tail::End),
            ("/{a}/b/{*c}", vec![param("a"), literal("b")], rest("c")),
            ("/kill/", vec![literal("kill")], rest("rest")),
            ("/{rest}/", vec![param("rest")], Tail::Rest(None)),
            ("/caf%c3%a9", vec![literal("caf%C3%A9")], Tail::End),
            (
                "/a:b@c!$&'()*+,=",
                vec![literal("a:b@c!$&'()*+,=")],
                Tail::End,
            ),
            (
                "/.well-known/x",
                vec![literal(".well-known"), literal("x")],
                Tail::End,
            ),
        ] {
            let pattern = PathPattern::parse(text).unwrap();
            assert_eq!(pattern.segments, segments, "{text}");
            assert_eq!(pattern.tail, tail, "{text}");
            assert_eq!(pattern.as_str(), text);
        }
        assert_eq!(PathPattern::parse("/{*rest}").unwrap(), PathPattern::any());
    }

    #[test]
    fn captures_say_where_they_are_found() {
        let pattern = PathPattern::parse("/v1/{a}/x/{b-2}/{*c}").unwrap();
        assert_eq!(pattern.capture("a"), Some(Capture::Segment(1)));
        assert_eq!(pattern.capture("b-2"), Some(Capture::Segment(3)));
        assert_eq!(pattern.capture("c"), Some(Capture::Rest(4)));
        assert_eq!(pattern.capture("v1"), None);
        assert_eq!(pattern.names().collect::<Vec<_>>(), ["a", "b-2", "c"]);
    }

    #[test]
    fn what_no_path_could_match_is_refused_with_what_was_expected() {
        for (text, part) in [
            ("", "begins with `/`"),
            ("a", "begins with `/`"),
            ("{*rest}", "begins with `/`"),
            ("//", "not `//`"),
            ("/a//b", "not `//`"),
            ("/a//", "not `//`"),
            ("/a{b}", "whole segment"),
            ("/{a}b", "whole segment"),
            ("/{a}{b}", "whole segment"),
            ("/{a", "whole segment"),
            ("/a}", "whole segment"),
            ("/{*a", "whole segment"),
            ("/{*a}b", "whole segment"),
            ("/a{*b}", "whole segment"),
            ("/{{a}}", "whole segment"),
            ("/{}", "inside the braces"),
            ("/{*}", "inside the braces"),
            ("/{a b}", "%20"),
            ("/{a.b}", "letters, digits"),
            ("/{a*}", "letters, digits"),
            ("/{*a}/b", "last segment"),
            ("/{*a}/", "last segment"),
            ("/{a}/{a}", "`a` twice"),
            ("/{a}/{*a}", "`a` twice"),
            ("/a?b", "without `?`"),
            ("/a#b", "without `#`"),
            ("/a;b", "without `;`"),
            ("/a\\b", "without `\\`"),
            ("/a b", "`%20`"),
            ("/a\tb", "control"),
            ("/a%00", "control"),
            ("/a%7f", "control"),
            ("/.", "without `.`"),
            ("/a/../b", "without `..`"),
            ("/%61", "`a` instead of `%61`"),
            ("/%7E", "`~` instead of `%7E`"),
            ("/%2e%2e", "`.` instead of `%2E`"),
            ("/a%2fb", "without `%2F`"),
            ("/a%5Cb", "without `%5C`"),
            ("/a%3bb", "without `%3B`"),
            ("/a%", "two hexadecimal"),
            ("/a%2", "two hexadecimal"),
            ("/a%zz", "two hexadecimal"),
            ("/a%+1", "two hexadecimal"),
            ("/a%2541", "encoded once"),
            ("/é", "`%C3%A9`"),
        ] {
            let error = PathPattern::parse(text).unwrap_err();
            assert!(error.0.contains(part), "{text}: {error}");
        }
    }
}
