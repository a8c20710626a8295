//! The uploader's figures on this machine: fills a journal with records of 1 KiB, uploads it to a
//! directory with fsync, and tells bytes a second and the most memory: for few routes, for 200
//! routes, and for bodies that do not compress.
//!
//! `cargo bench --bench store -- [DIR [MIB]]`

#![allow(missing_docs, reason = "a program")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version};
use seawall::archive::store::{
    Existence, Finish, Put, Retain, StoreEvent, StoreUrl, StoreWatch, UploadOptions, Uploader,
};
use seawall::archive::{
    Answer, Disk, Durability, Journal, KillNote, Options, RealDisk, Record, Redaction, Submission,
};
use seawall::vocab::Clock;

/// The gateway's, so that the memory is what it would be there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BODY: usize = 1024;

#[derive(Default)]
struct Puts {
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl StoreWatch for Puts {
    fn put(&self, put: &Put<'_>) {
        self.objects.fetch_add(1, Relaxed);
        self.bytes.fetch_add(put.bytes, Relaxed);
    }

    fn happened(&self, event: &StoreEvent) {
        match event {
            StoreEvent::Uploaded { .. } => {}
            other => println!("  {other:?}"),
        }
    }
}

fn mix(mut z: u64) -> u64 {
    // splitmix64
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn body(number: u64, random: bool) -> Bytes {
    if random {
        let words = (0..BODY as u64 / 8).flat_map(|word| mix(number << 20 | word).to_le_bytes());
        return words.collect();
    }
    let mut text = String::from("{\"events\":[");
    let mut word = number;
    while text.len() < BODY {
        word = mix(word);
        text.push_str(&format!(
            "{{\"kind\":\"hit\",\"player\":\"{:x}\",\"damage\":{}}},",
            word >> 40,
            word % 500
        ));
    }
    Bytes::from(text)
}

fn record(number: u64, routes: u64, random: bool) -> Record {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("user-agent", "game-client/4.1.0 (windows)"),
        ("x-client-version", "4.1.0"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Record {
        time: Clock::unix(),
        route: format!("route-{}", mix(number) % routes).into(),
        instance: "gateway-1".into(),
        client: [10, 0, (number >> 8) as u8, number as u8].into(),
        request_id: format!("{:032x}", mix(number)),
        kill: KillNote {
            mode: "archive".into(),
            reason: None,
            source: "tier:sheddable".into(),
        },
        method: Method::POST,
        target: format!("/v1/stats/{}", mix(number) >> 32),
        version: Version::HTTP_11,
        headers,
        body: body(number, random),
        subject: None,
        maybe_processed: false,
        context: Vec::new(),
    }
}

async fn fill(journal: &Journal, bytes: u64, routes: u64, random: bool) {
    let redaction = Arc::new(Redaction::default());
    let mut number = 0;
    while journal.figures().bytes < bytes {
        let group = (0..64).map(|_| {
            number += 1;
            let submission = Submission {
                record: record(number, routes, random),
                redaction: redaction.clone(),
                quota: u64::MAX,
                reservation: journal.reserve(BODY as u64).expect("room"),
            };
            journal.store(submission)
        });
        for answer in futures_util::future::join_all(group).await {
            assert!(matches!(answer, Answer::Stored { .. }), "{answer:?}");
        }
    }
    journal.seal().await.expect("a writer");
}

/// A line of this process's status, in its unit.
fn status(file: &str, key: &str) -> u64 {
    let status = std::fs::read_to_string(file).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or_default()
}

fn most_memory() -> u64 {
    status("/proc/self/status", "VmHWM:") >> 10
}

fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = text.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0
}

async fn turn(directory: &Path, mib: u64, (name, routes, random): (&str, u64, bool)) {
    let directory = directory.join(name);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut options = Options::new(vec![directory.join("journal")]);
    options.limits.durability = Durability::Written;
    options.limits.seal_after = Duration::from_secs(3600);
    let journal = Journal::open(options, disk.clone(), Arc::new(())).expect("a journal");
    fill(&journal, mib << 20, routes, random).await;
    let figures = journal.figures();
    // Sets the peak back, so that it is the uploader's.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = status("/proc/self/status", "VmRSS:") >> 10;
    let url = format!("file:{}", directory.join("store").display());
    let url = StoreUrl::parse(&url).expect("a store");
    let opener = Arc::new(move || url.open(&[], Existence::Made));
    let puts = Arc::new(Puts::default());
    let (begun, cpu_before) = (Clock::now(), cpu());
    let options = UploadOptions::new(Retain::Forever);
    let uploader = Uploader::start(options, (journal.clone(), disk), opener, puts.clone());
    let finish = uploader
        .expect("a thread")
        .finish(Duration::from_secs(600))
        .await;
    let took = (Clock::now() - begun).as_secs_f64();
    assert_eq!(finish, Finish::Done);
    let raw = figures.bytes as f64 / 1_048_576.0;
    println!(
        "{name}: {raw:.0} MiB, {} records, {} objects, {:.0} MiB compressed; {took:.2} s, \
         {:.0} MiB/s, {:.0} records/s, CPU {:.2} s; memory {before} MiB before, {} MiB at most",
        figures.records,
        puts.objects.load(Relaxed),
        puts.bytes.load(Relaxed) as f64 / 1_048_576.0,
        raw / took,
        figures.records as f64 / took,
        cpu() - cpu_before,
        most_memory(),
    );
    journal.close().await;
    let _ = std::fs::remove_dir_all(&directory);
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = arguments
        .next()
        .map_or(scratch.path().to_owned(), PathBuf::from);
    let mib = arguments.next().and_then(|mib| mib.parse().ok());
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    for shape in [("few", 3, false), ("many", 200, false), ("random", 3, true)] {
        runtime.block_on(turn(&directory, mib.unwrap_or(256), shape));
    }
}
