//! Templates of `path_rewrite`.
//!
//! Literals and references in one path: `/stats/{player}`, `/v2/user-{id}`, `/old/{*rest}`. The
//! matcher stores no captures; a template finds them again by the index of their segment, which
//! only requests of routes that rewrite pay for.

use super::pattern::{Capture, check_characters, expected};
use super::{PathPattern, PatternError};

/// A path to send upstream, made from what the route's pattern captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Reference(Capture),
}

impl PathTemplate {
    /// Reads a template whose `{names}` must be captured by `pattern`.
    ///
    /// # Errors
    /// An unknown name, or a path that does not begin with `/`.
    pub fn parse(text: &str, pattern: &PathPattern) -> Result<PathTemplate, PatternError> {
        if !text.starts_with('/') {
            return expected("a path that begins with `/`, such as \"/stats/{player}\"");
        }
        check_characters(text)?;
        let mut parts = Vec::new();
        let mut left = text;
        while let Some(open) = left.find(['{', '}']) {
            let (literal, braced) = left.split_at(open);
            let Some((name, after)) = braced.strip_prefix('{').and_then(|b| b.split_once('}'))
            else {
                return expected(format_args!("`{{name}}`, found `{braced}`"));
            };
            push_literal(&mut parts, literal)?;
            let capture = resolve(name, pattern)?;
            if matches!(capture, Capture::Rest(_)) {
                check_rest(name, literal, after)?;
            }
            parts.push(Part::Reference(capture));
            left = after;
        }
        push_literal(&mut parts, left)?;
        check_dots(text)?;
        Ok(PathTemplate {
            text: text.to_owned(),
            parts,
        })
    }

    /// As written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The rewritten path for a normalised `path` that the pattern matched.
    pub fn apply(&self, path: &str) -> String {
        let pieces = || self.parts.iter().map(|part| part.text(path));
        let mut out = String::with_capacity(pieces().map(str::len).sum());
        for piece in pieces() {
            out.push_str(piece);
        }
        out
    }
}

impl Part {
    fn text<'a>(&'a self, path: &'a str) -> &'a str {
        match self {
            Part::Literal(text) => text,
            Part::Reference(Capture::Rest(index)) => from_segment(path, *index),
            Part::Reference(Capture::Segment(index)) => {
                let rest = from_segment(path, *index);
                rest.split('/').next().unwrap_or(rest)
            }
        }
    }
}

/// What follows the slash before the segment of that index.
fn from_segment(path: &str, index: usize) -> &str {
    let mut slashes = memchr::memchr_iter(b'/', path.as_bytes());
    slashes.nth(index).map_or("", |slash| &path[slash + 1..])
}

fn push_literal(parts: &mut Vec<Part>, literal: &str) -> Result<(), PatternError> {
    if literal.contains("//") {
        return expected("one `/` between segments, not `//`");
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.to_owned()));
    }
    Ok(())
}

/// The capture that the text between braces means.
fn resolve(text: &str, pattern: &PathPattern) -> Result<Capture, PatternError> {
    let name = text.strip_prefix('*').unwrap_or(text);
    match pattern.capture(name) {
        Some(Capture::Segment(_)) if name != text => expected(format_args!(
            "`{{{name}}}`: in `{}` it is one segment",
            pattern.as_str()
        )),
        Some(capture) => Ok(capture),
        None => unknown(name, pattern),
    }
}

fn unknown<T>(name: &str, pattern: &PathPattern) -> Result<T, PatternError> {
    let nearest = pattern
        .names()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let hint = nearest.map_or_else(String::new, |(_, known)| {
        format!("; did you mean `{known}`?")
    });
    let known: Vec<_> = pattern.names().map(|name| format!("`{name}`")).collect();
    let known = match known.as_slice() {
        [] => "which captures nothing".to_owned(),
        known => format!("which captures {}", known.join(", ")),
    };
    expected(format_args!(
        "a name of the route's `path`, {known}; found `{name}`{hint}"
    ))
}

/// The rest may be empty or begin with a slash, so that next to other text it could make a dot
/// segment.
fn check_rest(name: &str, before: &str, after: &str) -> Result<(), PatternError> {
    if before.ends_with('/') && (after.is_empty() || after.starts_with('/')) {
        return Ok(());
    }
    expected(format_args!("`{{{name}}}` as a whole segment"))
}

