//! A replay of 100,000 records: its pace, killed and resumed, and with a target that fails.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Finding;

const RECORDS: usize = 100_000;
const CLIENTS: usize = 1000;
const RATE: usize = 2000;
/// A second's worth: what `replay` states.
const BATCH: usize = RATE;
const KILLS: usize = 3;
const DOWN: Duration = Duration::from_secs(10);
/// No run takes longer.
const PATIENCE: Duration = Duration::from_secs(240);

/// The pace, then resumption, then a target that is down for a while.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let scratch = TempDir::with_prefix("seawall-bars-")?;
    let records = scratch.path().join("records.ndjson");
    write_records(&records)?;
    let bar = Bar {
        binary,
        scratch: scratch.path(),
        records,
    };
    let mut findings = bar.pace()?;
    findings.extend(bar.killed()?);
    findings.extend(bar.down()?);
    Ok(findings)
}

/// A target in this process: it notes which record came when.
struct Target {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The number of a record, when it came, and whether it was accepted.
    arrivals: Mutex<Vec<(usize, Instant, bool)>>,
    count: AtomicU64,
    down: AtomicBool,
}

impl Target {
    fn start() -> io::Result<Target> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let target = Target {
            address: listener.local_addr()?,
            seen: Arc::default(),
        };
        let seen = Arc::clone(&target.seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || serve(stream, &seen));
            }
        });
        Ok(target)
    }

    fn arrivals(&self) -> Vec<(usize, Instant, bool)> {
        let arrivals = self.seen.arrivals.lock();
        arrivals.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self) -> usize {
        self.seen.count.load(Ordering::Relaxed) as usize
    }

    /// Waits until so many requests came.
    fn wait(&self, count: usize) -> io::Result<()> {
        let start = Instant::now();
        while self.count() < count {
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("only {} requests", self.count())));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

fn serve(stream: TcpStream, seen: &Seen) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let (mut length, mut number) = (0, 0);
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(target) = line.split(' ').nth(1) {
            number = target.trim_start_matches('/').parse().unwrap_or(usize::MAX);
        }
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line)?;
            if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.trim().parse().unwrap_or(0);
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
        let down = seen.down.load(Ordering::Relaxed);
        let arrival = (number, Instant::now(), !down);
        let arrivals = seen.arrivals.lock();
        arrivals
            .unwrap_or_else(PoisonError::into_inner)
            .push(arrival);
        seen.count.fetch_add(1, Ordering::Relaxed);
        let answer: &[u8] = match down {
            true => b"HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n",
            false => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        };
        stream.get_mut().write_all(answer)?;
    }
}

/// Whether each record was accepted, and how many arrived twice and were accepted twice.
fn assess(arrivals: &[(usize, Instant, bool)]) -> (usize, usize) {
    let mut accepted: HashMap<usize, usize> = HashMap::new();
    for (number, _, taken) in arrivals {
        *accepted.entry(*number).or_default() += usize::from(*taken);
    }
    let lost = (0..RECORDS).filter(|n| accepted.get(n).is_none_or(|times| *times == 0));
    let twice = accepted.values().map(|times| times.saturating_sub(1)).sum();
    (lost.count(), twice)
}

struct Bar<'a> {
    binary: &'a Path,
    scratch: &'a Path,
    records: PathBuf,
}

