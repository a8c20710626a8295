//! A real HAProxy as the upstream.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{PATIENCE, Process, signal};

/// HAProxy with a master process, so that it can be reloaded.
pub(crate) struct Haproxy {
    process: Process,
    pub(crate) address: SocketAddr,
    config: PathBuf,
}

/// What it answers itself; the header tells its connections apart.
const ANSWERS: &str = "http-request return status 200 content-type text/plain \
                       string answered hdr x-peer-port %[src_port]";

impl Haproxy {
    /// One that answers every request with 200 itself.
    pub(crate) fn answering(scratch: &Path, address: SocketAddr) -> Haproxy {
        Haproxy::start(scratch, address, ANSWERS)
    }

    /// One that lets a single request through to a server; others wait 200 ms, then get its 503.
    pub(crate) fn queueing(scratch: &Path, address: SocketAddr, server: SocketAddr) -> Haproxy {
        let lines = format!("timeout queue 200ms\n    server one {server} maxconn 1");
        Haproxy::start(scratch, address, &lines)
    }

    fn start(scratch: &Path, address: SocketAddr, lines: &str) -> Haproxy {
        let config = scratch.join(format!("haproxy-{}.cfg", address.port()));
        let text = format!(
            "global\n    maxconn 500\n\
             defaults\n    mode http\n    timeout connect 2s\n    timeout client 30s\n    \
             timeout server 30s\n    timeout http-keep-alive 30s\n\
             listen service\n    bind {address}\n    {lines}\n"
        );
        fs::write(&config, text).expect("haproxy's configuration");
        let mut haproxy = Haproxy {
            process: Process(spawn(&config)),
            address,
            config,
        };
        haproxy.wait();
        haproxy
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let ended = self.process.0.try_wait().expect("a child");
            assert!(ended.is_none(), "haproxy stopped: {ended:?}");
            if TcpStream::connect(self.address).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("haproxy does not start");
    }

    /// New workers take over, the old ones finish what they have and end.
    pub(crate) fn reload(&self) {
        signal("USR2", &self.process.0);
    }

    /// Ends it at once, whatever it has in flight.
    pub(crate) fn stop(&mut self) {
        signal("TERM", &self.process.0);
        let start = Instant::now();
        while start.elapsed() < PATIENCE && matches!(self.process.0.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        self.process = Process(spawn(&self.config));
        self.wait();
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // Killed alone, the master would leave its workers behind.
        self.stop();
    }
}

fn spawn(config: &Path) -> std::process::Child {
    Command::new("haproxy")
        .args(["-W", "-db", "-q", "-f"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("haproxy is installed: apt-get install haproxy")
}
