//! The uploader of the process's one journal, and how it goes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::telling::StoreTeller;
use crate::archive::store::{
    Existence, Finish, Retain, StoreUrl, UploadFigures, UploadOptions, Uploader, environment,
};
use crate::archive::{Journal, RealDisk};
use crate::config::ArchiveSettings;
use crate::telemetry::GatewayMetrics;

/// The uploader, once there is a journal and a store.
#[derive(Debug, Default)]
pub struct Uploads {
    metrics: Arc<GatewayMetrics>,
    stage: Mutex<Stage>,
}

#[derive(Debug, Default)]
enum Stage {
    /// Nothing to upload from, or `archive.store = "off"`.
    #[default]
    Idle,
    Running(Running),
    /// The process ends.
    Over,
}

#[derive(Debug)]
struct Running {
    uploader: Uploader,
    url: StoreUrl,
    retain: Retain,
    teller: Arc<StoreTeller>,
}

/// What the status tells.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) url: String,
    pub(super) figures: UploadFigures,
    /// When, since the Unix epoch, and what.
    pub(super) last_error: Option<(Duration, String)>,
}

impl Uploads {
    pub(in crate::control) fn new(metrics: Arc<GatewayMetrics>) -> Uploads {
        Uploads {
            metrics,
            stage: Mutex::default(),
        }
    }

    /// Uploads to the store that the settings name, from now on.
    pub(super) fn follow(&self, journal: &Journal, settings: &ArchiveSettings) {
        let mut stage = self.stage();
        let same = match (&*stage, &settings.store) {
            (Stage::Over, _) | (Stage::Idle, None) => true,
            (Stage::Running(running), Some(url)) => {
                running.url == *url && running.retain == settings.retain
            }
            (Stage::Idle, Some(_)) | (Stage::Running(_), None) => false,
        };
        if same {
            return;
        }
        // The old one ends by itself. Should both meet an object, one finds it there.
        *stage = match &settings.store {
            None => Stage::Idle,
            Some(url) => self
                .start(journal, url, settings.retain)
                .map_or(Stage::Idle, Stage::Running),
        };
    }

    fn start(&self, journal: &Journal, url: &StoreUrl, retain: Retain) -> Option<Running> {
        let teller = Arc::new(StoreTeller::new(Arc::clone(&self.metrics)));
        let started = Uploader::start(
            UploadOptions::new(retain),
            (journal.clone(), Arc::new(RealDisk)),
            {
                let url = url.clone();
                Arc::new(move || url.open(&environment(), Existence::Made))
            },
            teller.clone(),
        );
        match started {
            Ok(uploader) => {
                tracing::info!(store = url.as_str(), "sealed segments go to the store");
                Some(Running {
                    uploader,
                    url: url.clone(),
                    retain,
                    teller,
                })
            }
            Err(error) => {
                tracing::error!(%error, "uploads cannot begin; trying again");
                None
            }
        }
    }

    /// A segment was sealed. Never waits: it is called by the journal's writer.
    pub(super) fn nudge(&self) {
        // Who holds the lock starts an uploader, which looks for segments by itself.
        if let Ok(stage) = self.stage.try_lock()
            && let Stage::Running(running) = &*stage
        {
            running.uploader.nudge();
        }
    }

    /// Somebody wants everything in the store now.
    pub(super) fn hurry(&self) {
        if let Stage::Running(running) = &*self.stage() {
            running.uploader.hurry();
        }
    }

    /// How it goes; `None` without a store.
    pub(super) fn progress(&self) -> Option<Progress> {
        match &*self.stage() {
            Stage::Running(running) => Some(Progress {
                url: running.url.as_str().to_owned(),
                figures: running.uploader.figures(),
                last_error: running.teller.last_error(),
            }),
            Stage::Idle | Stage::Over => None,
        }
    }

    /// Whether the process ends.
    pub(super) fn is_over(&self) -> bool {
        matches!(*self.stage(), Stage::Over)
    }

    /// Uploads what is sealed, until nothing is left, something fails, or `within`. `None`
    /// without a store. Call it after `Journal::seal` and before `Journal::close`.
    pub async fn finish(&self, within: Duration) -> Option<Finish> {
        let stage = std::mem::replace(&mut *self.stage(), Stage::Over);
        match stage {
            Stage::Running(running) => Some(running.uploader.finish(within).await),
            Stage::Idle | Stage::Over => None,
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
