//! No truncation and no corruption of the shipped files restores a switch within its second,
//! costs a valid entry its effect, or the gateway its structure; and the good file is taken
//! after each.
//!
//! The damaged file is written in place over the live file of a running gateway, with switches of
//! every shape thrown, an automatic kill and a breaker that has tripped by itself. That it was read is seen in the digest of the status. Work is split
//! between several gateways, because most of the time is waiting.

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;
use support::*;

/// Gateways side by side.
const LANES: usize = 6;

/// Within this the second of an unchanged file has not passed, whatever the file says.
const SAFE: Duration = Duration::from_millis(900);

const CORRUPTIONS: usize = 1000;

/// Where the routes are that the gateway stops by itself.
const ROUTES: &str = "routes.d/by-itself.toml";

/// What is thrown below the shipped comments; the mark tells that a neighbour was taken.
const THROWN: &str = r#"report-suspicious = "archive"
leaderboard = { mode = "drop", percent = 50, until = 2036-11-06T09:00:00Z, reason = "INC-42: disks at their limit", owner = "amy" }
join-match = { mode = "reject", retry_after = "30s", when = { headers = { x-client-version = { prefix = "1.0." } } } }
friends = [
  { mode = "off", when = { client_ip = ["192.0.2.7", "10.0.0.0/8"] } },
  { mode = "drop", percent = 12.5, dry_run = true },
]
"tier:sheddable" = "drop"
heartbeat = "off"
"plan:survive-launch" = "on"
[[kill.submit-stats]]
mode = "reject"
when = { query = { beta = "1" } }
[[kill.submit-stats]]
mode = "reject"
percent = 30
[[kill.automatic]]
mode = "off"
when = { query = { nobody = "1" } }
"#;

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name);
    std::fs::read_to_string(path).expect("a shipped file")
}

/// The shipped structure on free ports. Clients are named by the peer on loopback. A breaker of
/// every route would refuse what is restored.
fn structure() -> String {
    let replaced = [
        ("\"0.0.0.0:8080\"", "\"127.0.0.1:0\""),
        ("\"127.0.0.1:9901\"", "\"127.0.0.1:0\""),
        (
            "# trusted_proxies = [\"10.0.0.0/8\"]",
            "trusted_proxies = [\"127.0.0.1\"]",
        ),
        ("workers = 0", "workers = 1"),
        ("\nbreaker = {", "\n# breaker = {"),
    ];
    replaced
        .iter()
        .fold(shipped("seawall.toml"), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        })
}

/// The shipped routes. What is restored passes at once.
fn game() -> String {
    let at_once = "kill_switch = { restore = \"0s\", ";
    shipped("routes.d/game.toml").replace("kill_switch = { ", at_once)
}

/// Routes whose requests nobody's hand holds back. What the gateway threw ends within no test.
const BY_ITSELF: &str = r#"[routes.broken]
path = "/broken"
upstream = "stats"
breaker = { consecutive_failures = 2, open_for = "1h" }
[routes.automatic]
path = "/automatic"
upstream = "stats"
kill_switch = { mode = "drop", restore = "0s" }
auto_kill = { above = "1/s", for = "1s", hold = "1h" }
"#;

/// Breakers held by hand; the shipped file has the table before the switches.
const HELD: &str = "[breaker]\ntripped = \"tripped\"\nother = \"tripped\"\nping = \"passing\"\n";

/// The shipped comments, and every shape thrown.
fn switches() -> String {
    let text = shipped("switches.toml");
    let end = text.find("[kill]\n").expect("a table") + "[kill]\n".len();
    let text = text[..end].replace("[breaker]\n", HELD);
    assert!(text.contains(HELD));
    format!("{text}{THROWN}")
}

/// With the mark on the line below `[kill]`, if that is still there.
fn marked(text: &[u8], status: u16) -> Option<Vec<u8>> {
    let table = b"\n[kill]\n";
    let at = text.windows(table.len()).position(|found| found == table)? + table.len();
    let mark = format!("mark = {{ mode = \"drop\", status = {status} }}\n");
    Some([&text[..at], mark.as_bytes(), &text[at..]].concat())
}

