//! The promises with a figure, measured on the real binary over real sockets.
//!
//! `cargo bench --bench bars` measures all, `cargo bench --bench bars -- throw drain` some.
//! Each prints its figures, then whether the bar is met; the exit status is 1 when one is not.
//! Nothing else should run on the machine meanwhile. `-- --help` tells the rest.

#![allow(
    clippy::disallowed_methods,
    reason = "measures real time, which `vocab::Clock` is there to replace in the product"
)]

mod archive_cost;
mod archive_crash;
mod client;
mod costs;
mod disk;
mod dns;
mod drain;
mod endpoint;
mod gateway;
mod journal;
mod keys;
mod kill;
mod layout;
mod load;
mod memory;
#[path = "../../tests/support/name_server.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use all of it")]
mod name_server;
mod openloop;
mod overload;
mod peers;
mod policies;
mod reload;
mod replay;
mod servers;
mod storm;
mod swarm;
mod throw;
mod traffic;
mod upstream;
mod wire;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// As in the gateway: the journal frees on one thread what was made on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELP: &str = "\
Measures Seawall's promises that have a figure.

usage: cargo bench --bench bars -- [BAR]... [--bin PATH]

bars (all, when none is named):
  throw     from the rename of switches.toml to the first killed request; 10 and 10,000 routes
  kill      100 flips by `seawall kill`: from typing to confirmation; 10 and 10,000 routes
  reload    50 reloads of both files under load: failed requests
  load      10,000 routes: from start to ready, and from a rename to the new structure in force
  endpoint  one of two endpoints killed and restarted under load: failed requests, lost connections
  dns       the name of an endpoint moves under load, the old machine dies: failed requests
  drain     SIGTERM under load: cut requests
  archive-cost   CPU of an archived request over that of a dropped one
  archive-crash  50 times kill -9 under load: records lost; and a start over 1 GiB of journal
  journal        records a second with fsync beside a plain writer; time to the acknowledgement
  disk           another route while the journal's disk is full or read-only, the store away; needs root
  memory         1,000 clients send 1 MiB each into the archive: resident memory
  overload       five times as much as the upstream serves, in three tiers, beside HAProxy and nginx
  keys           1,000,000 rate limit keys: resident memory
  policies       CPU of a request with every policy over one without
  replay         100,000 records at 2,000/s: pace; killed and resumed; a target down for 10 s
  storm          clients that try again three times, an upstream that fails half of the time: its attempts

--bin PATH  the gateway's binary (default: SEAWALL_BIN, else the one that cargo built along)
";

/// A figure beside its bar.
pub(crate) struct Finding {
    what: String,
    figure: String,
    met: bool,
}

impl Finding {
    /// A figure and whether it meets its bar.
    pub(crate) fn new(what: impl Into<String>, figure: impl fmt::Display, met: bool) -> Finding {
        Finding {
            what: what.into(),
            figure: figure.to_string(),
            met,
        }
    }
}

/// Times in order, of which any percentile can be asked.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// Sorts the samples.
    pub(crate) fn new(mut samples: Vec<Duration>) -> Times {
        samples.sort_unstable();
        Times(samples)
    }

    /// The time that this share of the samples does not exceed (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms of {}",
            ms(50),
            ms(99),
            ms(100),
            self.0.len()
        )
    }
}

type Bar = fn(&Path) -> io::Result<Vec<Finding>>;

const BARS: [(&str, Bar); 16] = [
    ("throw", throw::measure),
    ("kill", kill::measure),
    ("reload", reload::measure),
    ("load", load::measure),
    ("endpoint", endpoint::measure),
    ("dns", dns::measure),
    ("drain", drain::measure),
    ("archive-cost", archive_cost::measure),
    ("archive-crash", archive_crash::measure),
    ("journal", journal::measure),
    ("disk", disk::measure),
    ("memory", memory::measure),
    ("overload", overload::measure),
    ("keys", keys::measure),
    ("policies", policies::measure),
    ("replay", replay::measure),
    ("storm", storm::measure),
];

/// What the command line asks for.
enum Order {
    Help,
    Serve(String),
    ServeAtCapacity(String),
    Measure {
        bars: Vec<(&'static str, Bar)>,
        binary: PathBuf,
    },
    /// Run by `cargo test --all-targets`, which measures nothing.
    Nothing,
}

fn main() -> ExitCode {
    let order = match parse(std::env::args().skip(1)) {
        Ok(order) => order,
        Err(message) => {
            eprintln!("{message}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match order {
        Order::Help => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Order::Nothing => {
            println!("bars: measured by `cargo bench --bench bars`");
            ExitCode::SUCCESS
        }
        Order::Serve(address) => match upstream::serve(&address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("upstream on {address}: {error}");
                ExitCode::FAILURE
            }
        },
        Order::ServeAtCapacity(capacity) => match servers::serve(&capacity) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("servers {capacity}: {error}");
                ExitCode::FAILURE
            }
        },
        Order::Measure { bars, binary } => run(&bars, &binary),
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Order, String> {
    let mut bars = Vec::new();
    let mut binary = std::env::var_os("SEAWALL_BIN").map(PathBuf::from);
    let mut asked_for = false;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => asked_for = true,
            "--help" | "-h" => return Ok(Order::Help),
            "--serve" => {
                return args
                    .next()
                    .map(Order::Serve)
                    .ok_or_else(|| "--serve needs an address".into());
            }
            "--servers" => {
                return args
                    .next()
                    .map(Order::ServeAtCapacity)
                    .ok_or_else(|| "--servers needs a capacity".into());
            }
            "--bin" => binary = Some(args.next().ok_or("--bin needs a path")?.into()),
            name => match BARS.iter().find(|(known, _)| *known == name) {
                Some(bar) => bars.push(*bar),
                None => return Err(format!("no bar is called {name:?}")),
            },
        }
    }
    if bars.is_empty() {
        if !asked_for {
            return Ok(Order::Nothing);
        }
        bars.extend(BARS);
    }
    Ok(Order::Measure {
        bars,
        binary: binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_seawall").into()),
    })
}

fn run(bars: &[(&'static str, Bar)], binary: &Path) -> ExitCode {
    println!("binary: {}", binary.display());
    let mut missed = 0;
    for (name, measure) in bars {
        println!("\n{name}");
        let findings = measure(binary)
            .unwrap_or_else(|error| vec![Finding::new("could not be measured", error, false)]);
        for finding in findings {
            let verdict = if finding.met { "met" } else { "MISSED" };
            println!("  {verdict:<6}  {}: {}", finding.what, finding.figure);
            missed += usize::from(!finding.met);
        }
    }
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        println!("\n{missed} missed");
        ExitCode::FAILURE
    }
}
