//! The real binary on a configuration directory of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, Response, ask, get};
use super::config::Config;
use super::metrics::Metrics;
use super::wait::wait_for;

const BINARY: &str = env!("CARGO_BIN_EXE_seawall");

type Log = Arc<Mutex<Vec<String>>>;

/// A running gateway. It is killed when the test ends; of a test that failed the log is printed.
pub struct Gateway {
    child: Child,
    log: Log,
    collector: JoinHandle<()>,
    directory: TempDir,
    config: PathBuf,
    /// Where clients connect.
    pub client: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

impl Gateway {
    /// Starts on this configuration and waits until it is ready.
    pub fn start(config: &Config) -> Gateway {
        Gateway::start_with(config, &[])
    }

    /// The same, with further arguments to `run`.
    pub fn start_with(config: &Config, arguments: &[&str]) -> Gateway {
        let directory = tempfile::tempdir().expect("a directory");
        config.write(directory.path());
        let path = directory.path().to_owned();
        Gateway::start_in(directory, path, arguments)
    }

    /// The same, with these variables in its environment.
    pub fn start_under(config: &Config, environment: &[(String, String)]) -> Gateway {
        let directory = tempfile::tempdir().expect("a directory");
        config.write(directory.path());
        let path = directory.path().to_owned();
        Gateway::launch(
            directory,
            command(&path, "run").envs(environment.to_vec()),
            path,
        )
    }

    /// Starts on a directory that the test has laid out itself, somewhere inside `directory`.
    pub fn start_in(directory: TempDir, config: PathBuf, arguments: &[&str]) -> Gateway {
        Gateway::launch(directory, command(&config, "run").args(arguments), config)
    }

    fn launch(directory: TempDir, command: &mut Command, config: PathBuf) -> Gateway {
        let mut child = command
            // Relative paths of a configuration lead nowhere else.
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = child.stderr.take().expect("a pipe");
        let log = Log::default();
        let lines = Arc::clone(&log);
        let collector = std::thread::spawn(move || collect(stderr, &lines));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Gateway {
            child,
            log,
            collector,
            directory,
            config,
            client: nowhere,
            admin: nowhere,
        };
        gateway.wait_ready();
        gateway.client = gateway.listener("client");
        gateway.admin = gateway.listener("admin");
        gateway
    }

    fn wait_ready(&mut self) {
        wait_for("the gateway to be ready", || {
            let exited = self.child.try_wait().expect("a child");
            assert!(exited.is_none(), "the gateway stopped: {exited:?}");
            !self.events("ready").is_empty()
        });
    }

    /// The first address of a listener, as the log names it.
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.events("listening")
            .iter()
            .find(|event| event["listener"] == name)
            .and_then(|event| event["address"].as_str()?.parse().ok())
            .unwrap_or_else(|| panic!("the log names no listener {name}"))
    }

    /// A new client connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.client)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        ask(self.client, request)
    }

    /// A GET on a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        self.ask(get(target))
    }

    /// A GET at the admin listener.
    pub fn admin(&self, path: &str) -> Response {
        ask(self.admin, get(path))
    }

    /// The metrics now.
    pub fn metrics(&self) -> Metrics {
        let response = self.admin("/metrics");
        assert_eq!(response.status, 200, "/metrics");
        Metrics::parse(&response.text())
    }

    /// The sum of a metric now.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().sum(name, labels)
    }

    /// Waits until the sum of a metric is this. Counters move once an exchange has ended, which
    /// may be after the client has read its answer.
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        wait_for(&format!("{name} {labels:?} = {value}"), || {
            self.metric(name, labels) == value
        });
    }

    /// `/api/v1/status`.
    pub fn status(&self) -> Value {
        self.admin("/api/v1/status").json()
    }

    /// The configuration directory.
    pub fn directory(&self) -> &Path {
        &self.config
    }

    /// Replaces a file as careful editors do: written beside it, then renamed into place.
    pub fn write_file(&self, name: &str, text: impl AsRef<[u8]>) {
        let beside = self.directory.path().join(format!("{name}.new"));
        std::fs::write(&beside, text).expect("written");
        std::fs::rename(&beside, self.config.join(name)).expect("renamed");
    }

    /// Replaces the switches by a rename.
    pub fn write_switches(&self, text: impl AsRef<[u8]>) {
        self.write_file("switches.toml", text);
    }

    /// Overwrites the switches in place, as simple editors do.
    pub fn write_switches_in_place(&self, text: impl AsRef<[u8]>) {
        std::fs::write(self.config.join("switches.toml"), text).expect("written");
    }

    /// Replaces `seawall.toml` by a rename.
    pub fn write_structure(&self, config: &Config) {
        self.write_file("seawall.toml", config.structure());
    }

    /// What was logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("log").clone()
    }

    /// The log lines with this message.
    pub fn events(&self, message: &str) -> Vec<Value> {
        self.log()
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["message"] == message)
            .collect()
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("a shell").success(), "{kill}");
    }

    /// Waits until the process has ended and its log was read to the end; gives its exit code.
    pub fn wait_exit(&mut self) -> Option<i32> {
        let mut code = None;
        wait_for("the gateway to exit", || {
            let status = self.child.try_wait().expect("a child");
            code = status.and_then(|status| status.code());
            status.is_some()
        });
        wait_for("the end of the log", || self.collector.is_finished());
        code
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}", self.log().join("\n"));
        }
    }
}

fn command(config: &Path, name: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(config).arg(name);
    command.stdin(Stdio::null());
    command
}

fn collect(pipe: impl Read, lines: &Log) {
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        lines.lock().expect("log").push(line);
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Exit {
    /// The exit code.
    pub code: Option<i32>,
    /// Both outputs, standard output first.
    pub output: String,
}

/// Runs the binary with these arguments until it ends by itself.
pub fn run_to_exit(arguments: &[&str]) -> Exit {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let readers = [
        std::thread::spawn(move || text(stdout)),
        std::thread::spawn(move || text(stderr)),
    ];
    let mut status = None;
    // Killed before the panic: a gateway that should have stopped must not outlive the test.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for("the command to end", || {
            status = child.try_wait().expect("a child");
            status.is_some()
        });
    }));
    let _ = child.kill();
    let _ = child.wait();
    let output = readers.map(|reader| reader.join().expect("a reader"));
    assert!(ended.is_ok(), "{arguments:?} does not end: {output:?}");
    Exit {
        code: status.and_then(|status| status.code()),
        output: output.concat(),
    }
}

fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
