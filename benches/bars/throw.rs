//! From the rename of `switches.toml` to the first killed request.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::layout::{KILLED, Layout, Structure};
use crate::upstream::{BODY, Upstream};
use crate::{Finding, Times};

const THROWS: u64 = 200;
const BAR: Duration = Duration::from_millis(50);
/// Longest wait for a switch to act.
const PATIENCE: Duration = Duration::from_secs(10);
/// All throws with one number of routes end within it.
const LIMIT: Duration = Duration::from_secs(180);

/// Throws one route's switch again and again, with few and with many routes.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    [10, 10_000]
        .into_iter()
        .map(|routes| {
            let times = throws(binary, routes)?;
            Ok(Finding::new(
                format!("rename to first killed request, {routes} routes (bar: p99 under 50 ms)"),
                &times,
                times.percentile(99) < BAR,
            ))
        })
        .collect()
}

/// One client sends requests back to back; the time ends when a killed answer is there whole.
fn throws(binary: &Path, routes: usize) -> io::Result<Times> {
    let upstream = Upstream::start_anywhere()?;
    let layout = Layout::create(&Structure::new(upstream.address, routes))?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    let mut client = gateway.connect()?;
    until_answered(&mut client, BODY)?;
    let mut times = Vec::new();
    let start = Instant::now();
    for throw in 0..THROWS {
        if start.elapsed() > LIMIT {
            return Err(io::Error::other(format!(
                "only {throw} throws with {routes} routes in {LIMIT:?}"
            )));
        }
        // Spread over the second, so that a poll once a second meets every phase.
        thread::sleep(Duration::from_millis(throw * 37 % 101));
        let renamed = layout.write_switches("probe = \"drop\"")?;
        until_answered(&mut client, KILLED)?;
        times.push(renamed.elapsed());
        // `off` ends the switch at once; a key that merely vanished would hold for 1 s.
        layout.write_switches("probe = \"off\"")?;
        until_answered(&mut client, BODY)?;
    }
    Ok(Times::new(times))
}

/// Sends requests until one is answered so. Anything but the two answers is an error, and so
/// is the loss of the connection.
fn until_answered(client: &mut Client, wanted: &[u8]) -> io::Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let answer = client.get("/probe/x")?;
        if answer.status != 200 || (answer.body != KILLED && answer.body != BODY) {
            return Err(io::Error::other(format!(
                "a probe was answered {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )));
        }
        if answer.body == wanted {
            return Ok(());
        }
    }
    Err(io::Error::other(format!(
        "no switch acted within {PATIENCE:?}"
    )))
}
