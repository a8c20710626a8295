//! A control thread over a scratch directory, without a server.
// Each test binary uses its part of it; waiting needs the real clock.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use seawall::control::admin::{Admin, Scope, serve};
use seawall::control::{Control, Options, Status};
use seawall::snapshot::Live;
use seawall::telemetry::GatewayMetrics;
use tempfile::TempDir;

/// Control and both admin listeners, on a thread of their own.
pub struct Gateway {
    pub dir: TempDir,
    config: PathBuf,
    pub live: Arc<Live>,
    pub shared: Arc<Status>,
    pub admin: SocketAddr,
    pub probe: SocketAddr,
}

/// A route that answers by itself.
pub fn route(name: &str, tier: &str) -> String {
    format!(
        "[routes.{name}]\npath = \"/{name}\"\ntier = \"{tier}\"\nowner = \"o\"\n\
         respond = {{ status = 200, body = \"{name}\" }}\n"
    )
}

/// Waits for a condition, for much longer than it may take.
pub fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "waited in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Writes files.
pub trait Write {
    /// Renamed into place.
    fn put(&self, name: &str, text: &str);
}

impl Write for Path {
    fn put(&self, name: &str, text: &str) {
        let temporary = self.join(format!(".{name}.tmp"));
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.join(name)).unwrap();
    }
}

impl Gateway {
    pub fn start(structure: &str, switches: &str) -> Gateway {
        Gateway::prepare(|dir| {
            dir.put("seawall.toml", structure);
            dir.put("switches.toml", switches);
        })
    }

    pub fn prepare(fill: impl FnOnce(&Path)) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().to_owned();
        Gateway::at(dir, &config, fill)
    }

    pub fn at(dir: TempDir, config: &Path, fill: impl FnOnce(&Path)) -> Gateway {
        fill(config);
        let options = Options {
            dir: config.to_owned(),
            no_switches: false,
            environment: Box::new(|_| None),
            amend: None,
        };
        let control = Control::start(options, Arc::new(GatewayMetrics::default()));
        let control = control.unwrap_or_else(|error| panic!("{error}"));
        let (live, shared) = (control.live(), control.status());
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let mut addresses = Vec::new();
                for scope in [Scope::Full, Scope::Probe] {
                    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                    addresses.push(listener.local_addr().unwrap());
                    let admin = Admin {
                        live: control.live(),
                        status: control.status(),
                        dir: control.dir().to_owned(),
                    };
                    tokio::spawn(serve(listener, scope, admin));
                }
                tell.send(addresses).unwrap();
                control.run().await;
            });
        });
        let addresses = told.recv().unwrap();
        let gateway = Gateway {
            dir,
            config: config.to_owned(),
            live,
            shared,
            admin: addresses[0],
            probe: addresses[1],
        };
        // The first sample is taken once the watch is in place.
        let name = gateway.live.load().table.routes[0].spec.name.to_string();
        wait_for("the first look", || {
            gateway.shared.figures.of(&name).is_some()
        });
        gateway
    }

    pub fn write(&self, name: &str, text: &str) {
        self.config.put(name, text);
    }

    pub fn write_in_place(&self, name: &str, text: &str) {
        fs::write(self.config.join(name), text).unwrap();
    }

    pub fn has(&self, route: &str) -> bool {
        let snapshot = self.live.load();
        snapshot.table.routes.iter().any(|r| &*r.spec.name == route)
    }

    /// The mode in which the route is killed.
    pub fn killed(&self, route: &str) -> Option<String> {
        let snapshot = self.live.load();
        let found = snapshot
            .table
            .routes
            .iter()
            .find(|r| &*r.spec.name == route)?;
        mode(&snapshot, found.id).map(str::to_owned)
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::to_value(self.shared.report(&self.live)).unwrap()
    }

    pub fn switch_errors(&self) -> Vec<serde_json::Value> {
        self.status()["switch_errors"].as_array().unwrap().clone()
    }

    /// Whether a key in effect is held although the file does not say so.
    pub fn held(&self, key: &str) -> Option<bool> {
        let status = self.status();
        let switches = status["switches"].as_array().unwrap();
        let in_effect = |switch: &&serde_json::Value| switch["state"] != "restoring";
        let mut switches = switches.iter().filter(in_effect);
        let found = switches.find(|switch| switch["key"] == key)?;
        found["held"].as_bool()
    }
}

/// Sends one request; returns head and body.
pub fn request(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Captured;

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Captures the log lines of this process from here on.
pub fn capture_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(|| Captured)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// The captured lines with this message and key.
pub fn lines_with(message: &str, key: &str) -> Vec<serde_json::Value> {
    let lines = LINES.lock().unwrap().clone();
    let lines = String::from_utf8(lines).unwrap();
    let parsed = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    parsed
        .filter(|line: &serde_json::Value| line["message"] == message && line["key"] == key)
        .collect()
}

/// The mode of the first switch that is thrown for a route; one that ended does not count.
pub fn mode(snapshot: &seawall::snapshot::Snapshot, id: seawall::vocab::RouteId) -> Option<&str> {
    let now = seawall::vocab::Clock::unix();
    let clauses = &snapshot.rules(id)?.clauses;
    let thrown = clauses.iter().find(|clause| clause.is_live(now))?;
    thrown.order.as_ref().map(|order| order.mode.as_str())
}
