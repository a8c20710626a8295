//! Decoders of single values: each gives the value, or says what was expected.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

use super::cursor::{Cursor, Decoded};
use super::report::{Complaint, did_you_mean};
use super::tree::{Node, Value};
use crate::policy::share::Share;
use crate::vocab::{ByteRate, ByteSize, QuantityError, Rate, format_duration, parse_duration};

/// A value in the words of an error: strings in quotes, tables by kind.
pub(super) fn describe(node: &Node<'_>) -> String {
    match &node.value {
        Value::Text(text) => quote(text),
        Value::Integer(Some(number)) => number.to_string(),
        Value::Integer(None) => "a number beyond 64 bits".to_owned(),
        Value::Float(number) => number.clone(),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(time) => format!("the time {time}"),
        Value::List(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        Value::Broken(_) => "nothing that can be read".to_owned(),
    }
}

fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// The complaint that something else was expected.
pub(super) fn expected(what: impl std::fmt::Display, node: &Node<'_>) -> Complaint {
    let other = || Complaint::new(format!("expected {what}, found {}", describe(node)));
    node.broken().unwrap_or_else(other)
}

/// A string.
pub(super) fn text<'a>(node: &'a Node<'a>) -> Decoded<&'a str> {
    node.as_text().ok_or_else(|| expected("a string", node))
}

/// A string that is not empty.
pub(super) fn words(node: &Node<'_>) -> Decoded<Arc<str>> {
    match text(node)? {
        "" => Err(Complaint::new("expected some text, found an empty string")
            .hint("leave the key out instead")),
        text => Ok(text.into()),
    }
}

fn quantity<T>(
    node: &Node<'_>,
    parse: impl FnOnce(&str) -> Result<T, QuantityError>,
) -> Decoded<T> {
    // A number without its unit is the common slip: say what was expected, not "a string".
    parse(node.as_text().unwrap_or_default()).map_err(|error| expected(error, node))
}

/// A duration, 0 included.
pub(super) fn duration(node: &Node<'_>) -> Decoded<Duration> {
    quantity(node, parse_duration)
}

/// A duration above 0.
pub(super) fn positive_duration(node: &Node<'_>) -> Decoded<Duration> {
    match duration(node)? {
        Duration::ZERO => Err(expected("a duration above 0", node)),
        duration => Ok(duration),
    }
}

/// A duration within bounds.
pub(super) fn duration_within(
    node: &Node<'_>,
    least: Duration,
    most: Duration,
) -> Decoded<Duration> {
    let read = duration(node)?;
    if (least..=most).contains(&read) {
        return Ok(read);
    }
    let (least, most) = (format_duration(least), format_duration(most));
    Err(expected(
        format_args!("a duration from {least} to {most}"),
        node,
    ))
}

/// A rate above 0.
pub(super) fn rate(node: &Node<'_>) -> Decoded<Rate> {
    quantity(node, Rate::parse)
}

/// A size, 0 included.
pub(super) fn size(node: &Node<'_>) -> Decoded<ByteSize> {
    quantity(node, ByteSize::parse)
}

/// A size above 0.
pub(super) fn positive_size(node: &Node<'_>) -> Decoded<ByteSize> {
    match size(node)? {
        ByteSize(0) => Err(expected("a size above 0", node)),
        size => Ok(size),
    }
}

/// A byte rate, 0 included.
pub(super) fn byte_rate(node: &Node<'_>) -> Decoded<ByteRate> {
    quantity(node, ByteRate::parse)
}

/// A whole number within bounds.
pub(super) fn count(node: &Node<'_>, least: usize, most: usize) -> Decoded<usize> {
    let number = node
        .as_integer()
        .and_then(|number| usize::try_from(number).ok());
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| expected(format_args!("a number from {least} to {most}"), node))
}

