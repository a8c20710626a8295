//! Host names of routes: exact, or `*.example.com` for one or more labels below a name.
//!
//! A name is compared in lower case, without its port and without one trailing dot. The
//! brackets of an IPv6 address belong to the name.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;

use super::PatternError;
use super::pattern::expected;
use super::trie::SegmentHash;

/// The longest name that DNS allows; a longer one equals no pattern.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host that a route is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    /// Lower case, without a port or a trailing dot; for a wildcard the part after `*`,
    /// beginning with its dot.
    name: String,
    wildcard: bool,
}

impl HostPattern {
    /// Reads `stats.example.com` or `*.example.com`.
    ///
    /// # Errors
    /// What is no host name, with what was expected.
    pub fn parse(text: &str) -> Result<HostPattern, PatternError> {
        if text.starts_with('[') {
            return parse_ipv6(text);
        }
        let wildcard = text.starts_with("*.");
        let name = text.strip_prefix("*.").unwrap_or(text);
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if text.contains("://") {
            return expected("a host name without a scheme, such as \"stats.example.com\"");
        }
        if name.contains(':') {
            return expected("a host name without a port: every port of the host matches");
        }
        if name.contains('*') {
            return expected(
                "`*` only as the whole first label, such as \"*.example.com\"; leave `host` out to take every host",
            );
        }
        if !name.is_ascii() {
            return expected("a host name in ASCII: write other scripts in Punycode (\"xn--...\")");
        }
        check_labels(&name)?;
        let name = if wildcard { format!(".{name}") } else { name };
        Ok(HostPattern { name, wildcard })
    }

    /// Whether it takes the names below its own (`*.example.com`).
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.wildcard { "*" } else { "" };
        write!(f, "{star}{}", self.name)
    }
}

fn parse_ipv6(text: &str) -> Result<HostPattern, PatternError> {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    match inner.and_then(|inner| inner.parse::<Ipv6Addr>().ok()) {
        Some(address) => Ok(HostPattern {
            name: format!("[{address}]"),
            wildcard: false,
        }),
        None => expected("an IPv6 address in brackets without a port, such as \"[::1]\""),
    }
}

fn check_labels(name: &str) -> Result<(), PatternError> {
    if name.len() > MAX_NAME {
        return expected("a host name of at most 253 characters");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return expected("a host name such as \"stats.example.com\", with no empty label");
        }
        if label.len() > MAX_LABEL {
            return expected("labels of at most 63 characters");
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if let Some(bad) = label.bytes().find(|&b| !allowed(b)) {
            let bad = char::from(bad);
            return expected(format_args!(
                "a host name of letters, digits, `-` and `.`; found {bad:?}"
            ));
        }
    }
    Ok(())
}

/// Which trie belongs to which host.
#[derive(Debug, Default)]
pub(super) struct HostTable {
    exact: HashMap<Box<[u8]>, u32, SegmentHash>,
    /// Keyed by the part after `*`.
    wildcards: HashMap<Box<[u8]>, u32, SegmentHash>,
}

impl HostTable {
    /// The trie of `host`, made by `create` when it is new.
    pub(super) fn entry(&mut self, host: &HostPattern, create: impl FnOnce() -> u32) -> u32 {
        let map = if host.wildcard {
            &mut self.wildcards
        } else {
            &mut self.exact
        };
        let key = host.name.as_bytes().into();
        *map.entry(key).or_insert_with(create)
    }

