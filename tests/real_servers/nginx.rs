//! A real nginx as the upstream.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{PATIENCE, Process, signal};

/// Content of the static file: no two lines alike, so that a shifted range shows.
pub(crate) fn page() -> Vec<u8> {
    (0..5000)
        .flat_map(|line| format!("line {line}\n").into_bytes())
        .collect()
}

/// nginx: a static file, the same file in chunks, and an upload that is kept.
pub(crate) struct Nginx {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    scratch: PathBuf,
}

impl Nginx {
    pub(crate) fn start(scratch: &Path) -> Nginx {
        fs::create_dir_all(scratch.join("www")).expect("a directory for nginx");
        fs::write(scratch.join("www/page.txt"), page()).expect("the static file");
        fs::write(scratch.join("www/chunked.html"), page()).expect("the file sent in chunks");
        // The port may be taken between its choice and nginx's start, so there are some tries.
        for _ in 0..5 {
            let address = free_address();
            let config = scratch.join("nginx.conf");
            fs::write(&config, nginx_config(scratch, address)).expect("nginx's configuration");
            let mut nginx = Nginx {
                process: Process(spawn(scratch)),
                address,
                scratch: scratch.to_owned(),
            };
            if nginx.comes_up() {
                return nginx;
            }
        }
        panic!("nginx does not start");
    }

    fn comes_up(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && self.runs() {
            if TcpStream::connect(self.address).is_ok() && self.runs() {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Ends it at once, whatever it has in flight.
    pub(crate) fn stop(&mut self) {
        signal("TERM", &self.process.0);
        let start = Instant::now();
        while start.elapsed() < PATIENCE && self.runs() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        self.process = Process(spawn(&self.scratch));
        assert!(self.comes_up(), "nginx does not start again");
    }

    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.process.0.try_wait(), Ok(None))
    }

    /// What `nginx -s reload` does: new workers take over, the old ones finish and end.
    pub(crate) fn reload(&self) {
        signal("HUP", &self.process.0);
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(scratch: &Path) -> Child {
    Command::new("nginx")
        .args(["-e", "stderr", "-p"])
        .arg(scratch)
        .arg("-c")
        .arg(scratch.join("nginx.conf"))
        .stdin(Stdio::null())
        .spawn()
        .expect("nginx is installed: apt-get install nginx")
}

fn nginx_config(scratch: &Path, address: SocketAddr) -> String {
    let dir = scratch.display();
    format!(
        "daemon off;
worker_processes 2;
pid {dir}/nginx.pid;
error_log stderr error;
# Only root may name a user; then the workers can read a directory that is root's alone.
{user}
events {{ worker_connections 512; }}
http {{
    access_log off;
    default_type text/plain;
    types {{ text/html html; }}
    client_max_body_size 4m;
    client_body_temp_path {dir}/bodies;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen {address};
        root {dir}/www;
        # Server-side includes take the length away, so the answer goes out in chunks.
        location = /chunked.html {{ ssi on; }}
        # The body is kept in the file that a header of the answer names.
        location = /upload {{
            client_body_in_file_only on;
            proxy_set_body \"\";
            proxy_pass http://{address}/accepted;
            add_header x-kept-in $request_body_file;
        }}
        location = /accepted {{ return 200 accepted; }}
        # The header tells the connections apart.
        location = /port {{ add_header x-peer-port $remote_port; return 200 one; }}
    }}
}}
",
        user = if is_root() { "user root;" } else { "" },
    )
}

fn is_root() -> bool {
    let told = Command::new("id").arg("-u").output();
    told.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}
