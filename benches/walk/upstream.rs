//! An upstream that does nothing: it answers each request at once with the same 200 bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const END: &[u8] = b"\r\n\r\n";
const LENGTH: &[u8] = b"\r\ncontent-length: ";

/// Listens on loopback, in tasks of the runtime that this is called on.
pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 200\r\n\r\n";
    let answer = [head.as_bytes(), &[b'x'; 200]].concat();
    stream.set_nodelay(true).expect("an option");
    let mut buffer = Vec::with_capacity(8 * 1024);
    while let Ok(1..) = stream.read_buf(&mut buffer).await {
        if whole(&buffer) {
            buffer.clear();
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// Whether one request is here to its end. The gateway sends the next one only after the answer.
fn whole(bytes: &[u8]) -> bool {
    let Some(head) = memchr::memmem::find(bytes, END) else {
        return false;
    };
    let length = memchr::memmem::find(&bytes[..head], LENGTH).map_or(0, |at| {
        let digits = bytes[at + LENGTH.len()..].iter();
        digits
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
    });
    bytes.len() >= head + END.len() + length
}
