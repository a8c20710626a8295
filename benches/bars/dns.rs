//! The name of an endpoint moves from one machine to another under load, and the old one dies.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::name_server::NameServer;
use crate::traffic::{Traffic, WhenRefused};
use crate::upstream::Upstream;
use crate::{Finding, Times};

const MOVES: usize = 6;
const NAME: &str = "service.test";
const MACHINES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 92, 1), Ipv4Addr::new(127, 0, 92, 2)];
/// Longest wait for an answer to act.
const PATIENCE: Duration = Duration::from_secs(10);
/// From an answer that has acted to the end of the old machine: requests there finish.
const GRACE: Duration = Duration::from_millis(500);

/// Changes the answer several times; each time the machine that left is killed, and comes back
/// before its next turn. Answers hold for no time, so the name is resolved each second.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let names = NameServer::start();
    let port = TcpListener::bind((MACHINES[0], 0))?.local_addr()?.port();
    let at = |turn: usize| SocketAddr::from((MACHINES[turn % 2], port));
    let mut here = Upstream::start(at(0))?;
    names.point(NAME, &[MACHINES[0]]);
    let mut structure = Structure::new(at(0), 10);
    structure.resolvers = Some(names.address);
    let _ = write!(
        structure.more,
        "[upstreams.named]\nendpoints = [\"http://{NAME}:{port}\"]\n\n\
         [routes.named]\npath = \"/named/{{*rest}}\"\nupstream = \"named\"\n\n",
    );
    let layout = Layout::create(&structure)?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    let paths = ["/named/a", "/named/b", "/named/c", "/named/d"];
    let traffic = Traffic::start(gateway.clients, &paths, WhenRefused::Retry);
    let mut acted = Vec::new();
    for turn in 1..=MOVES {
        thread::sleep(Duration::from_secs(1));
        let next = Upstream::start(at(turn))?;
        names.point(NAME, &[MACHINES[turn % 2]]);
        acted.push(until_resolved(&gateway, at(turn), at(turn - 1))?);
        thread::sleep(GRACE);
        here.kill()?;
        here = next;
    }
    thread::sleep(Duration::from_secs(1));
    let tally = traffic.stop();
    println!("  {tally}");
    let acted = Times::new(acted);
    Ok(vec![
        Finding::new(
            format!("failed requests over {MOVES} moves of a name (bar: 0)"),
            format!("{} of {}", tally.failed(), tally.sent()),
            tally.failed() == 0 && tally.good > 0,
        ),
        Finding::new(
            "client connections lost (bar: 0)",
            tally.announced + tally.refused,
            tally.announced + tally.refused == 0,
        ),
        Finding::new(
            "from the new answer to the new address (bar: under 2 s)",
            &acted,
            acted.percentile(100) < Duration::from_secs(2),
        ),
    ])
}

/// Waits until the gateway says that it uses the new address, and no longer the old one.
fn until_resolved(gateway: &Gateway, new: SocketAddr, old: SocketAddr) -> io::Result<Duration> {
    let (new, old) = (
        format!("\"address\":\"{new}\""),
        format!("\"address\":\"{old}\""),
    );
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let status = Client::connect(gateway.admin)?.get("/api/v1/status")?;
        let text = String::from_utf8_lossy(&status.body);
        // The endpoint of the other upstream is the first machine, and stays.
        let rows: Vec<&str> = text.split("{\"upstream\":\"named\"").skip(1).collect();
        let has = |address: &str| {
            rows.iter().any(|row| {
                row.split('}')
                    .next()
                    .is_some_and(|row| row.contains(address))
            })
        };
        if has(&new) && !has(&old) {
            return Ok(start.elapsed());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(io::Error::other(format!(
        "the new answer did not act within {PATIENCE:?}"
    )))
}
