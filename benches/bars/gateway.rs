//! The gateway as a process: started, listened to, signalled.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Client;

/// Longest wait for a log line.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line of the gateway's log and when it was read.
#[derive(Clone)]
struct Line {
    at: Instant,
    fields: Value,
}

impl Line {
    /// A field, wherever the log's layout puts it.
    fn get(&self, name: &str) -> Option<&Value> {
        let nested = || self.fields.get("fields").and_then(|inner| inner.get(name));
        self.fields.get(name).or_else(nested)
    }

    fn says(&self, message: &str) -> bool {
        self.get("message").and_then(Value::as_str) == Some(message)
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    child: Child,
    lines: Arc<Mutex<Vec<Line>>>,
    /// Reads the log; finished once the process has ended.
    collector: Option<JoinHandle<()>>,
    /// Where clients connect.
    pub(crate) clients: SocketAddr,
    /// The admin listener.
    pub(crate) admin: SocketAddr,
    /// From the start of the process to the line that says it is ready.
    pub(crate) ready_after: Duration,
}

impl Gateway {
    /// Starts the gateway on a configuration and waits until it is ready.
    pub(crate) fn start(binary: &Path, config: &Path) -> io::Result<Gateway> {
        let started = Instant::now();
        let mut child = Command::new(binary)
            .arg("--config")
            .arg(config)
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}", binary.display())))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let collector = child.stderr.take().map(|stderr| {
            let lines = Arc::clone(&lines);
            thread::spawn(move || collect(BufReader::new(stderr), &lines))
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Gateway {
            child,
            lines,
            collector,
            clients: nowhere,
            admin: nowhere,
            ready_after: Duration::ZERO,
        };
        let ready = gateway.wait_for(|line| line.says("ready"))?;
        gateway.ready_after = ready.at.duration_since(started);
        gateway.clients = gateway.listener("client")?;
        gateway.admin = gateway.listener("admin")?;
        Ok(gateway)
    }

    /// A new connection of a client.
    pub(crate) fn connect(&self) -> io::Result<Client> {
        Client::connect(self.clients)
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        let command = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("`{command}` failed")))
        }
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// The fields of the first log line with that message; waits for it.
    pub(crate) fn line(&self, message: &str) -> io::Result<Value> {
        let line = self.wait_for(|line| line.says(message))?;
        Ok(line.fields.get("fields").unwrap_or(&line.fields).clone())
    }

    /// Keeps all its threads on the first CPU.
    pub(crate) fn pin(&self) -> io::Result<()> {
        let id = self.child.id().to_string();
        let mut taskset = Command::new("taskset");
        let output = taskset.args(["-a", "-c", "-p", "0", &id]).output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )),
        }
    }

    /// User and system time of all its threads, as the kernel counts them: in 10 ms.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = text.rsplit(')').next().unwrap_or_default();
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(10 * ticks))
    }

    /// Bytes of memory that it holds now.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        self.memory_line("VmRSS:")
    }

    /// Most bytes of memory that it has held.
    pub(crate) fn peak_memory(&self) -> io::Result<u64> {
        self.memory_line("VmHWM:")
    }

    fn memory_line(&self, name: &str) -> io::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.map(|kib| 1024 * kib)
            .ok_or_else(|| io::Error::other("no memory in /proc"))
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait_for_end(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("the gateway did not end in time"))
    }

    /// Milliseconds that the gateway says it took to apply a configuration since then.
    pub(crate) fn applied_in_ms(&self, since: Instant) -> Option<f64> {
        let lines = self.lines();
        let mut found = lines.iter().filter(|line| line.at >= since);
        found
            .find(|line| line.says("configuration applied"))
            .and_then(|line| line.get("duration_ms").and_then(Value::as_f64))
    }

    /// The sum of a metric's series whose labels hold `label`; 0 when there is none.
    pub(crate) fn metric(&self, name: &str, label: &str) -> io::Result<f64> {
        let answer = Client::connect(self.admin)?.get("/metrics")?;
        let text = String::from_utf8_lossy(&answer.body);
        Ok(text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(label))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    fn listener(&self, which: &str) -> io::Result<SocketAddr> {
        let line = self.wait_for(|line| {
            let name = line.get("listener").and_then(Value::as_str);
            line.says("listening") && name == Some(which)
        })?;
        line.get("address")
            .and_then(Value::as_str)
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| io::Error::other("a listener without an address"))
    }

    fn wait_for(&self, wanted: impl Fn(&Line) -> bool) -> io::Result<Line> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            // Asked first: a line that came with the end is still found.
            let ended = self.collector.as_ref().is_none_or(JoinHandle::is_finished);
            if let Some(line) = self.lines().iter().find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            if ended {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let lines = self.lines();
        let tail: Vec<String> = lines
            .iter()
            .rev()
            .take(5)
            .map(|line| line.fields.to_string())
            .collect();
        Err(io::Error::other(format!(
            "the gateway did not start or ended early; its last lines: {}",
            tail.join(" ")
        )))
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Keeps every line of the log until it ends; one that is no JSON is kept as text.
fn collect(log: impl BufRead, lines: &Mutex<Vec<Line>>) {
    for text in log.lines().map_while(Result::ok) {
        let at = Instant::now();
        let fields = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(Line { at, fields });
    }
}
