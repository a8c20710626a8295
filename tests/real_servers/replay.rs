//! A replay to a real nginx that starts to refuse half-way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::nginx::Nginx;
use crate::process::PATIENCE;
use crate::support::replay::{Scratch, id, record};

const RECORDS: usize = 2000;

/// nginx with a log of the records that it was sent, and how it answered each.
struct Target {
    scratch: tempfile::TempDir,
    nginx: Nginx,
    base: String,
}

impl Target {
    fn start() -> Option<Target> {
        if !crate::asked_for() {
            return None;
        }
        let scratch = tempfile::TempDir::with_prefix("seawall-real-").expect("a directory");
        let nginx = Nginx::start(scratch.path());
        let base = fs::read_to_string(scratch.path().join("nginx.conf")).expect("its file");
        Some(Target {
            scratch,
            nginx,
            base,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Answers records so from now on, once the new workers have taken over.
    fn answer(&self, location: &str, version: &str) {
        let log = self.path("replay.log");
        let http = "access_log off;\n\
                    log_format replay '$status $http_x_seawall_replay';\n\
                    limit_req_zone $server_addr zone=all:1m rate=100r/s;\n";
        let server = format!(
            "location = /version {{ return 200 {version}; }}\n\
             location /replayed/ {{ access_log {} replay; {location} }}\n\
             location = /accepted ",
            log.display()
        );
        let text = self.base.replace("access_log off;", http);
        let text = text.replace("location = /accepted ", &server);
        fs::write(self.path("nginx.conf"), text).expect("written");
        self.nginx.reload();
        let start = Instant::now();
        loop {
            let answer = crate::Client::connect(self.nginx.address)
                .and_then(|mut client| client.get("/version"));
            if answer.is_ok_and(|answer| answer.body == version.as_bytes()) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "nginx does not reload");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// How often each record was answered with that status.
    fn answered(&self, status: &str) -> BTreeMap<String, usize> {
        let mut records = BTreeMap::new();
        for line in read(&self.path("replay.log")).lines() {
            if let Some(id) = line.strip_prefix(status) {
                *records.entry(id.trim().to_owned()).or_default() += 1;
            }
        }
        records
    }

    fn url(&self) -> String {
        format!("http://{}/replayed", self.nginx.address)
    }

    fn wait_answered(&self, status: &str, records: usize) {
        let start = Instant::now();
        while self.answered(status).len() < records {
            assert!(start.elapsed() < PATIENCE, "too few records came");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails unless each record was accepted, and once.
    fn assert_each_once(&self) {
        let accepted = self.answered("200");
        let missing = (0..RECORDS)
            .filter(|n| !accepted.contains_key(&id(*n)))
            .count();
        assert_eq!((missing, accepted.len()), (0, RECORDS));
        assert!(accepted.values().all(|times| *times == 1));
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn nginx_refuses_half_way_and_comes_back_and_no_record_is_lost() {
    let Some(target) = Target::start() else {
        return;
    };
    target.answer("return 200 ok;", "1");
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..RECORDS).map(record));
    let url = target.url();
    let replay = scratch.start(&["--from", &from, "--to", &url, "--rate", "400/s", "--json"]);
    target.wait_answered("200", RECORDS / 2);
    target.answer("return 503;", "2");
    target.wait_answered("503", 3);
    target.answer("return 200 ok;", "3");
    let done = replay.end();
    assert_eq!(done.code, Some(0), "{done:?}");
    done.assert_adds_up();
    assert_eq!(done.total("accepted") as usize, RECORDS);
    let refused: usize = target.answered("503").values().sum();
    println!(
        "{refused} answers of 503; {} retries",
        done.total("retries")
    );
    assert!(refused > 0);
    target.assert_each_once();
}

#[test]
fn nginx_that_limits_the_rate_gets_each_record_once() {
    let Some(target) = Target::start() else {
        return;
    };
    let address = target.nginx.address;
    let limit = format!(
        "limit_req zone=all burst=5 nodelay; rewrite ^ /accepted break; proxy_pass http://{address};"
    );
    target.answer(&limit, "1");
    let scratch = Scratch::new();
    let from = scratch.records("records.ndjson", (0..RECORDS).map(record));
    let url = target.url();
    let done = scratch.replay(&["--from", &from, "--to", &url, "--rate", "300/s", "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    done.assert_adds_up();
    let refused: usize = target.answered("503").values().sum();
    println!("{refused} answers of 503; {} s", done.json()["seconds"]);
    assert!(refused > 0, "nothing was limited");
    assert_eq!(done.total("retries") as usize, refused);
    target.assert_each_once();
}
