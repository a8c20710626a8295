//! The correlation id: kept from the client if it is well-formed, else made.

use http::{HeaderMap, HeaderValue};

use super::headers::X_REQUEST_ID;
use super::worker::Worker;
use crate::vocab::Clock;

/// The client's correlation id, if it is well-formed: 1 to 128 visible ASCII characters.
pub(crate) fn kept(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut all = headers.get_all(X_REQUEST_ID).iter();
    let id = all.next()?;
    let bytes = id.as_bytes();
    let visible = (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    (visible && all.next().is_none()).then_some(id)
}

/// A UUIDv7 (RFC 9562, 5.7): sortable by time, so that the ids of one incident lie together.
///
/// The random part is the worker's own: the uuid crate's `now_v7` keeps order with one lock for
/// the whole process, which every worker would take for every request.
pub(crate) fn make(worker: &Worker) -> HeaderValue {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&worker.random_bits().to_le_bytes());
    random[8..].copy_from_slice(&worker.random_bits().to_le_bytes()[..2]);
    let millis = Clock::unix().as_millis() as u64;
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
