//! Disks that are full, read-only or hang: the answer that the configuration gives, a ledger that
//! adds up, other routes untouched, and no restart to heal.
//!
//! They are real file systems, mounted for the test, which needs root: without it a test says
//! that it is skipped.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use seawall::archive::StoredRecord;
use support::*;

/// Runs a command; whether it went well.
fn ran(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    let status = command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    status.status().is_ok_and(|status| status.success())
}

/// A mounted file system, gone with the test.
struct Mounted {
    shelf: Shelf,
    path: PathBuf,
}

impl Mounted {
    /// 64 MiB of memory; `None` where nothing can be mounted.
    fn memory() -> Option<Mounted> {
        Mounted::at(|_, path| ran("mount", &["-t", "tmpfs", "-o", "size=64m", "tmpfs", path]))
    }

    /// 64 MiB of a file, which can be frozen.
    fn image() -> Option<Mounted> {
        Mounted::at(|shelf, path| {
            let image = shelf.path("image");
            let file = std::fs::File::create(&image).expect("an image");
            file.set_len(64 << 20).expect("its length");
            let image = image.to_str().expect("UTF-8");
            ran("mkfs.ext4", &["-q", "-F", image]) && ran("mount", &["-o", "loop", image, path])
        })
    }

    fn at(mount: impl FnOnce(&Shelf, &str) -> bool) -> Option<Mounted> {
        let shelf = Shelf::new();
        let path = shelf.path("mounted");
        std::fs::create_dir(&path).expect("a directory");
        if mount(&shelf, path.to_str().expect("UTF-8")) {
            return Some(Mounted { shelf, path });
        }
        skipped("no file system can be mounted here");
        None
    }

    fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    fn remount(&self, how: &str) {
        let path = self.path.to_str().expect("UTF-8");
        assert!(
            ran("mount", &["-o", &format!("remount,{how}"), path]),
            "{how}"
        );
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: the gateway of a failed test may still be there.
        ran("umount", &["-l", self.path.to_str().unwrap_or_default()]);
        let _ = &self.shelf;
    }
}

/// A file system on which nothing can be written, and every writer waits, until this is dropped.
/// Declared after the gateway, so that it is dropped before: nothing can kill a process that waits.
struct Frozen(PathBuf);

impl Frozen {
    fn new(mounted: &Mounted) -> Frozen {
        let path = mounted.path.clone();
        assert!(ran("fsfreeze", &["-f", path.to_str().expect("UTF-8")]));
        Frozen(path)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        ran("fsfreeze", &["-u", self.0.to_str().unwrap_or_default()]);
    }
}

/// A directory in which root too can neither write nor create, until this is dropped.
struct Immutable(PathBuf);

impl Immutable {
    fn new(directory: &Path) -> Option<Immutable> {
        let made = Immutable(directory.to_owned());
        if ran("chattr", &["-R", "+i", directory.to_str()?])
            && std::fs::write(directory.join("probe"), "").is_err()
        {
            return Some(made);
        }
        skipped("no directory can be made immutable here");
        None
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        ran("chattr", &["-R", "-i", self.0.to_str().unwrap_or_default()]);
    }
}

/// A route that refuses what it cannot keep, one that drops it, and one that is not killed.
fn three(upstream: &Upstream, directories: &[&Path]) -> Config {
    let route = |name: &str, keys: &str| format!("path = \"/{name}\"\nupstream = \"u\"\n{keys}");
    Config::new()
        .upstream("u", upstream)
        .route("usual", &route("usual", ""))
        .route("extra", &route("extra", "tier = \"sheddable\""))
        .route("other", &route("other", ""))
        .switches("[kill]\nusual = \"archive\"\nextra = \"archive\"\n")
        .archive("journal", &format!("{directories:?}"))
}

/// What clients were told, by status.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    kept: u64,
    refused: u64,
}

impl Told {
    fn ask(&mut self, client: &mut Client, target: &str, body: &[u8]) {
        let response = client.ask(post(target, body));
        match response.status {
            200 => self.kept += 1,
            _ => {
                assert_refusal(&response, 503, "archive_unavailable");
                self.refused += 1;
            }
        }
    }
}

