//! 10,000 routes: how long a start takes, and a change of the structure.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::upstream::Upstream;
use crate::{Finding, Times};

const ROUTES: usize = 10_000;
const STARTS: usize = 5;
const CHANGES: u32 = 10;
const BAR: Duration = Duration::from_millis(300);
/// Longest wait for a change to act.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts several times, then changes the structure several times.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let upstream = Upstream::start_anywhere()?;
    let mut structure = Structure::new(upstream.address, ROUTES);
    let layout = Layout::create(&structure)?;
    let mut starts = Vec::new();
    for _ in 1..STARTS {
        starts.push(Gateway::start(binary, &layout.directory())?.ready_after);
    }
    let gateway = Gateway::start(binary, &layout.directory())?;
    starts.push(gateway.ready_after);
    let mut client = gateway.connect()?;
    let mut changes = Vec::new();
    let mut told = Vec::new();
    for version in 1..=CHANGES {
        structure.version = version;
        let renamed = layout.write_structure(&structure)?;
        until_version(&mut client, version)?;
        changes.push(renamed.elapsed());
        thread::sleep(Duration::from_millis(300)); // for the log line
        told.extend(gateway.applied_in_ms(renamed));
    }
    if !told.is_empty() {
        let worst = told.iter().copied().fold(0.0, f64::max);
        println!("  the gateway's own duration_ms of a change: at most {worst:.1}");
    }
    let (starts, changes) = (Times::new(starts), Times::new(changes));
    Ok(vec![
        Finding::new(
            format!("start to ready, {ROUTES} routes (bar: under 300 ms)"),
            &starts,
            starts.percentile(100) < BAR,
        ),
        Finding::new(
            format!("rename to structure in force, {ROUTES} routes (bar: under 300 ms)"),
            &changes,
            changes.percentile(100) < BAR,
        ),
    ])
}

fn until_version(client: &mut Client, version: u32) -> io::Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if client.get("/version")?.body == version.to_string().as_bytes() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1)); // leaves the CPU to the work that is timed
    }
    Err(io::Error::other(format!(
        "the structure did not change within {PATIENCE:?}"
    )))
}
