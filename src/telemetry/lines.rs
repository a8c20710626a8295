//! A writer thread behind a bounded queue: whoever logs never waits for a disk or a terminal.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tracing_subscriber::fmt::MakeWriter;

/// Lines waiting for the writer; beyond it they are dropped and counted.
const QUEUE_LINES: usize = 16_384;

/// Where lines are put. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LineSink {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl LineSink {
    /// Queues one line, its newline included. Never blocks; a full queue drops the line.
    pub fn put(&self, line: Vec<u8>) {
        if self.queue.try_send(line).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// The writer thread. Dropping it, after every sink, writes what is queued.
#[derive(Debug)]
pub struct LineWriter {
    sink: Option<LineSink>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LineWriter {
    /// Starts a thread that writes lines to `out`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(name: &str, out: impl Write + Send + 'static) -> std::io::Result<LineWriter> {
        let (queue, lines) = sync_channel(QUEUE_LINES);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write_lines(&lines, out))?;
        let dropped = Arc::new(AtomicU64::new(0));
        Ok(LineWriter {
            sink: Some(LineSink { queue, dropped }),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// A sink into this writer.
    pub fn sink(&self) -> Option<LineSink> {
        self.sink.clone()
    }

    /// Writes what is queued, by asking the thread to end.
    pub fn finish(&mut self) {
        if let Some(sink) = self.sink.take() {
            // An empty line is the end mark: sinks may outlive the writer.
            let _ = sink.queue.send(Vec::new());
        }
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.finish();
    }
}

fn write_lines(lines: &Receiver<Vec<u8>>, mut out: impl Write) {
    while let Ok(line) = lines.recv() {
        if line.is_empty() {
            break;
        }
        // A closed pipe must not end the gateway: lines go nowhere until it is restarted.
        let _ = out.write_all(&line);
        let _ = out.flush();
    }
}

/// Collects one event of the subscriber and queues it whole.
#[derive(Debug)]
pub struct EventBuffer {
    line: Vec<u8>,
    sink: LineSink,
}

impl Write for EventBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for EventBuffer {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.sink.put(std::mem::take(&mut self.line));
        }
    }
}

impl<'a> MakeWriter<'a> for LineSink {
    type Writer = EventBuffer;

    fn make_writer(&'a self) -> EventBuffer {
        EventBuffer {
            line: Vec::with_capacity(256),
            sink: self.clone(),
        }
    }
}
