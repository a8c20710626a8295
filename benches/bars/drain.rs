//! SIGTERM under load.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::Finding;
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::traffic::{Tally, Traffic, WhenRefused};
use crate::upstream::Upstream;

const DRAINS: usize = 5;
/// Longer than `drain_delay` and the slowest answer together.
const PATIENCE: Duration = Duration::from_secs(30);

/// Drains several gateways, each with quick and slow requests and one long answer in flight.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let upstream = Upstream::start_anywhere()?;
    let mut structure = Structure::new(upstream.address, 10);
    structure.drain_delay = "1s";
    let layout = Layout::create(&structure)?;
    let mut all = Tally::default();
    let mut long_cut = 0;
    let mut unclean = 0;
    for _ in 0..DRAINS {
        let mut gateway = Gateway::start(binary, &layout.directory())?;
        let quick = [
            "/r0/a",
            "/r1/b",
            "/r2/delay/20/c",
            "/r3/delay/200/d",
            "/r4/delay/700/e",
        ];
        let traffic = Traffic::start(gateway.clients, &quick, WhenRefused::End);
        thread::sleep(Duration::from_millis(700));
        let mut client = gateway.connect()?;
        // Three seconds long: it outlives the delay, so that the grace must carry it.
        let long = thread::spawn(move || client.get("/r5/drip/30"));
        thread::sleep(Duration::from_millis(300));
        gateway.signal("TERM")?;
        let status = gateway.wait_for_end(PATIENCE)?;
        all.add(&traffic.stop());
        unclean += usize::from(!status.success());
        let whole = matches!(long.join(), Ok(Ok(answer)) if answer.body.len() == 30 * 4);
        long_cut += usize::from(!whole);
    }
    println!("  {all}");
    Ok(vec![
        Finding::new(
            format!("cut requests over {DRAINS} drains (bar: 0)"),
            format!("{} of {}", all.cut, all.sent()),
            all.cut == 0 && all.good > 0,
        ),
        Finding::new(
            "long answers in flight cut short (bar: 0)",
            format!("{long_cut} of {DRAINS}"),
            long_cut == 0,
        ),
        Finding::new(
            "requests answered otherwise than by the upstream (bar: 0)",
            all.failed() - all.cut,
            all.failed() == all.cut,
        ),
        Finding::new("exit status not 0 (bar: 0)", unclean, unclean == 0),
    ])
}
