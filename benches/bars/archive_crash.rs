//! `kill -9` under load: what was answered 200 is in the journal, once; and how long the next
//! start takes to read a large journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use seawall::archive::{Cursor, Disk, RealDisk, StoredRecord, segments_in};

use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::swarm::{Swarm, post};
use crate::{Finding, Times};

const ROUNDS: u64 = 50;
const CLIENTS: u64 = 16;
/// Sealed segments and one unsealed: 64 MiB each, the last one not quite full.
const FILLED: f64 = ((1 << 30) + (56 << 20)) as f64;
const STARTS: usize = 5;
const BAR: Duration = Duration::from_secs(1);
/// Longest time that filling the journal may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// Kills, then recovery.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let mut findings = kills(binary)?;
    findings.extend(recovery(binary)?);
    Ok(findings)
}

/// The structure of a gateway that archives on the route `kept`. Killed requests need no
/// upstream; port 9 (discard) is nobody's.
fn layout(durability: &'static str) -> io::Result<Layout> {
    let mut structure = Structure::new(([127, 0, 0, 1], 9).into(), 10);
    structure.durability = Some(durability);
    let layout = Layout::create(&structure)?;
    layout.write_switches("kept = \"archive\"")?;
    Ok(layout)
}

/// SplitMix64 (Steele et al. 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The payload of a number: 0 B to 1 MiB, most of them small; text and binary by turns.
fn payload(number: u64) -> Vec<u8> {
    let length = match mix(number) % 64 {
        0 => 1 << 20,
        1 => mix(number ^ 7) % (1 << 20),
        2..8 => 0,
        _ => mix(number ^ 7) % 2000,
    };
    let mask = if number.is_multiple_of(2) { 0x7f } else { 0xff };
    let block: Vec<u8> = (0..32)
        .flat_map(|word| mix(number ^ (word << 32)).to_le_bytes())
        .map(|byte| byte & mask)
        .collect();
    let mut bytes = block.repeat(length as usize / block.len() + 1);
    bytes.truncate(length as usize);
    bytes
}

/// What the clients sent and which of it was answered 200.
#[derive(Default)]
struct Sent {
    sent: u64,
    acknowledged: Vec<u64>,
    /// Answered otherwise: nothing here gives a reason for it.
    refused: u64,
}

fn kills(binary: &Path) -> io::Result<Vec<Finding>> {
    let mut all = Sent::default();
    let layouts = [layout("fsync")?, layout("written")?];
    for round in 0..ROUNDS {
        let gateway = Gateway::start(binary, &layouts[(round % 2) as usize].directory())?;
        let sent = storm(gateway, round)?;
        all.sent += sent.sent;
        all.acknowledged.extend(sent.acknowledged);
        all.refused += sent.refused;
    }
    let mut found = Found::default();
    for layout in &layouts {
        // Once more, so that recovery has run over what the last one left.
        drop(Gateway::start(binary, &layout.directory())?);
        found.read(&layout.journal())?;
    }
    let missing = |number: &&u64| !found.numbers.contains_key(*number);
    let lost = all.acknowledged.iter().filter(missing).count();
    let known: BTreeSet<u64> = all.acknowledged.iter().copied().collect();
    let unknown = found.numbers.keys().filter(|n| !known.contains(n)).count();
    let twice = found.numbers.values().filter(|count| **count > 1).count();
    println!(
        "  {} sent, {} acknowledged, {} refused; {} kept, {} MiB; {unknown} of them not acknowledged",
        all.sent,
        all.acknowledged.len(),
        all.refused,
        found.numbers.len(),
        found.bytes >> 20,
    );
    let longest = all.acknowledged.iter().map(|number| payload(*number).len());
    let longest = longest.max().unwrap_or_default();
    let enough = all.acknowledged.len() as u64 > ROUNDS * 10 && longest == 1 << 20;
    Ok(vec![
        Finding::new(
            format!("acknowledged records lost over {ROUNDS} kill -9, 0 B to 1 MiB (bar: 0)"),
            format!(
                "{lost} of {}, the longest of {longest} B",
                all.acknowledged.len()
            ),
            lost == 0 && enough && all.refused == 0,
        ),
        Finding::new("records that are there twice (bar: 0)", twice, twice == 0),
        Finding::new(
            "records whose payload is another, and bytes damaged (bar: 0)",
            format!("{}, {}", found.wrong, found.damaged),
            found.wrong == 0 && found.damaged == 0,
        ),
    ])
}

