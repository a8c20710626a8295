//! Follows the framing of what a client sends, byte by byte, before hyper sees it.
//!
//! hyper and httparse read some messages leniently: a bare LF as a line end, a Content-Length
//! beside a Transfer-Encoding, an LF after the last chunk, chunk extensions without end. Each is
//! a way to make two servers see different requests in the same bytes. The guard refuses them;
//! it never changes a byte, and hyper's own parse stays the one that counts.
//!
//! Rules, from RFC 9112 sections 2.2, 5.1, 5.2, 6.1, 6.3 and 7.1: every line ends in CRLF; no
//! folded header line; one Content-Length of digits alone, or one Transfer-Encoding of `chunked`
//! alone, never both; no framing, routing or hop-by-hop field among the trailers.

use memchr::memchr;

use crate::vocab::Reason;

/// Longest chunk-size line, extensions included.
const MAX_CHUNK_LINE: usize = 256;
/// Chunks after which the average must be [`MIN_AVERAGE_CHUNK`] bytes: a flood of one-byte
/// chunks costs the sender little and the receiver much.
const MANY_CHUNKS: u64 = 16_384;
const MIN_AVERAGE_CHUNK: u64 = 4;
/// Empty lines allowed before a request line (RFC 9112, 2.2).
const MAX_LEADING_LINES: usize = 8;

/// What the bytes seen so far are in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// The guard of one connection.
#[derive(Debug)]
pub(crate) struct Guard {
    state: State,
    framing: Framing,
    max_head: usize,
    /// Bytes of the head or trailers so far.
    head_bytes: usize,
    /// Lines of the head so far, without leading empty ones.
    lines: usize,
    leading: usize,
    /// The beginning of a line that a read cut in two.
    partial: Vec<u8>,
    chunks: u64,
    chunk_bytes: u64,
    heads: u64,
}

/// Where the bytes stop being acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Bytes of this read that belong to earlier messages, and are good.
    pub(crate) keep: usize,
    /// Why.
    pub(crate) reason: Reason,
    /// Whether the fault lies in a body, whose request is being served.
    pub(crate) in_body: bool,
}

impl Guard {
    pub(crate) fn new(max_head: usize) -> Guard {
        Guard {
            state: State::Head,
            framing: Framing::None,
            max_head,
            head_bytes: 0,
            lines: 0,
            leading: 0,
            partial: Vec::new(),
            chunks: 0,
            chunk_bytes: 0,
            heads: 0,
        }
    }

    /// Whether a request head has begun and not ended. Empty lines before it are no beginning:
    /// some clients end a body with one.
    pub(crate) fn in_head(&self) -> bool {
        self.state == State::Head && (self.lines > 0 || !self.partial.is_empty())
    }

    /// Whether the client is in the middle of a request body.
    pub(crate) fn in_body(&self) -> bool {
        self.state != State::Head
    }

