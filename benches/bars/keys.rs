//! A million clients, each with a rate limit of its own: what that takes in memory.

use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::Finding;
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::swarm::{NUMBER, Swarm};
use crate::upstream::Upstream;

const KEYS: u64 = 1_000_000;
/// Asked first, so that what the connections take is there before.
const BEFORE: u64 = 10_000;
const CONNECTIONS: usize = 64;
const MIB: f64 = (1 << 20) as f64;
/// What the allocator may keep on top of the table.
const CONSTANT: f64 = 4.0;

/// Without a limit, with the default number of places, and with one for each key.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let without = held(binary, "")?;
    println!("  without a limit: {without}");
    let mut findings = Vec::new();
    for (places, table) in [(65_536, 1.0), (1_000_000, 16.0)] {
        // The clients end with the first answer that is no 200. A dry run keeps the same books.
        let limit = format!(
            "rate_limit = {{ rate = \"10/s\", burst = 20, key = \"header:x-player-id\", \
             max_keys = {places}, dry_run = true }}\n",
        );
        let with = held(binary, &limit)?;
        findings.push(Finding::new(
            format!(
                "{KEYS} keys, max_keys = {places} (bar: {table:.0} MiB + {CONSTANT:.0} MiB over none)"
            ),
            &with,
            with.after - without.after <= table + CONSTANT,
        ));
    }
    Ok(findings)
}

/// MiB of resident memory.
struct Held {
    /// Before the keys came; the table is there from the start.
    before: f64,
    after: f64,
    /// Requests that were limited because of other keys.
    crowded: f64,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} MiB before, {:.1} MiB after; {} requests limited for want of places",
            self.before, self.after, self.crowded
        )
    }
}

fn held(binary: &Path, limit: &str) -> io::Result<Held> {
    let upstream = Upstream::start_anywhere()?;
    let mut structure = Structure::new(upstream.address, 4);
    let _ = write!(
        structure.more,
        "[routes.plain]\npath = \"/plain\"\nrespond = {{}}\n\n\
         [routes.limited]\npath = \"/limited\"\nrespond = {{}}\n{limit}\n",
    );
    let layout = Layout::create(&structure)?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    send(&gateway, "/plain", BEFORE)?;
    let before = gateway.memory()? as f64 / MIB;
    send(&gateway, "/limited", KEYS)?;
    let labels = "route=\"limited\",enforced=\"false\"";
    Ok(Held {
        before,
        after: gateway.memory()? as f64 / MIB,
        crowded: gateway.metric("seawall_rate_limited_total", labels)?,
    })
}

fn send(gateway: &Gateway, path: &str, count: u64) -> io::Result<()> {
    let message =
        format!("GET {path} HTTP/1.1\r\nhost: bars.test\r\nx-player-id: {NUMBER}\r\n\r\n");
    let swarm = Swarm::start(gateway.clients, CONNECTIONS, message.into_bytes());
    while swarm.answered() < count && swarm.is_running() {
        thread::sleep(Duration::from_millis(20));
    }
    swarm.stop()
}