fn count(gateway: &Gateway, route: &str, outcome: &str) -> u64 {
    let status = gateway.status();
    // A route of which nothing was killed has no line.
    let line = &status["ledger"]["routes"][route];
    line[outcome].as_u64().unwrap_or_default()
}

/// Past the test's own capture: whoever runs it should know.
fn skipped(why: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "test {name} is skipped: {why}");
}

/// Nobody was told 200 of what is not kept, or it counts as lost; nothing else is in the journal.
fn assert_reconciled(gateway: &Gateway, journal: &[StoredRecord], told: (&Told, &Told)) {
    let (usual, extra) = told;
    let total = usual.kept + usual.refused + extra.kept + extra.refused;
    wait_for("the ledger", || {
        gateway.status()["ledger"]["killed"] == total
    });
    assert_eq!(count(gateway, "usual", "archived"), usual.kept);
    assert_eq!(count(gateway, "usual", "refused"), usual.refused);
    assert_eq!(extra.refused, 0, "the sheddable route refuses nothing");
    let lost = count(gateway, "extra", "lost");
    assert_eq!(count(gateway, "extra", "archived"), extra.kept - lost);
    let status = gateway.status();
    let late = status["ledger"]["late"].as_u64().expect("late");
    let stored = usual.kept + extra.kept - lost + late;
    assert_eq!(journal.len() as u64, stored, "records, {late} of them late");
}

fn heals(gateway: &Gateway, told: &mut Told) {
    let mut client = gateway.connect();
    wait_for("the directory to be used again", || {
        let before = told.kept;
        told.ask(&mut client, "/usual", b"after");
        told.kept > before
    });
    assert_eq!(gateway.events("ready").len(), 1, "without a restart");
}

#[test]
fn a_full_disk_loses_nothing_that_was_answered_and_heals() {
    let Some(disk) = Mounted::memory() else {
        return;
    };
    let upstream = Upstream::echo();
    // What takes the room, and gives it back.
    let ballast = disk.path.join("ballast");
    std::fs::write(&ballast, vec![0; 40 << 20]).expect("written");
    let config = three(&upstream, &[&disk.journal()]);
    let gateway = Gateway::start(&config);
    let (mut usual, mut extra) = (Told::default(), Told::default());
    let (mut client, mut bystander) = (gateway.connect(), gateway.connect());
    let body = vec![b'x'; 1 << 20];
    for _ in 0..40 {
        usual.ask(&mut client, "/usual", &body);
        extra.ask(&mut client, "/extra", &body[..1 << 18]);
        assert_passed(&bystander.ask(post("/other", "served")));
    }
    assert!(usual.kept >= 10 && usual.refused >= 10, "{usual:?}");
    let fault = gateway.status()["archive"]["directories"][0]["fault"].clone();
    assert_eq!(fault, "no room left");
    assert_reconciled(&gateway, &records(&disk.journal()), (&usual, &extra));
    assert!(count(&gateway, "extra", "lost") >= 1);
    std::fs::remove_file(ballast).expect("removed");
    heals(&gateway, &mut usual);
    usual.ask(&mut client, "/usual", &body);
    assert_reconciled(&gateway, &records(&disk.journal()), (&usual, &extra));
}

/// A file system with an open file cannot be made read-only, so here it is from the start.
#[test]
fn a_read_only_file_system_is_used_once_it_can_be_written() {
    let Some(disk) = Mounted::memory() else {
        return;
    };
    disk.remount("ro");
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream, &[&disk.journal()]));
    let (mut usual, mut extra) = (Told::default(), Told::default());
    let mut client = gateway.connect();
    for _ in 0..5 {
        usual.ask(&mut client, "/usual", b"x");
        extra.ask(&mut client, "/extra", b"x");
        assert_passed(&client.ask(post("/other", "served")));
    }
    assert_eq!((usual.kept, extra.kept), (0, 5));
    disk.remount("rw");
    heals(&gateway, &mut usual);
    assert_reconciled(&gateway, &records(&disk.journal()), (&usual, &extra));
}

