//! What is kept of a request.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};

use super::exchange::Exchange;
use super::headers;
use crate::archive::{KillNote, Record};
use crate::policy::kill::Mode;
use crate::snapshot::Snapshot;
use crate::upstream::RequestBody;
use crate::vocab::{Clock, RouteId};

/// Why a request is kept.
pub(super) struct Note {
    pub(super) route: RouteId,
    pub(super) reason: Option<Arc<str>>,
    pub(super) source: Arc<str>,
    pub(super) maybe_processed: bool,
}

/// The record of a request and its body. The headers are moved out of it: nobody asks for them
/// after this.
pub(super) fn of(
    exchange: &Exchange,
    request: &mut Request<RequestBody>,
    (note, body): (Note, Bytes),
) -> Record {
    let snapshot: &Snapshot = &exchange.view.snapshot;
    let settings = snapshot.settings();
    let headers = std::mem::take(request.headers_mut());
    let waited = Clock::now().saturating_duration_since(exchange.start);
    let target = request.uri().path_and_query();
    Record {
        time: Clock::unix().saturating_sub(waited),
        route: Arc::clone(&snapshot.route(note.route).spec.name),
        instance: Arc::clone(&settings.server.instance),
        client: headers::client_ip(&headers, &exchange.peer, &settings.server.trusted_proxies),
        request_id: exchange.request_id.to_str().unwrap_or_default().to_owned(),
        kill: KillNote {
            mode: Mode::Archive.as_str().into(),
            reason: note.reason,
            source: note.source,
        },
        method: request.method().clone(),
        target: target.map_or("/", |target| target.as_str()).to_owned(),
        version: request.version(),
        context: context(snapshot, &headers),
        headers,
        body,
        subject: None,
        maybe_processed: note.maybe_processed,
    }
}

/// The headers that `log_headers` names, but for those that records leave out.
fn context(snapshot: &Snapshot, headers: &HeaderMap) -> Vec<(Arc<str>, String)> {
    let settings = snapshot.settings();
    let redaction = &settings.archive.redaction;
    let names = settings.telemetry.log_headers.iter();
    let kept = names.filter(|name| !redaction.covers_header(name.as_str()));
    kept.filter_map(|name| {
        let value = String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned();
        Some((name.as_str().into(), value))
    })
    .collect()
}
