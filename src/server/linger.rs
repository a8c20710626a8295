//! The end of a connection: what is left to say, then a close that does not destroy it.
//!
//! Closing a socket with unread bytes sends a reset, which can overtake an answer on its way
//! and erase it. So after an answer that came before the end of a request, reading goes on for
//! a while (as nginx's `lingering_close`).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest time that a connection lingers.
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes read meanwhile.
const LINGER_BYTES: usize = 4 << 20;

/// Writes `last`, shuts down, and reads what the client still sends, within bounds.
pub(super) async fn linger(mut stream: TcpStream, last: &[u8]) {
    let say_and_hear = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        let mut scratch = vec![0; 16 * 1024];
        let mut heard = 0;
        while heard < LINGER_BYTES {
            match stream.read(&mut scratch).await? {
                0 => break,
                n => heard += n,
            }
        }
        std::io::Result::Ok(())
    };
    // A client that is gone, or never ends, is given up either way.
    let _ = tokio::time::timeout(LINGER, say_and_hear).await;
}

/// Shuts down without waiting for the client.
pub(super) async fn close(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
}