struct Lane {
    gateway: Gateway,
    client: Client,
    admin: Client,
    /// Requests that are killed.
    killed: Vec<String>,
    turn: u16,
    /// Digest and hash while everything is good.
    good: (Value, Value),
}

/// What happened, over all lanes.
#[derive(Default)]
struct Counts {
    files: AtomicUsize,
    marks: AtomicUsize,
    requests: AtomicUsize,
    settled: AtomicUsize,
    again: AtomicUsize,
}

impl Lane {
    fn start() -> Lane {
        let directory = tempfile::tempdir().expect("a directory");
        let path: PathBuf = directory.path().to_owned();
        let routes = path.join("routes.d");
        std::fs::create_dir(&routes).expect("made");
        std::fs::write(routes.join("game.toml"), game()).expect("written");
        std::fs::write(path.join(ROUTES), BY_ITSELF).expect("written");
        let mut mark = "[routes.mark]\npath = \"/mark\"\nrespond = { status = 299 }\n".to_owned();
        for name in ["tripped", "other"] {
            mark += &format!("[routes.{name}]\npath = \"/{name}\"\nupstream = \"stats\"\n");
        }
        std::fs::write(routes.join("mark.toml"), mark).expect("written");
        std::fs::write(path.join("seawall.toml"), structure()).expect("written");
        let good = marked(switches().as_bytes(), 400).expect("a mark");
        std::fs::write(path.join("switches.toml"), good).expect("written");
        let gateway = Gateway::start_in(directory, path, &[]);
        let mut lane = Lane {
            client: gateway.connect(),
            admin: Client::connect(gateway.admin),
            gateway,
            killed: Vec::new(),
            turn: 0,
            good: (Value::Null, Value::Null),
        };
        lane.stop_by_itself();
        lane.killed = lane.find_killed();
        let status = lane.status();
        lane.good = (digest(&status), status["config_hash"].clone());
        lane
    }

    fn status(&mut self) -> Value {
        self.admin.ask(get("/api/v1/status")).json()
    }

    /// Asks until the gateway holds back by itself what it should.
    fn stop_by_itself(&mut self) {
        for path in ["/broken", "/automatic"] {
            wait_for(path, || self.is_killed(&get(path)));
        }
    }

    /// At most four requests of each kind that are killed, of those that are.
    fn find_killed(&mut self) -> Vec<String> {
        let kinds = [
            ("POST /v1/reports", "", 2),
            ("GET /v1/leaderboard/week", "", 2),
            ("POST /v1/matches", "x-client-version: 1.0.3\r\n", 2),
            ("GET /v1/presence", "", 2),
            ("POST /v1/stats/p?beta=1", "", 1),
            ("POST /v1/stats/p", "", 2),
            // By its breaker, which answers 503.
            ("GET /tripped", "", 1),
            ("GET /other", "", 1),
            ("GET /broken", "", 1),
            ("GET /automatic", "", 1),
        ];
        let mut killed = Vec::new();
        for (line, headers, wanted) in kinds {
            let requests = (1..=40).map(|n| {
                format!(
                    "{line} HTTP/1.1\r\nhost: t\r\nx-forwarded-for: 198.51.100.{n}\r\n\
                     content-length: 0\r\n{headers}\r\n"
                )
            });
            let taken = requests.filter(|request| self.is_killed(request));
            let mut taken: Vec<String> = taken.collect();
            taken.truncate(wanted);
            assert_eq!(taken.len(), wanted, "{line}");
            killed.append(&mut taken);
        }
        killed
    }

    /// Nothing listens upstream: what passes is answered 502.
    fn is_killed(&mut self, request: &str) -> bool {
        let response = self.client.ask(request);
        assert_ne!(response.status, 404, "the structure is gone: {request}");
        response.status != 502
    }

    fn restored(&mut self, counts: &Counts) -> Vec<String> {
        let requests = self.killed.clone();
        counts.requests.fetch_add(requests.len(), Relaxed);
        let passes = |request: &String| !self.is_killed(request);
        requests.into_iter().filter(passes).collect()
    }

