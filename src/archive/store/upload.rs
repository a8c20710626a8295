//! One try to bring one segment into the store.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path;

use super::super::catalog::SegmentInfo;
use super::super::files::Disk;
use super::super::id::SegmentId;
use super::super::journal::{Journal, Unheard};
use super::super::writer::Removal;
use super::error::StoreError;
use super::pace::Window;
use super::pack::{Packed, Packer, Tools};
use super::packing::Packing;
use super::plan::Plan;
use super::put::{PutOutcome, Store};
use super::watch::{Obstacle, Put, StoreEvent, StoreWatch};
use crate::vocab::Clock;

/// Tries to read pages that the disk gives errors for.
const PAGE_TRIES: u32 = 3;
/// The wait before the journal's writer is asked again when its queue is full.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often it is asked.
const ASKED: usize = 100;

/// What the uploader works with.
pub(super) struct Bench {
    pub(super) journal: Journal,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) watch: Arc<dyn StoreWatch>,
    pub(super) packing: Packing,
}

/// What is remembered of a segment between tries.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Tries that failed.
    pub(super) failures: u32,
    /// Objects that the store confirmed.
    pub(super) confirmed: HashSet<Path>,
}

/// What the objects of a segment add up to.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    objects: u64,
    bytes: u64,
}

impl Bench {
    /// Uploads the segment and removes it from the journal.
    pub(super) async fn upload(
        &self,
        store: &Store,
        info: &SegmentInfo,
        progress: &mut Progress,
        window: &mut Window,
    ) -> Result<(), Obstacle> {
        let plan = self.plan(info).await?;
        if plan.read_errors > 0 && progress.failures + 1 < PAGE_TRIES {
            return Err(Obstacle::Pages {
                unread: plan.read_errors,
            });
        }
        let (records, damaged) = (plan.records, plan.damaged);
        let paths: Vec<Path> = plan
            .objects
            .iter()
            .map(|planned| planned.name.path(&store.prefix))
            .collect();
        let total = self.put_all(store, info, plan, (progress, window)).await?;
        let settled = store.settle(paths.into_iter()).await;
        settled.map_err(|error| Obstacle::Store(Arc::new(error)))?;
        self.remove(info.id).await?;
        if damaged > 0 {
            self.watch.happened(&StoreEvent::Damaged {
                segment: info.id,
                bytes: damaged,
            });
        }
        self.watch.happened(&StoreEvent::Uploaded {
            segment: info.id,
            records,
            objects: total.objects,
            bytes: total.bytes,
        });
        Ok(())
    }

    async fn plan(&self, info: &SegmentInfo) -> Result<Plan, Obstacle> {
        let (disk, info) = (self.disk.clone(), info.clone());
        let plan = self.packing.run(move |_| Plan::read(disk, info)).await;
        plan.map_err(|error| Obstacle::Disk(Arc::new(error)))
    }

    /// Puts what is not confirmed yet, as many at a time as the window has. After the first
    /// failure no more are begun; those that are on their way end.
    async fn put_all(
        &self,
        store: &Store,
        info: &SegmentInfo,
        plan: Plan,
        (progress, window): (&mut Progress, &mut Window),
    ) -> Result<Total, Obstacle> {
        let mut objects = plan.objects;
        objects.retain(|planned| {
            let path = planned.name.path(&store.prefix);
            !progress.confirmed.contains(&path)
        });
        let packer = Packer::new(self.disk.clone(), info.clone(), objects);
        let mut idle = Some(Box::new(packer));
        let mut steps: FuturesUnordered<Pin<Box<dyn Future<Output = Step> + '_>>> =
            FuturesUnordered::new();
        let mut total = Total::default();
        let mut obstacle = None;
        loop {
            // At most one packs, and it takes the place of a put.
            if steps.len() < window.size()
                && let Some(packer) = idle.take()
            {
                steps.push(Box::pin(self.pack(packer)));
            }
            let Some(step) = steps.next().await else {
                break;
            };
            match step {
                Step::Packed(packer, packed) => {
                    steps.push(Box::pin(self.put(store, packed)));
                    idle = obstacle.is_none().then_some(packer);
                }
                Step::AllPacked => {}
                Step::Put(path, bytes, Ok(_)) => {
                    window.succeeded();
                    progress.confirmed.insert(path);
                    total.objects += 1;
                    total.bytes += bytes;
                }
                Step::Put(_, _, Err(error)) => {
                    window.failed();
                    idle = None;
                    obstacle.get_or_insert(Obstacle::Store(Arc::new(error)));
                }
                Step::Failed(failed) => {
                    obstacle.get_or_insert(failed);
                }
            }
        }
        match obstacle {
            Some(obstacle) => Err(obstacle),
            None => Ok(total),
        }
    }

    async fn pack(&self, mut packer: Box<Packer>) -> Step {
        let packed = move |tools: &mut Tools| Ok((packer.next(tools)?, packer));
        match self.packing.run(packed).await {
            Ok((Some(packed), packer)) => Step::Packed(packer, packed),
            Ok((None, _)) => Step::AllPacked,
            Err(error) => Step::Failed(Obstacle::Disk(Arc::new(error))),
        }
    }

    async fn put(&self, store: &Store, packed: Packed) -> Step {
        let path = packed.name.path(&store.prefix);
        let bytes = packed.body.len() as u64;
        let begun = Clock::now();
        let result = store.put_new(&path, packed.body).await;
        self.watch.put(&Put {
            result: result.as_ref().copied(),
            bytes,
            records: packed.records,
            took: Clock::now().saturating_duration_since(begun),
        });
        Step::Put(path, bytes, result)
    }

    async fn remove(&self, segment: SegmentId) -> Result<(), Obstacle> {
        for _ in 0..ASKED {
            match self.journal.remove(segment).await {
                Ok(Removal::Done | Removal::Unknown) => return Ok(()),
                // Only closed segments come here, and none opens again.
                Ok(Removal::Live) | Err(Unheard::Closed) => return Err(Obstacle::Writer),
                Err(Unheard::Busy) => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
        Err(Obstacle::Writer)
    }
}

/// What ended of the work on a segment.
enum Step {
    Packed(Box<Packer>, Packed),
    AllPacked,
    Put(Path, u64, Result<PutOutcome, StoreError>),
    Failed(Obstacle),
}
