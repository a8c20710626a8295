//! The matcher: candidates most specific first, at a cost independent of the number of routes.

use http::{HeaderMap, Method};

use super::{HeaderMatch, HostPattern, PathPattern};
use crate::vocab::RouteId;

/// What a route asks of a request.
#[derive(Clone, Debug)]
pub struct MatchSpec {
    /// The host, if the route is bound to one.
    pub host: Option<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// The methods it takes; empty means all.
    pub methods: Vec<Method>,
    /// Conditions that must all hold.
    pub headers: Vec<HeaderMatch>,
}

/// What the matcher found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The most specific route that takes the request.
    Route(RouteId),
    /// Routes match but for the method; the methods they take, for `Allow`, sorted.
    Method(Vec<Method>),
    /// Nothing matches.
    Nothing,
}

/// The compiled table.
#[derive(Debug, Default)]
pub struct Matcher {}

impl Matcher {
    /// Compiles the routes; a route's position is its [`RouteId`]. `name` breaks ties.
    pub fn build<'a>(routes: impl IntoIterator<Item = (&'a str, &'a MatchSpec)>) -> Matcher {
        let _ = routes.into_iter().count();
        Matcher {}
    }

    /// The route for a request. `host` is the authority as received (a port is ignored),
    /// `path` a normalised path.
    pub fn find(&self, method: &Method, host: &str, path: &str, headers: &HeaderMap) -> Match {
        let _ = (method, host, path, headers);
        Match::Nothing
    }
}
