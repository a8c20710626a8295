//! Five times as many requests as the upstream can serve, in three tiers.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::Finding;
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::openloop::{Offer, Served, Span, offer};
use crate::peers::Peer;
use crate::servers::Servers;

/// 20 servers, each busy for 20 ms on average, serve 1,000 requests a second.
const SERVERS: usize = 20;
const MEAN: Duration = Duration::from_millis(20);
const CAPACITY: f64 = 1000.0;

/// A limit as an operator would set it, and HAProxy's `maxconn`: a little more than the servers,
/// so that none of them idles.
const LIMIT: u32 = 30;
/// HAProxy's `timeout queue`.
const QUEUE: Duration = Duration::from_millis(100);

/// Of the 5,000 a second. The names are those of routes and tiers.
const TIERS: [(&str, &str, f64); 3] = [
    ("core", "/core/x", 500.0),
    ("standard", "/standard/x", 2000.0),
    ("sheddable", "/sheddable/x", 2500.0),
];

const UNLOADED: Span = Span {
    settling: Duration::from_secs(2),
    counted: Duration::from_secs(5),
};
/// The limit learns from about ten windows a second.
const LOADED: Span = Span {
    settling: Duration::from_secs(5),
    counted: Duration::from_secs(10),
};
const PEERS: Span = Span {
    settling: Duration::from_secs(2),
    counted: Duration::from_secs(5),
};

/// The gateway with an adaptive limit and with a fixed one, then the peers.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    println!(
        "  the upstream serves {CAPACITY:.0}/s; offered are {:.0}/s, of which core {:.0}/s",
        offers(&TIERS).iter().map(|offer| offer.rate).sum::<f64>(),
        TIERS[0].2,
    );
    let mut findings = Vec::new();
    for concurrency in ["\"adaptive\"".to_owned(), LIMIT.to_string()] {
        findings.extend(of_gateway(binary, &concurrency)?);
    }
    let servers = Servers::start(SERVERS, MEAN)?;
    let haproxy = Peer::haproxy(servers.address, LIMIT, QUEUE)?;
    of_peer("haproxy, maxconn and queue", haproxy.address)?;
    drop((haproxy, servers));
    let servers = Servers::start(SERVERS, MEAN)?;
    let nginx = Peer::nginx(servers.address)?;
    of_peer("nginx without limits", nginx.address)?;
    Ok(findings)
}

fn offers(tiers: &[(&str, &'static str, f64)]) -> Vec<Offer> {
    let offer = |(_, path, rate): &(&str, &'static str, f64)| Offer { path, rate: *rate };
    tiers.iter().map(offer).collect()
}

fn of_gateway(binary: &Path, concurrency: &str) -> io::Result<Vec<Finding>> {
    let servers = Servers::start(SERVERS, MEAN)?;
    let mut structure = Structure::new(servers.address, 4);
    let _ = write!(
        structure.more,
        "[upstreams.full]\nendpoints = [\"http://{}\"]\nconcurrency = {concurrency}\n\n",
        servers.address
    );
    for (tier, _, _) in TIERS {
        let _ = write!(
            structure.more,
            "[routes.{tier}]\npath = \"/{tier}/\"\nupstream = \"full\"\ntier = \"{tier}\"\n\
             owner = \"bars\"\ntimeout = \"1s\"\n\n",
        );
    }
    let layout = Layout::create(&structure)?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    let unloaded = offer(gateway.clients, &offers(&TIERS[..1]), UNLOADED)?;
    println!("  concurrency = {concurrency}");
    println!("    core alone: {}", unloaded[0]);
    let loaded = offer(gateway.clients, &offers(&TIERS), LOADED)?;
    for ((tier, _, _), served) in TIERS.iter().zip(&loaded) {
        println!("    {tier}: {served}");
    }
    let limit = gateway.metric("seawall_upstream_concurrency_limit", "\"full\"")?;
    println!("    the limit at the end: {limit}");
    let goodput = goodput(&loaded, LOADED);
    let p99 = |served: &Served| served.times().percentile(99);
    let ratio = p99(&loaded[0]).as_secs_f64() / p99(&unloaded[0]).as_secs_f64();
    let of = |what: &str| format!("concurrency = {concurrency}: {what}");
    Ok(vec![
        Finding::new(
            of("answers of the upstream (bar: at least 90 % of its capacity)"),
            format!("{goodput:.0}/s"),
            goodput >= 0.9 * CAPACITY,
        ),
        Finding::new(
            of("success of core (bar: at least 99 %)"),
            format!("{:.2} %", loaded[0].percent()),
            loaded[0].percent() >= 99.0,
        ),
        Finding::new(
            of("p99 of core over that without load (bar: at most 2.0)"),
            format!("{ratio:.2}"),
            ratio <= 2.0,
        ),
    ])
}

fn of_peer(what: &str, address: SocketAddr) -> io::Result<()> {
    let served = offer(address, &offers(&TIERS), PEERS)?;
    println!("  {what}: {:.0}/s", goodput(&served, PEERS));
    println!("    core: {}", served[0]);
    Ok(())
}

/// Answers 200 within a client's patience, each second.
fn goodput(served: &[Served], span: Span) -> f64 {
    let good: u64 = served.iter().map(Served::good).sum();
    good as f64 / span.counted.as_secs_f64()
}
