//! One archived request, as one JSON object on one line.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::engine::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::ULID_LEN;

use super::escape::push_string;
use super::id::Ulid;
use super::redaction::{REDACTED, Redaction};

/// Why a request was archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillNote {
    /// The mode of the switch.
    pub mode: Arc<str>,
    /// What the switch's entry gives as its reason.
    pub reason: Option<Arc<str>>,
    /// The key that decided, such as `tier:sheddable`.
    pub source: Arc<str>,
}

/// A request as the gateway hands it over. Its id is given by the writer as it commits.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the request came, since the Unix epoch.
    pub time: Duration,
    /// The route's name.
    pub route: Arc<str>,
    /// This gateway's name.
    pub instance: Arc<str>,
    /// The client's address.
    pub client: IpAddr,
    /// The correlation id.
    pub request_id: String,
    /// Why it was archived.
    pub kill: KillNote,
    /// The method.
    pub method: Method,
    /// Path and query as received.
    pub target: String,
    /// The protocol's version.
    pub version: Version,
    /// The headers as received.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who was authenticated.
    pub subject: Option<String>,
    /// True when an upstream may have seen the request.
    pub maybe_processed: bool,
    /// What `log_headers` names: header and value.
    pub context: Vec<(Arc<str>, String)>,
}

impl Record {
    /// Bytes that the record holds beside its body.
    pub fn head_bytes(&self) -> u64 {
        let pairs = self.headers.iter();
        let headers: usize = pairs
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        let context: usize = self.context.iter().map(|(_, value)| value.len()).sum();
        (headers + context + self.target.len() + self.request_id.len()) as u64
    }

    /// Appends the record as one JSON object, without a line end. Written by hand: through
    /// serde's derive it takes twice as long, and it is a third of what the writer does.
    ///
    /// JSON text has no byte below 0x20, which the frames of a segment rely on.
    pub(crate) fn encode(
        &self,
        given: Ulid,
        redaction: &Redaction,
        into: &mut Vec<u8>,
    ) -> io::Result<()> {
        // The order is for those who read lines with their eyes, and for `Outline`.
        let id = &mut [0; ULID_LEN];
        into.extend_from_slice(BEFORE_ID);
        into.extend_from_slice(given.array_to_str(id).as_bytes());
        into.extend_from_slice(b"\",\"time\":\"");
        push_time(self.time, into)?;
        into.push(b'"');
        push_field(",\"route\":", &self.route, into);
        push_field(",\"instance\":", &self.instance, into);
        write!(into, ",\"client\":\"{}\"", self.client)?;
        push_field(",\"request_id\":", &self.request_id, into);
        push_field(",\"kill\":{\"mode\":", &self.kill.mode, into);
        push_optional(",\"reason\":", self.kill.reason.as_deref(), into);
        push_field(",\"source\":", &self.kill.source, into);
        push_field("},\"method\":", self.method.as_str(), into);
        push_field(",\"target\":", &redaction.target(&self.target), into);
        push_field(",\"version\":", version_name(self.version), into);
        push_headers(&self.headers, redaction, into);
        push_body(&self.body, into)?;
        push_optional(",\"subject\":", self.subject.as_deref(), into);
        into.extend_from_slice(match self.maybe_processed {
            true => b",\"maybe_processed\":true",
            false => b",\"maybe_processed\":false",
        });
        push_context(&self.context, into);
        into.push(b'}');
        Ok(())
    }
}

/// What each record begins with.
const BEFORE_ID: &[u8] = b"{\"id\":\"";

/// Gives an encoded record another id: ids have one length.
pub(crate) fn identify(encoded: &mut [u8], id: Ulid) {
    let text = &mut [0; ULID_LEN];
    id.array_to_str(text);
    encoded[BEFORE_ID.len()..][..ULID_LEN].copy_from_slice(text);
}

/// Appends a comma or brace, the name and the value.
fn push_field(name: &str, value: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(name.as_bytes());
    push_string(value, into);
}

fn push_optional(name: &str, value: Option<&str>, into: &mut Vec<u8>) {
    match value {
        Some(value) => push_field(name, value, into),
        None => {
            into.extend_from_slice(name.as_bytes());
            into.extend_from_slice(b"null");
        }
    }
}

/// Names and values as pairs, in their order.
fn push_headers(headers: &HeaderMap, redaction: &Redaction, into: &mut Vec<u8>) {
    into.extend_from_slice(b",\"headers\":[");
    let mut open = "[";
    for (name, value) in headers {
        let name = name.as_str();
        push_field(open, name, into);
        open = ",[";
        if redaction.covers_header(name) {
            push_field(",", REDACTED, into);
        } else if let Ok(text) = std::str::from_utf8(value.as_bytes()) {
            push_field(",", text, into);
        } else {
            // Latin-1, as RFC 9110 has it historically: a character for each byte.
            let text: String = value.as_bytes().iter().map(|&b| char::from(b)).collect();
            push_field(",", &text, into);
        }
        into.push(b']');
    }
    into.push(b']');
}

