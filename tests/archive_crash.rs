//! What was answered 200 outlives the process, however it ends.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use seawall::archive::StoredRecord;
use support::*;
use tempfile::TempDir;

const ANY: &str = "[kill]\nany = \"archive\"\n";

#[test]
fn the_end_seals_and_a_restart_goes_on_with_rising_ids() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = shelf.used_by(Config::passing(&upstream).switches(ANY));
    for round in 1..=3 {
        let config = config.clone().server("drain_delay", "\"0s\"");
        let mut gateway = Gateway::start(&config);
        for n in 0..10 {
            assert_killed(&gateway.ask(post("/a", format!("{round} {n}"))));
        }
        gateway.signal("TERM");
        assert_eq!(gateway.wait_exit(), Some(0));
        assert_eq!(gateway.events("journal closed").len(), 1);
        let segments = segments(&shelf.path("a"));
        assert_eq!(segments.len(), round);
        let copies = segments.iter().flat_map(|segment| &segment.copies);
        assert!(copies.into_iter().all(|copy| copy.sealed));
    }
    let records = shelf.records();
    assert_eq!(records.len(), 30);
    assert!(records.windows(2).all(|pair| pair[0].id < pair[1].id));
}

/// Sends numbered payloads until the gateway is gone; gives those that were answered 200.
fn storm(gateway: &Gateway, round: usize) -> Vec<String> {
    let (done, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (done, stop) = (&done, &stop);
            scope.spawn(move || {
                let Some(mut client) = Client::try_connect(gateway.client) else {
                    return;
                };
                for n in 0.. {
                    let size = [0, 10, 1000, 70_000][n % 4];
                    let payload = format!("{round} {thread} {n} {}", "x".repeat(size));
                    if client.try_send(post("/a", &payload)).is_err() {
                        return;
                    }
                    match client.try_read() {
                        Ok(response) if response.status == 200 && response.whole => {
                            done.lock().expect("done").push(payload);
                        }
                        Ok(_) | Err(_) => return,
                    }
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        // More in some rounds than in others, so that the end comes at any moment.
        wait_for("some answers", || {
            done.lock().expect("done").len() > 5 + 3 * round
        });
        gateway.signal("KILL");
        // Those that the kernel goes on serving for nobody end by their patience otherwise.
        stop.store(true, Ordering::Relaxed);
    });
    done.into_inner().expect("done")
}

/// The payloads of records, of which none may be there twice.
fn payloads(records: &[StoredRecord]) -> BTreeSet<String> {
    let text = |record: &StoredRecord| String::from_utf8(record.body()).expect("text");
    let kept: BTreeSet<String> = records.iter().map(text).collect();
    assert_eq!(kept.len(), records.len(), "a payload is there twice");
    kept
}

#[test]
fn an_acknowledged_archive_record_survives_kill_9_under_load_and_is_there_once() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = shelf.used_by(Config::passing(&upstream).switches(ANY));
    let config = config.archive("seal_after", "\"50ms\"");
    let mut acknowledged = Vec::new();
    for round in 0..20 {
        let mut gateway = Gateway::start(&config);
        acknowledged.extend(storm(&gateway, round));
        gateway.wait_exit();
    }
    // Once more, so that recovery has run over what the last one left.
    drop(Gateway::start(&config));
    let records = shelf.records();
    let kept = payloads(&records);
    for payload in &acknowledged {
        assert!(
            kept.contains(payload),
            "lost: {}",
            &payload[..20.min(payload.len())]
        );
    }
    assert!(acknowledged.len() > 20 * 5);
    assert!(records.windows(2).all(|pair| pair[0].id < pair[1].id));
}

/// A disk of its own: a file system in a file. What the kernel has not yet written there is not
/// in the file, so a copy of the file is what a machine finds after its power came back.
struct SmallDisk {
    scratch: TempDir,
}

impl SmallDisk {
    /// `None`, and a line that says so, where the machine does not let us mount.
    fn mounted() -> Option<SmallDisk> {
        let disk = SmallDisk {
            scratch: tempfile::tempdir().expect("a directory"),
        };
        let script = "truncate -s 64M disk && mkfs.ext4 -q -F disk && mkdir before after \
                      && mount -o loop,commit=300 disk before";
        match disk.run(script) {
            true => Some(disk),
            false => {
                eprintln!("skipped: needs root, loop devices and mkfs.ext4");
                None
            }
        }
    }

    /// The copy, taken while the disk still has no more than was synced.
    fn lose_power(&self) {
        assert!(self.run("cp disk copy && mount -o loop copy after"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn run(&self, script: &str) -> bool {
        let script = format!("PATH=$PATH:/usr/sbin:/sbin; {script}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(self.scratch.path());
        let output = shell.output().expect("a shell");
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        output.status.success()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        for name in ["before", "after"] {
            self.run(&format!("! mountpoint -q {name} || umount -l {name}"));
        }
    }
}

/// Kills the gateway under load and the machine with it; what was answered 200, and what is there.
fn lose_power(durability: &str, round: usize) -> Option<(Vec<String>, BTreeSet<String>)> {
    let disk = SmallDisk::mounted()?;
    let upstream = Upstream::echo();
    let config = |journal: &Path| {
        Config::passing(&upstream)
            .switches(ANY)
            .archive("durability", &format!("{durability:?}"))
            .archive("journal", &format!("{journal:?}"))
    };
    let mut gateway = Gateway::start(&config(&disk.path("before/journal")));
    let acknowledged = storm(&gateway, round);
    gateway.wait_exit();
    disk.lose_power();
    let journal = disk.path("after/journal");
    drop(Gateway::start(&config(&journal)));
    Some((acknowledged, payloads(&records(&journal))))
}

#[test]
fn an_acknowledged_archive_record_survives_power_loss_with_fsync() {
    for round in 0..5 {
        let Some((acknowledged, kept)) = lose_power("fsync", 10 * round) else {
            return;
        };
        assert!(acknowledged.len() > 5);
        let lost = acknowledged.iter().find(|payload| !kept.contains(*payload));
        assert_eq!(lost, None);
    }
}

#[test]
fn without_fsync_the_loss_of_power_costs_records() {
    let Some((acknowledged, kept)) = lose_power("written", 10) else {
        return;
    };
    // Otherwise the test above would see none of what it is there for.
    assert!(acknowledged.iter().any(|payload| !kept.contains(payload)));
}

#[test]
fn the_command_reads_the_journal_while_the_gateway_writes_to_it() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let route = |name: &str| format!("path = \"/{name}\"\nupstream = \"u\"");
    let config = Config::new()
        .upstream("u", &upstream)
        .route("a", &route("a"))
        .route("b", &route("b"))
        .switches("[kill]\nall = \"archive\"\n");
    let mut gateway = Gateway::start(&shelf.used_by(config));
    for n in 0..3 {
        assert_killed(&gateway.ask(post("/a", format!("{n}"))));
    }
    assert_killed(&gateway.ask(post("/b", "other")));
    let config = gateway.directory().to_str().expect("a path").to_owned();
    let command = |arguments: &[&str]| {
        let all = [&["--config", &config, "archive"], arguments].concat();
        let exit = run_to_exit(&all);
        (exit.code, exit.output)
    };
    let lines = |arguments: &[&str]| {
        let (code, output) = command(arguments);
        assert_eq!(code, Some(0), "{output}");
        let parse = |line: &str| serde_json::from_str(line).expect("JSON");
        output
            .lines()
            .map(parse)
            .collect::<Vec<serde_json::Value>>()
    };
    let all = lines(&["cat"]);
    assert_eq!(all.len(), 4);
    assert_eq!(
        (&all[0]["route"], &all[0]["body"]),
        (&"a".into(), &"0".into())
    );
    assert_eq!(lines(&["cat", "--route", "b"])[0]["body"], "other");
    assert_eq!(lines(&["cat", "--since", "1h"]).len(), 4);
    assert!(lines(&["cat", "--until", "1h"]).is_empty());
    let third = all[2]["time"].as_str().expect("a time");
    assert_eq!(lines(&["cat", "--since", third]).len(), 2);
    assert_eq!(lines(&["cat", "--until", third]).len(), 2);
    let listed = &lines(&["ls", "--json"])[0];
    assert_eq!(
        (&listed["records"], &listed["state"]),
        (&4.into(), &"open".into())
    );
    let (code, output) = command(&["verify"]);
    assert!(
        code == Some(0) && output.contains("4 records, 0 bytes damaged"),
        "{output}"
    );
    gateway.signal("KILL");
    gateway.wait_exit();
    damage(&shelf);
    let (code, output) = command(&["verify"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("DAMAGED"), "{output}");
    let (code, output) = command(&["cat"]);
    assert_eq!(code, Some(1), "{output}");
    assert_eq!(output.matches("\"id\"").count(), 3, "{output}");
    let (code, output) = command(&["ls", "--journal", "/nonexistent"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("/nonexistent: "), "{output}");
}

/// Changes a byte of the second record.
fn damage(shelf: &Shelf) {
    let segment = std::fs::read_dir(shelf.path("a"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.metadata().is_ok_and(|about| about.len() > 100))
        .expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let marks = bytes.windows(4).enumerate();
    let marks: Vec<usize> = marks
        .filter(|(_, w)| *w == b"\"id\"")
        .map(|(at, _)| at)
        .collect();
    bytes[marks[1] + 10] ^= 1;
    std::fs::write(segment, bytes).expect("written");
}
