//! The gateway in front of a real nginx.
//!
//! Runs when `SEAWALL_REAL_SERVERS=1` is set and says so when it is not: it needs a program
//! that a plain `cargo test` must not ask for. `.ci/run` installs nginx and sets it.

#![allow(
    clippy::disallowed_methods,
    reason = "waits in real time for real processes"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// Content of the static file: no two lines alike, so that a shifted range shows.
fn page() -> Vec<u8> {
    (0..5000)
        .flat_map(|line| format!("line {line}\n").into_bytes())
        .collect()
}

/// A child process, killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx: a static file, the same file in chunks, and an upload that is kept.
struct Nginx {
    process: Process,
    address: SocketAddr,
}

impl Nginx {
    fn start(scratch: &Path) -> Nginx {
        fs::create_dir_all(scratch.join("www")).expect("a directory for nginx");
        fs::write(scratch.join("www/page.txt"), page()).expect("the static file");
        fs::write(scratch.join("www/chunked.html"), page()).expect("the file sent in chunks");
        // The port may be taken between its choice and nginx's start, so there are some tries.
        for _ in 0..5 {
            let address = free_address();
            let config = scratch.join("nginx.conf");
            fs::write(&config, nginx_config(scratch, address)).expect("nginx's configuration");
            let child = Command::new("nginx")
                .args(["-e", "stderr", "-p"])
                .arg(scratch)
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .spawn()
                .expect("nginx is installed: apt-get install nginx");
            let mut nginx = Nginx {
                process: Process(child),
                address,
            };
            let start = Instant::now();
            while start.elapsed() < PATIENCE && nginx.runs() {
                if TcpStream::connect(address).is_ok() && nginx.runs() {
                    return nginx;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("nginx does not start");
    }

    fn runs(&mut self) -> bool {
        matches!(self.process.0.try_wait(), Ok(None))
    }

    /// What `nginx -s reload` does: new workers take over, the old ones finish and end.
    fn reload(&self) {
        signal("HUP", &self.process.0);
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        signal("TERM", &self.process.0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) && self.runs() {
            thread::sleep(Duration::from_millis(20));
        }
    }
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

fn signal(name: &str, child: &Child) {
    let command = format!("kill -{name} {}", child.id());
    let _ = Command::new("sh").args(["-c", &command]).status();
}

/// The gateway, sending everything to nginx.
struct Gateway {
    process: Process,
    address: SocketAddr,
}

impl Gateway {
    fn start(scratch: &Path, upstream: SocketAddr) -> Gateway {
        let config = scratch.join("config");
        fs::create_dir_all(&config).expect("a directory for the gateway");
        let structure = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ndrain_delay = \"0s\"\n\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\n\
             [upstreams.nginx]\nendpoints = [\"http://{upstream}\"]\n\n\
             [routes.everything]\npath = \"/{{*rest}}\"\nupstream = \"nginx\"\ntimeout = \"10s\"\n"
        );
        fs::write(config.join("seawall.toml"), structure).expect("seawall.toml");
        fs::write(config.join("switches.toml"), "[kill]\n").expect("switches.toml");
        let mut child = Command::new(env!("CARGO_BIN_EXE_seawall"))
            .arg("--config")
            .arg(&config)
            .arg("run")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let stderr = child.stderr.take().expect("a piped log");
        let process = Process(child);
        let mut address = None;
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        for line in lines.by_ref() {
            let fields: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            match fields["message"].as_str() {
                Some("listening") if fields["listener"] == "client" => {
                    address = fields["address"]
                        .as_str()
                        .and_then(|text| text.parse().ok());
                }
                Some("ready") => break,
                _ => eprintln!("{line}"),
            }
        }
        // Read on, so that the gateway never waits for its log to be taken.
        thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        Gateway {
            process,
            address: address.expect("the gateway names the address of its clients"),
        }
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("the gateway accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a read timeout");
        Client(BufReader::new(stream))
    }
}

/// An answer as it came.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A client with one keep-alive connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn get(&mut self, path: &str) -> std::io::Result<Answer> {
        self.call("GET", path, "", b"")
    }

    /// `fields` are whole header lines with their ends.
    fn call(
        &mut self,
        method: &str,
        path: &str,
        fields: &str,
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let length = match body.len() {
            0 => String::new(),
            length => format!("content-length: {length}\r\n"),
        };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: real.test\r\n{fields}{length}\r\n");
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut answer = Answer {
            status: status.ok_or_else(|| std::io::Error::other("no status line"))?,
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            answer
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if method != "HEAD" {
            answer.body = self.body(&answer)?;
        }
        Ok(answer)
    }

    fn body(&mut self, answer: &Answer) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if answer.header("transfer-encoding") != Some("chunked") {
            let length = answer
                .header("content-length")
                .and_then(|text| text.parse().ok());
            body.resize(length.unwrap_or(0), 0);
            self.0.read_exact(&mut body)?;
            return Ok(body);
        }
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(std::io::Error::other)?;
            let start = body.len();
            body.resize(start + size, 0);
            self.0.read_exact(&mut body[start..])?;
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(text) => Ok(text.to_owned()),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The gateway and nginx, or `None` when this machine is not asked to run them.
fn pair() -> Option<(TempDir, Nginx, Gateway)> {
    if std::env::var_os("SEAWALL_REAL_SERVERS").is_none_or(|value| value != "1") {
        println!("SKIPPED: set SEAWALL_REAL_SERVERS=1 to run against a real nginx");
        return None;
    }
    let scratch = TempDir::with_prefix("seawall-real-").expect("a scratch directory");
    let nginx = Nginx::start(scratch.path());
    let gateway = Gateway::start(scratch.path(), nginx.address);
    Some((scratch, nginx, gateway))
}

#[test]
fn keep_alive_gets_arrive_whole_on_one_connection() {
    let Some((_scratch, _nginx, gateway)) = pair() else {
        return;
    };
    let mut client = gateway.client();
    for _ in 0..200 {
        let answer = client.get("/page.txt").unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, page());
    }
}

#[test]
fn a_post_of_one_mebibyte_arrives_byte_for_byte() {
    let Some((_scratch, _nginx, gateway)) = pair() else {
        return;
    };
    let payload: Vec<u8> = (0..1_048_576_u32).map(|n| (n * 31 % 251) as u8).collect();
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.call("POST", "/upload", "", &payload).unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"accepted"[..]));
        let kept = answer.header("x-kept-in").unwrap();
        assert!(fs::read(kept).unwrap() == payload, "the upload differs");
    }
}

