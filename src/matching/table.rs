//! The matcher: candidates most specific first, at a cost independent of the number of routes.
//!
//! The rule is in [`super`]. Everything that can be decided without a request is decided in
//! [`Matcher::build`]: routes at the same pattern stand next to each other, sorted.

use std::cmp::Reverse;

use http::{HeaderMap, Method};

use super::host::HostTable;
use super::method::MethodSet;
use super::trie::{Chain, NONE, Trie};
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
pub struct Matcher {
    hosts: HostTable,
    /// The trie of the routes without a host; none when there is no such route.
    any_host: Option<u32>,
    trie: Trie,
    /// Sorted by slot, then by rank.
    candidates: Vec<Candidate>,
}

/// What of a route is asked once host and path match.
#[derive(Debug)]
struct Candidate {
    route: RouteId,
    methods: MethodSet,
    headers: Box<[HeaderMatch]>,
}

impl Matcher {
    /// Compiles the routes; a route's position is its [`RouteId`]. `name` breaks ties.
    pub fn build<'a>(routes: impl IntoIterator<Item = (&'a str, &'a MatchSpec)>) -> Matcher {
        let mut matcher = Matcher::default();
        let mut placed: Vec<_> = (0..)
            .zip(routes)
            .map(|(id, (name, spec))| {
                let root = matcher.root(spec.host.as_ref());
                let slot = matcher.trie.slot(root, &spec.path);
                let rank = (Reverse(spec.headers.len()), spec.methods.is_empty(), name);
                (slot, rank, RouteId(id), spec)
            })
            .collect();
        placed.sort_by_key(|&(slot, rank, id, _)| (slot, rank, id));
        for (index, (slot, _, route, spec)) in (0..).zip(placed) {
            matcher.trie.extend(slot, index);
            matcher.candidates.push(Candidate {
                route,
                methods: MethodSet::new(&spec.methods),
                headers: spec.headers.clone().into(),
            });
        }
        matcher
    }

    /// The route for a request. `host` is the authority as received (a port is ignored),
    /// `path` a normalised path.
    pub fn find(&self, method: &Method, host: &str, path: &str, headers: &HeaderMap) -> Match {
        let mut but_for_method = false;
        let found = self.visit(host, path, |candidate| {
            if !candidate.accepts(headers) {
                return None;
            }
            if candidate.methods.takes(method) {
                return Some(candidate.route);
            }
            but_for_method = true;
            None
        });
        match found {
            Some(route) => Match::Route(route),
            None if but_for_method => Match::Method(self.allowed(host, path, headers)),
            None => Match::Nothing,
        }
    }

    /// The methods of every route that takes the request but for its method. A second search,
    /// so that the first one collects nothing.
    fn allowed(&self, host: &str, path: &str, headers: &HeaderMap) -> Vec<Method> {
        let mut methods = Vec::new();
        self.visit(host, path, |candidate| {
            if candidate.accepts(headers) {
                candidate.methods.list(&mut methods);
            }
            None::<()>
        });
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        methods
    }

    /// The candidates of host and path, most specific first, until `visit` gives a result.
    fn visit<T>(
        &self,
        host: &str,
        path: &str,
        mut visit: impl FnMut(&Candidate) -> Option<T>,
    ) -> Option<T> {
        let below = path.strip_prefix('/')?.as_bytes();
        let mut chain = |chain: Chain| self.candidates[chain.range()].iter().find_map(&mut visit);
        if !self.hosts.is_empty() {
            let of_host = |root| self.trie.visit(root, below, &mut chain);
            let found = self.hosts.visit(host, of_host);
            if found.is_some() {
                return found;
            }
        }
        let root = self.any_host.unwrap_or(NONE);
        self.trie.visit(root, below, &mut chain)
    }

    fn root(&mut self, host: Option<&HostPattern>) -> u32 {
        match host {
            Some(host) => self.hosts.entry(host, || self.trie.add_node()),
            None => *self.any_host.get_or_insert_with(|| self.trie.add_node()),
        }
    }
}

