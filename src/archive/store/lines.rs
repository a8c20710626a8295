//! Reads the records of an object, in bounded memory.

use std::io;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::ObjectStoreExt as _;
use zstd::stream::raw::{Decoder, Operation as _};

use super::super::id::Ulid;
use super::super::record::StoredRecord;
use super::super::segment::MAX_PAYLOAD;
use super::error::{Act, StoreError};
use super::name::{Hour, encode};
use super::put::Store;
use super::walk::StoredObject;

/// Bytes decompressed at once.
const CHUNK: usize = 128 * 1024;

/// The records of one object, in the order of their ids. Holds one at a time.
pub struct ObjectLines {
    store: Store,
    path: String,
    body: BoxStream<'static, object_store::Result<Bytes>>,
    compressed: Bytes,
    decoder: Decoder<'static>,
    /// True between frames: there the object may end.
    whole: bool,
    /// Decompressed bytes; those before `start` have been given out, and up to `searched`
    /// there is no line end.
    lines: Vec<u8>,
    start: usize,
    searched: usize,
    ended: bool,
}

/// What a check of an object found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifiedObject {
    /// Its records.
    pub records: u64,
    /// Bytes of them, without compression.
    pub bytes: u64,
    /// The first id.
    pub first: Option<Ulid>,
    /// The last id.
    pub last: Option<Ulid>,
}

impl Store {
    /// Opens an object.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(&self, object: &StoredObject) -> Result<ObjectLines, StoreError> {
        let answer = self.timely(Act::Get, self.client.get(&object.path)).await?;
        let answer = answer.map_err(|source| self.failed(Act::Get, source))?;
        let decoder = Decoder::new().map_err(|source| StoreError::Object {
            path: object.path.to_string(),
            source,
        })?;
        Ok(ObjectLines {
            store: self.clone(),
            path: object.path.to_string(),
            body: answer.into_stream(),
            compressed: Bytes::new(),
            decoder,
            whole: true,
            lines: Vec::new(),
            start: 0,
            searched: 0,
            ended: false,
        })
    }

    /// Reads an object whole: zstd's checksum holds, each line is a record of the object's
    /// route, hour and instance, ids rise, and the first one is that of the name.
    ///
    /// # Errors
    /// The store's, or `Object` for what is damaged.
    pub async fn verify(&self, object: &StoredObject) -> Result<VerifiedObject, StoreError> {
        let wrong = |what: &'static str| StoreError::Object {
            path: object.path.to_string(),
            source: io::Error::new(io::ErrorKind::InvalidData, what),
        };
        let instance = encode(&object.name.instance);
        let mut lines = self.read(object).await?;
        let mut verified = VerifiedObject::default();
        while let Some(line) = lines.next_line().await? {
            let record = StoredRecord::decode(line);
            let record = record.map_err(|_| wrong("a line is no record"))?;
            if verified.last.is_some_and(|last| last >= record.id) {
                return Err(wrong("ids do not rise"));
            }
            if !object.is_of(&record.route) || Hour::of(record.time) != object.name.partition.hour {
                return Err(wrong("a record of another route or hour"));
            }
            if encode(&record.instance) != instance {
                return Err(wrong("a record of another instance"));
            }
            let first = verified.first.unwrap_or(record.id);
            if first.timestamp_ms() != object.name.id.timestamp_ms() {
                return Err(wrong("the name is not that of the first record"));
            }
            verified.records += 1;
            verified.bytes += line.len() as u64 + 1;
            verified.first.get_or_insert(record.id);
            verified.last = Some(record.id);
        }
        match verified.records {
            0 => Err(wrong("it is empty")),
            _ => Ok(verified),
        }
    }
}

impl ObjectLines {
    /// The next record as JSON, without its line end; `None` after the last one.
    ///
    /// # Errors
    /// The store's, or `Object` when the bytes are no zstd, cut off, or a line is longer than
    /// a record can be.
    pub async fn next_line(&mut self) -> Result<Option<&[u8]>, StoreError> {
        loop {
            let unseen = &self.lines[self.searched..];
            if let Some(found) = unseen.iter().position(|&byte| byte == b'\n') {
                let (from, to) = (self.start, self.searched + found);
                self.start = to + 1;
                self.searched = self.start;
                return Ok(Some(&self.lines[from..to]));
            }
            self.searched = self.lines.len();
            if self.ended {
                return match self.searched - self.start {
                    0 => Ok(None),
                    _ => Err(self.damaged("the last line has no end")),
                };
            }
            if self.searched - self.start > MAX_PAYLOAD {
                return Err(self.damaged("a line is longer than a record can be"));
            }
            self.lines.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
            self.more().await?;
        }
    }

    /// Appends at most `CHUNK` decompressed bytes.
    async fn more(&mut self) -> Result<(), StoreError> {
        if self.compressed.is_empty() {
            let next = self.store.timely(Act::Get, self.body.next()).await?;
            match next {
                Some(Ok(bytes)) => self.compressed = bytes,
                Some(Err(source)) => return Err(self.store.failed(Act::Get, source)),
                None => return self.end(),
            }
        }
        self.decompress()
    }

    fn end(&mut self) -> Result<(), StoreError> {
        // zstd may hold back decompressed bytes that found no room.
        let before = self.lines.len();
        if !self.whole {
            self.decompress()?;
        }
        if self.lines.len() == before {
            if !self.whole {
                return Err(self.damaged("the object is cut off"));
            }
            self.ended = true;
        }
        Ok(())
    }

    fn decompress(&mut self) -> Result<(), StoreError> {
        let before = self.lines.len();
        self.lines.resize(before + CHUNK, 0);
        let ran = self
            .decoder
            .run_on_buffers(&self.compressed, &mut self.lines[before..]);
        let (read, written) = match &ran {
            Ok(status) => (status.bytes_read, status.bytes_written),
            Err(_) => (0, 0),
        };
        self.lines.truncate(before + written);
        self.compressed.advance(read);
        let status = ran.map_err(|source| StoreError::Object {
            path: self.path.clone(),
            source,
        })?;
        if read > 0 || written > 0 {
            self.whole = status.remaining == 0;
        }
        Ok(())
    }

    fn damaged(&self, what: &'static str) -> StoreError {
        StoreError::Object {
            path: self.path.clone(),
            source: io::Error::new(io::ErrorKind::InvalidData, what),
        }
    }
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
