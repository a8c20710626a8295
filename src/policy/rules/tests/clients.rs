//! Which clients a share takes.

use super::*;
use crate::policy::share;

/// The clients of a sample that a share takes, each with an address and a header of its own.
fn taken(sticky: Sticky, requests: &[Request]) -> Vec<bool> {
    let mut sample = Sample::of(Tier::Standard);
    sample.own.sticky = sticky;
    let half = KillEntry {
        share: percent(50.0),
        ..drop()
    };
    let rules = rules(&sample, &[own(route(), &[half])]);
    let killed = |request: &Request| request.killed(rules.as_ref(), NOW);
    requests.iter().map(killed).collect()
}

#[test]
fn sticky_says_who_shares_a_fate() {
    let player = || Sticky::Header("x-player".parse().unwrap());
    let of = |players: &dyn Fn(u8) -> Option<String>, hosts: &dyn Fn(u8) -> u8| -> Vec<Request> {
        let request = |n| Request::new(None, players(n).as_deref(), hosts(n));
        (0..100).map(request).collect()
    };
    let split = |fates: &[bool]| fates.contains(&true) && fates.contains(&false);
    let same_host = of(&|n| Some(format!("p{n}")), &|_| 1);
    let same_player = of(&|_| Some("p".to_owned()), &|n| n);
    let no_player = of(&|_| None, &|n| n);
    assert!(!split(&taken(Sticky::ClientIp, &same_host)));
    assert!(split(&taken(Sticky::ClientIp, &same_player)));
    assert!(split(&taken(player(), &same_host)));
    assert!(!split(&taken(player(), &same_player)));
    // Without the header the address decides, as it would by itself.
    let by_address = taken(Sticky::ClientIp, &no_player);
    assert!(split(&by_address));
    assert_eq!(taken(player(), &no_player), by_address);
    let mut ids = of(&|_| Some("p".to_owned()), &|_| 1);
    (0..)
        .zip(&mut ids)
        .for_each(|(id, request)| request.id = id);
    assert!(split(&taken(Sticky::Request, &ids)));
    assert!(!split(&taken(player(), &ids)));
}

/// Who a share of this percentage takes, by hash.
fn share_of(hashes: &[u64], percentage: f64) -> Vec<bool> {
    let share = percent(percentage);
    hashes.iter().map(|hash| share.takes(*hash)).collect()
}

/// 100,000 distinct clients of each kind that there is: the share is met within one percentage
/// point, and raising it lets nobody through.
#[test]
fn shares_are_met_by_every_kind_of_client() {
    const CLIENTS: u32 = 100_000;
    let hashes = |hash: &dyn Fn(u32) -> u64| -> Vec<u64> { (0..CLIENTS).map(hash).collect() };
    let ipv4 = |first: u32, step: u32| {
        move |n: u32| share::hash_ip(std::net::Ipv4Addr::from(first.wrapping_add(n * step)).into())
    };
    let ipv6 = |shift: u32| {
        move |n: u32| {
            let address = (0x2001_0db8_u128 << 96) | (u128::from(n) << shift);
            share::hash_ip(std::net::Ipv6Addr::from(address).into())
        }
    };
    let text = |write: fn(u32) -> String| move |n: u32| share::hash(write(n).as_bytes());
    // Two rounds of a mixer, so that the ids look as random as they would be.
    let random = |n: u32| {
        u128::from(share::hash(&n.to_le_bytes())) << 64 | u128::from(share::hash(&n.to_be_bytes()))
    };
    let kinds: Vec<(&str, Vec<u64>)> = vec![
        ("IPv4 in sequence", hashes(&ipv4(0x0a00_0000, 1))),
        ("IPv4, one in each /24", hashes(&ipv4(0x0a00_0001, 256))),
        ("IPv6 hosts of one net", hashes(&ipv6(0))),
        ("IPv6 /64 nets in sequence", hashes(&ipv6(64))),
        ("ids in sequence", hashes(&text(|n| n.to_string()))),
        ("player-N", hashes(&text(|n| format!("player-{n}")))),
        (
            "ids padded to ten digits",
            hashes(&text(|n| format!("{n:010}"))),
        ),
        (
            "random UUIDs",
            hashes(&|n| {
                let id = uuid::Builder::from_random_bytes(random(n).to_le_bytes()).into_uuid();
                share::hash(id.to_string().as_bytes())
            }),
        ),
        (
            "UUIDs of one millisecond each",
            hashes(&|n| {
                let tail: [u8; 16] = random(n).to_le_bytes();
                let tail = tail[..10].try_into().unwrap();
                let millis = 1_700_000_000_000 + u64::from(n);
                let id = uuid::Builder::from_unix_timestamp_millis(millis, tail).into_uuid();
                share::hash(id.to_string().as_bytes())
            }),
        ),
    ];
    for (kind, hashes) in kinds {
        let mut measured = Vec::new();
        let mut fewer = vec![false; hashes.len()];
        for wanted in [1.0, 10.0, 50.0, 99.0] {
            let more = share_of(&hashes, wanted);
            assert_eq!(
                more,
                share_of(&hashes, wanted),
                "the same client, the same fate"
            );
            let lost = fewer.iter().zip(&more).any(|(fewer, more)| *fewer && !more);
            assert!(
                !lost,
                "{kind}: {wanted} % lets through who was killed before"
            );
            let got =
                more.iter().filter(|taken| **taken).count() as f64 * 100.0 / f64::from(CLIENTS);
            assert!(
                (got - wanted).abs() < 1.0,
                "{kind}: {got} % instead of {wanted} %"
            );
            measured.push(got);
            fewer = more;
        }
        println!("{kind}: {measured:.3?}");
    }
}
