//! Which share of the clients a switch takes, so that the same client gets the same fate.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName};

/// What tells clients apart for `percent`: requests that agree in it share their fate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sticky {
    /// The client's address.
    #[default]
    ClientIp,
    /// The value of a header; the client's address where it is missing.
    Header(HeaderName),
    /// The request id: each request has a fate of its own.
    Request,
}

impl Sticky {
    /// The hash of what it names. `client` is asked for the client's address, if it is needed.
    pub fn hash(
        &self,
        headers: &HeaderMap,
        request_id: &[u8],
        client: impl FnOnce() -> IpAddr,
    ) -> u64 {
        match self {
            Sticky::ClientIp => hash_ip(client()),
            Sticky::Header(name) => match headers.get(name) {
                Some(value) => hash(value.as_bytes()),
                None => hash_ip(client()),
            },
            Sticky::Request => hash(request_id),
        }
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sticky::ClientIp => f.write_str("client-ip"),
            Sticky::Header(name) => write!(f, "header:{name}"),
            Sticky::Request => f.write_str("request"),
        }
    }
}

/// A part of the whole, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// Nobody.
    pub const NONE: Share = Share(0.0);
    /// Everybody.
    pub const WHOLE: Share = Share(1.0);

    /// The share of that many percent, if it is 0 to 100.
    pub fn from_percent(percent: f64) -> Option<Share> {
        (0.0..=100.0)
            .contains(&percent)
            .then_some(Share(percent / 100.0))
    }

    /// 0 to 1.
    pub fn fraction(self) -> f64 {
        self.0
    }

    /// 0 to 100, as written: 12.3 percent is 12.3, not 12.299999999999999.
    pub fn percent(self) -> f64 {
        (self.0 * 1e8).round() / 1e6
    }

    /// A part of this share; `part` is 0 to 1.
    #[must_use]
    pub fn times(self, part: f64) -> Share {
        Share(self.0 * part.clamp(0.0, 1.0))
    }

    /// Whether the share holds the clients of this hash. A larger share holds all that a smaller
    /// one does.
    pub fn takes(self, hash: u64) -> bool {
        // 53 bits are exact in a float, so that the comparison is one of whole numbers.
        ((hash >> 11) as f64) < self.0 * (1_u64 << 53) as f64
    }
}

/// Hash of what `sticky` names. It has no seed: every gateway of a fleet, and the next version of
/// each, gives the same client the same fate.
///
/// FNV-1a (Fowler, Noll, Vo; 64 bits), finished with the mixer of MurmurHash3 (Appleby), because
/// FNV alone spreads short keys badly over the upper bits.
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut mixed = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// Where a hash stands among all, 0 to 100; a share takes those below its percentage.
pub fn standing(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64 * 100.0
}

/// Hash of an address: of its 4 or 16 bytes.
pub fn hash_ip(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_share_holds_every_client_of_a_smaller_one() {
        let shares: Vec<Share> = (0..=1000)
            .filter_map(|tenth| Share::from_percent(f64::from(tenth) / 10.0))
            .collect();
        assert_eq!(shares.len(), 1001);
        for client in 0..2_000_u32 {
            let hash = hash(&client.to_be_bytes());
            let first = shares.iter().position(|share| share.takes(hash)).unwrap();
            assert!(shares[first..].iter().all(|share| share.takes(hash)));
        }
    }

    #[test]
    fn nobody_and_everybody_are_exact() {
        for hash in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(!Share::NONE.takes(hash));
            assert!(Share::WHOLE.takes(hash));
        }
        assert_eq!(Share::from_percent(0.0), Some(Share::NONE));
        assert_eq!(Share::from_percent(100.0), Some(Share::WHOLE));
    }

    #[test]
    fn what_is_no_percentage_is_none() {
        for percent in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::from_percent(percent), None);
        }
        assert_eq!(Share::from_percent(12.3).unwrap().percent(), 12.3);
        assert_eq!(Share::from_percent(0.07).unwrap().percent(), 0.07);
    }

    /// Other gateways and later versions must agree with these.
    #[test]
    fn hashes_are_what_they_always_were() {
        assert_eq!(hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash(b"player-1"), 0xd741_2702_1d25_a53f);
        let address = "192.0.2.7".parse().unwrap();
        assert_eq!(hash_ip(address), 0x22eb_cd15_a5d3_7b69);
    }
}
