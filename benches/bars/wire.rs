//! As much of HTTP/1.1 as the measurements need, for both ends of a connection.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;

/// A message head: its first line and how its body is framed.
pub(crate) struct Head {
    /// Request line or status line.
    pub(crate) first: String,
    /// `Content-Length`.
    pub(crate) length: usize,
    /// `Transfer-Encoding: chunked`.
    pub(crate) chunked: bool,
    /// `Connection: close`.
    pub(crate) closes: bool,
}

/// Reads a head; `None` when the connection ended before its first byte.
pub(crate) fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Head>> {
    let Some(first) = read_line(stream)? else {
        return Ok(None);
    };
    let mut head = Head {
        first,
        length: 0,
        chunked: false,
        closes: false,
    };
    loop {
        let line = read_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(Some(head));
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(io::Error::other(format!("not a header: {line:?}")));
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = value.parse().map_err(io::Error::other)?,
            "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => head.closes = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

/// Reads the body that the head announces.
pub(crate) fn read_body(stream: &mut BufReader<TcpStream>, head: &Head) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if !head.chunked {
        body.resize(head.length, 0);
        stream.read_exact(&mut body)?;
        return Ok(body);
    }
    loop {
        let line = read_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        let end = read_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !end.is_empty() {
            return Err(io::Error::other("a chunk without its end"));
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    match line.strip_suffix("\r\n") {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
