//! What preparing a request for its upstream displaces of what the client sent.
//!
//! A switch that is thrown while a request waits is asked about the client's request, not about
//! the upstream's. Most requests lose nothing on the way, and then nothing is kept.

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};

use http::{Request, Uri, Version};

use super::headers::{GIVEN, names};
use crate::config::HostRewrite;
use crate::snapshot::Route;
use crate::upstream::RequestBody;

/// The client's lines of the fields that were removed or replaced.
#[derive(Debug, Default)]
pub(crate) struct Displaced {
    lines: Vec<(HeaderName, HeaderValue)>,
    /// The client named no host: the Host there is was given.
    hostless: bool,
    /// The target, if the upstream gets another one.
    target: Option<Uri>,
    /// The version that the request came in; `None`: it is not prepared yet.
    version: Option<Version>,
}

impl Displaced {
    /// Keeps the lines of a field that is about to change.
    pub(crate) fn keep(&mut self, headers: &HeaderMap, name: &HeaderName) {
        let mut lines = headers.get_all(name).iter().peekable();
        if lines.peek().is_some() && !self.has(name) {
            self.lines
                .extend(lines.map(|line| (name.clone(), line.clone())));
        }
    }

    /// Removes a field.
    pub(crate) fn remove(&mut self, headers: &mut HeaderMap, name: &HeaderName) {
        self.keep(headers, name);
        headers.remove(name);
    }

    /// Sets a field to one line.
    pub(crate) fn set(&mut self, headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
        match headers.entry(name) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(mut entry) => {
                let name = entry.key().clone();
                let lines = entry.insert_mult(value);
                self.lines.extend(lines.map(|line| (name.clone(), line)));
            }
        }
    }

    /// Says that the client named no host.
    pub(crate) fn without_host(&mut self) {
        self.hostless = true;
    }

    /// Keeps the target that was replaced.
    pub(crate) fn keep_target(&mut self, target: Uri) {
        self.target = Some(target);
    }

    /// Keeps the version that the request came in. From here on its headers are the upstream's.
    pub(crate) fn keep_version(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// Makes a prepared request the client's again. Its body is untouched.
    pub(crate) fn restore(&mut self, request: &mut Request<RequestBody>, route: &Route) {
        *request.headers_mut() = self.restored(request.headers(), route);
        if let Some(target) = self.target.take() {
            *request.uri_mut() = target;
        }
        if let Some(version) = self.version {
            *request.version_mut() = version;
        }
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.lines.iter().any(|(kept, _)| kept == name)
    }

    /// The header fields as the client sent them, from those that the upstream gets. Before the
    /// request is prepared they are the client's.
    pub(crate) fn restored(&self, prepared: &HeaderMap, route: &Route) -> HeaderMap {
        let mut headers = prepared.clone();
        if self.version.is_none() {
            return headers;
        }
        let replaced = self.hostless || route.spec.host_rewrite != HostRewrite::Keep;
        let host = replaced.then_some(&header::HOST);
        let edited = names(&route.spec.request_headers);
        for name in GIVEN {
            headers.remove(name);
        }
        for name in host.into_iter().chain(edited) {
            headers.remove(name);
        }
        for (name, line) in &self.lines {
            headers.append(name, line.clone());
        }
        headers
    }
}
