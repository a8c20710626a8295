//! From typing `seawall kill` to its confirmation: the real command beside a running gateway.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::layout::{KILLED, Layout, Structure};
use crate::upstream::{BODY, Upstream};
use crate::{Finding, Times};

const FLIPS: usize = 100;
const BAR: Duration = Duration::from_millis(100);

/// Throws and restores one route's switch by command, with few and with many routes.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let few = flips(binary, 10)?;
    let many = flips(binary, 10_000)?;
    let met = few.percentile(99) < BAR;
    Ok(vec![
        Finding::new(
            "`seawall kill` typed to confirmed, 10 routes (bar: p99 under 100 ms)",
            &few,
            met,
        ),
        // The command reads the whole structure to know the route; that has no bar.
        Finding::new("the same with 10,000 routes (no bar)", &many, true),
    ])
}

/// Each flip is the whole life of a process; when it ends the switch must act.
fn flips(binary: &Path, routes: usize) -> io::Result<Times> {
    let upstream = Upstream::start_anywhere()?;
    let layout = Layout::create(&Structure::new(upstream.address, routes))?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    let mut client = gateway.connect()?;
    let admin = gateway.admin.to_string();
    let flip = |arguments: &[&str]| {
        let start = Instant::now();
        let output = Command::new(binary)
            .arg("--config")
            .arg(layout.directory())
            .args(arguments)
            .args(["--admin", &admin])
            .output()?;
        let took = start.elapsed();
        match output.status.success() {
            true => Ok(took),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )),
        }
    };
    let mut times = Vec::new();
    for _ in 0..FLIPS {
        times.push(flip(&["kill", "probe"])?);
        expect(&mut client, KILLED)?;
        // `off` ends the switch at once; a line that goes waits for one second.
        flip(&["restore", "probe", "--exempt"])?;
        expect(&mut client, BODY)?;
    }
    Ok(Times::new(times))
}

fn expect(client: &mut Client, wanted: &[u8]) -> io::Result<()> {
    let answer = client.get("/probe/x")?;
    match answer.body == wanted {
        true => Ok(()),
        false => Err(io::Error::other("confirmed, but not in effect")),
    }
}
