//! `seawall demo`: the real gateway on the given configuration, with sample services behind it
//! and synthetic clients in front, all in this process and on loopback.

mod clients;
mod picture;
mod services;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::running::{Running, Start};
use crate::config::{self, Settings};
use crate::control::{Amend, StartError};
use crate::server;
use crate::upstream::{EndpointKind, EndpointSpec, UpstreamSpec};

/// Options of `demo`.
#[derive(Args, Debug, Default)]
pub(super) struct DemoArguments {
    /// Stop by itself after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

pub(super) fn run(dir: PathBuf, arguments: &DemoArguments) -> ExitCode {
    match demo(&dir, arguments) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("seawall: {why}");
            ExitCode::FAILURE
        }
    }
}

fn demo(dir: &Path, arguments: &DemoArguments) -> Result<ExitCode, String> {
    let settings = load(dir)?;
    let services = services::start(settings.upstreams.keys()).map_err(|e| e.to_string())?;
    let start = Start {
        dir: dir.to_owned(),
        no_switches: false,
        share_port: false,
        amend: Some(amend(&settings, services)),
        log: Some("warn"),
    };
    let running = Running::start(start)?;
    let gateway = running.addresses[0];
    clients::start(Arc::clone(&running.live), gateway).map_err(|e| e.to_string())?;
    introduce(dir, gateway, running.admin_address);
    let live = Arc::clone(&running.live);
    let length = arguments.seconds.map(Duration::from_secs);
    running.until_drained_beside(async move {
        let show = picture::show(live, std::io::stdout().is_terminal());
        if let Some(length) = length {
            // The end is the same as by Ctrl-C: the drain.
            let _ = tokio::time::timeout(length, show).await;
            let _ = std::process::Command::new("kill")
                .args(["-INT", &std::process::id().to_string()])
                .status();
        } else {
            show.await;
        }
    })
}

fn load(dir: &Path) -> Result<Settings, String> {
    let explain = |problems| StartError::Problems(problems).to_string();
    let files = config::read_structure(dir).map_err(explain)?;
    let loaded = config::load(&files, &*config::process_environment()).map_err(explain)?;
    Ok(loaded.settings)
}

/// Puts the sample services in the place of the configured endpoints, and free ports in the
/// place of configured ones that are taken, at each load.
fn amend(settings: &Settings, services: HashMap<Arc<str>, SocketAddr>) -> Amend {
    let listen: Vec<SocketAddr> = settings.server.listen.iter().map(|a| free(*a)).collect();
    let admin = free(settings.admin.listen);
    let fallback = services.values().next().copied();
    Box::new(move |settings| {
        settings.server.listen.clone_from(&listen);
        settings.server.drain_delay = Duration::ZERO;
        settings.admin.listen = admin;
        settings.admin.probe_listen = None;
        for (name, upstream) in &mut settings.upstreams {
            if let Some(address) = services.get(name).copied().or(fallback) {
                replace_endpoints(upstream, address);
            }
        }
    })
}

fn replace_endpoints(upstream: &mut UpstreamSpec, address: SocketAddr) {
    upstream.endpoints = vec![EndpointSpec {
        kind: EndpointKind::Host,
        text: format!("http://{address}").into(),
        host: address.ip().to_string().into(),
        port: address.port(),
    }];
}

/// The address on loopback, or a free port there when it is taken.
fn free(address: SocketAddr) -> SocketAddr {
    let local = SocketAddr::from(([127, 0, 0, 1], address.port()));
    match server::bind_plain(local, "server.listen") {
        Ok(_) => local,
        Err(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
    }
}

fn introduce(dir: &Path, gateway: SocketAddr, admin: SocketAddr) {
    let switches = dir.join("switches.toml");
    println!("gateway   http://{gateway}");
    println!("metrics   http://{admin}/metrics");
    println!("status    http://{admin}/api/v1/status");
    println!("switches  {}", switches.display());
    println!();
    println!("Edit the last file while this runs: under [kill], add a line such as");
    println!();
    println!("    leaderboard = \"drop\"");
    println!();
    println!("save, and watch the column \"switch\". Remove it to restore. Ctrl-C ends.");
    println!();
}
