//! Reloads of both files under load.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::Finding;
use crate::client::Client;
use crate::gateway::Gateway;
use crate::layout::{KILLED, Layout, Structure};
use crate::traffic::{Traffic, WhenRefused};
use crate::upstream::Upstream;

const RELOADS: u32 = 50;
const REQUESTS: u64 = 100_000;
/// The whole measurement ends within it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Changes both files fifty times, spread evenly over 100,000 requests.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let upstream = Upstream::start_anywhere()?;
    let mut structure = Structure::new(upstream.address, 10);
    let layout = Layout::create(&structure)?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    let mut watcher = gateway.connect()?;
    let applied_before = gateway.metric("seawall_config_reloads_total", "\"applied\"")?;
    let started = Instant::now();
    let paths = ["/r0/a", "/r1/b", "/r2/c", "/probe/d"];
    let traffic = Traffic::start(gateway.clients, &paths, WhenRefused::Retry);
    for reload in 1..=RELOADS {
        structure.version = reload;
        let thrown = reload % 2 == 1;
        layout.write_structure(&structure)?;
        layout.write_switches(if thrown {
            "spare = \"drop\""
        } else {
            "spare = \"off\""
        })?;
        while !in_force(&mut watcher, reload, thrown)? {
            pause(started)?;
        }
        while traffic.sent() < REQUESTS / u64::from(RELOADS) * u64::from(reload) {
            pause(started)?;
        }
    }
    while traffic.sent() < REQUESTS {
        pause(started)?;
    }
    let tally = traffic.stop();
    let applied = gateway.metric("seawall_config_reloads_total", "\"applied\"")? - applied_before;
    println!("  reloads counted as applied by the gateway: {applied}");
    Ok(vec![
        Finding::new(
            format!("failed requests over {RELOADS} reloads of both files (bar: 0 of 100,000)"),
            format!("{} ({tally})", tally.failed()),
            tally.failed() == 0 && tally.sent() >= REQUESTS,
        ),
        Finding::new(
            "keep-alive connections lost (bar: 0)",
            tally.announced + tally.refused,
            tally.announced + tally.refused == 0,
        ),
    ])
}

/// Whether the structure of that version and the switch are both in force.
fn in_force(watcher: &mut Client, version: u32, thrown: bool) -> io::Result<bool> {
    let structure = watcher.get("/version")?.body == version.to_string().as_bytes();
    let killed = watcher.get("/spare/x")?.body == KILLED;
    Ok(structure && killed == thrown)
}

fn pause(started: Instant) -> io::Result<()> {
    if started.elapsed() > PATIENCE {
        return Err(io::Error::other(format!("not done after {PATIENCE:?}")));
    }
    thread::sleep(Duration::from_millis(2));
    Ok(())
}
