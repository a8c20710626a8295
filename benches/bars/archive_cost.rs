//! What an archived request costs beside a dropped one, in CPU time of the whole gateway.

use std::io;
use std::path::Path;

use crate::Finding;
use crate::costs::{self, Costs};
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::swarm::post;

const BODY: usize = 1024;
const BAR: f64 = 2.0;

/// Both durabilities; the promise is that of `written`, for `fsync` waits for the disk.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let written = compare(binary, "written")?;
    let fsync = compare(binary, "fsync")?;
    let met = written.ratio() <= BAR;
    Ok(vec![
        Finding::new(
            "CPU of an archived request, written, over a dropped one (bar: at most 2.00)",
            written.to_string(),
            met,
        ),
        Finding::new("the same with fsync (no bar)", fsync.to_string(), true),
    ])
}

/// One gateway with one worker on one core; dropped and archived requests take turns.
fn compare(binary: &Path, durability: &'static str) -> io::Result<Costs> {
    // Killed requests need no upstream; port 9 (discard) is nobody's.
    let mut structure = Structure::new(([127, 0, 0, 1], 9).into(), 10);
    structure.workers = 1;
    structure.durability = Some(durability);
    let layout = Layout::create(&structure)?;
    layout.write_switches("probe = \"drop\"\nkept = \"archive\"")?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    gateway.pin()?;
    costs::compare(
        &gateway,
        (&format!("{durability}: dropped"), &post("/probe/x", BODY)),
        ("archived", &post("/kept/x", BODY)),
    )
}