    /// Writes in place; returns once the file was read.
    fn write(&mut self, name: &str, text: &[u8]) {
        let path = self.gateway.directory().join(name);
        std::fs::write(path, text).expect("written");
    }

    /// Writes the switches in place; returns once they were read and acted on.
    fn write_switches(&mut self, text: &[u8]) -> Value {
        // The digest of bytes that are no UTF-8 is not that of any text.
        let expected = std::str::from_utf8(text)
            .ok()
            .map(|text| seawall::config::SourceFile::new("switches.toml", text).digest);
        let before = match expected {
            Some(_) => Value::Null,
            None => digest(&self.status()),
        };
        self.write("switches.toml", text);
        let mut status = Value::Null;
        wait_for("the switches to be read", || {
            status = self.status();
            match expected {
                Some(expected) => digest(&status) == format!("{expected:016x}"),
                None => digest(&status) != before,
            }
        });
        status
    }

    fn next_status(&mut self) -> u16 {
        self.turn += 1;
        410 + self.turn % 80
    }

    /// The good switches, under a mark of their own; waits until they are all that holds.
    fn write_good(&mut self, counts: &Counts) -> Value {
        let good = marked(switches().as_bytes(), 400).expect("a mark");
        let mut status = self.write_switches(&good);
        assert_eq!(digest(&status), self.good.0);
        let holds = |status: &Value| {
            let breakers = status["breakers"].as_array().expect("a list");
            let held = breakers.iter().any(|breaker| breaker["held"] == true);
            !held && status["switches_file"]["held"] == Value::Array(Vec::new())
        };
        if !holds(&status) {
            counts.settled.fetch_add(1, Relaxed);
            wait_for("the good file to be all that holds", || {
                status = self.status();
                holds(&status)
            });
        }
        assert_eq!(status["switch_errors"], Value::Array(Vec::new()));
        status
    }

    /// Whether everything thrown stays thrown under these switches, and the mark is taken.
    fn judge_switches(&mut self, damaged: &[u8], counts: &Counts) {
        counts.files.fetch_add(1, Relaxed);
        for _ in 0..5 {
            let mark = self.next_status();
            let with_mark = marked(damaged, mark);
            let text = with_mark.as_deref().unwrap_or(damaged);
            let start = now();
            self.write_switches(text);
            let restored = self.restored(counts);
            let in_time = start.elapsed() < SAFE;
            if with_mark.is_some() {
                counts.marks.fetch_add(1, Relaxed);
                assert_eq!(
                    self.client.ask(get("/mark")).status,
                    mark,
                    "{}",
                    shown(text)
                );
            }
            let _ = self.write_good(counts);
            if restored.is_empty() {
                return;
            }
            assert!(!in_time, "{restored:?} restored by:\n{}", shown(text));
            // The machine stood still for a second: the file may have meant what it said.
            counts.again.fetch_add(1, Relaxed);
            self.stop_by_itself();
        }
        panic!("no attempt was fast enough to say anything");
    }

    fn judge_structure(&mut self, damaged: &[u8], counts: &Counts) {
        self.judge_file(("seawall.toml", &structure()), damaged, counts);
    }

    fn judge_routes(&mut self, damaged: &[u8], counts: &Counts) {
        self.judge_file((ROUTES, BY_ITSELF), damaged, counts);
    }

