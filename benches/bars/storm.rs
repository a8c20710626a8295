//! A retry storm: clients that try again at once, an upstream that fails half of the time.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crate::Finding;
use crate::client::Client;
use crate::gateway::Gateway;
use crate::layout::{Layout, Structure};
use crate::wire::{read_body, read_head};

const CLIENTS: usize = 8;
/// How often a client tries again.
const TRIES: u32 = 3;
/// Longer than the budget's window.
const SPAN: Duration = Duration::from_secs(12);
/// What the budget allows, beside its reserve: 20 % of the requests.
const BAR: f64 = 1.2;

/// How the upstream fails.
#[derive(Clone, Copy)]
enum Failing {
    BadGateway,
    Reset,
}

/// What the budget allows besides, so that a route with few requests may retry at all.
#[derive(Clone, Copy)]
enum Reserve {
    None,
    /// The default.
    OneASecond,
}

/// Both ways to fail, each without and with the reserve.
pub(crate) fn measure(binary: &Path) -> io::Result<Vec<Finding>> {
    let ways = [(Failing::BadGateway, "502"), (Failing::Reset, "resets")];
    let mut findings = Vec::new();
    for way in ways {
        for reserve in [Reserve::None, Reserve::OneASecond] {
            findings.push(storm(binary, way, reserve)?);
        }
    }
    Ok(findings)
}

fn storm(binary: &Path, (failing, name): (Failing, &str), reserve: Reserve) -> io::Result<Finding> {
    let upstream = Upstream::start(failing)?;
    let mut structure = Structure::new(upstream.address, 10);
    let budget = match reserve {
        Reserve::None => "retry_budget = { min_per_second = 0 }\n",
        Reserve::OneASecond => "",
    };
    structure.more = format!(
        "[routes.storm]\npath = \"/storm\"\nupstream = \"service\"\n\
         retry = {{ attempts = 4, on = [\"connect\", \"reset\", \"502\"] }}\n{budget}\n"
    );
    let layout = Layout::create(&structure)?;
    let gateway = Gateway::start(binary, &layout.directory())?;
    let tally = Arc::new(Tally::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, tally) = (gateway.clients, Arc::clone(&tally));
            thread::spawn(move || insist(address, &tally))
        })
        .collect();
    thread::sleep(SPAN);
    tally.stop.store(true, Relaxed);
    for client in clients {
        let ended = client.join();
        ended.map_err(|_| io::Error::other("a client panicked"))??;
    }
    let (requests, calls) = (tally.requests.load(Relaxed), tally.calls.load(Relaxed));
    let attempts = upstream.requests.load(Relaxed);
    let retries = gateway.metric("seawall_retries_total", "outcome=\"sent\"")?;
    let rate = requests as f64 / SPAN.as_secs_f64();
    println!(
        "  {name}: {calls} calls made {requests} requests ({rate:.0} a second) and {attempts} attempts, \
         {retries} of them retries of the gateway; {} calls failed in the end",
        tally.failed.load(Relaxed)
    );
    // A second's reserve lasts for the window that it is counted over, too.
    let (given, what) = match reserve {
        Reserve::None => (0.0, "no reserve"),
        Reserve::OneASecond => (SPAN.as_secs_f64() + 10.0, "the default reserve, 1 a second"),
    };
    let (attempts, requests) = (attempts as f64, requests as f64);
    Ok(Finding::new(
        format!(
            "{name}, {what}: attempts for each request (bar: at most 1.2, and the reserve's {given})"
        ),
        format!("{:.4}", attempts / requests),
        requests > 1000.0 && attempts <= BAR * requests + given,
    ))
}

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    /// What clients want.
    calls: AtomicU64,
    /// What they send for it.
    requests: AtomicU64,
    failed: AtomicU64,
}

/// One client: each call is tried up to three times more, at once.
fn insist(address: SocketAddr, tally: &Tally) -> io::Result<()> {
    let mut client = Client::connect(address)?;
    while !tally.stop.load(Relaxed) {
        tally.calls.fetch_add(1, Relaxed);
        let mut served = false;
        for _ in 0..=TRIES {
            tally.requests.fetch_add(1, Relaxed);
            served = client.get("/storm")?.status == 200;
            if served {
                break;
            }
        }
        tally.failed.fetch_add(u64::from(!served), Relaxed);
    }
    Ok(())
}

/// A service in this process that counts what it is asked.
struct Upstream {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Upstream {
    fn start(failing: Failing) -> io::Result<Upstream> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                thread::spawn(move || serve(stream, failing, &count));
            }
        });
        Ok(Upstream { address, requests })
    }
}

fn serve(stream: TcpStream, failing: Failing, count: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream)? {
        read_body(&mut stream, &head)?;
        let number = count.fetch_add(1, Relaxed);
        let answer = match (fails(number), failing) {
            (false, _) => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            (true, Failing::BadGateway) => "HTTP/1.1 502 No\r\ncontent-length: 2\r\n\r\nno",
            (true, Failing::Reset) => return Ok(()),
        };
        stream.get_mut().write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Half of all numbers, without a pattern that a retry could meet.
fn fails(number: u64) -> bool {
    let mixed = (number ^ (number >> 3)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 63 == 1
}
