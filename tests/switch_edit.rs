//! Commands that edit `switches.toml` at the same time, on real mounts, beside a running gateway.

// Each test binary uses its part of the harness.
#![allow(clippy::unwrap_used)]

mod control_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use control_support::{Gateway, capture_logs, lines_with, route, wait_for};
use seawall::config::{
    Change, EntryText, Settings, edit, ignored_files, load, read_structure, read_switch_entries,
    read_switches,
};
use seawall::control::{Manner, WriteError, Written, rewrite};

const WRITERS: usize = 8;
const EDITS: usize = 50;

/// Tells the worker where to write, and which keys.
const DIR: &str = "SWITCH_EDIT_DIR";
const NUMBER: &str = "SWITCH_EDIT_NUMBER";

fn settings(dir: &Path) -> Settings {
    load(&read_structure(dir).unwrap(), &|_| None)
        .unwrap()
        .settings
}

fn throw(dir: &Path, settings: &Settings, key: &str) -> Result<Written, String> {
    let change = Change::Set(EntryText::word("drop"));
    let written = rewrite(dir, |file| {
        edit(file, key, &change, settings).map(|edited| edited.text)
    });
    written.map_err(|error| match error {
        WriteError::Busy { .. } => "busy".to_owned(),
        error => error.to_string(),
    })
}

/// Not a test: what the other processes do. Throws its keys, one edit each.
#[test]
#[ignore = "run by the other tests, in processes of its own"]
fn worker() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let number = std::env::var(NUMBER).unwrap();
    let settings = settings(&dir);
    for edit in 0..EDITS {
        let key = format!("r{number}-{edit}");
        // A machine under load may keep one writer waiting for longer than a person should.
        while let Err(error) = throw(&dir, &settings, &key) {
            assert_eq!(error, "busy");
        }
    }
}

/// Not a test: throws one key, and says how that went.
#[test]
#[ignore = "run by the other tests, inside mounts of its own"]
fn once() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    match throw(&dir, &settings(&dir), "a") {
        Ok(written) => println!("<{:?}>", written.manner),
        Err(error) => println!("<{error}>"),
    }
}

fn spawn(dir: &Path, number: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "worker"]);
    command.env(DIR, dir).env(NUMBER, number.to_string());
    command.stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn many_processes_editing_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let names =
        (0..WRITERS).flat_map(|writer| (0..EDITS).map(move |edit| format!("r{writer}-{edit}")));
    let routes: String = names.map(|name| route(&name, "standard")).collect();
    fs::write(dir.path().join("seawall.toml"), routes).unwrap();
    let head = "# The launch.\n[kill] # now\n# r0-0 = \"off\"\n\n# The end.\n";
    fs::write(dir.path().join("switches.toml"), head).unwrap();
    let workers: Vec<Child> = (0..WRITERS)
        .map(|number| spawn(dir.path(), number))
        .collect();
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    let file = read_switches(dir.path()).unwrap().unwrap();
    let read = read_switch_entries(&file, &settings(dir.path()));
    assert_eq!(read.problems, []);
    assert_eq!(read.entries.len(), WRITERS * EDITS);
    let rest = file.text.lines().filter(|line| !line.starts_with('r'));
    assert_eq!(rest.collect::<Vec<_>>(), head.lines().collect::<Vec<_>>());
    assert!(ignored_files(dir.path()).is_empty());
    // The files of the configuration and the lock; every temporary file is gone.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

/// What `once` says inside mounts of its own; `None` where this process may not mount.
fn in_mounts(dir: &Path, mounts: &str) -> Option<String> {
    let run = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", script]);
        command
            .env(DIR, dir)
            .env("EXE", std::env::current_exe().unwrap());
        command.current_dir(dir).output().ok()
    };
    let mounted = run(mounts).filter(|output| output.status.success());
    if mounted.is_none() {
        eprintln!("skipped: this process may not mount");
        return None;
    }
    let script = format!("{mounts}\nexec \"$EXE\" --ignored --exact once --nocapture");
    let output = run(&script).unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let begin = said.find('<').unwrap() + 1;
    Some(said[begin..said.rfind('>').unwrap()].to_owned())
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("seawall.toml"), route("a", "core")).unwrap();
    fs::write(dir.path().join("switches.toml"), "[kill]\n").unwrap();
    dir
}

fn text(dir: &Path) -> String {
    fs::read_to_string(dir.join("switches.toml")).unwrap()
}

#[test]
fn on_real_mounts_the_file_is_written_in_place_or_the_line_is_told() {
    const OWN: &str = "mount --bind switches.toml switches.toml";
    const READ_ONLY: &str = "mount --bind . . && mount -o remount,bind,ro . && cd \"$PWD\"";
    let dir = directory();
    let Some(said) = in_mounts(dir.path(), OWN) else {
        return;
    };
    assert_eq!(said, "InPlace");
    assert_eq!(text(dir.path()), "[kill]\na = \"drop\"\n");

    let dir = directory();
    let said = in_mounts(dir.path(), READ_ONLY).unwrap();
    assert!(
        said.contains("may not be written: Read-only file system"),
        "{said}"
    );
    assert!(
        said.contains("by hand, add below line 1:\n    a = \"drop\""),
        "{said}"
    );
    assert_eq!(text(dir.path()), "[kill]\n");

    // Docker with --read-only and one file that may be written.
    let dir = directory();
    let both = format!("{OWN}\nmount --rbind . . && mount -o remount,bind,ro . && cd \"$PWD\"");
    assert_eq!(in_mounts(dir.path(), &both).unwrap(), "InPlace");
    assert_eq!(text(dir.path()), "[kill]\na = \"drop\"\n");
}

#[test]
fn a_running_gateway_sees_one_change_and_nothing_of_how_it_is_made() {
    capture_logs();
    let gateway = Gateway::start(&route("edit-a", "core"), "[kill]\n");
    let dir = gateway.dir.path();
    let settings = settings(dir);
    let written = throw(dir, &settings, "edit-a").unwrap();
    assert_eq!(written.manner, Manner::Replaced);
    wait_for("the throw", || gateway.killed("edit-a").is_some());
    // The same again changes nothing, and an edit that fails neither.
    for _ in 0..20 {
        let again = throw(dir, &settings, "edit-a").unwrap();
        assert_eq!(again.manner, Manner::Unchanged);
        assert!(throw(dir, &settings, "no-such-route").is_err());
    }
    let off = Change::Set(EntryText::word("off"));
    let written = rewrite(dir, |file| {
        edit(file, "edit-a", &off, &settings).map(|edited| edited.text)
    });
    let digest = format!("{:016x}", written.unwrap().digest);
    wait_for("the end", || gateway.killed("edit-a").is_none());
    wait_for("two lines", || {
        lines_with("kill switch changed", "edit-a").len() == 2
    });
    assert_eq!(
        lines_with("kill switch changed", "edit-a")[1]["digest"],
        digest
    );
    for result in ["applied", "unchanged", "rejected"] {
        let line = format!("seawall_config_reloads_total{{result=\"{result}\"}} 0");
        assert!(
            gateway.live.metrics.exposition().contains(&line),
            "{result}"
        );
    }
}