    /// No route names a host: a request's host need not be looked at.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty()
    }

    /// The tries that an authority as received may use, most specific first, until `visit`
    /// gives a result.
    pub(super) fn visit<T>(
        &self,
        authority: &str,
        mut visit: impl FnMut(u32) -> Option<T>,
    ) -> Option<T> {
        let raw = host_name(authority).as_bytes();
        // On the stack: a request must not cost an allocation because another route names a host.
        let mut buffer = [0; MAX_NAME];
        let name = buffer.get_mut(..raw.len())?;
        name.copy_from_slice(raw);
        name.make_ascii_lowercase();
        let name = &*name;
        if let Some(&root) = self.exact.get(name)
            && let Some(found) = visit(root)
        {
            return Some(found);
        }
        if self.wildcards.is_empty() {
            return None;
        }
        // From the left, so that the longest wildcard comes first. One that begins at the
        // first byte would stand for no label at all.
        for dot in memchr::memchr_iter(b'.', name).filter(|&dot| dot > 0) {
            if let Some(&root) = self.wildcards.get(&name[dot..])
                && let Some(found) = visit(root)
            {
                return Some(found);
            }
        }
        None
    }
}

/// An authority without its port and one trailing dot.
fn host_name(authority: &str) -> &str {
    let name = if authority.starts_with('[') {
        let end = authority.find(']').map_or(authority.len(), |end| end + 1);
        &authority[..end]
    } else {
        authority.split(':').next().unwrap_or(authority)
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(table: &HostTable, authority: &str) -> Vec<u32> {
        let mut roots = Vec::new();
        table.visit(authority, |root| {
            roots.push(root);
            None::<()>
        });
        roots
    }

    fn table(hosts: &[&str]) -> HostTable {
        let mut table = HostTable::default();
        for (root, host) in (0..).zip(hosts) {
            table.entry(&HostPattern::parse(host).unwrap(), || root);
        }
        table
    }

    #[test]
    fn names_are_read_in_one_spelling() {
        for (text, shown) in [
            ("Stats.Example.COM", "stats.example.com"),
            ("stats.example.com.", "stats.example.com"),
            ("*.Example.com", "*.example.com"),
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("[0:0::1]", "[::1]"),
        ] {
            assert_eq!(HostPattern::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_what_was_expected() {
        for (text, part) in [
            ("", "no empty label"),
            (".", "no empty label"),
            ("a..b", "no empty label"),
            (".a", "no empty label"),
            ("*.", "no empty label"),
            ("a:80", "without a port"),
            ("[::1]:80", "without a port"),
            ("[::g]", "IPv6"),
            ("http://a.b", "without a scheme"),
            ("a b", "found ' '"),
            ("a/b", "found '/'"),
            ("*", "first label"),
            ("*.*.b", "first label"),
            ("a.*.b", "first label"),
            ("a*.b", "first label"),
            ("bücher.example", "Punycode"),
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(error.0.contains(part), "{text}: {error}");
        }
        assert!(HostPattern::parse(&"a".repeat(64)).is_err());
        assert!(HostPattern::parse(&["a"; 200].join(".")).is_err());
    }

    #[test]
    fn the_exact_name_comes_first_then_the_longest_wildcard() {
        let table = table(&["*.example.com", "a.eu.example.com", "*.eu.example.com"]);
        assert_eq!(visited(&table, "a.eu.example.com"), [1, 2, 0]);
        assert_eq!(visited(&table, "x.y.eu.example.com"), [2, 0]);
        assert_eq!(visited(&table, "eu.example.com"), [0]);
        assert_eq!(visited(&table, "example.com"), Vec::<u32>::new());
        assert_eq!(visited(&table, ".example.com"), Vec::<u32>::new());
        assert_eq!(visited(&table, "badexample.com"), Vec::<u32>::new());
    }

    #[test]
    fn case_port_and_one_trailing_dot_do_not_matter() {
        let table = table(&["a.b", "[::1]"]);
        for authority in ["a.b", "A.B", "a.b:80", "a.b.", "A.b.:8080"] {
            assert_eq!(visited(&table, authority), [0], "{authority}");
        }
        for authority in ["[::1]", "[::1]:80"] {
            assert_eq!(visited(&table, authority), [1], "{authority}");
        }
        for authority in ["", ":", ".", "[", "[]", "]", "a.b..", "::1", "[::1"] {
            assert_eq!(visited(&table, authority), Vec::<u32>::new(), "{authority}");
        }
        assert_eq!(visited(&table, &"a.".repeat(500)), Vec::<u32>::new());
    }
}
