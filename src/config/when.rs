//! `when` of an entry: which requests it is about.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::cursor::{Cursor, Single};
use super::headers::{matchers, test};
use super::keys;
use super::report::Complaint;
use super::value::range;
use crate::matching::{QueryMatch, When};

/// `when` of an entry. One that asks for nothing is an error: it would be about everything.
pub(super) fn when(entry: &Cursor<'_>) -> When {
    let before = entry.report.errors();
    let Some(cursor) = entry.table("when", keys::WHEN) else {
        return When::default();
    };
    let client_ip = cursor.read_list("client_ip", Single::Allowed, range);
    let ranges = client_ip.unwrap_or_default().into_iter().map(canonical);
    let when = When {
        headers: matchers(&cursor),
        client_ip: ranges.collect(),
        query: queries(&cursor),
    };
    if cursor.report.errors() > before {
        return when;
    }
    let empty = [
        ("headers", when.headers.is_empty()),
        ("client_ip", when.client_ip.is_empty()),
        ("query", when.query.is_empty()),
    ];
    for (key, empty) in empty {
        if empty && cursor.has(key) {
            let complaint = Complaint::new("asks for nothing, and would hold for every request");
            let complaint = complaint.hint("name what you mean, or leave the key out");
            cursor.complain(key, cursor.place_of(key), complaint);
        }
    }
    if when.is_always() && cursor.report.errors() == before {
        let complaint = Complaint::new("asks for nothing, and would hold for every request");
        let complaint = complaint.hint("add headers, client_ip or query, or leave `when` out");
        entry.complain("when", cursor.place, complaint);
    }
    when
}

fn queries(when: &Cursor<'_>) -> Vec<QueryMatch> {
    let Some(cursor) = when.free_table("query") else {
        return Vec::new();
    };
    let query = |(entry, own)| {
        let test = cursor.read_entry((entry, own), test)?;
        let name = entry.key.to_string();
        Some(QueryMatch { name, test })
    };
    cursor.entries().filter_map(query).collect()
}

/// The range without the bits that mean nothing; IPv4 in its own form, as clients have it.
fn canonical(range: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let range = range.trunc();
    let v4 = match range {
        IpNet::V6(v6) => match IpAddr::V6(v6.addr()).to_canonical() {
            IpAddr::V4(address) => v6
                .prefix_len()
                .checked_sub(MAPPED)
                .and_then(|bits| Ipv4Net::new(address, bits).ok()),
            IpAddr::V6(_) => None,
        },
        IpNet::V4(_) => None,
    };
    v4.map_or(range, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_kept_in_one_form() {
        for (written, kept) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(canonical(written.parse().unwrap()).to_string(), kept);
        }
    }
}
