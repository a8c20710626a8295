//! 1,000 clients that each send 1 MiB to a route in mode `archive` at once: what the gateway
//! holds in memory beyond what it held before.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::LocalSet;

use crate::Finding;
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::swarm::post;
use crate::upstream::Upstream;

const CLIENTS: usize = 1000;
const PAYLOAD: usize = 1 << 20;
const MIB: u64 = 1 << 20;
/// `archive.max_buffer`, its default.
const MAX_BUFFER: u64 = 64 * MIB;
/// What may come on top: the buffers of 1,000 connections at 72 KiB, a batch on its way to the
/// disk, and what the allocator keeps.
const CONSTANT: u64 = 96 * MIB;

/// How clients send.
#[derive(Clone, Copy)]
enum Pace {
    /// As fast as the gateway reads.
    AtOnce,
    /// Half, and the rest once all have sent half.
    Halves,
}

/// Sends in both ways, to a gateway of its own each.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    Ok(vec![
        one(binary, "as fast as it reads", Pace::AtOnce)?,
        one(binary, "in two halves", Pace::Halves)?,
    ])
}

fn one(binary: &Path, how: &str, pace: Pace) -> io::Result<Finding> {
    let upstream = Upstream::start_anywhere()?;
    let mut structure = Structure::new(upstream.address, 4);
    structure.durability = Some("fsync");
    let layout = Layout::create(&structure)?;
    layout.write_switches("kept = \"archive\"")?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    let before = gateway.peak_memory()?;
    let answers = all(gateway.clients, pace)?;
    let (peak, after) = (gateway.peak_memory()?, gateway.memory()?);
    let grown = peak.saturating_sub(before);
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let figure = format!(
        "{:.1} MiB at the peak, {:.1} MiB afterwards, {:.1} MiB before; {} kept, {} refused, {} cut",
        mib(peak),
        mib(after),
        mib(before),
        answers.kept,
        answers.refused,
        answers.cut
    );
    let what = format!(
        "{CLIENTS} clients send 1 MiB each, {how} (bar: max_buffer of {} MiB + {} MiB)",
        MAX_BUFFER / MIB,
        CONSTANT / MIB
    );
    let met = grown <= MAX_BUFFER + CONSTANT && answers.kept > 0;
    Ok(Finding::new(what, figure, met))
}

#[derive(Default)]
struct Answers {
    kept: usize,
    refused: usize,
    /// Refused while they were sending.
    cut: usize,
}

fn all(address: SocketAddr, pace: Pace) -> io::Result<Answers> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().build()?;
    let message: Arc<[u8]> = post("/kept/x", PAYLOAD).into();
    let together = Arc::new(Barrier::new(CLIENTS));
    LocalSet::new().block_on(&runtime, async move {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let one = client(address, Arc::clone(&message), (pace, Arc::clone(&together)));
                tokio::task::spawn_local(one)
            })
            .collect();
        let mut answers = Answers::default();
        for client in clients {
            match client.await.map_err(io::Error::other)? {
                Ok(200) => answers.kept += 1,
                Ok(_) => answers.refused += 1,
                Err(_) => answers.cut += 1,
            }
        }
        Ok(answers)
    })
}

/// The status of the answer.
async fn client(
    address: SocketAddr,
    message: Arc<[u8]>,
    (pace, together): (Pace, Arc<Barrier>),
) -> io::Result<u16> {
    let connected = TcpStream::connect(address).await;
    together.wait().await;
    let mut stream = connected?;
    let first = match pace {
        Pace::AtOnce => message.len(),
        Pace::Halves => message.len() / 2,
    };
    // Who is refused need not send the rest.
    let mut sent = stream.write_all(&message[..first]).await;
    match pace {
        Pace::AtOnce => {}
        Pace::Halves => {
            together.wait().await;
            if sent.is_ok() {
                sent = stream.write_all(&message[first..]).await;
            }
        }
    }
    let mut head = [0; 12];
    let read = stream.read_exact(&mut head).await;
    sent.or(read.map(drop))?;
    let status = std::str::from_utf8(&head[9..12]).ok();
    let status = status.and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
