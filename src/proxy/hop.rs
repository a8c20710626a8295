//! One entry of X-Forwarded-For, as the proxies that write it spell it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Its address: alone, or with the port that some proxies add, IPv6 then in brackets. `None` if it
/// is something else.
pub(super) fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim();
    if let Ok(ip) = entry.parse() {
        return Some(ip);
    }
    if let Ok(with_port) = entry.parse::<SocketAddr>() {
        return Some(with_port.ip());
    }
    let bare = entry.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_by_its_address_with_a_port_or_without() {
        for (entry, read) in [
            ("203.0.113.7", "203.0.113.7"),
            (" 203.0.113.7:5100 ", "203.0.113.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            let address = address(entry.as_bytes());
            assert_eq!(address, Some(read.parse().unwrap()), "{entry}");
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for entry in [
            "",
            "unknown",
            "_hidden",
            "203.0.113.7:",
            "203.0.113.7:99999",
            "203.0.113.7:x",
            "203.0.113",
            "[203.0.113.7]",
            "[203.0.113.7]:80",
            "[2001:db8::1",
            "[2001:db8::1]443",
            "203.0.113.7 5100",
        ] {
            assert_eq!(address(entry.as_bytes()), None, "{entry}");
        }
        assert_eq!(address(b"203.0.113.7\xff"), None);
    }
}