#[test]
fn a_chunked_answer_arrives_whole() {
    let Some((_scratch, nginx, gateway)) = pair() else {
        return;
    };
    let direct = TcpStream::connect(nginx.address).unwrap();
    let direct = Client(BufReader::new(direct)).get("/chunked.html").unwrap();
    assert_eq!(direct.header("transfer-encoding"), Some("chunked"));
    let mut client = gateway.client();
    for _ in 0..20 {
        let answer = client.get("/chunked.html").unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-length"), None);
        assert_eq!(answer.body, page());
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let Some((_scratch, _nginx, gateway)) = pair() else {
        return;
    };
    let mut client = gateway.client();
    for _ in 0..5 {
        let answer = client.call("HEAD", "/page.txt", "", b"").unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-length"),
            Some(page().len().to_string().as_str())
        );
        // A body would be taken for the next answer's head.
        assert_eq!(client.get("/page.txt").unwrap().body, page());
    }
}

#[test]
fn a_range_passes_through() {
    let Some((_scratch, _nginx, gateway)) = pair() else {
        return;
    };
    let mut client = gateway.client();
    let answer = client
        .call("GET", "/page.txt", "range: bytes=1000-1999\r\n", b"")
        .unwrap();
    assert_eq!(answer.status, 206);
    assert_eq!(answer.body, page()[1000..2000]);
    let range = format!("bytes 1000-1999/{}", page().len());
    assert_eq!(answer.header("content-range"), Some(range.as_str()));
    let beyond = client
        .call("GET", "/page.txt", "range: bytes=9999999-\r\n", b"")
        .unwrap();
    assert_eq!(beyond.status, 416);
}

#[test]
fn nginx_reloads_under_load_without_a_failed_request() {
    let Some((_scratch, nginx, gateway)) = pair() else {
        return;
    };
    let stop = AtomicBool::new(false);
    let (sent, failures) = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| get_until(&stop, gateway.client())))
            .collect();
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(500));
            nginx.reload();
        }
        thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .fold((0, Vec::new()), |(sent, mut all), (more, failures)| {
                all.extend(failures);
                (sent + more, all)
            })
    });
    println!("{sent} requests over 5 reloads of nginx");
    assert!(sent > 100, "only {sent} requests");
    assert!(
        failures.is_empty(),
        "{} of {sent}: {failures:?}",
        failures.len()
    );
}

/// Sends GETs on one connection; gives their number and what failed. A lost connection ends it.
fn get_until(stop: &AtomicBool, mut client: Client) -> (usize, Vec<String>) {
    let expected = page();
    let (mut sent, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        sent += 1;
        match client.get("/page.txt") {
            Ok(answer) if answer.status == 200 && answer.body == expected => {}
            Ok(answer) => failures.push(format!("status {}", answer.status)),
            Err(error) => {
                failures.push(error.to_string());
                break;
            }
        }
    }
    (sent, failures)
}

#[test]
fn the_gateway_ends_cleanly_with_nginx_behind_it() {
    let Some((_scratch, _nginx, mut gateway)) = pair() else {
        return;
    };
    assert_eq!(gateway.client().get("/page.txt").unwrap().status, 200);
    signal("TERM", &gateway.process.0);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = gateway.process.0.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("the gateway still runs");
}
