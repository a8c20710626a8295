//! `seawall archive ls`, `cat` and `verify`: journal and store are read as one.

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::*;

/// A gateway with 20 records in its store and 10 in its journal, on routes `a` and `b` in turn.
struct Kept {
    gateway: Gateway,
    shelf: Shelf,
    _upstream: Upstream,
}

impl Kept {
    fn new() -> Kept {
        let (upstream, shelf) = (Upstream::echo(), Shelf::new());
        let route = |name: &str| format!("path = \"/{name}\"\nupstream = \"u\"");
        let config = Config::new()
            .upstream("u", &upstream)
            .server("instance", "\"gw-1\"")
            .route("a", &route("a"))
            .route("b", &route("b"))
            .respond("c", "/c", "")
            .switches("[kill]\nall = \"archive\"\n");
        let config = shelf.uploaded_by(config).archive("seal_after", "\"1h\"");
        let kept = Kept {
            gateway: Gateway::start(&config),
            shelf,
            _upstream: upstream,
        };
        kept.send(0..10);
        kept.flush();
        kept.send(10..20);
        kept.flush();
        kept.send(20..30);
        kept
    }

    fn send(&self, numbers: std::ops::Range<u32>) {
        let mut client = self.gateway.connect();
        for number in numbers {
            let path = if number % 2 == 0 { "/a" } else { "/b" };
            assert_killed(&client.ask(post(path, number.to_string())));
        }
    }

    fn flush(&self) {
        let exit = self.run(&["flush"]);
        assert_eq!(exit.code, Some(0), "{}", exit.output);
    }

    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let config = self.gateway.directory().to_str().expect("a path");
        [&["--config", config, "archive"], arguments].concat()
    }

    fn run(&self, arguments: &[&str]) -> Exit {
        run_to_exit(&self.arguments(arguments))
    }

    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let exit = self.run(arguments);
        assert_eq!(exit.code, Some(0), "{arguments:?}: {}", exit.output);
        let lines = exit.output.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    fn bodies(&self, arguments: &[&str]) -> Vec<u32> {
        bodies(&self.lines(arguments))
    }

    fn journal(&self) -> String {
        self.shelf.path("a").display().to_string()
    }

    fn store(&self) -> String {
        format!("file:{}", self.shelf.path("store").display())
    }
}

fn bodies(records: &[Value]) -> Vec<u32> {
    let body = |record: &Value| record["body"].as_str()?.parse().ok();
    records
        .iter()
        .map(|record| body(record).expect("a number"))
        .collect()
}

