//! What every policy together adds to a request that none of them stops, in CPU time.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::Finding;
use crate::costs;
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::swarm::numbered_get;
use crate::upstream::Upstream;

const BAR: f64 = 1.1;

/// Limits far above what the bar sends; checks that cost nothing in comparison.
const GUARDED: &str = r#"
balance = "least-request"
concurrency = 10000
health = { path = "/healthz", interval = "2s" }
outlier = { consecutive_failures = 5 }

[routes.full]
path = "/full/"
upstream = "guarded"
rate_limit = { rate = "1000000/s", burst = 1000000, key = "client-ip" }
concurrency = { max = 10000, queue = 100, queue_timeout = "100ms" }
retry = { attempts = 2, on = ["connect", "reset", "timeout", "502", "503", "504"] }
retry_budget = { percent = 20 }
breaker = { consecutive_failures = 10, failure_percent = 50 }
client_retry_budget = { percent = 10 }
auto_kill = { above = "1000000/s", for = "5s", mode = "drop", hold = "1m" }
kill_switch = { mode = "drop", body = "{}" }
"#;

/// Two routes of one gateway with one worker on one core, to the same two endpoints: one has
/// every policy, one has none.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let (first, second) = (Upstream::start_anywhere()?, Upstream::start_anywhere()?);
    let mut structure = Structure::new(first.address, 10);
    structure.endpoints.push(second.address);
    structure.workers = 1;
    let _ = write!(
        structure.more,
        "[upstreams.bare]\nendpoints = [\"http://{}\", \"http://{}\"]\nbalance = \"round-robin\"\n\n\
         [routes.plain]\npath = \"/plain/\"\nupstream = \"bare\"\nretry = \"off\"\n\n\
         [upstreams.guarded]\nendpoints = [\"http://{}\", \"http://{}\"]\n{GUARDED}",
        first.address, second.address, first.address, second.address,
    );
    let layout = Layout::create(&structure)?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    gateway.pin()?;
    let costs = costs::compare(
        &gateway,
        ("without", &numbered_get("/plain/x")),
        ("with every policy", &numbered_get("/full/x")),
    )?;
    let killed = gateway.metric("seawall_killed_requests_total", "route=\"full\"")?;
    if killed > 0.0 {
        return Err(io::Error::other("a policy was triggered"));
    }
    Ok(vec![Finding::new(
        "CPU of a request with every policy over one without (bar: at most 1.10)",
        costs.to_string(),
        costs.ratio() <= BAR,
    )])
}
