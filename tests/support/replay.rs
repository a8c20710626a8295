//! Records as the archive keeps them, and the command that replays them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::upstream::Upstream;
use super::wait::now;

/// A run sends at a pace, so that it takes longer than anything else that tests wait for.
const PATIENCE: Duration = Duration::from_secs(90);

/// The id of the record of that number.
pub fn id(number: usize) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    // Two records in each millisecond.
    let value = ((1_762_419_600_000 + number as u128 / 2) << 80) + (number as u128 % 2) + 7;
    let digit = |place: u32| char::from(DIGITS[(value >> (5 * place)) as usize & 31]);
    (0..26).rev().map(digit).collect()
}

/// A record of the route `any`: `POST /NUMBER` of one of 50 clients.
pub fn record(number: usize) -> Value {
    json!({
        "id": id(number), "time": "2025-11-06T09:00:00.000000Z", "route": "any",
        "instance": format!("gw-{}", number % 2), "client": format!("10.0.0.{}", number % 50),
        "request_id": format!("q-{number}"),
        "kill": {"mode": "archive", "reason": null, "source": "any"},
        "method": "POST", "target": format!("/{number}"), "version": "HTTP/1.1",
        "headers": [["host", "game.example"], ["content-length", "4"]],
        "body": "data", "subject": null, "maybe_processed": false,
    })
}

/// A directory in which replays run; records, checkpoints and what is refused lie there.
pub struct Scratch {
    directory: TempDir,
}

impl Scratch {
    /// An empty one.
    pub fn new() -> Scratch {
        Scratch {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes records into a file, one a line; gives its path.
    pub fn records(&self, name: &str, records: impl IntoIterator<Item = Value>) -> String {
        let lines = records.into_iter().map(|record| format!("{record}\n"));
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, lines.collect::<String>()).expect("written");
        path.to_str().expect("a path").to_owned()
    }

    /// Starts `seawall replay` here.
    pub fn start(&self, arguments: &[&str]) -> Replay {
        let output = |name: &str| File::create(self.path(name)).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_seawall"))
            .arg("replay")
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .expect("the binary runs");
        Replay {
            child,
            directory: self.directory.path().to_owned(),
        }
    }

    /// Runs `seawall replay` here to its end.
    pub fn replay(&self, arguments: &[&str]) -> Replayed {
        self.start(arguments).end()
    }

    /// Files that runs left in `data/replay`.
    pub fn left_behind(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path("data/replay")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.map(|n| n.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Everything in the files of refused records.
    pub fn refused(&self) -> Vec<Value> {
        let names = self.left_behind();
        let names = names
            .iter()
            .filter(|name| name.ends_with(".refused.ndjson"));
        let texts = names.map(|name| {
            let path = self.path("data/replay").join(name);
            std::fs::read_to_string(path).expect("text")
        });
        let parse = |line: &str| serde_json::from_str(line).expect("JSON");
        texts.collect::<String>().lines().map(parse).collect()
    }
}

/// A replay under way; killed when the test ends.
pub struct Replay {
    child: Child,
    directory: PathBuf,
}

/// How a replay ended.
#[derive(Debug)]
pub struct Replayed {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub messages: String,
}

impl Replayed {
    /// A number of the ledger's total; the command must have been run with `--json`.
    pub fn total(&self, what: &str) -> u64 {
        let number = self.json()["total"][what].as_u64();
        number.unwrap_or_else(|| panic!("no {what}: {self:?}"))
    }

    /// The ledger.
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.output);
        parsed.unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Fails unless read = accepted + refused + skipped + left, for each instance and in total.
    pub fn assert_adds_up(&self) {
        let ledger = self.json();
        let instances = ledger["instances"].as_array().expect("instances");
        let number = |of: &Value, what: &str| of[what].as_u64().expect("a number");
        for of in instances.iter().chain([&ledger["total"]]) {
            let parts = ["accepted", "refused", "skipped", "left"];
            let sum: u64 = parts.iter().map(|part| number(of, part)).sum();
            assert_eq!(number(of, "read"), sum, "{of}");
        }
        for what in ["read", "sent", "accepted", "refused", "skipped", "left"] {
            let sum: u64 = instances.iter().map(|of| number(of, what)).sum();
            assert_eq!(self.total(what), sum, "{what}");
        }
    }
}

impl Replay {
    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("a shell").success(), "{kill}");
    }

    /// Whether it is still running.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// What it wrote to standard error so far.
    pub fn messages(&self) -> String {
        text(&self.directory.join("stderr"))
    }

    /// Waits for its end.
    pub fn end(mut self) -> Replayed {
        let start = now();
        while self.runs() {
            let waited = start.elapsed();
            assert!(waited < PATIENCE, "it does not end: {}", self.messages());
            std::thread::sleep(Duration::from_millis(5));
        }
        Replayed {
            code: self.child.wait().expect("a child").code(),
            output: text(&self.directory.join("stdout")),
            messages: self.messages(),
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    let mut file = File::open(path).expect("a file");
    file.read_to_end(&mut bytes).expect("bytes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The ids of the records that an upstream was sent, in order.
pub fn ids(upstream: &Upstream) -> Vec<String> {
    let requests = upstream.requests();
    let id = |header: Option<String>| header.expect("an id");
    requests
        .iter()
        .map(|r| id(r.header("x-seawall-replay")))
        .collect()
}