    /// Whole request heads so far.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// Looks at the bytes of one read.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let mut at = 0;
        let mut message_start = 0;
        while at < bytes.len() {
            let was_head = self.state == State::Head;
            if was_head && self.head_bytes == 0 {
                message_start = at;
            }
            let step = match self.state {
                State::Body(left) | State::ChunkData(left) => Ok(self.skip(left, bytes.len() - at)),
                State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    self.line(&bytes[at..])
                }
            };
            match step {
                Ok(used) => at += used,
                Err(reason) => {
                    return Err(Refused {
                        keep: if was_head { message_start } else { at },
                        reason,
                        in_body: !was_head,
                    });
                }
            }
        }
        Ok(())
    }

    fn skip(&mut self, left: u64, available: usize) -> usize {
        let used = left.min(available as u64);
        let rest = left - used;
        self.state = match self.state {
            State::ChunkData(_) if rest == 0 => State::ChunkEnd,
            State::ChunkData(_) => State::ChunkData(rest),
            _ if rest == 0 => self.next_message(),
            _ => State::Body(rest),
        };
        used as usize
    }

    fn next_message(&mut self) -> State {
        self.framing = Framing::None;
        self.head_bytes = 0;
        self.lines = 0;
        self.leading = 0;
        State::Head
    }

    /// Takes bytes up to a line end, or keeps them as the beginning of one.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.account(bytes.len())?;
            self.partial.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        self.account(end + 1)?;
        if self.partial.is_empty() {
            self.whole_line(&bytes[..end])?;
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&bytes[..end]);
            self.whole_line(&line)?;
        }
        Ok(end + 1)
    }

    fn account(&mut self, bytes: usize) -> Result<(), Reason> {
        match self.state {
            State::Head | State::Trailers => {
                self.head_bytes += bytes;
                match self.head_bytes > self.max_head {
                    true => Err(Reason::HeadTooLarge),
                    false => Ok(()),
                }
            }
            State::ChunkSize | State::ChunkEnd | State::Body(_) | State::ChunkData(_) => {
                match self.partial.len() + bytes > MAX_CHUNK_LINE {
                    true => Err(Reason::BadRequest),
                    false => Ok(()),
                }
            }
        }
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), Reason> {
        let line = line.strip_suffix(b"\r").ok_or(Reason::BadRequest)?;
        match self.state {
            State::Head => self.head_line(line),
            State::ChunkSize => self.chunk_size(line),
            State::ChunkEnd => match line {
                b"" => {
                    self.state = State::ChunkSize;
                    Ok(())
                }
                _ => Err(Reason::BadRequest),
            },
            State::Trailers => self.trailer(line),
            State::Body(_) | State::ChunkData(_) => Ok(()),
        }
    }

    fn head_line(&mut self, line: &[u8]) -> Result<(), Reason> {
        if line.is_empty() {
            return self.head_end();
        }
        self.lines += 1;
        // The first is the request line.
        if self.lines == 1 {
            return Ok(());
        }
        match line[0] {
            b' ' | b'\t' => Err(Reason::BadRequest),
            b'c' | b'C' => match field(line, b"content-length") {
                Some(value) => self.content_length(value),
                None => Ok(()),
            },
            b't' | b'T' => match field(line, b"transfer-encoding") {
                Some(value) => self.transfer_encoding(value),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn head_end(&mut self) -> Result<(), Reason> {
        if self.lines == 0 {
            self.leading += 1;
            return match self.leading > MAX_LEADING_LINES {
                true => Err(Reason::BadRequest),
                false => Ok(()),
            };
        }
        self.heads += 1;
        self.state = match self.framing {
            Framing::None | Framing::Length(0) => self.next_message(),
            Framing::Length(length) => State::Body(length),
            Framing::Chunked => {
                self.chunks = 0;
                self.chunk_bytes = 0;
                State::ChunkSize
            }
        };
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Reason> {
        let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
        if !digits || self.framing != Framing::None {
            return Err(Reason::BadRequest);
        }
        let add = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
        self.framing = Framing::Length(value.iter().fold(0, add));
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Reason> {
        if self.framing != Framing::None || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Reason::BadRequest);
        }
        self.framing = Framing::Chunked;
        Ok(())
    }

    fn chunk_size(&mut self, line: &[u8]) -> Result<(), Reason> {
        let end = line
            .iter()
            .position(|byte| !byte.is_ascii_hexdigit())
            .unwrap_or(line.len());
        let rest = line[end..].trim_ascii_start();
        let extension = rest.first().is_none_or(|byte| *byte == b';');
        let control = rest
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t');
        if end == 0 || end > 15 || !extension || control {
            return Err(Reason::BadRequest);
        }
        let hex = |sum: u64, byte: &u8| {
            let digit = (*byte as char).to_digit(16).unwrap_or(0);
            sum * 16 + u64::from(digit)
        };
        let size = line[..end].iter().fold(0, hex);
        self.chunks += 1;
        self.chunk_bytes = self.chunk_bytes.saturating_add(size);
        if self.chunks > MANY_CHUNKS && self.chunk_bytes < self.chunks * MIN_AVERAGE_CHUNK {
            return Err(Reason::BadRequest);
        }
        self.head_bytes = 0;
        self.state = match size {
            0 => State::Trailers,
            size => State::ChunkData(size),
        };
        Ok(())
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), Reason> {
        if line.is_empty() {
            self.state = self.next_message();
            return Ok(());
        }
        let folded = matches!(line[0], b' ' | b'\t');
        let forbidden = FORBIDDEN_TRAILERS
            .iter()
            .any(|name| field(line, name).is_some());
        let ours = line
            .get(..OUR_PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(OUR_PREFIX));
        match folded || forbidden || ours {
            true => Err(Reason::BadRequest),
            false => Ok(()),
        }
    }
}

/// Names that upstreams may believe, because clients cannot send them.
const OUR_PREFIX: &[u8] = b"x-seawall-";

/// Fields that frame, route or authenticate, and those that upstreams believe of a gateway; RFC 9110, 6.5.1 forbids them among trailers.
const FORBIDDEN_TRAILERS: [&[u8]; 22] = [
    b"content-length",
    b"transfer-encoding",
    b"host",
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"upgrade",
    b"te",
    b"trailer",
    b"expect",
    b"authorization",
    b"cookie",
    b"content-type",
    b"content-encoding",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-real-ip",
    b"x-request-id",
    b"forwarded",
    b"via",
    b"set-cookie",
];

/// The value of a header line if it has that name; whitespace before the colon is no way round.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let start = line.get(..name.len())?;
    if !start.eq_ignore_ascii_case(name) {
        return None;
    }
    let rest = line[name.len()..].trim_ascii_start();
    Some(rest.strip_prefix(b":")?.trim_ascii())
}

#[cfg(test)]
mod tests;
