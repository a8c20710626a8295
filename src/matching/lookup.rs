//! The route of a request as it came: both readings of its path, one answer.

use std::borrow::Cow;

use http::header::{HOST, HeaderMap};
use http::{Method, Uri};

use super::{Match, Matcher, PathError, normalise};
use crate::vocab::RouteId;

/// Where a request goes.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// To this route.
    Route {
        /// The most specific route.
        route: RouteId,
        /// The normalised path, which was matched.
        path: Cow<'a, str>,
    },
    /// Routes match but for the method; the methods they take, sorted.
    Method(Vec<Method>),
    /// Nothing matches.
    Nothing,
    /// The path is refused whatever the routes are.
    Malformed(PathError),
    /// Another server may read the path differently, and that reading leads to another route.
    TwoReadings {
        /// The route of the normalised path, if it has one.
        route: Option<RouteId>,
        /// The route of the lenient reading.
        other: RouteId,
        /// The lenient reading.
        lenient: String,
    },
}

impl Matcher {
    /// The most specific route. A path that another server may read differently must lead to the
    /// same route in that reading too, so that there is no way around a switch.
    pub fn look_up<'a>(&self, method: &Method, uri: &'a Uri, headers: &HeaderMap) -> Lookup<'a> {
        let read = match normalise(uri.path()) {
            Ok(read) => read,
            Err(error) => return Lookup::Malformed(error),
        };
        let host = match uri.authority() {
            Some(authority) => authority.as_str(),
            None => headers
                .get(HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default(),
        };
        let found = self.find(method, host, &read.path, headers);
        if let Some(lenient) = read.lenient
            && let Match::Route(other) = self.find(method, host, &lenient, headers)
            && found != Match::Route(other)
        {
            let route = match found {
                Match::Route(route) => Some(route),
                Match::Method(_) | Match::Nothing => None,
            };
            return Lookup::TwoReadings {
                route,
                other,
                lenient,
            };
        }
        match found {
            Match::Route(route) => Lookup::Route {
                route,
                path: read.path,
            },
            Match::Method(allow) => Lookup::Method(allow),
            Match::Nothing => Lookup::Nothing,
        }
    }
}