#[test]
fn a_directory_that_turns_read_only_heals() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let journal = shelf.path("a");
    let gateway = Gateway::start(&three(&upstream, &[&journal]));
    let (mut usual, mut extra) = (Told::default(), Told::default());
    let mut client = gateway.connect();
    usual.ask(&mut client, "/usual", b"before");
    assert_eq!(usual.kept, 1);
    let Some(immutable) = Immutable::new(&journal) else {
        return;
    };
    for _ in 0..5 {
        usual.ask(&mut client, "/usual", b"x");
        extra.ask(&mut client, "/extra", b"x");
        assert_passed(&client.ask(post("/other", "served")));
    }
    assert_eq!((usual.kept, usual.refused), (1, 5));
    drop(immutable);
    heals(&gateway, &mut usual);
    assert_reconciled(&gateway, &records(&journal), (&usual, &extra));
}

#[test]
fn the_second_directory_takes_over_from_a_full_one() {
    let Some(disk) = Mounted::memory() else {
        return;
    };
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    std::fs::write(disk.path.join("ballast"), vec![0; 60 << 20]).expect("written");
    let (first, second) = (disk.journal(), shelf.path("b"));
    let gateway = Gateway::start(&three(&upstream, &[&first, &second]));
    let mut client = gateway.connect();
    let (mut usual, extra) = (Told::default(), Told::default());
    for _ in 0..10 {
        usual.ask(&mut client, "/usual", &vec![b'x'; 1 << 20]);
    }
    assert_eq!((usual.kept, usual.refused), (10, 0));
    let (one, other) = (records(&first), records(&second));
    assert!(!one.is_empty() && !other.is_empty());
    assert_reconciled(&gateway, &[one, other].concat(), (&usual, &extra));
}

#[test]
fn of_two_copies_one_alone_is_not_enough() {
    let Some(disk) = Mounted::memory() else {
        return;
    };
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let ballast = disk.path.join("ballast");
    std::fs::write(&ballast, vec![0; 60 << 20]).expect("written");
    let (first, second) = (disk.journal(), shelf.path("b"));
    let config = three(&upstream, &[&first, &second]).archive("copies", "2");
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect();
    let (mut usual, extra) = (Told::default(), Told::default());
    for _ in 0..10 {
        usual.ask(&mut client, "/usual", &vec![b'x'; 1 << 20]);
        assert_passed(&client.ask(post("/other", "served")));
    }
    assert!(usual.kept >= 1 && usual.refused >= 5, "{usual:?}");
    std::fs::remove_file(ballast).expect("removed");
    heals(&gateway, &mut usual);
    assert_reconciled(&gateway, &records(&first), (&usual, &extra));
    assert_eq!(records(&first), records(&second));
}

/// A write that never returns: the answer comes after 5 s all the same, others do not wait, and
/// what the disk takes after all is told apart.
#[test]
fn a_disk_that_hangs_is_waited_for_5_s_and_by_nobody_else() {
    let Some(disk) = Mounted::image() else { return };
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&three(&upstream, &[&disk.journal()]));
    let (mut usual, mut extra) = (Told::default(), Told::default());
    let mut client = gateway.connect();
    usual.ask(&mut client, "/usual", b"before");
    let frozen = Frozen::new(&disk);
    let start = now();
    let mut waiting: Vec<Client> = (0..20).map(|_| gateway.connect()).collect();
    for (number, client) in waiting.iter_mut().enumerate() {
        let target = ["/usual", "/extra"][number % 2];
        client.send(post(target, format!("{number}")));
    }
    // Others are served meanwhile, and the status too.
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let asked = now();
        assert_passed(&client.ask(post("/other", "served")));
        slowest = slowest.max(asked.elapsed());
        assert_eq!(gateway.status()["archive"]["records"], 1);
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    for (number, client) in waiting.iter_mut().enumerate() {
        let response = client.read();
        match number % 2 {
            0 => {
                assert_refusal(&response, 503, "archive_unavailable");
                usual.refused += 1;
            }
            _ => {
                assert_killed(&response);
                extra.kept += 1;
            }
        }
    }
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(4900) && took < Duration::from_secs(9),
        "{took:?}"
    );
    drop(frozen);
    heals(&gateway, &mut usual);
    let late = || gateway.status()["ledger"]["late"].as_u64() >= Some(1);
    wait_for("the record that was being written", late);
    assert_reconciled(&gateway, &records(&disk.journal()), (&usual, &extra));
}