/// A capture is never a dot segment, nor makes one of the text beside it: it is not empty.
fn check_dots(text: &str) -> Result<(), PatternError> {
    match text.split('/').find(|s| matches!(*s, "." | "..")) {
        Some(dots) => expected(format_args!("a path without `{dots}`")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(pattern: &str, template: &str, path: &str) -> String {
        let pattern = PathPattern::parse(pattern).unwrap();
        let template = PathTemplate::parse(template, &pattern).unwrap();
        template.apply(path)
    }

    #[test]
    fn captures_are_put_where_their_names_stand() {
        for (pattern, template, path, expected) in [
            ("/v1/stats/{p}", "/stats/{p}", "/v1/stats/ann", "/stats/ann"),
            ("/{a}/{b}", "/{b}/{a}/{b}", "/x/y", "/y/x/y"),
            ("/{a}/{b}", "/u-{a}.{b}", "/x/y", "/u-x.y"),
            ("/v1/{*rest}", "/{*rest}", "/v1/a/b/", "/a/b/"),
            ("/v1/{*rest}", "/v2/{rest}", "/v1/a/b", "/v2/a/b"),
            ("/v1/{*rest}", "/v2/{rest}", "/v1/", "/v2/"),
            ("/v1/{*r}", "/v2/{*r}/end", "/v1/a", "/v2/a/end"),
            ("/kill/", "/k/{*rest}", "/kill/a", "/k/a"),
            ("/", "/base/{*rest}", "/a", "/base/a"),
            ("/a/b", "/c", "/a/b", "/c"),
            ("/{a}", "/caf%C3%A9/{a}", "/%C3%A9", "/caf%C3%A9/%C3%A9"),
        ] {
            assert_eq!(apply(pattern, template, path), expected, "{template}");
        }
    }

    #[test]
    fn one_allocation_is_enough() {
        let pattern = PathPattern::parse("/v1/{a}/{*rest}").unwrap();
        let template = PathTemplate::parse("/x/{a}/{rest}", &pattern).unwrap();
        let out = template.apply("/v1/some/thing/else");
        assert_eq!(
            (out.len(), out.capacity()),
            ("/x/some/thing/else".len(), out.len())
        );
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_was_expected() {
        let pattern = PathPattern::parse("/v1/{player}/{match}/{*rest}").unwrap();
        for (text, part) in [
            ("", "begins with `/`"),
            ("{player}", "begins with `/`"),
            ("/{palyer}", "did you mean `player`?"),
            ("/{x}", "captures `player`, `match`, `rest`; found `x`"),
            ("/{*player}", "it is one segment"),
            ("/{player", "`{name}`"),
            ("/player}", "`{name}`"),
            ("/{}", "found ``"),
            ("/a?b={player}", "without `?`"),
            ("/a//b", "not `//`"),
            ("/./{player}", "without `.`"),
            ("/{player}/..", "without `..`"),
            ("/.{rest}", "whole segment"),
            ("/{rest}.", "whole segment"),
            ("/{rest}{player}", "whole segment"),
            ("/a%0", "two hexadecimal"),
        ] {
            let error = PathTemplate::parse(text, &pattern).unwrap_err();
            assert!(error.0.contains(part), "{text}: {error}");
        }
        let error = PathTemplate::parse("/{x}", &PathPattern::parse("/a").unwrap());
        assert!(error.unwrap_err().0.contains("captures nothing"));
    }

    proptest! {
        #[test]
        fn the_pattern_as_template_gives_the_path_back(
            segments in prop::collection::vec(("[a-c]{1,3}", any::<bool>()), 1..6),
            rest in prop::option::of("[a-c/]{0,6}"),
        ) {
            let mut pattern = String::new();
            let mut path = String::new();
            for (index, (text, captured)) in segments.iter().enumerate() {
                let part = if *captured { format!("{{n{index}}}") } else { text.clone() };
                pattern.push_str(&format!("/{part}"));
                path.push_str(&format!("/{text}"));
            }
            if let Some(rest) = &rest {
                pattern.push_str("/{*rest}");
                path.push_str(&format!("/{rest}"));
            }
            prop_assert_eq!(apply(&pattern, &pattern, &path), path);
        }
    }
}
