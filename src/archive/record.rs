//! One archived request, as one JSON object on one line.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::EncodeSliceError;
use base64::engine::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use jiff::Timestamp;
use serde::ser::{SerializeMap as _, SerializeSeq as _, Serializer};
use serde::{Deserialize, Serialize};

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

    /// Appends the record as one JSON object, without a line end.
    ///
    /// JSON text has no byte below 0x20, which the frames of a segment rely on.
    pub(crate) fn encode(
        &self,
        id: Ulid,
        redaction: &Redaction,
        into: &mut Vec<u8>,
    ) -> Result<(), serde_json::Error> {
        let front = Front {
            id,
            time: Displayed(Micros(self.time)),
            route: &self.route,
            instance: &self.instance,
            client: self.client,
            request_id: &self.request_id,
            kill: KillLine {
                mode: &self.kill.mode,
                reason: self.kill.reason.as_deref(),
                source: &self.kill.source,
            },
            method: self.method.as_str(),
            target: &redaction.target(&self.target),
            version: version_name(self.version),
            headers: Pairs(&self.headers, redaction),
        };
        let back = Back {
            subject: self.subject.as_deref(),
            maybe_processed: self.maybe_processed,
            context: Context(&self.context),
        };
        serde_json::to_writer(&mut *into, &front)?;
        // One object of both: the body is written past serde_json, for speed.
        into.pop();
        push_body(&self.body, into).map_err(serde::ser::Error::custom)?;
        let joint = into.len();
        serde_json::to_writer(&mut *into, &back)?;
        into[joint] = b',';
        Ok(())
    }
}

fn push_body(body: &[u8], into: &mut Vec<u8>) -> Result<(), EncodeSliceError> {
    if let Ok(text) = std::str::from_utf8(body) {
        into.extend_from_slice(b",\"body\":");
        push_string(text, into);
        return Ok(());
    }
    into.extend_from_slice(b",\"body_base64\":\"");
    let start = into.len();
    into.resize(start + body.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(body, &mut into[start..])?;
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

/// The fields before the body. The order is for those who read lines with their eyes.
#[derive(Serialize)]
struct Front<'a> {
    id: Ulid,
    time: Displayed<Micros>,
    route: &'a str,
    instance: &'a str,
    client: IpAddr,
    request_id: &'a str,
    kill: KillLine<'a>,
    method: &'a str,
    target: &'a str,
    version: &'a str,
    headers: Pairs<'a>,
}

/// The fields behind the body; never none, for the first one's brace becomes a comma.
#[derive(Serialize)]
struct Back<'a> {
    subject: Option<&'a str>,
    maybe_processed: bool,
    #[serde(skip_serializing_if = "Context::is_empty")]
    context: Context<'a>,
}

#[derive(Serialize)]
struct KillLine<'a> {
    mode: &'a str,
    reason: Option<&'a str>,
    source: &'a str,
}

/// Written through its `Display`, without a copy.
struct Displayed<T>(T);

impl<T: std::fmt::Display> Serialize for Displayed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

struct Micros(Duration);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX);
        let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
        write!(f, "{time:.6}")
    }
}

struct Pairs<'a>(&'a HeaderMap, &'a Redaction);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (name, value) in self.0 {
            let name = name.as_str();
            if self.1.covers_header(name) {
                list.serialize_element(&(name, REDACTED))?;
            } else if let Ok(text) = std::str::from_utf8(value.as_bytes()) {
                list.serialize_element(&(name, text))?;
            } else {
                // Latin-1, as RFC 9110 has it historically: a character for each byte.
                let text: String = value.as_bytes().iter().map(|&b| char::from(b)).collect();
                list.serialize_element(&(name, text))?;
            }
        }
        list.end()
    }
}

struct Context<'a>(&'a [(Arc<str>, String)]);

impl Context<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Context<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(&**name, value)?;
        }
        map.end()
    }
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
