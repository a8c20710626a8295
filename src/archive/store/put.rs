//! Requests to the store, each with a deadline.

use std::collections::BTreeSet;
use std::fs::File;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::error::{Act, StoreError};

/// Longest wait for one request and its retries. The client itself gives up a try after 30 s,
/// so that an upload of 8 MiB needs 280 KiB/s.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);

/// An open store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) client: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    url: Arc<str>,
    root: Option<Arc<PathBuf>>,
    within: Duration,
}

/// What became of an upload that was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It was stored.
    Uploaded,
    /// It was there already.
    Exists,
}

impl Store {
    pub(super) fn remote(client: Arc<dyn ObjectStore>, url: &str, prefix: Path) -> Store {
        Store {
            client,
            prefix,
            url: url.into(),
            root: None,
            within: REQUEST_WITHIN,
        }
    }

    pub(super) fn local(client: Arc<dyn ObjectStore>, url: &str, root: PathBuf) -> Store {
        Store {
            root: Some(Arc::new(root)),
            ..Store::remote(client, url, Path::default())
        }
    }

    /// As written in the configuration.
    pub fn url(&self) -> &str {
        &self.url
    }

    #[cfg(test)]
    pub(super) fn patience(self, within: Duration) -> Store {
        Store { within, ..self }
    }

    #[cfg(test)]
    pub(super) fn wrapped(
        self,
        wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Store {
        Store {
            client: wrap(self.client),
            ..self
        }
    }

    /// Puts an object unless it is there.
    pub(super) async fn put_new(&self, path: &Path, body: Bytes) -> Result<PutOutcome, StoreError> {
        let options = PutOptions::from(PutMode::Create);
        let put = self.client.put_opts(path, PutPayload::from(body), options);
        match self.timely(Act::Put, put).await? {
            Ok(_) => Ok(PutOutcome::Uploaded),
            Err(source @ object_store::Error::AlreadyExists { .. }) => {
                self.there(path, source).await
            }
            Err(source) => Err(self.failed(Act::Put, source)),
        }
    }

    /// S3 answers 409 when it met another request for the object, which may fail yet, and
    /// Azure to a container that is being deleted. The client calls all that "already exists".
    async fn there(
        &self,
        path: &Path,
        refused: object_store::Error,
    ) -> Result<PutOutcome, StoreError> {
        match self.timely(Act::Get, self.client.head(path)).await? {
            Ok(found) if found.size > 0 => Ok(PutOutcome::Exists),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {
                Err(self.failed(Act::Put, refused))
            }
            Err(source) => Err(self.failed(Act::Get, source)),
        }
    }

    /// Makes sure that confirmed objects survive the loss of power. A service does that before
    /// it answers. In a directory, an object that "was there already" may have come from a
    /// process that ended before it could sync the directory.
    pub(super) async fn settle(&self, paths: impl Iterator<Item = Path>) -> Result<(), StoreError> {
        let Some(root) = self.root.clone() else {
            return Ok(());
        };
        let mut directories = BTreeSet::new();
        for path in paths {
            let path = root.join(path.as_ref());
            let above = path.ancestors().skip(1);
            let above = above.take_while(|directory| directory.starts_with(&**root));
            directories.extend(above.map(std::path::Path::to_path_buf));
        }
        let sync = tokio::task::spawn_blocking(move || {
            directories.iter().try_for_each(|directory| {
                let synced = File::open(directory).and_then(|file| file.sync_all());
                synced.map_err(|source| (directory.clone(), source))
            })
        });
        match sync.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((path, source))) => Err(StoreError::Directory { path, source }),
            Err(source) => Err(StoreError::Directory {
                path: root.to_path_buf(),
                source: io::Error::other(source),
            }),
        }
    }

    /// Deletes objects, many with one request where the service can; one that is gone counts
    /// as deleted. Gives their number.
    pub(super) async fn delete(&self, paths: Vec<Path>) -> Result<u64, StoreError> {
        let paths = futures_util::stream::iter(paths.into_iter().map(Ok));
        let mut deletions = self.client.delete_stream(paths.boxed());
        let mut deleted = 0;
        while let Some(answer) = self.timely(Act::Delete, deletions.next()).await? {
            match answer {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => deleted += 1,
                Err(source) => return Err(self.failed(Act::Delete, source)),
            }
        }
        Ok(deleted)
    }

    pub(super) async fn timely<T>(
        &self,
        act: Act,
        request: impl Future<Output = T>,
    ) -> Result<T, StoreError> {
        let answer = tokio::time::timeout(self.within, request).await;
        answer.map_err(|_| StoreError::Slow {
            url: self.url.to_string(),
            act,
            within: self.within,
        })
    }

    pub(super) fn failed(&self, act: Act, source: object_store::Error) -> StoreError {
        StoreError::Request {
            url: self.url.to_string(),
            act,
            source,
        }
    }
}