/// A share as a percentage, with or without decimals.
pub(super) fn percent(node: &Node<'_>) -> Decoded<Share> {
    let number = match &node.value {
        Value::Integer(number) => number.map(|number| number as f64),
        Value::Float(text) => text.replace('_', "").parse().ok(),
        Value::Text(text) => {
            let number = text.trim().trim_end_matches('%').trim_end();
            let hint = number.parse::<f64>().ok().and_then(Share::from_percent);
            let hint = hint.map(|_| format!("write {number}, without quotes"));
            return Err(expected("a number from 0 to 100", node).maybe_hint(hint));
        }
        Value::Boolean(_)
        | Value::Datetime(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Broken(_) => None,
    };
    number
        .and_then(Share::from_percent)
        .ok_or_else(|| expected("a number from 0 to 100", node))
}

/// A percentage above 0.
pub(super) fn positive_percent(node: &Node<'_>) -> Decoded<Share> {
    match percent(node)? {
        Share::NONE => Err(expected("a number above 0, up to 100", node)),
        share => Ok(share),
    }
}

/// A whole number within bounds, of 32 bits.
pub(super) fn number(node: &Node<'_>, least: u32, most: u32) -> Decoded<u32> {
    count(node, least as usize, most as usize).map(|number| number as u32)
}

/// The complaint that a table lacks a key it cannot do without.
pub(super) fn lacks(cursor: &Cursor<'_>, key: &str, hint: &str) {
    if !cursor.has(key) {
        cursor.missing(Complaint::new(format!("`{key}` is missing")).hint(hint));
    }
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node<'_>) -> Decoded<bool> {
    node.as_boolean()
        .ok_or_else(|| expected("true or false", node))
}

/// The complaint about a string that is none of a few words.
pub(super) fn none_of(words: &[&str], node: &Node<'_>) -> Complaint {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let hint = node
        .as_text()
        .and_then(|text| did_you_mean(text, words.iter().copied()));
    expected(quoted.join(" or "), node).maybe_hint(hint)
}

/// Status of an answer: 200 to 599.
pub(super) fn status(node: &Node<'_>) -> Decoded<StatusCode> {
    let number = count(node, 200, 599).map_err(|_| expected("a status from 200 to 599", node))?;
    StatusCode::from_u16(number as u16).map_err(|_| expected("a status from 200 to 599", node))
}

/// A media type.
pub(super) fn content_type(node: &Node<'_>) -> Decoded<HeaderValue> {
    let complaint = || expected("a media type such as \"application/json\"", node);
    let text = text(node)?;
    if !text.contains('/') {
        return Err(complaint());
    }
    HeaderValue::from_str(text).map_err(|_| complaint())
}

/// An address to listen on.
pub(super) fn address(node: &Node<'_>) -> Decoded<SocketAddr> {
    let text = text(node)?;
    text.parse().map_err(|_| {
        let hint = match text.strip_prefix(':') {
            Some(port) if port.parse::<u16>().is_ok() => Some(format!("write \"0.0.0.0:{port}\"")),
            _ if text.parse::<IpAddr>().is_ok() => Some("the port is missing".to_owned()),
            _ => None,
        };
        expected("an IP address and a port, such as \"0.0.0.0:8080\"", node).maybe_hint(hint)
    })
}

/// A range of addresses, or one address.
pub(super) fn range(node: &Node<'_>) -> Decoded<IpNet> {
    let text = text(node)?;
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| one())
        .map_err(|_| expected("a range of addresses such as \"10.0.0.0/8\"", node))
}

/// The name of a header.
pub(super) fn header_name(node: &Node<'_>) -> Decoded<HeaderName> {
    let text = text(node)?;
    header_name_text(text).ok_or_else(|| expected("the name of a header", node))
}

/// The header of that name, if it can be one.
pub(super) fn header_name_text(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}

/// The value of a header.
pub(super) fn header_value(node: &Node<'_>) -> Decoded<HeaderValue> {
    let complaint = || expected("the value of a header, in one line", node);
    let text = text(node)?;
    if text.trim() != text {
        return Err(complaint().hint("no spaces at its ends"));
    }
    HeaderValue::from_str(text).map_err(|_| complaint())
}

/// The complaint about a name that cannot be one of a route or an upstream.
pub(super) fn bad_name(name: &str) -> Option<Complaint> {
    const RESERVED: [&str; 2] = ["all", "none"];
    let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if RESERVED.contains(&name) {
        let message = format!("`{name}` cannot be a name: it has a meaning of its own");
        return Some(Complaint::new(message).hint("choose another name"));
    }
    if name.is_empty() || !name.chars().all(valid) {
        let message = format!("{} cannot be a name", quote(name));
        return Some(Complaint::new(message).hint("use letters, digits, `_`, `.` and `-`"));
    }
    None
}