/// Clients send numbered payloads until the gateway is gone.
fn storm(mut gateway: Gateway, round: u64) -> io::Result<Sent> {
    let next = Arc::new(AtomicU64::new(round << 32));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = gateway.connect()?;
            let next = Arc::clone(&next);
            Ok(thread::spawn(move || {
                let mut sent = Sent::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let path = format!("/kept/{number}");
                    match client.call("POST", &path, &payload(number)) {
                        Ok(answer) if answer.status == 200 => sent.acknowledged.push(number),
                        Ok(_) => sent.refused += 1,
                        Err(_) => return sent,
                    }
                }
            }))
        })
        .collect::<io::Result<_>>()?;
    // The end comes at another moment in each round.
    thread::sleep(Duration::from_millis(50 + mix(round) % 350));
    gateway.kill()?;
    let mut sent = Sent::default();
    for thread in threads {
        let one = thread.join();
        let one = one.map_err(|_| io::Error::other("a client panicked"))?;
        sent.acknowledged.extend(one.acknowledged);
        sent.refused += one.refused;
    }
    sent.sent = next.load(Ordering::Relaxed) - (round << 32);
    Ok(sent)
}

/// What is in the journals.
#[derive(Default)]
struct Found {
    /// How often each number is there.
    numbers: BTreeMap<u64, u64>,
    bytes: u64,
    wrong: u64,
    damaged: u64,
}

impl Found {
    fn read(&mut self, journal: &Path) -> io::Result<()> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        for segment in segments_in(&RealDisk, &[journal.to_owned()])? {
            let mut cursor = Cursor::open(Arc::clone(&disk), segment)?;
            while let Some(line) = cursor.next_line()? {
                let record = StoredRecord::decode(line.json)?;
                let number = record.target.rsplit('/').next().unwrap_or_default();
                let number = number.parse().map_err(io::Error::other)?;
                let body = record.body();
                *self.numbers.entry(number).or_default() += 1;
                self.bytes += body.len() as u64;
                self.wrong += u64::from(body != payload(number));
            }
            self.damaged += cursor.damaged();
        }
        Ok(())
    }
}

/// Fills a journal with 1 GiB, kills the gateway, and starts it again and again on what it left.
fn recovery(binary: &Path) -> io::Result<Vec<Finding>> {
    let layout = layout("written")?;
    let mut gateway = Gateway::start(binary, &layout.directory())?;
    fill(&gateway)?;
    gateway.kill()?;
    let unsealed = newest(&layout.journal())?;
    let kept = layout.journal().with_extension("unsealed");
    fs::copy(&unsealed, &kept)?;
    let (mut ready, mut told) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let mut gateway = Gateway::start(binary, &layout.directory())?;
        ready.push(gateway.ready_after);
        let opened = gateway.line("journal opened")?;
        let number = |name: &str| opened[name].as_u64().unwrap_or_default();
        told.push(Duration::from_millis(number("took_ms")));
        if told.len() == 1 {
            println!(
                "  {} MiB, {} records",
                number("bytes") >> 20,
                number("records")
            );
        }
        gateway.kill()?;
        // Recovery seals it; so it is put back for the next start.
        fs::copy(&kept, &unsealed)?;
    }
    let (ready, told) = (Times::new(ready), Times::new(told));
    Ok(vec![
        Finding::new(
            "start to ready with 1 GiB of sealed segments and one unsealed (bar: under 1 s)",
            &ready,
            ready.percentile(100) < BAR,
        ),
        Finding::new(
            "of it the journal's recovery, as the log says (bar: under 1 s)",
            &told,
            told.percentile(100) < BAR,
        ),
    ])
}

fn fill(gateway: &Gateway) -> io::Result<()> {
    let swarm = Swarm::start(gateway.clients, 64, post("/kept/x", 1024));
    let mut waited = Duration::ZERO;
    while swarm.is_running() && waited < PATIENCE {
        if gateway.metric("seawall_archive_journal_bytes", "")? >= FILLED {
            // Stopped by the kill that follows: no seal comes before it.
            drop(swarm);
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
        waited += Duration::from_millis(20);
    }
    swarm.stop()?;
    Err(io::Error::other("the journal was not filled in time"))
}

fn newest(journal: &Path) -> io::Result<PathBuf> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(journal)? {
        let path = entry?.path();
        segments.extend(Some(path).filter(|path| path.extension().is_some_and(|e| e == "seg")));
    }
    let newest = segments.into_iter().max();
    newest.ok_or_else(|| io::Error::other("no segment"))
}
