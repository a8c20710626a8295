//! One of two endpoints dies and comes back under load.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::Finding;
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::traffic::{Traffic, WhenRefused};
use crate::upstream::Upstream;

const DEATHS: usize = 5;

/// Kills and restarts the endpoint several times.
///
/// A GET that the endpoint took along is sent again to the other: none may fail. A POST that the
/// endpoint may have seen must not be sent twice: its 502 is counted, and is neither a cut
/// request nor a lost connection.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let mut mortal = Upstream::start_anywhere()?;
    let steady = Upstream::start_anywhere()?;
    let mut structure = Structure::new(mortal.address, 10);
    structure.endpoints.push(steady.address);
    let layout = Layout::create(&structure)?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    let paths = ["/r0/a", "/r1/b", "/r2/c", "/r3/d"];
    let traffic = Traffic::start(gateway.clients, &paths, WhenRefused::Retry);
    for _ in 0..DEATHS {
        thread::sleep(Duration::from_secs(1));
        mortal.kill()?;
        thread::sleep(Duration::from_secs(1));
        mortal = Upstream::start(mortal.address)?;
    }
    thread::sleep(Duration::from_secs(1));
    let tally = traffic.stop();
    let answered = |method| {
        let bad = tally.bad.iter();
        let of = bad.filter(|((with, _), _)| *with == method);
        of.map(|(_, count)| count).sum::<u64>()
    };
    println!("  {tally}");
    println!(
        "  POSTs that the endpoint may have seen, answered 502: {}",
        answered("POST")
    );
    let lost = tally.cut + tally.announced + tally.refused;
    Ok(vec![
        Finding::new(
            format!("GETs without a good answer over {DEATHS} deaths of an endpoint (bar: 0)"),
            answered("GET"),
            answered("GET") == 0 && tally.good > 0,
        ),
        Finding::new(
            format!("cut requests over {DEATHS} deaths of an endpoint (bar: 0)"),
            format!("{} of {}", tally.cut, tally.sent()),
            tally.cut == 0 && tally.good > 0,
        ),
        Finding::new("client connections lost (bar: 0)", lost, lost == 0),
    ])
}
