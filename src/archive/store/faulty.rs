//! A store that fails, hangs and lies as told, over a sound one.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What a put does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::archive) enum Behaviour {
    Works,
    /// Nothing is stored.
    Fails,
    /// It is stored, and the answer gets lost.
    LosesAnswer,
    /// No answer, nothing stored.
    Hangs,
    /// Refused as there already, which it is not.
    Lies,
    Denies,
}

#[derive(Debug)]
pub(in crate::archive) struct Faulty {
    sound: Arc<dyn ObjectStore>,
    /// What the next puts do; then `always`.
    next: Mutex<VecDeque<Behaviour>>,
    always: Mutex<Behaviour>,
    /// A part of paths that never succeed.
    poison: Mutex<Option<String>>,
    latency: Mutex<Duration>,
    /// Successful puts by path, in order.
    pub(in crate::archive) puts: Mutex<Vec<Path>>,
    running: AtomicUsize,
    pub(in crate::archive) most: AtomicUsize,
    /// How many of the next lists and downloads fail.
    reads_that_fail: AtomicUsize,
}

impl Faulty {
    pub(in crate::archive) fn over(sound: Arc<dyn ObjectStore>) -> Faulty {
        Faulty {
            sound,
            next: Mutex::default(),
            always: Mutex::new(Behaviour::Works),
            poison: Mutex::default(),
            latency: Mutex::default(),
            puts: Mutex::default(),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            reads_that_fail: AtomicUsize::new(0),
        }
    }

    pub(in crate::archive) fn next(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.next.lock().unwrap().extend(behaviours);
    }

    pub(in crate::archive) fn always(&self, behaviour: Behaviour) {
        *self.always.lock().unwrap() = behaviour;
    }

    pub(in crate::archive) fn poison(&self, part: Option<&str>) {
        *self.poison.lock().unwrap() = part.map(str::to_owned);
    }

    pub(in crate::archive) fn fail_reads(&self, next: usize) {
        self.reads_that_fail.store(next, SeqCst);
    }

    fn read(&self) -> Result<()> {
        let one_less = |left: usize| left.checked_sub(1);
        match self.reads_that_fail.fetch_update(SeqCst, SeqCst, one_less) {
            Ok(_) => Err(busy()),
            Err(_) => Ok(()),
        }
    }

    pub(in crate::archive) fn latency(&self, latency: Duration) {
        *self.latency.lock().unwrap() = latency;
    }

    fn behaviour(&self, location: &Path) -> Behaviour {
        let poison = self.poison.lock().unwrap();
        if let Some(part) = &*poison
            && location.as_ref().contains(part)
        {
            return Behaviour::Fails;
        }
        let next = self.next.lock().unwrap().pop_front();
        next.unwrap_or(*self.always.lock().unwrap())
    }

    async fn act(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        match self.behaviour(location) {
            Behaviour::Works => {
                let put = self.sound.put_opts(location, payload, opts).await?;
                self.puts.lock().unwrap().push(location.clone());
                Ok(put)
            }
            Behaviour::LosesAnswer => {
                self.sound.put_opts(location, payload, opts).await?;
                self.puts.lock().unwrap().push(location.clone());
                Err(busy())
            }
            Behaviour::Fails => Err(busy()),
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::Lies => Err(object_store::Error::AlreadyExists {
                path: location.to_string(),
                source: "409 Conflict".into(),
            }),
            Behaviour::Denies => Err(object_store::Error::PermissionDenied {
                path: location.to_string(),
                source: "403 read-only".into(),
            }),
        }
    }
}

fn busy() -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: "503 Slow Down".into(),
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let now = self.running.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        let _running = Running(&self.running);
        let latency = *self.latency.lock().unwrap();
        tokio::time::sleep(latency).await;
        self.act(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.sound.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.read()?;
        self.sound.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.sound.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.sound.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.read() {
            Ok(()) => self.sound.list(prefix),
            Err(error) => futures_util::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.read()?;
        self.sound.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.sound.copy_opts(from, to, options).await
    }
}
