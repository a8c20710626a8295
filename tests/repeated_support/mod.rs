//! What the tests of requests that clients send again share.

#![allow(unreachable_pub)]

use super::support::{Client, Config, Gateway, Response, Upstream};

/// The counter of such requests.
pub const TOTAL: &str = "seawall_client_retries_total";

/// One route to one upstream, whose clients are told by `X-Forwarded-For`.
pub fn route(upstream: &Upstream, keys: &str) -> Config {
    let keys = format!("path = \"/{{*rest}}\"\nupstream = \"u\"\n{keys}");
    Config::new()
        .upstream("u", upstream)
        .server("trusted_proxies", "[\"127.0.0.1\"]")
        .route("a", &keys)
}

/// Posts a body from a client of that number.
pub fn send(client: &mut Client, target: &str, (from, body): (u8, &str)) -> Response {
    client.ask(format!(
        "POST {target} HTTP/1.1\r\nhost: t\r\nx-forwarded-for: 192.0.2.{from}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// How many requests of the route were sent again.
pub fn counted(gateway: &Gateway) -> f64 {
    gateway.metrics().one(TOTAL, &[("route", "a")])
}
