//! The gateway binary in front of nginx.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::client::Client;
use crate::process::Process;

/// The gateway, sending everything to nginx.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    pub(crate) fn start(scratch: &Path, upstream: SocketAddr) -> Gateway {
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

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address).expect("the gateway accepts")
    }
}
