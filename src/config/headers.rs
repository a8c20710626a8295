//! Header matchers, and header edits of routes.

use http::{HeaderName, HeaderValue};
use regex::bytes::Regex;

use super::cursor::{Cursor, Decoded, Single, unknown_key};
use super::keys::{self, Section};
use super::report::Complaint;
use super::settings::HeaderEdits;
use super::tree::{Node, Table};
use super::value::{boolean, expected, header_name, header_name_text, header_value, text};
use crate::matching::{HeaderMatch, ValueTest};

/// `headers` of a route or of `when`: every condition that could be read.
pub(super) fn matchers(table: &Cursor<'_>) -> Vec<HeaderMatch> {
    let Some(cursor) = table.free_table("headers") else {
        return Vec::new();
    };
    let mut matchers: Vec<HeaderMatch> = Vec::new();
    for (entry, own) in cursor.entries() {
        let matcher = cursor.read_entry((entry, own), |node| {
            let name = name_of_key(&entry.key)?;
            // Names differ in case alone: TOML takes them for two keys.
            if matchers.iter().any(|matcher| matcher.name == name) {
                return Err(Complaint::new(format!("the header {name} is named twice")));
            }
            Ok(HeaderMatch {
                name,
                test: test(node)?,
            })
        });
        matchers.extend(matcher);
    }
    matchers
}

fn name_of_key(key: &str) -> Decoded<HeaderName> {
    header_name_text(key)
        .ok_or_else(|| Complaint::new(format!("{key:?} cannot be the name of a header")))
}

/// `"exact"`, or a table with one condition.
pub(super) fn test(node: &Node<'_>) -> Decoded<ValueTest> {
    const FORMS: &str = "a string, or a table with one of prefix, suffix, regex, present";
    if let Some(text) = node.as_text() {
        return Ok(ValueTest::Exact(text.to_owned()));
    }
    let table = node.as_table().ok_or_else(|| expected(FORMS, node))?;
    condition(table, keys::MATCHER).unwrap_or_else(|| {
        Err(Complaint::new(format!(
            "expected {FORMS}, found several or none"
        )))
    })
}

fn condition(table: &Table<'_>, section: Section) -> Option<Decoded<ValueTest>> {
    let [entry] = table.entries.as_slice() else {
        return None;
    };
    let value = &entry.value;
    let owned = |node| text(node).map(str::to_owned);
    Some(match entry.key.as_ref() {
        "prefix" => owned(value).map(ValueTest::Prefix),
        "suffix" => owned(value).map(ValueTest::Suffix),
        "regex" => regex(value).map(ValueTest::Regex),
        "present" => boolean(value).map(ValueTest::Present),
        other => Err(unknown_key(other, section)),
    })
}

/// A regular expression, anchored at both ends.
fn regex(node: &Node<'_>) -> Decoded<Regex> {
    let text = text(node)?;
    let complaint = |error: regex::Error| {
        let detail = error.to_string();
        let detail = detail.lines().last().unwrap_or_default().trim();
        let detail = detail.strip_prefix("error: ").unwrap_or(detail);
        expected("a regular expression", node).hint(detail)
    };
    // Alone first: `a)(?:b` is well-formed inside the group.
    Regex::new(text).map_err(complaint)?;
    Regex::new(&format!(r"\A(?:{text})\z")).map_err(complaint)
}

/// `request_headers` or `response_headers`.
pub(super) fn edits(route: &Cursor<'_>, key: &str) -> HeaderEdits {
    let Some(cursor) = route.table(key, keys::EDITS) else {
        return HeaderEdits::default();
    };
    let remove = cursor.read_list("remove", Single::Refused, |node| {
        let name = header_name(node)?;
        editable(&name)?;
        Ok(name)
    });
    HeaderEdits {
        remove: remove.unwrap_or_default(),
        set: lines(&cursor, "set"),
        add: lines(&cursor, "add"),
    }
}

fn lines(cursor: &Cursor<'_>, key: &str) -> Vec<(HeaderName, HeaderValue)> {
    let Some(table) = cursor.free_table(key) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for entry in table.entries() {
        let line = table.read_entry(entry, |node| {
            let name = name_of_key(&entry.0.key)?;
            editable(&name)?;
            Ok((name, header_value(node)?))
        });
        lines.extend(line);
    }
    lines
}

/// Refuses headers that say how a message is framed or routed: the gateway writes those.
fn editable(name: &HeaderName) -> Decoded<()> {
    const HOP_BY_HOP: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let because = match name.as_str() {
        "host" => "the Host is set by `host_rewrite`",
        "content-length" | "transfer-encoding" => {
            "the gateway frames each message itself, so that no two readers disagree"
        }
        hop if HOP_BY_HOP.contains(&hop) => "it belongs to one connection and never passes",
        own if own.starts_with("x-seawall-") => "names that begin so are the gateway's own",
        _ => return Ok(()),
    };
    Err(Complaint::new(format!("{name} cannot be edited")).hint(because))
}
