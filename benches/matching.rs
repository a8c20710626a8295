//! What finding a route costs, with few routes and with many; and what reading a path costs.

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderValue, Method};
use seawall::matching::{
    HeaderMatch, HostPattern, MatchSpec, Matcher, PathPattern, ValueTest, normalise,
};

fn main() {
    divan::main();
}

const ROUTES: [usize; 3] = [10, 1_000, 10_000];

fn spec(path: &str) -> MatchSpec {
    MatchSpec {
        host: None,
        path: PathPattern::parse(path).expect("a pattern"),
        methods: Vec::new(),
        headers: Vec::new(),
    }
}

fn table(routes: usize, spec: impl Fn(usize) -> MatchSpec) -> Matcher {
    let specs: Vec<_> = (0..routes)
        .map(|n| (format!("route-{n}"), spec(n)))
        .collect();
    Matcher::build(specs.iter().map(|(name, spec)| (name.as_str(), spec)))
}

fn find(bencher: Bencher, matcher: &Matcher, path: &str, headers: &HeaderMap) {
    bencher.bench_local(|| {
        black_box(matcher).find(
            black_box(&Method::GET),
            black_box("stats.example.com:8080"),
            black_box(path),
            black_box(headers),
        )
    });
}

#[divan::bench(args = ROUTES)]
fn literal_and_rest(bencher: Bencher, routes: usize) {
    let matcher = table(routes, |n| spec(&format!("/r{n}/{{*rest}}")));
    find(bencher, &matcher, "/r5/items/42", &HeaderMap::new());
}

/// Another route each time, so that the caches hold no more than they would.
#[divan::bench(args = ROUTES)]
fn literal_and_rest_all_in_turn(bencher: Bencher, routes: usize) {
    let matcher = table(routes, |n| spec(&format!("/r{n}/{{*rest}}")));
    let paths: Vec<_> = (0..routes)
        .map(|n| format!("/r{}/items/42", n * 7_919 % routes))
        .collect();
    let headers = HeaderMap::new();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = if turn + 1 == routes { 0 } else { turn + 1 };
        matcher.find(&Method::GET, "a", black_box(&paths[turn]), &headers)
    });
}

#[divan::bench(args = ROUTES)]
fn params(bencher: Bencher, routes: usize) {
    let matcher = table(routes, |n| spec(&format!("/v1/{{game}}/r{n}/{{player}}")));
    find(bencher, &matcher, "/v1/chess/r5/0193b", &HeaderMap::new());
}

#[divan::bench(args = ROUTES)]
fn header_matchers(bencher: Bencher, routes: usize) {
    let matcher = table(routes, |n| MatchSpec {
        headers: vec![
            HeaderMatch::new("x-client-version", ValueTest::Prefix("4.".to_owned()))
                .expect("a header name"),
        ],
        methods: vec![Method::GET],
        ..spec(&format!("/r{n}/{{*rest}}"))
    });
    let mut headers = HeaderMap::new();
    headers.insert("accept", HeaderValue::from_static("*/*"));
    headers.insert("x-client-version", HeaderValue::from_static("4.2.1"));
    find(bencher, &matcher, "/r5/items/42", &headers);
}

#[divan::bench(args = ROUTES)]
fn hosts(bencher: Bencher, routes: usize) {
    let matcher = table(routes, |n| MatchSpec {
        host: (n % 2 == 0).then(|| HostPattern::parse("*.example.com").expect("a host")),
        ..spec(&format!("/r{n}/{{*rest}}"))
    });
    find(bencher, &matcher, "/r6/items/42", &HeaderMap::new());
}

#[divan::bench(args = [
    "/v1/stats/0193b0c7/weekly",
    "/v1/../v1/%63heating/%2e%2e/a%20b",
    "/x//..;a/killed%2f",
])]
fn normalising(bencher: Bencher, path: &str) {
    bencher.bench_local(|| normalise(black_box(path)));
}
