//! HAProxy and nginx in front of the same service, for comparison.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(5);

/// A running peer; it is ended when this is dropped.
pub(crate) struct Peer {
    child: Child,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    _scratch: TempDir,
}

impl Peer {
    /// HAProxy that lets `most` requests through to the service, and has the others wait for up
    /// to `queue`.
    pub(crate) fn haproxy(service: SocketAddr, most: u32, queue: Duration) -> io::Result<Peer> {
        let config = |address| {
            format!(
                "global\n  nbthread 2\n  maxconn 8000\n\
                 defaults\n  mode http\n  timeout client 30s\n  timeout server 30s\n  \
                 timeout connect 1s\n  timeout queue {}ms\n  http-reuse safe\n\
                 frontend clients\n  bind {address}\n  default_backend service\n\
                 backend service\n  server one {service} maxconn {most}\n",
                queue.as_millis()
            )
        };
        let command = |file: &Path, _: &Path| {
            let mut command = Command::new("haproxy");
            command.args(["-q", "-db", "-f"]).arg(file);
            command
        };
        Peer::start(config, command)
    }

    /// nginx without limits of its own.
    pub(crate) fn nginx(service: SocketAddr) -> io::Result<Peer> {
        let config = |address| {
            format!(
                "worker_processes 2;\ndaemon off;\npid nginx.pid;\n\
                 error_log stderr crit;\nevents {{ worker_connections 9000; }}\n\
                 http {{\n  access_log off;\n  keepalive_requests 100000000;\n  \
                 upstream service {{ server {service}; keepalive 1000; \
                 keepalive_requests 100000000; }}\n  \
                 server {{\n    listen {address} backlog=4096;\n    location / {{\n      \
                 proxy_pass http://service;\n      proxy_http_version 1.1;\n      \
                 proxy_set_header Connection \"\";\n    }}\n  }}\n}}\n"
            )
        };
        let command = |file: &Path, scratch: &Path| {
            let mut command = Command::new("nginx");
            command.args(["-e", "stderr", "-p"]).arg(scratch);
            command.arg("-c").arg(file);
            command
        };
        Peer::start(config, command)
    }

    fn start(
        config: impl Fn(SocketAddr) -> String,
        command: impl Fn(&Path, &Path) -> Command,
    ) -> io::Result<Peer> {
        let scratch = TempDir::with_prefix("seawall-bars-")?;
        // The port may be taken between its choice and the start.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let file = scratch.path().join("peer.conf");
        fs::write(&file, config(address))?;
        let child = command(&file, scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut peer = Peer {
            child,
            address,
            _scratch: scratch,
        };
        let start = Instant::now();
        while start.elapsed() < PATIENCE && peer.child.try_wait()?.is_none() {
            if TcpStream::connect(address).is_ok() {
                return Ok(peer);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other("the peer did not start"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // nginx ends its workers only when it is asked to end.
        let ask = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let start = Instant::now();
        while ask.is_ok() && start.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
