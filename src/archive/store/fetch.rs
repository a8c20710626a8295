//! Whole objects, and how long a reader is patient with the store.

use std::io::{self, Read as _};
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;

use super::super::options::Backoff;
use super::super::segment::MAX_PAYLOAD;
use super::error::{Act, StoreError};
use super::pace;
use super::put::Store;
use super::walk::StoredObject;

/// More text than this is in no object of ours: one record and its line end.
const MOST_TEXT: u64 = MAX_PAYLOAD as u64 + 1;
/// Room that is made for text on the object's own word.
const LIKELY_TEXT: u64 = 16 << 20;
/// Tries of a request that a reader needs, the first one included.
const TRIES: u32 = 8;

/// The records of an object as they were before compression.
#[derive(Debug)]
pub(in crate::archive) enum ObjectText {
    /// All of it, and the checksum holds.
    Whole(Vec<u8>),
    /// The object is cut off. What came before the cut is as it was written.
    Cut(Vec<u8>),
    /// Some of its bytes were changed. Nobody can say which records are still as they were.
    Spoiled(io::Error),
}

impl Store {
    /// Downloads and decompresses an object. The request does not stay open while records are
    /// worked on, which may take long.
    pub(in crate::archive) async fn fetch(
        &self,
        object: &StoredObject,
    ) -> Result<ObjectText, StoreError> {
        let body = self.timely(Act::Get, async {
            self.client.get(&object.path).await?.bytes().await
        });
        let body = body
            .await?
            .map_err(|source| self.failed(Act::Get, source))?;
        Ok(decompress(&body))
    }
}

fn decompress(body: &Bytes) -> ObjectText {
    if body.is_empty() {
        return ObjectText::Cut(Vec::new());
    }
    // The gateway's objects say how long they are; what grows by doubling takes twice that.
    let said = zstd::zstd_safe::get_frame_content_size(body);
    let said = said.ok().flatten().unwrap_or_default().min(LIKELY_TEXT);
    let mut text = Vec::with_capacity(usize::try_from(said).unwrap_or_default());
    let read = zstd::stream::read::Decoder::new(&**body)
        .and_then(|decoder| decoder.take(MOST_TEXT + 1).read_to_end(&mut text));
    match read {
        Ok(length) if length as u64 > MOST_TEXT => ObjectText::Spoiled(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is longer than an object can be",
        )),
        Ok(_) => ObjectText::Whole(text),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => ObjectText::Cut(text),
        Err(error) => ObjectText::Spoiled(error),
    }
}

/// Tries of one request.
pub(in crate::archive) struct Attempts {
    backoff: Backoff,
    failures: u32,
}

impl Attempts {
    pub(in crate::archive) fn new(backoff: Backoff) -> Attempts {
        Attempts {
            backoff,
            failures: 0,
        }
    }

    /// Waits before another try; gives the error back when there is to be none.
    pub(in crate::archive) async fn again(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.failures += 1;
        if self.failures >= TRIES || lasts(&error) {
            return Err(error);
        }
        // At least half of it: a reader is alone, it need not be spread from zero.
        let random = 0.5 + pace::random() / 2.0;
        tokio::time::sleep(pace::wait(self.backoff, self.failures, random)).await;
        Ok(())
    }
}

/// The waits of readers.
pub(in crate::archive) const PATIENCE: Backoff = Backoff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(10),
};

/// True for errors that another try does not mend.
fn lasts(error: &StoreError) -> bool {
    match error {
        StoreError::Url { .. }
        | StoreError::Directory { .. }
        | StoreError::Settings { .. }
        | StoreError::Object { .. } => true,
        StoreError::Slow { .. } => false,
        StoreError::Request { source, .. } => matches!(
            source,
            object_store::Error::NotFound { .. }
                | object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. }
                | object_store::Error::InvalidPath { .. }
        ),
    }
}

impl StoreError {
    /// True when what was asked for is not in the store.
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            StoreError::Request {
                source: object_store::Error::NotFound { .. },
                ..
            }
        )
    }
}