    /// The same under this file of the structure. A look that has read switches written later has
    /// decided on the structure, too.
    fn judge_file(&mut self, (name, whole): (&str, &str), damaged: &[u8], counts: &Counts) {
        counts.files.fetch_add(1, Relaxed);
        for _ in 0..5 {
            let mark = self.next_status();
            let good = marked(switches().as_bytes(), mark).expect("a mark");
            let start = now();
            self.write(name, damaged);
            self.write_switches(&good);
            let restored = self.restored(counts);
            let in_time = start.elapsed() < SAFE;
            counts.marks.fetch_add(1, Relaxed);
            assert_eq!(
                self.client.ask(get("/mark")).status,
                mark,
                "{}",
                shown(damaged)
            );
            self.write(name, whole.as_bytes());
            let mut status = self.write_good(counts);
            let good = |status: &Value, hash: &Value| {
                status["config_hash"] == *hash
                    && status["last_reload"]["errors"] == Value::Array(Vec::new())
            };
            wait_for("the good structure to hold", || {
                let holds = good(&status, &self.good.1);
                if !holds {
                    status = self.status();
                }
                holds
            });
            if restored.is_empty() {
                return;
            }
            assert!(!in_time, "{restored:?} restored by:\n{}", shown(damaged));
            counts.again.fetch_add(1, Relaxed);
            self.stop_by_itself();
        }
        panic!("no attempt was fast enough to say anything");
    }
}

fn digest(status: &Value) -> Value {
    status["switches_file"]["digest"].clone()
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Splits the files between gateways.
fn judge(what: &str, files: &[Vec<u8>], judge: fn(&mut Lane, &[u8], &Counts)) {
    let counts = Counts::default();
    let next = AtomicUsize::new(0);
    let start = now();
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let mut lane = Lane::start();
                while let Some(file) = files.get(next.fetch_add(1, Relaxed)) {
                    judge(&mut lane, file, &counts);
                }
                assert_eq!(lane.restored(&counts), Vec::<String>::new());
                let heartbeat =
                    "PUT /v1/presence/p HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n";
                assert!(!lane.is_killed(heartbeat), "the exempt route");
            });
        }
    });
    let read = |count: &AtomicUsize| count.load(Relaxed);
    assert_eq!(read(&counts.files), files.len());
    println!(
        "{what}: {} files, {} killed requests, 0 restored; {} marks taken; {} good files waited \
         for their second; {} tried again; {:.0} s",
        read(&counts.files),
        read(&counts.requests),
        read(&counts.marks),
        read(&counts.settled),
        read(&counts.again),
        start.elapsed().as_secs_f64()
    );
}

fn truncations(text: &str) -> Vec<Vec<u8>> {
    (0..text.len())
        .map(|end| text.as_bytes()[..end].to_vec())
        .collect()
}

/// A small generator, seeded, so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % sides
    }
}

fn corruptions(text: &str) -> Vec<Vec<u8>> {
    let each = (0..).map(|seed| corrupted(text, &mut Dice(0x5ea_3a11 + seed * 7919)));
    let broken = each.filter(|bytes| bytes != text.as_bytes());
    broken.take(CORRUPTIONS).collect()
}

fn corrupted(text: &str, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len());
        match dice.roll(5) {
            0 => bytes[at] = u8::try_from(dice.roll(256)).unwrap_or(0),
            1 => bytes[at] ^= 1 << dice.roll(8),
            2 => {
                bytes.remove(at);
            }
            3 => {
                let end = (at + dice.roll(20)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + dice.roll(60)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = dice.roll(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

#[test]
fn a_broken_file_can_throw_never_restore_every_truncation_of_the_switches() {
    judge(
        "truncated switches",
        &truncations(&switches()),
        Lane::judge_switches,
    );
}

#[test]
fn a_broken_file_can_throw_never_restore_corrupted_switches() {
    judge(
        "corrupted switches",
        &corruptions(&switches()),
        Lane::judge_switches,
    );
}

#[test]
fn a_broken_file_can_throw_never_restore_every_truncation_of_the_structure() {
    judge(
        "truncated structure",
        &truncations(&structure()),
        Lane::judge_structure,
    );
}

#[test]
fn a_broken_file_can_throw_never_restore_corrupted_structure() {
    judge(
        "corrupted structure",
        &corruptions(&structure()),
        Lane::judge_structure,
    );
}

#[test]
fn a_broken_file_can_throw_never_restore_damaged_routes() {
    let mut files = truncations(BY_ITSELF);
    files.extend(corruptions(BY_ITSELF).into_iter().take(300));
    judge("damaged routes", &files, Lane::judge_routes);
}
