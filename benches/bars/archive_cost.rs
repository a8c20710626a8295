//! What an archived request costs beside a dropped one, in CPU time of the whole gateway.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::Finding;
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::swarm::{Swarm, post};

const CONNECTIONS: usize = 64;
const BODY: usize = 1024;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
/// Before the first round counts, and before the clients of each are in step.
const WARM_UP: Duration = Duration::from_millis(300);
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

/// Microseconds of CPU a request, of each round.
struct Costs {
    dropped: Vec<f64>,
    archived: Vec<f64>,
}

impl Costs {
    /// The median of the rounds' ratios: what slows the machine down slows a round's two halves.
    fn ratio(&self) -> f64 {
        let pairs = self.archived.iter().zip(&self.dropped);
        median(pairs.map(|(archived, dropped)| archived / dropped))
    }
}

impl std::fmt::Display for Costs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.2} ({:.2} us over {:.2} us, medians of {ROUNDS} rounds)",
            self.ratio(),
            median(self.archived.iter().copied()),
            median(self.dropped.iter().copied()),
        )
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
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
    let mut costs = Costs {
        dropped: Vec::new(),
        archived: Vec::new(),
    };
    for round in 0..=ROUNDS {
        let dropped = cost(&gateway, "/probe/x")?;
        let archived = cost(&gateway, "/kept/x")?;
        println!("  {durability}: dropped {dropped}; archived {archived}");
        if round > 0 {
            costs.dropped.push(dropped.cpu);
            costs.archived.push(archived.cpu);
        }
    }
    Ok(costs)
}

/// One round.
struct Sample {
    /// Microseconds of CPU a request.
    cpu: f64,
    /// Requests a second.
    rate: f64,
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} us, {:.0}/s", self.cpu, self.rate)
    }
}

fn cost(gateway: &Gateway, path: &str) -> io::Result<Sample> {
    let swarm = Swarm::start(gateway.clients, CONNECTIONS, post(path, BODY));
    thread::sleep(WARM_UP);
    let (before, answered, started) = (gateway.cpu()?, swarm.answered(), Instant::now());
    thread::sleep(ROUND);
    let (cpu, requests) = (gateway.cpu()? - before, swarm.answered() - answered);
    let took = started.elapsed();
    swarm.stop()?;
    if requests == 0 {
        return Err(io::Error::other("no request was answered"));
    }
    Ok(Sample {
        cpu: cpu.as_secs_f64() * 1e6 / requests as f64,
        rate: requests as f64 / took.as_secs_f64(),
    })
}
