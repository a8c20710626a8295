//! Synthetic clients: for each route a few requests a second, over keep-alive connections.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeFrom;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::snapshot::{Live, Phase, Route};
use crate::vocab::Tier;

/// Routes that get clients; a demo is to be watched, not to be a load test.
const MOST_ROUTES: usize = 40;
/// Pause of a client whose connection ended.
const RECONNECT: Duration = Duration::from_millis(200);

/// Starts one client for each route of the snapshot that holds now, all on one thread.
pub(super) fn start(live: Arc<Live>, gateway: SocketAddr) -> io::Result<()> {
    let snapshot = live.load();
    let routes = snapshot.table.routes.iter().take(MOST_ROUTES);
    let scripts: Vec<Script> = routes.map(|route| Script::of(route, gateway)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("demo-clients".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                for script in scripts {
                    tokio::spawn(play(script, gateway, Arc::clone(&live)));
                }
                let mut phase = live.watch_phase();
                let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
            });
        })?;
    Ok(())
}

/// Versions of the game's client, as often as they are played: most players have not updated yet.
const VERSIONS: [&str; 10] = [
    "1.4.2", "1.4.2", "1.5.0", "1.4.2", "1.4.1", "1.4.2", "1.5.0", "1.4.2", "1.4.2", "1.5.0",
];

/// The header that tells players apart, as `kill_switch.sticky` of the shipped configuration says.
const PLAYER: &str = "x-player-id";

/// Players of a route that take turns, each always with the same version: enough for shares to be
/// seen, and a multiple of [`VERSIONS`].
const PLAYERS: usize = 100;

fn player(number: usize) -> String {
    format!("p{number}")
}

/// What the players of one route send, one after the other.
struct Script {
    method: Method,
    path: String,
    host: String,
    pause: Duration,
}

impl Script {
    fn of(route: &Route, gateway: SocketAddr) -> Script {
        let matches = &route.spec.matches;
        let method = matches.methods.first().cloned().unwrap_or(Method::GET);
        let host = match &matches.host {
            Some(host) => host.to_string().replace('*', "demo"),
            None => gateway.to_string(),
        };
        let per_second = match route.spec.tier {
            Tier::Core => 40,
            Tier::Standard => 25,
            Tier::Sheddable => 60,
        };
        Script {
            method,
            path: sample_path(matches.path.as_str()),
            host,
            pause: Duration::from_millis(1000 / per_second),
        }
    }

    /// The request of a turn. Each differs from those before, so that none is taken for one that
    /// its client sends again.
    fn request(&self, turn: usize) -> Vec<u8> {
        let (method, path, host) = (&self.method, &self.path, &self.host);
        let number = turn % PLAYERS;
        let version = VERSIONS[number % VERSIONS.len()];
        let (query, body) = match *method {
            Method::POST | Method::PUT | Method::PATCH => (
                String::new(),
                format!(r#"{{"player":"p1","value":{turn}}}"#),
            ),
            _ => (format!("?turn={turn}"), String::new()),
        };
        let request = format!(
            "{method} {path}{query} HTTP/1.1\r\nhost: {host}\r\n{PLAYER}: {}\r\n\
             x-client-version: {version}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            player(number + 1),
            body.len(),
        );
        request.into_bytes()
    }
}

/// A path that the pattern takes.
fn sample_path(pattern: &str) -> String {
    let segments = pattern.split('/').map(|segment| {
        if segment.starts_with("{*") {
            "x"
        } else if segment.starts_with('{') {
            "p1"
        } else {
            segment
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

async fn play(script: Script, gateway: SocketAddr, live: Arc<Live>) {
    let mut turns = 0..;
    while live.phase() == Phase::Serving {
        if let Err(error) = converse((&script, &mut turns), gateway, &live).await {
            tracing::debug!(%error, "a demo client's connection ended");
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn converse(
    (script, turns): (&Script, &mut RangeFrom<usize>),
    gateway: SocketAddr,
    live: &Live,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    let mut ticks = tokio::time::interval(script.pause);
    for turn in turns {
        if live.phase() != Phase::Serving {
            break;
        }
        ticks.tick().await;
        stream.write_all(&script.request(turn)).await?;
        read_answer(&mut stream).await?;
    }
    Ok(())
}

/// Reads one answer whose length its head announces, as the sample services and the gateway do.
async fn read_answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .and_then(|value| value.trim().parse::<usize>().ok())
                .unwrap_or(0);
            let missing = (end + 4 + length).saturating_sub(bytes.len());
            let mut rest = vec![0; missing];
            stream.read_exact(&mut rest).await?;
            return match head.contains("connection: close") {
                true => Err(io::ErrorKind::ConnectionAborted.into()),
                false => Ok(()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_players_are_half_of_the_clients_in_the_shipped_configuration() {
        use crate::policy::share::{Share, Sticky, hash};

        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let files = crate::config::read_structure(&dir).unwrap();
        let environment = crate::config::process_environment();
        let settings = crate::config::load(&files, &*environment).unwrap().settings;
        let by_player = Sticky::Header(PLAYER.parse().unwrap());
        for route in &settings.routes {
            assert_eq!(route.kill_switch.sticky, by_player, "{}", route.name);
        }
        let half = Share::from_percent(50.0).unwrap();
        let taken = (1..=PLAYERS).filter(|n| half.takes(hash(player(*n).as_bytes())));
        let taken = taken.count();
        assert!((40..=60).contains(&taken), "{taken}");
    }

    #[test]
    fn no_request_is_sent_twice() {
        for method in [Method::GET, Method::POST] {
            let script = Script {
                method,
                path: "/x".to_owned(),
                host: "t".to_owned(),
                pause: Duration::ZERO,
            };
            let all: std::collections::HashSet<Vec<u8>> =
                (0..3 * PLAYERS).map(|turn| script.request(turn)).collect();
            assert_eq!(all.len(), 3 * PLAYERS);
        }
    }

    #[test]
    fn a_sample_path_has_no_captures_left() {
        assert_eq!(sample_path("/v1/stats/{player}"), "/v1/stats/p1");
        assert_eq!(sample_path("/assets/{*rest}"), "/assets/x");
        assert_eq!(sample_path("/"), "/");
    }
}