/// What `log_headers` names, where a request has any of it.
fn push_context(context: &[(Arc<str>, String)], into: &mut Vec<u8>) {
    let Some(((name, value), others)) = context.split_first() else {
        return;
    };
    push_field(",\"context\":{", name, into);
    push_field(":", value, into);
    for (name, value) in others {
        push_field(",", name, into);
        push_field(":", value, into);
    }
    into.push(b'}');
}

fn push_body(body: &[u8], into: &mut Vec<u8>) -> io::Result<()> {
    if let Ok(text) = std::str::from_utf8(body) {
        into.extend_from_slice(b",\"body\":");
        push_string(text, into);
        return Ok(());
    }
    into.extend_from_slice(b",\"body_base64\":\"");
    let start = into.len();
    into.resize(start + body.len().div_ceil(3) * 4, 0);
    let encoded = STANDARD.encode_slice(body, &mut into[start..]);
    // There is room for it, by the line above.
    encoded.map_err(|_| io::ErrorKind::WriteZero)?;
    into.push(b'"');
    Ok(())
}

/// A record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StoredRecord {
    /// Given by the writer; rises from record to record.
    pub id: Ulid,
    /// When the request came: RFC 3339, microseconds.
    pub time: Timestamp,
    /// The route's name.
    pub route: String,
    /// The gateway that took it.
    pub instance: String,
    /// The client's address.
    pub client: IpAddr,
    /// The correlation id.
    pub request_id: String,
    /// Why it was archived.
    pub kill: KillNote,
    /// The method.
    pub method: String,
    /// Path and query, redacted.
    pub target: String,
    /// The protocol's version, such as `HTTP/1.1`.
    pub version: String,
    /// Names in lower case and values. Bytes that are not UTF-8 were read as Latin-1.
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_base64: Option<String>,
    /// Who was authenticated.
    #[serde(default)]
    pub subject: Option<String>,
    /// True when an upstream may have seen the request.
    pub maybe_processed: bool,
    /// What `log_headers` named.
    #[serde(default)]
    pub context: std::collections::BTreeMap<String, String>,
}

impl StoredRecord {
    /// Reads one line.
    ///
    /// # Errors
    /// Text that is no record.
    pub fn decode(line: &[u8]) -> Result<StoredRecord, serde_json::Error> {
        let record: StoredRecord = serde_json::from_slice(line)?;
        if let Some(text) = &record.body_base64 {
            STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        }
        Ok(record)
    }

    /// The body's bytes.
    pub fn body(&self) -> Vec<u8> {
        match (&self.body, &self.body_base64) {
            (Some(text), _) => text.as_bytes().to_vec(),
            // `decode` refused what is not base64.
            (None, Some(encoded)) => STANDARD.decode(encoded).unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }

    /// True when a header's value was left out.
    pub fn has_redacted_headers(&self) -> bool {
        self.headers.iter().any(|(_, value)| value == REDACTED)
    }
}

/// What recovery needs of a record, without its body.
#[derive(Deserialize)]
pub(crate) struct Outline {
    pub(crate) id: Ulid,
    pub(crate) route: String,
}

impl Outline {
    /// Reads the id and the route of a line. They stand first: what follows is not looked at,
    /// for a start must not wait for the bodies of a whole segment. A quote inside a string is
    /// escaped, so the next key is found by its text.
    pub(crate) fn decode(line: &[u8]) -> Option<Outline> {
        const NEXT: &[u8] = b",\"instance\":";
        let next = line.windows(NEXT.len()).position(|text| text == NEXT);
        let Some(front) = next.and_then(|next| line.get(..next)) else {
            return serde_json::from_slice(line).ok();
        };
        serde_json::from_slice(&[front, b"}"].concat()).ok()
    }
}

/// Appends a time since the Unix epoch: RFC 3339, microseconds. The days become a date as in
/// "chrono-compatible low-level date algorithms" (Hinnant), with years that begin in March.
fn push_time(time: Duration, into: &mut Vec<u8>) -> io::Result<()> {
    let latest = Timestamp::MAX;
    if time.as_secs() > latest.as_second().unsigned_abs() {
        return write!(into, "{latest:.6}");
    }
    let (seconds, days) = (time.as_secs() % 86_400, time.as_secs() / 86_400);
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = match month {
        0..10 => (month + 3, 0),
        _ => (month - 9, 1),
    };
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (place, value) in [
        (0..4, 400 * era + year + later),
        (5..7, month),
        (8..10, day),
        (11..13, seconds / 3600),
        (14..16, seconds / 60 % 60),
        (17..19, seconds % 60),
        (20..26, u64::from(time.subsec_micros())),
    ] {
        let mut rest = value;
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    into.extend_from_slice(&text);
    Ok(())
}

fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
