//! Who may change switches over HTTP.
//!
//! A browser on the operator's machine can reach a listener on loopback. A page that has its own
//! name resolved to 127.0.0.1 is found out by `Host` (DNS rebinding), any other page by `Origin`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use subtle::{Choice, ConditionallySelectable};

use crate::config::AdminSettings;

/// Whether a request may change switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It may; the name of its token.
    Granted(Arc<str>),
    /// It may not.
    Refused(Refusal),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The Host is a name that anybody could resolve to this machine.
    Host,
    /// Another site's page sent it.
    Origin,
    /// The configuration has no tokens: the listener only reads.
    NoTokens,
    /// No token, or one that is not known.
    Token,
}

impl Refusal {
    /// The name in answers and log lines.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Refusal::Host => "host",
            Refusal::Origin => "origin",
            Refusal::NoTokens => "no_tokens",
            Refusal::Token => "unauthorized",
        }
    }

    /// The status of the answer.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Refusal::Host | Refusal::Origin | Refusal::NoTokens => StatusCode::FORBIDDEN,
            Refusal::Token => StatusCode::UNAUTHORIZED,
        }
    }

    /// What to do about it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Refusal::Host => "ask by IP address, or as localhost",
            Refusal::Origin => "pages of other sites may not change switches",
            Refusal::NoTokens => "add tokens = { NAME = \"${VARIABLE}\" } to [admin]",
            Refusal::Token => "send Authorization: Bearer TOKEN",
        }
    }
}

/// Decides on the headers of a request.
pub(super) fn access(headers: &HeaderMap, admin: &AdminSettings) -> Access {
    match check(headers, admin) {
        Ok(name) => Access::Granted(name),
        Err(refusal) => Access::Refused(refusal),
    }
}

fn check(headers: &HeaderMap, admin: &AdminSettings) -> Result<Arc<str>, Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST).ok_or(Refusal::Host)?;
    if !is_ours(host) {
        return Err(Refusal::Host);
    }
    if headers.contains_key(ORIGIN) {
        let origin = text(ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
        let same = origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host));
        same.then_some(()).ok_or(Refusal::Origin)?;
    }
    if admin.tokens.is_empty() {
        return Err(Refusal::NoTokens);
    }
    let bearer = text(AUTHORIZATION).and_then(|value| value.split_once(' '));
    let given = bearer
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or(Refusal::Token)?;
    // Every token is compared, whichever is right.
    let mut found = u32::MAX;
    for (index, token) in admin.tokens.values().enumerate() {
        let same: Choice = token.equals(given.as_bytes());
        found.conditional_assign(&(index as u32), same);
    }
    let name = admin.tokens.keys().nth(found as usize);
    name.cloned().ok_or(Refusal::Token)
}

/// An IP address or `localhost`, with or without a port. A configured listen address is always
/// an IP address.
fn is_ours(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(ip, _)| ip),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::vocab::Secret;

    const AMY: &str = "0123456789abcdef-amy";
    const BOB: &str = "0123456789abcdef-bob";

    fn admin() -> AdminSettings {
        let tokens = [("amy", AMY), ("bob", BOB)];
        AdminSettings {
            listen: "127.0.0.1:9901".parse().unwrap(),
            probe_listen: None,
            tokens: tokens
                .map(|(name, token)| (name.into(), Secret::new(token)))
                .into(),
        }
    }

    fn asked(host: &'static str, origin: Option<&'static str>, token: &str) -> Access {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
        }
        headers.insert(AUTHORIZATION, HeaderValue::from_str(token).unwrap());
        access(&headers, &admin())
    }

    #[test]
    fn each_token_has_its_name() {
        for (name, token) in [("amy", AMY), ("bob", BOB)] {
            let granted = Access::Granted(name.into());
            assert_eq!(
                asked("127.0.0.1:9901", None, &format!("Bearer {token}")),
                granted
            );
            assert_eq!(
                asked("localhost", None, &format!("bearer {token}")),
                granted
            );
        }
        for wrong in [
            format!("Basic {AMY}"),
            format!("Bearer {AMY}x"),
            "Bearer".to_owned(),
        ] {
            let refused = Access::Refused(Refusal::Token);
            assert_eq!(asked("127.0.0.1:9901", None, &wrong), refused);
        }
    }

    #[test]
    fn names_and_other_sites_are_refused_before_any_token() {
        let bearer = format!("Bearer {AMY}");
        for host in ["evil.example", "localhost.evil.example:9901", ""] {
            let refused = Access::Refused(Refusal::Host);
            let found = asked(host, None, &bearer);
            assert_eq!(found, refused, "{host}");
        }
        let granted = Access::Granted("amy".into());
        let host = "127.0.0.1:9901";
        assert_eq!(
            asked("[::1]:9901", Some("http://[::1]:9901"), &bearer),
            granted
        );
        assert_eq!(asked(host, Some("http://127.0.0.1:9901"), &bearer), granted);
        for origin in ["http://evil.example", "null", "https://127.0.0.1:9901"] {
            let refused = Access::Refused(Refusal::Origin);
            assert_eq!(asked(host, Some(origin), &bearer), refused);
        }
    }

    #[test]
    fn without_tokens_nobody_may() {
        let mut headers = HeaderMap::new();
        assert_eq!(access(&headers, &admin()), Access::Refused(Refusal::Host));
        headers.insert(HOST, HeaderValue::from_static("127.0.0.1"));
        assert_eq!(access(&headers, &admin()), Access::Refused(Refusal::Token));
        let none = AdminSettings {
            tokens: Default::default(),
            ..admin()
        };
        assert_eq!(access(&headers, &none), Access::Refused(Refusal::NoTokens));
    }
}
