//! HTTP/1.1 as bytes: reading heads and bodies from a socket, without forgiving anything.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Why nothing more came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed in order.
    Eof,
    /// The peer reset the connection.
    Reset,
    /// The connection is open and silent.
    Silent,
    /// What came is not HTTP.
    Malformed,
}

/// A start line and header fields, as received.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The first line.
    pub start: String,
    /// Names and values in order; bytes beyond ASCII are read as Latin-1.
    pub headers: Vec<(String, String)>,
    /// The bytes up to and including the empty line.
    pub raw: Vec<u8>,
}

impl Head {
    fn parse(raw: Vec<u8>) -> Head {
        let text: String = raw.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter(|line| !line.is_empty())
            .map(|line| match line.split_once(':') {
                Some((name, value)) => (name.to_owned(), value.trim_matches(' ').to_owned()),
                None => (line.to_owned(), String::new()),
            })
            .collect();
        Head {
            start,
            headers,
            raw,
        }
    }

    /// The values of every line of that name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of the only line of that name; several are joined as a list.
    pub fn get(&self, name: &str) -> Option<String> {
        let all = self.all(name);
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// Whether there is a line of that name.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// Whether the body is chunked.
    pub fn chunked(&self) -> bool {
        self.get("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    /// The announced length of the body.
    pub fn length(&self) -> Option<usize> {
        self.get("content-length")?.parse().ok()
    }
}

/// A socket with what was read from it and not used yet.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// A socket whose reads and writes each wait no longer than `patience`.
    pub fn new(stream: TcpStream, patience: Duration) -> Wire {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(patience)).expect("timeout");
        stream.set_write_timeout(Some(patience)).expect("timeout");
        Wire {
            stream,
            buffer: Vec::new(),
        }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// One read from the socket into the buffer.
    pub fn fill(&mut self) -> Result<usize, End> {
        let mut block = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut block) {
                Ok(0) => return Err(End::Eof),
                Ok(count) => {
                    self.buffer.extend_from_slice(&block[..count]);
                    return Ok(count);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(End::Silent),
                    _ => return Err(End::Reset),
                },
            }
        }
    }

    /// What was read and not used yet.
    pub fn unused(&self) -> &[u8] {
        &self.buffer
    }

    /// Up to and including the empty line.
    pub fn head(&mut self) -> Result<Head, End> {
        let mut searched: usize = 0;
        loop {
            let from = searched.saturating_sub(3);
            let found = self.buffer[from..]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(position) = found {
                let raw: Vec<u8> = self.buffer.drain(..from + position + 4).collect();
                return Ok(Head::parse(raw));
            }
            searched = self.buffer.len();
            self.fill()?;
        }
    }

    /// Appends `count` bytes to `body`.
    pub fn exactly(&mut self, mut count: usize, body: &mut Vec<u8>) -> Result<(), End> {
        while count > 0 {
            if self.buffer.is_empty() {
                self.fill()?;
            }
            let take = count.min(self.buffer.len());
            body.extend(self.buffer.drain(..take));
            count -= take;
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(position) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..position + 2).collect();
                return Ok(line[..position].iter().map(|b| char::from(*b)).collect());
            }
            self.fill()?;
        }
    }

    /// Appends a chunked body, read strictly, to its last chunk and the end of its trailers.
    pub fn chunks(&mut self, body: &mut Vec<u8>) -> Result<(), End> {
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).map_err(|_| End::Malformed)?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            self.exactly(size, body)?;
            let mut end = Vec::new();
            self.exactly(2, &mut end)?;
            if end != b"\r\n" {
                return Err(End::Malformed);
            }
        }
    }

    /// Appends everything until the connection ends, and says how it did.
    pub fn rest(&mut self, body: &mut Vec<u8>) -> End {
        loop {
            body.append(&mut self.buffer);
            if let Err(end) = self.fill() {
                return end;
            }
        }
    }
}
