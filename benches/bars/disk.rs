//! Another route while the archive fails: its journal's file system full, or read-only, or its
//! store away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::upstream::Upstream;
use crate::{Finding, Times};

/// Requests to the other route in each phase, one after the other.
const SAMPLES: usize = 4000;
/// Between two of them.
const PAUSE: Duration = Duration::from_micros(500);
/// Clients of the route in mode `archive`, and the pause between two requests of one.
const ARCHIVERS: usize = 4;
const ARCHIVER_PAUSE: Duration = Duration::from_millis(4);
const PAYLOAD: usize = 2 * 1024;
/// Below this the figure says more about the machine than about the gateway.
const FLOOR: Duration = Duration::from_millis(1);

/// Needs root, to mount 64 MiB of memory as the journal's file system.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let upstream = Upstream::start_anywhere()?;
    let endpoint = upstream.address.to_string();
    let place = Place::new(&endpoint)?;
    let mut findings = Vec::new();

    let gateway = Gateway::start(binary, &place.config())?;
    let nothing = phase(&gateway, None)?;
    let what = "p99 of another route, alone (no bar)";
    findings.push(Finding::new(what, &nothing.times, true));
    // The clients of the archive take their share of the CPU, whatever the disk does.
    let quiet = phase(&gateway, Some(200))?;
    let what = format!(
        "the same, beside a working archive (no bar; {})",
        quiet.told
    );
    findings.push(Finding::new(what, &quiet.times, quiet.failed == 0));
    drop(gateway);

    let mut compare = |what: &str, phase: Phase| {
        let met = phase.times.percentile(99) <= (2 * quiet.times.percentile(99)).max(FLOOR);
        let what = format!("the same, {what} (bar: 2x of that; {})", phase.told);
        findings.push(Finding::new(what, &phase.times, met && phase.failed == 0));
    };
    place.take_store_away()?;
    let gateway = Gateway::start(binary, &place.config())?;
    compare("while the store is away", phase(&gateway, Some(200))?);
    place.fill()?;
    compare(
        "while the journal's 64 MiB are full",
        phase(&gateway, Some(503))?,
    );
    drop(gateway);

    place.read_only()?;
    let gateway = Gateway::start(binary, &place.config())?;
    compare(
        "while the journal's file system is read-only",
        phase(&gateway, Some(503))?,
    );
    Ok(findings)
}

struct Phase {
    times: Times,
    /// What the clients of the killed route were told.
    told: String,
    /// Answers of the other route that were not 200.
    failed: usize,
}

/// Asks the other route; meanwhile clients of the killed route are mostly answered `expected`.
fn phase(gateway: &Gateway, expected: Option<u16>) -> io::Result<Phase> {
    let stop = Arc::new(AtomicBool::new(false));
    let number = expected.map_or(0, |_| ARCHIVERS);
    let archivers: Vec<_> = (0..number)
        .map(|_| {
            let (address, stop) = (gateway.clients, Arc::clone(&stop));
            thread::spawn(move || archive(address, &stop, expected.unwrap_or_default()))
        })
        .collect();
    let mut client = gateway.connect()?;
    let mut times = Vec::with_capacity(SAMPLES);
    let mut failed = 0;
    for _ in 0..SAMPLES {
        let start = Instant::now();
        let answer = client.get("/other")?;
        times.push(start.elapsed());
        failed += usize::from(answer.status != 200);
        thread::sleep(PAUSE);
    }
    stop.store(true, Ordering::Relaxed);
    let mut all = [0, 0];
    for archiver in archivers {
        let told = archiver
            .join()
            .map_err(|_| io::Error::other("a client panicked"))??;
        all = [all[0] + told[0], all[1] + told[1]];
    }
    let told = match expected {
        Some(status) => format!(
            "archived route: {} answered {status}, {} otherwise",
            all[0], all[1]
        ),
        None => String::new(),
    };
    let times = Times::new(times);
    Ok(Phase {
        times,
        told,
        failed,
    })
}

/// How many answers were as expected, and how many not.
fn archive(
    address: std::net::SocketAddr,
    stop: &AtomicBool,
    expected: u16,
) -> io::Result<[usize; 2]> {
    let mut client = Client::connect(address)?;
    let mut told = [0, 0];
    while !stop.load(Ordering::Relaxed) {
        let answer = client.call("POST", "/kept", &[b'x'; PAYLOAD])?;
        told[usize::from(answer.status != expected)] += 1;
        if answer.closes {
            client = Client::connect(address)?;
        }
        thread::sleep(ARCHIVER_PAUSE);
    }
    Ok(told)
}

/// A configuration, and a journal on a file system of its own.
struct Place {
    scratch: TempDir,
}

impl Place {
    fn new(endpoint: &str) -> io::Result<Place> {
        let place = Place {
            scratch: TempDir::with_prefix("seawall-bars-")?,
        };
        fs::create_dir(place.config())?;
        fs::create_dir(place.mounted())?;
        let structure = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ndrain_delay = \"0s\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\
             [archive]\njournal = {:?}\nseal_after = \"1s\"\nstore = \"file:{}/archive\"\n\
             [upstreams.service]\nendpoints = [\"http://{endpoint}\"]\n\
             [routes.other]\npath = \"/other\"\nupstream = \"service\"\n\
             [routes.kept]\npath = \"/kept\"\nupstream = \"service\"\n\
             kill_switch = {{ mode = \"archive\" }}\n",
            place.mounted().join("journal"),
            place.store().display(),
        );
        fs::write(place.config().join("seawall.toml"), structure)?;
        let switches = "[kill]\nkept = \"archive\"\n";
        fs::write(place.config().join("switches.toml"), switches)?;
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                "size=64m",
                "tmpfs",
                &place.mounted_text(),
            ],
        )?;
        Ok(place)
    }

    fn config(&self) -> PathBuf {
        self.scratch.path().join("config")
    }

    fn store(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    /// Puts a file where the store's directory is.
    fn take_store_away(&self) -> io::Result<()> {
        if self.store().exists() {
            fs::remove_dir_all(self.store())?;
        }
        fs::write(self.store(), "")
    }

    fn mounted(&self) -> PathBuf {
        self.scratch.path().join("mounted")
    }

    fn mounted_text(&self) -> String {
        self.mounted().display().to_string()
    }

    /// Writes until there is no room.
    fn fill(&self) -> io::Result<()> {
        match fs::write(self.mounted().join("ballast"), vec![0; 64 << 20]) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(io::Error::other("64 MiB had room for 64 MiB")),
        }
    }

    fn read_only(&self) -> io::Result<()> {
        run("mount", &["-o", "remount,ro", &self.mounted_text()])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", &self.mounted_text()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(io::Error::other(format!("{program}: {said}")))
        }
    }
}
