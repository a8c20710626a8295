//! CPU time of the whole gateway for two kinds of requests that take turns.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::gateway::Gateway;
use crate::swarm::Swarm;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
/// Before the first round counts, and before the clients of each are in step.
const WARM_UP: Duration = Duration::from_millis(300);

/// Microseconds of CPU a request, of each round.
pub(crate) struct Costs {
    plain: Vec<f64>,
    other: Vec<f64>,
}

impl Costs {
    /// The median of the rounds' ratios: what slows the machine down slows a round's two halves.
    pub(crate) fn ratio(&self) -> f64 {
        let pairs = self.other.iter().zip(&self.plain);
        median(pairs.map(|(other, plain)| other / plain))
    }
}

impl std::fmt::Display for Costs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.2} ({:.2} us over {:.2} us, medians of {ROUNDS} rounds)",
            self.ratio(),
            median(self.other.iter().copied()),
            median(self.plain.iter().copied()),
        )
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Lets two messages take turns; each has the name that its figures are printed with.
pub(crate) fn compare(
    gateway: &Gateway,
    (plain_name, plain): (&str, &[u8]),
    (other_name, other): (&str, &[u8]),
) -> io::Result<Costs> {
    let mut costs = Costs {
        plain: Vec::new(),
        other: Vec::new(),
    };
    for round in 0..=ROUNDS {
        let plain = cost(gateway, plain)?;
        let other = cost(gateway, other)?;
        println!("  {plain_name} {plain}; {other_name} {other}");
        if round > 0 {
            costs.plain.push(plain.cpu);
            costs.other.push(other.cpu);
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
    /// Share of a core that the gateway used. Far below 1 each request pays for a wake of its
    /// own, the cheaper kind most of all, and the ratio looks better than it is.
    busy: f64,
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.2} us, {:.0}/s, {:.2} of a core",
            self.cpu, self.rate, self.busy
        )
    }
}

fn cost(gateway: &Gateway, message: &[u8]) -> io::Result<Sample> {
    let swarm = Swarm::start(gateway.clients, CONNECTIONS, message.to_vec());
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
        busy: cpu.as_secs_f64() / took.as_secs_f64(),
    })
}
