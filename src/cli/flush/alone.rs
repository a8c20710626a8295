//! Without a gateway: the command opens the journal itself, recovery included, and uploads it.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Flushed, Stop, store_of};
use crate::archive::store::{
    Existence, Finish, Put, Retain, StoreEvent, StoreUrl, StoreWatch, UploadOptions, Uploader,
    environment,
};
use crate::archive::{Commit, Disk, Event, Journal, Options, RealDisk, Unheard, Watch};
use crate::config::ArchiveSettings;

/// Opens the journal here and uploads it.
pub(super) fn alone(
    settings: &ArchiveSettings,
    directories: Vec<PathBuf>,
    patience: Duration,
) -> Result<Flushed, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Stop::Thread)?;
    let mut options = Options::new(directories);
    options.limits = settings.limits;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let journal = Journal::open(options, Arc::clone(&disk), Arc::new(Told::default()));
    let journal = journal.map_err(Stop::Journal)?;
    let figures = journal.figures();
    let mut flushed = Flushed {
        segments: figures.segments,
        records: figures.records,
        store: store_of(settings),
        ..Flushed::default()
    };
    let broken = figures.directories.iter().find_map(|directory| {
        let fault = directory.fault?;
        Some(format!("{}: {fault}", directory.path.display()))
    });
    if let Some(url) = &settings.store {
        let told = Arc::new(Told::default());
        let uploading = upload(url, (journal.clone(), disk), Arc::clone(&told), patience);
        flushed.left = runtime.block_on(uploading).map_err(Stop::Thread)?;
        flushed.why = told.last();
    }
    runtime.block_on(journal.close());
    if let Some(fault) = broken {
        flushed.left = flushed.left.max(1);
        flushed.why = Some(fault);
    }
    Ok(flushed)
}

/// Segments that are left.
async fn upload(
    url: &StoreUrl,
    (journal, disk): (Journal, Arc<dyn Disk>),
    told: Arc<Told>,
    patience: Duration,
) -> io::Result<u64> {
    // Opening sealed what it found; this ends what may have begun since.
    let sealed: Result<_, Unheard> = journal.seal().await;
    sealed.map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
    let url = url.clone();
    let uploader = Uploader::start(
        UploadOptions::new(Retain::Forever),
        (journal, disk),
        Arc::new(move || url.open(&environment(), Existence::Made)),
        told,
    )?;
    match uploader.finish(patience).await {
        Finish::Done => Ok(0),
        Finish::Left { segments } => Ok(segments),
    }
}

/// Prints what an operator should know, and keeps why the store does not work.
#[derive(Debug, Default)]
struct Told(Mutex<Option<String>>);

impl Told {
    fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl StoreWatch for Told {
    fn put(&self, _: &Put<'_>) {}

    fn happened(&self, event: &StoreEvent) {
        match event {
            StoreEvent::Damaged { segment, bytes } => {
                eprintln!(
                    "seawall: segment {segment}: {bytes} bytes are damaged; the rest is in the store"
                );
            }
            StoreEvent::Delayed { obstacle, .. } => {
                let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                *last = Some(obstacle.to_string());
            }
            StoreEvent::Uploaded { .. }
            | StoreEvent::Recovered { .. }
            | StoreEvent::Retained { .. }
            | StoreEvent::RetainFailed(_) => {}
        }
    }
}

impl Watch for Told {
    fn committed(&self, _: &Commit) {}

    fn happened(&self, event: &Event) {
        match event {
            Event::TornTail { segment, bytes, .. } => {
                eprintln!(
                    "seawall: segment {segment}: cut off {bytes} bytes that were never acknowledged"
                );
            }
            Event::Damaged { segment, bytes, .. } => {
                eprintln!("seawall: segment {segment}: {bytes} bytes are damaged");
            }
            Event::Foreign {
                segment, version, ..
            } => {
                eprintln!(
                    "seawall: segment {segment} is of a later version ({version}) and left alone"
                );
            }
            Event::Gone { .. }
            | Event::DirectoryFailed { .. }
            | Event::DirectoryHealed { .. }
            | Event::NoRoom { .. }
            | Event::Sealed { .. } => {}
        }
    }
}