impl Candidate {
    fn accepts(&self, headers: &HeaderMap) -> bool {
        self.headers.iter().all(|matcher| matcher.holds(headers))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ValueTest;
    use super::*;

    /// A route as `[METHOD,METHOD ][host]/path`.
    fn spec(text: &str) -> MatchSpec {
        let (methods, target) = text.split_once(' ').unwrap_or(("", text));
        let (host, path) = target.split_at(target.find('/').unwrap());
        let methods = methods.split(',').filter(|name| !name.is_empty());
        MatchSpec {
            host: (!host.is_empty()).then(|| HostPattern::parse(host).unwrap()),
            path: PathPattern::parse(path).unwrap(),
            methods: methods.map(|name| name.parse().unwrap()).collect(),
            headers: Vec::new(),
        }
    }

    fn with_header(text: &str, name: &str, test: ValueTest) -> MatchSpec {
        let mut spec = spec(text);
        spec.headers.push(HeaderMatch::new(name, test).unwrap());
        spec
    }

    fn build(specs: &[MatchSpec]) -> Matcher {
        Matcher::build(specs.iter().map(|spec| ("same", spec)))
    }

    /// The index of the route that a GET reaches.
    fn reached(matcher: &Matcher, host: &str, path: &str) -> Option<u32> {
        match matcher.find(&Method::GET, host, path, &HeaderMap::new()) {
            Match::Route(id) => Some(id.0),
            Match::Method(_) | Match::Nothing => None,
        }
    }

    fn methods(names: &[&str]) -> Match {
        Match::Method(names.iter().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn an_empty_table_matches_nothing() {
        assert_eq!(reached(&Matcher::default(), "a", "/"), None);
        assert_eq!(reached(&build(&[]), "a", "/"), None);
    }

    #[test]
    fn a_rest_takes_what_follows_its_slash_and_not_less() {
        let matcher = build(&[spec("/files/{*rest}"), spec("/kill/"), spec("/a/{b}")]);
        for (path, expected) in [
            ("/files", None),
            ("/files/", Some(0)),
            ("/files/a/b", Some(0)),
            ("/filesystem", None),
            ("/kill", None),
            ("/kill/", Some(1)),
            ("/kill/a//b", Some(1)),
            ("/a", None),
            ("/a/", None),
            ("/a/x", Some(2)),
            ("/a/x/", None),
            ("/", None),
            ("*", None),
            ("", None),
            ("files/a", None),
        ] {
            assert_eq!(reached(&matcher, "", path), expected, "{path}");
        }
        assert_eq!(reached(&build(&[spec("/")]), "", "/any/thing"), Some(0));
    }

    #[test]
    fn the_leftmost_segment_decides_and_a_dead_end_falls_back() {
        let matcher = build(&[
            spec("/"),
            spec("/{a}/x/y"),
            spec("/v1/{b}/z"),
            spec("/v1/{*rest}"),
            spec("/v1/x/y"),
        ]);
        for (path, expected) in [
            ("/v1/x/y", 4),
            ("/v1/x/z", 2),
            ("/v1/x/q", 3),
            ("/v2/x/y", 1),
            ("/v2/x/z", 0),
            ("/v1", 0),
        ] {
            assert_eq!(reached(&matcher, "", path), Some(expected), "{path}");
        }
        // The rest below a literal comes before `{name}`, whatever follows that.
        let matcher = build(&[spec("/{a}/x/y"), spec("/v1/{*rest}")]);
        assert_eq!(reached(&matcher, "", "/v1/x/y"), Some(1));
    }

    #[test]
    fn a_host_weighs_more_than_a_path() {
        let matcher = build(&[
            spec("/a/b"),
            spec("*.b.c/"),
            spec("a.b.c/a/{x}"),
            spec("*.c/a/b"),
        ]);
        for (host, path, expected) in [
            ("A.B.C:80", "/a/b", 2),
            ("a.b.c.", "/q", 1),
            ("x.b.c", "/a/b", 1),
            ("b.c", "/a/b", 3),
            ("c", "/a/b", 0),
            ("", "/a/b", 0),
        ] {
            assert_eq!(reached(&matcher, host, path), Some(expected), "{host}");
        }
        assert_eq!(reached(&matcher, "c", "/q"), None);
    }

    #[test]
    fn header_matchers_come_first_and_fall_through() {
        let beta = ValueTest::Exact("beta".to_owned());
        let matcher = build(&[
            spec("/a/"),
            spec("/a/b"),
            with_header("/a/b", "x-channel", beta.clone()),
            with_header("/a/c", "x-channel", beta),
        ]);
        assert_eq!(reached(&matcher, "", "/a/b"), Some(1));
        assert_eq!(reached(&matcher, "", "/a/c"), Some(0));
        let mut headers = HeaderMap::new();
        headers.insert("x-channel", http::HeaderValue::from_static("beta"));
        for (path, expected) in [("/a/b", 2), ("/a/c", 3), ("/a/d", 0)] {
            let found = matcher.find(&Method::GET, "", path, &headers);
            assert_eq!(found, Match::Route(RouteId(expected)), "{path}");
        }
    }

    #[test]
    fn a_list_of_methods_comes_before_all_and_the_name_decides_last() {
        let (all, list, other) = (spec("/a"), spec("GET /a"), spec("GET /a"));
        let find = |routes: &[(&str, &MatchSpec)]| {
            reached(&Matcher::build(routes.iter().copied()), "", "/a")
        };
        assert_eq!(find(&[("a", &all), ("b", &list)]), Some(1));
        assert_eq!(find(&[("b", &list), ("a", &other)]), Some(1));
        assert_eq!(find(&[("a", &list), ("b", &other)]), Some(0));
    }

    #[test]
    fn a_wrong_method_falls_through_before_it_is_refused() {
        let matcher = build(&[
            spec("POST,PURGE /a/b"),
            spec("GET /a/{x}"),
            spec("DELETE a.b/a/b"),
            spec("PUT /c"),
        ]);
        let find = |method: &Method, host: &str, path: &str| {
            matcher.find(method, host, path, &HeaderMap::new())
        };
        assert_eq!(find(&Method::GET, "", "/a/b"), Match::Route(RouteId(1)));
        assert_eq!(find(&Method::HEAD, "", "/a/b"), Match::Route(RouteId(1)));
        let purge: Method = "PURGE".parse().unwrap();
        assert_eq!(find(&purge, "", "/a/b"), Match::Route(RouteId(0)));
        let of_all = methods(&["GET", "HEAD", "POST", "PURGE"]);
        assert_eq!(find(&Method::PUT, "", "/a/b"), of_all);
        let with_host = methods(&["DELETE", "GET", "HEAD", "POST", "PURGE"]);
        assert_eq!(find(&Method::PUT, "a.b", "/a/b"), with_host);
        assert_eq!(find(&Method::PUT, "", "/a/x"), methods(&["GET", "HEAD"]));
        assert_eq!(find(&Method::HEAD, "", "/c"), methods(&["PUT"]));
        assert_eq!(find(&Method::PUT, "", "/d"), Match::Nothing);
    }

    #[test]
    fn a_route_whose_headers_differ_is_not_in_allow() {
        let matcher = build(&[
            with_header("POST /a", "x", ValueTest::Present(true)),
            spec("PUT /a"),
        ]);
        let found = matcher.find(&Method::GET, "", "/a", &HeaderMap::new());
        assert_eq!(found, methods(&["PUT"]));
    }

    #[test]
    fn an_escaped_literal_is_met_by_both_readings() {
        let matcher = build(&[spec("/caf%c3%a9/a%20b"), spec("/")]);
        for path in ["/caf%C3%A9/a%20b", "/café/a b", "/café/a%20b"] {
            assert_eq!(reached(&matcher, "", path), Some(0), "{path}");
        }
    }
}