impl Bar<'_> {
    fn start(&self, target: &Target) -> io::Result<Child> {
        Command::new(self.binary)
            .args([
                "replay",
                "--rate",
                &format!("{RATE}/s"),
                "--concurrency",
                "200",
            ])
            .arg("--from")
            .arg(&self.records)
            .args(["--to", &format!("http://{}", target.address)])
            .current_dir(self.scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.scratch.join("stderr"))?)
            .spawn()
    }

    /// Waits for a good end.
    fn end(&self, mut child: Child) -> io::Result<()> {
        let start = Instant::now();
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                None if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(10)),
                ended => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let text = std::fs::read_to_string(self.scratch.join("stderr"))?;
                    return Err(io::Error::other(format!("{ended:?}: {text}")));
                }
            }
        }
    }

    fn pace(&self) -> io::Result<Vec<Finding>> {
        let target = Target::start()?;
        let child = self.start(&target)?;
        self.end(child)?;
        let arrivals = target.arrivals();
        let (lost, twice) = assess(&arrivals);
        let mut times: Vec<Instant> = arrivals.iter().map(|(_, at, _)| *at).collect();
        times.sort_unstable();
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            return Err(io::Error::other("nothing arrived"));
        };
        let span = last.duration_since(*first).as_secs_f64();
        let rate = (times.len() - 1) as f64 / span;
        let off = (rate / RATE as f64 - 1.0) * 100.0;
        let window = Duration::from_millis(100);
        let ends = times.iter().enumerate().map(|(from, start)| {
            times.partition_point(|at| {
                at.duration_since(*first) < start.duration_since(*first) + window
            }) - from
        });
        let most = ends.max().unwrap_or(0);
        Ok(vec![
            Finding::new(
                format!("pace of {RECORDS} records at {RATE}/s (bar: within 3 %)"),
                format!("{rate:.1}/s, {off:+.2} %, in {span:.1} s; {lost} lost, {twice} twice"),
                off.abs() <= 3.0 && lost == 0 && twice == 0,
            ),
            Finding::new(
                format!("the most within 100 ms, of {} (no bar)", RATE / 10),
                most,
                true,
            ),
        ])
    }

    fn killed(&self) -> io::Result<Vec<Finding>> {
        let target = Target::start()?;
        for kill in 1..=KILLS {
            let mut child = self.start(&target)?;
            target.wait(kill * RECORDS / (KILLS + 1))?;
            child.kill()?;
            child.wait()?;
        }
        let child = self.start(&target)?;
        self.end(child)?;
        let (lost, twice) = assess(&target.arrivals());
        Ok(vec![Finding::new(
            format!(
                "{KILLS} kills by SIGKILL and resumed (bar: 0 lost, a batch of {BATCH} twice each)"
            ),
            format!("{lost} lost, {twice} twice"),
            lost == 0 && twice <= KILLS * BATCH,
        )])
    }

    fn down(&self) -> io::Result<Vec<Finding>> {
        let target = Target::start()?;
        let start = Instant::now();
        let child = self.start(&target)?;
        target.wait(RECORDS / 5)?;
        target.seen.down.store(true, Ordering::Relaxed);
        let before = target.count();
        thread::sleep(DOWN);
        let during = target.count() - before;
        target.seen.down.store(false, Ordering::Relaxed);
        self.end(child)?;
        let took = start.elapsed().as_secs_f64();
        let (lost, twice) = assess(&target.arrivals());
        Ok(vec![Finding::new(
            "a target that answers 503 for 10 s (bar: 0 lost)",
            format!(
                "{lost} lost, {twice} accepted twice; {during} requests in these 10 s; {took:.1} s in all"
            ),
            lost == 0 && twice == 0,
        )])
    }
}

/// Records of a thousand clients, a body of 100 bytes each.
fn write_records(path: &Path) -> io::Result<()> {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut out = BufWriter::new(File::create(path)?);
    let body = "x".repeat(100);
    for number in 0..RECORDS {
        let value = ((1_762_419_600_000 + number as u128 / 2) << 80) + number as u128 % 2 + 1;
        let mut id = String::new();
        for place in (0..26).rev() {
            id.push(char::from(DIGITS[(value >> (5 * place)) as usize & 31]));
        }
        let client = number % CLIENTS;
        let mut line = String::new();
        let _ = write!(
            line,
            "{{\"id\":\"{id}\",\"time\":\"2025-11-06T09:00:00.000000Z\",\"route\":\"r\",\
             \"instance\":\"bar\",\"client\":\"10.0.{}.{}\",\"request_id\":\"q{number}\",\
             \"kill\":{{\"mode\":\"archive\",\"reason\":null,\"source\":\"r\"}},\
             \"method\":\"POST\",\"target\":\"/{number}\",\"version\":\"HTTP/1.1\",\
             \"headers\":[[\"host\",\"h\"],[\"content-type\",\"text/plain\"]],\
             \"body\":\"{body}\",\"subject\":null,\"maybe_processed\":false}}",
            client / 250,
            client % 250
        );
        writeln!(out, "{line}")?;
    }
    out.flush()
}
