//! A tiny name server on loopback: A and SRV records from a table that the test changes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const A: u16 = 1;
const SRV: u16 = 33;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// How it treats questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It answers from its table.
    #[default]
    Answering,
    /// It says that it failed.
    Failing,
    /// It says nothing.
    Silent,
}

#[derive(Clone, Debug)]
enum Record {
    A(Ipv4Addr),
    Srv(u16, u16, String),
}

#[derive(Default)]
struct Table {
    names: BTreeMap<String, Vec<Record>>,
    ttl: u32,
    mood: Mood,
    stopped: bool,
}

/// A running name server; it ends with the test.
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    table: Arc<Mutex<Table>>,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    /// An empty one whose answers hold for no time at all: they are asked for each second.
    pub fn start() -> NameServer {
        NameServer::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn at(address: SocketAddr) -> NameServer {
        let socket = UdpSocket::bind(address).expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("timeout");
        let address = socket.local_addr().expect("an address");
        let table: Arc<Mutex<Table>> = Arc::default();
        let asked: Arc<AtomicUsize> = Arc::default();
        let (shared, count) = (Arc::clone(&table), Arc::clone(&asked));
        std::thread::spawn(move || serve(&socket, &shared, &count));
        NameServer {
            address,
            table,
            asked,
        }
    }

    /// The value of `[server] resolvers`.
    pub fn resolvers(&self) -> String {
        format!("[\"{}\"]", self.address)
    }

    /// From now on the name has these addresses, and no other record.
    pub fn point(&self, name: &str, addresses: &[Ipv4Addr]) {
        let records = addresses.iter().map(|ip| Record::A(*ip)).collect();
        self.put(name, records);
    }

    /// From now on the service has these targets: priority, port, machine.
    pub fn offer(&self, name: &str, targets: &[(u16, u16, &str)]) {
        let record = |(priority, port, machine): &(u16, u16, &str)| {
            Record::Srv(*priority, *port, (*machine).to_owned())
        };
        self.put(name, targets.iter().map(record).collect());
    }

    fn put(&self, name: &str, records: Vec<Record>) {
        let mut table = self.table.lock().expect("table");
        table.names.insert(name.to_ascii_lowercase(), records);
    }

    /// How it treats questions from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.table.lock().expect("table").mood = mood;
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        if let Ok(mut table) = self.table.lock() {
            table.stopped = true;
        }
    }
}

fn serve(socket: &UdpSocket, table: &Mutex<Table>, asked: &AtomicUsize) {
    let mut packet = [0; 1500];
    loop {
        let received = socket.recv_from(&mut packet);
        let table = table.lock().expect("table");
        if table.stopped {
            return;
        }
        let Ok((length, from)) = received else {
            continue;
        };
        asked.fetch_add(1, Ordering::SeqCst);
        if let Some(reply) = reply(&packet[..length], &table) {
            let _ = socket.send_to(&reply, from);
        }
    }
}

/// The answer to one question (RFC 1035, section 4).
fn reply(question: &[u8], table: &Table) -> Option<Vec<u8>> {
    let (name, end) = name_at(question, 12)?;
    let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    let question_end = end + 4;
    let found = table.names.get(&name.to_ascii_lowercase());
    let code = match (table.mood, found) {
        (Mood::Silent, _) => return None,
        (Mood::Failing, _) => SERVFAIL,
        (Mood::Answering, None) => NXDOMAIN,
        (Mood::Answering, Some(_)) => 0,
    };
    let records = found.into_iter().flatten().filter(|record| match record {
        Record::A(_) => kind == A,
        Record::Srv(..) => kind == SRV,
    });
    let records: Vec<&Record> = if code == 0 { records.collect() } else { vec![] };
    let mut reply = question.get(..2)?.to_vec();
    // A response, authoritative; recursion as asked for.
    reply.extend([0x84 | (question[2] & 1), 0x80 | code]);
    reply.extend(1_u16.to_be_bytes());
    reply.extend((records.len() as u16).to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(question.get(12..question_end)?);
    for record in records {
        // The name is that of the question.
        reply.extend([0xc0, 12]);
        let (kind, data) = match record {
            Record::A(ip) => (A, ip.octets().to_vec()),
            Record::Srv(priority, port, machine) => {
                let numbers = [*priority, 0, *port];
                let mut data: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
                data.extend(encoded(machine));
                (SRV, data)
            }
        };
        reply.extend(kind.to_be_bytes());
        reply.extend(1_u16.to_be_bytes());
        reply.extend(table.ttl.to_be_bytes());
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(data);
    }
    Some(reply)
}

/// The name that begins there, and the place after it.
fn name_at(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = packet.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        at += length;
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