fn objects(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(objects(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn journal_and_store_are_read_as_one_stream_oldest_first() {
    let kept = Kept::new();
    assert_eq!(kept.bodies(&["cat"]), (0..30).collect::<Vec<_>>());
    let of_b: Vec<u32> = (0..30).filter(|n| n % 2 == 1).collect();
    assert_eq!(kept.bodies(&["cat", "--route", "b"]), of_b);
    let both = ["cat", "--route", "b", "--route", "a", "--limit", "4"];
    assert_eq!(kept.bodies(&both), [0, 1, 2, 3]);
    let records = kept.lines(&["cat"]);
    let ids: Vec<&str> = records.iter().filter_map(|r| r["id"].as_str()).collect();
    assert!(ids.len() == 30 && ids.is_sorted_by(|one, other| one < other));
    let tenth = records[10]["time"].as_str().expect("a time");
    assert_eq!(kept.bodies(&["cat", "--since", tenth]).len(), 20);
    assert_eq!(kept.bodies(&["cat", "--until", tenth]).len(), 10);
    let (journal, store) = (kept.journal(), kept.store());
    let of_journal = kept.bodies(&["cat", "--journal", &journal]);
    assert_eq!(of_journal, (20..30).collect::<Vec<_>>());
    let of_store = kept.bodies(&["cat", "--store", &store]);
    assert_eq!(of_store, (0..20).collect::<Vec<_>>());
    let of_both = kept.bodies(&["cat", "--store", &store, "--journal", &journal]);
    assert_eq!(of_both, (0..30).collect::<Vec<_>>());
}

#[test]
fn segments_and_objects_are_listed_with_their_totals() {
    let kept = Kept::new();
    let listed = kept.lines(&["ls", "--json"]);
    let state = |state: &str| listed.iter().filter(|l| l["state"] == state).count();
    // Two segments of two routes; a request may be the first of a new hour.
    assert!(state("stored") >= 4, "{listed:?}");
    assert_eq!((state("open"), state("sealed")), (1, 0));
    let stored = listed
        .iter()
        .find(|l| l["route"] == "b")
        .expect("an object");
    assert_eq!(stored["instance"], "gw-1");
    let path = kept
        .shelf
        .path("store")
        .join(stored["object"].as_str().expect("a path"));
    assert_eq!(path.metadata().expect("a file").len(), stored["bytes"]);
    let exit = kept.run(&["ls"]);
    assert_eq!(exit.code, Some(0), "{}", exit.output);
    let last = exit.output.lines().last().expect("a total");
    let objects = format!("the store: {} objects, ", state("stored"));
    assert!(last.starts_with(&objects), "{last}");
    assert!(
        last.contains("the journal: 1 segments, 10 records, "),
        "{last}"
    );
    let journal = kept.journal();
    let exit = kept.run(&["ls", "--journal", &journal]);
    assert!(!exit.output.contains("the store"), "{}", exit.output);
}

#[test]
fn verify_and_cat_name_what_is_damaged_and_read_the_rest() {
    let kept = Kept::new();
    let exit = kept.run(&["verify"]);
    assert_eq!(exit.code, Some(0), "{}", exit.output);
    assert!(exit.output.contains("10 records, 0 bytes damaged: whole"));
    assert!(exit.output.contains("records: whole"), "{}", exit.output);
    let store = kept.shelf.path("store");
    let all = objects(&store);
    let damaged = &all[0];
    let mut bytes = std::fs::read(damaged).expect("an object");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(damaged, bytes).expect("written");
    // A whole object under the name of another day.
    let other = PathBuf::from(all[1].to_string_lossy().replace("/date=2", "/date=1"));
    std::fs::create_dir_all(other.parent().expect("a directory")).expect("made");
    std::fs::copy(&all[1], &other).expect("copied");
    let exit = kept.run(&["verify"]);
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    let wrong: Vec<&str> = exit
        .output
        .lines()
        .filter(|l| l.ends_with("DAMAGED"))
        .collect();
    assert_eq!(wrong.len(), 2, "{}", exit.output);
    for path in [damaged, &other] {
        let name = path
            .strip_prefix(&store)
            .expect("below")
            .display()
            .to_string();
        assert!(
            wrong.iter().any(|line| line.starts_with(&name)),
            "{wrong:?}"
        );
    }
    let exit = kept.run(&["cat"]);
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    let records = exit.output.lines().filter(|l| l.starts_with('{')).count();
    let told = exit
        .output
        .lines()
        .filter(|l| l.starts_with("seawall: object route="))
        .count();
    assert!((20..30).contains(&records), "{}", exit.output);
    assert_eq!(told, 1, "{}", exit.output);
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let kept = Kept::new();
    let big = "x".repeat(200_000);
    for _ in 0..5 {
        assert_killed(&kept.gateway.ask(post("/a", &big)));
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(kept.arguments(&["cat"]))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut first = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut first).expect("a line");
    assert!(first.starts_with("{\"id\":"), "{first}");
    drop(out);
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn what_cannot_be_read_is_named_with_what_to_set() {
    let kept = Kept::new();
    let exit = kept.run(&["cat", "--store", "s4://bucket"]);
    assert_eq!(exit.code, Some(2), "{}", exit.output);
    assert!(
        exit.output.contains("s3://bucket/prefix"),
        "{}",
        exit.output
    );
    let exit = kept.run(&["ls", "--store", "az://container"]);
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    assert!(
        exit.output.contains("AZURE_STORAGE_ACCOUNT_NAME"),
        "{}",
        exit.output
    );
    let exit = kept.run(&["verify", "--store", "file:/nonexistent/archive"]);
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    assert!(
        exit.output.contains("/nonexistent/archive"),
        "{}",
        exit.output
    );
    // One of two places is enough to go on, and not enough for 0.
    let (store, journal) = (kept.store(), kept.journal());
    let arguments = ["cat", "--journal", "/nonexistent", "--store", &store];
    let exit = kept.run(&arguments);
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    assert!(exit.output.contains("/nonexistent: "), "{}", exit.output);
    assert_eq!(exit.output.matches("{\"id\":").count(), 20);
    let exit = kept.run(&["flush", "--store", &store]);
    assert_eq!(exit.code, Some(2), "{}", exit.output);
    let exit = kept.run(&["cat", "--journal", &journal, "--since", "yesterday"]);
    assert_eq!(exit.code, Some(2), "{}", exit.output);
    let exit = kept.run(&[
        "cat",
        "--journal",
        &journal,
        "--since",
        "5m",
        "--until",
        "10m",
    ]);
    assert_eq!(exit.code, Some(2), "{}", exit.output);
    assert!(
        exit.output.contains("is not before --until"),
        "{}",
        exit.output
    );
}

#[test]
fn before_the_first_record_the_commands_say_that_there_is_none_and_make_nothing() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = shelf.uploaded_by(Config::passing(&upstream));
    let directory = shelf.path("config");
    std::fs::create_dir(&directory).expect("a directory");
    config.write(&directory);
    let config = directory.to_str().expect("a path");
    for arguments in [
        &["ls"][..],
        &["ls", "--json"],
        &["cat"],
        &["cat", "--route", "any"],
        &["verify"],
    ] {
        let exit = run_to_exit(&[&["--config", config, "archive"], arguments].concat());
        assert_eq!(exit.code, Some(0), "{}", exit.output);
        let line = exit.output.trim();
        let said = "seawall: nothing was archived yet, none of these is there: ";
        assert!(line.starts_with(said) && !line.contains('\n'), "{line}");
        for place in ["/a", "/store"] {
            assert!(line.contains(place), "{line}");
        }
    }
    let checkpoint = shelf.path("replay/checkpoint");
    let exit = run_to_exit(&[
        "--config",
        config,
        "replay",
        "--dry-run",
        "--checkpoint",
        checkpoint.to_str().expect("a path"),
    ]);
    assert_eq!(exit.code, Some(0), "{}", exit.output);
    for place in ["a", "store", "replay"] {
        assert!(!shelf.path(place).exists(), "{place}");
    }
}

#[test]
fn a_route_that_is_neither_configured_nor_in_a_record_is_an_error() {
    let kept = Kept::new();
    let exit = kept.run(&["cat", "--route", "bb"]);
    assert_eq!(exit.code, Some(2), "{}", exit.output);
    for text in ["--route bb: ", "did you mean", "`b`"] {
        assert!(exit.output.contains(text), "{}", exit.output);
    }
    // One that is configured and has no record, of that time; and one that is gone since.
    assert!(kept.bodies(&["cat", "--route", "c"]).is_empty());
    assert!(
        kept.bodies(&["cat", "--route", "b", "--until", "1h"])
            .is_empty()
    );
    let toml = kept.gateway.directory().join("seawall.toml");
    let text = std::fs::read_to_string(&toml).expect("read");
    let without = text.replace("[routes.b]", "[routes.other]");
    std::fs::write(&toml, without).expect("written");
    assert_eq!(kept.bodies(&["cat", "--route", "b"]).len(), 15);
    assert!(
        kept.bodies(&["cat", "--route", "b", "--until", "1h"])
            .is_empty()
    );
    let exit = kept.run(&["cat", "--route", "b2"]);
    assert_eq!(exit.code, Some(2), "{}", exit.output);
}

#[test]
fn a_journal_that_is_brought_into_the_store_is_read_without_gaps() {
    let kept = Kept::new();
    let arguments = kept.arguments(&["cat"]);
    // Every reading begins at another point of the uploads.
    std::thread::scope(|scope| {
        let readings = scope.spawn(|| {
            let mut least = 30;
            for _ in 0..15 {
                let exit = run_to_exit(&arguments);
                assert_eq!(exit.code, Some(0), "{}", exit.output);
                let lines = exit.output.lines();
                let records: Vec<Value> = lines
                    .map(|line| serde_json::from_str(line).expect("JSON"))
                    .collect();
                let found = bodies(&records);
                assert_eq!(found, (0..found.len() as u32).collect::<Vec<_>>());
                assert!(found.len() >= least, "{} after {least}", found.len());
                least = found.len();
            }
        });
        let mut next = 30;
        while !readings.is_finished() {
            kept.send(next..next + 10);
            next += 10;
            kept.flush();
        }
        readings.join().expect("all readings are whole");
    });
}
