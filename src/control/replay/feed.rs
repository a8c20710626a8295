//! Reads records on a thread of its own, ahead of the sending, within a bound.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lanes::Lane;
use super::request::{Given, Lacking, Outgoing, Unsendable, lacking};
use super::selected::{Picked, Selected, Selection};
use super::target::{Destination, NoTarget};
use crate::archive::Ulid;
use crate::archive::source::{SourceError, SourceFigures, Sourced};

/// Room for records that were read and are not settled, in KiB.
const ROOM: usize = 64 * 1024;
/// Records on their way between the threads.
const AHEAD: usize = 256;

/// A record, ready to be sent.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Ulid,
    pub(super) instance: Arc<str>,
    pub(super) route: Arc<str>,
    client: IpAddr,
    pub(super) to: Arc<Destination>,
    pub(super) outgoing: Result<Arc<Outgoing>, Unsendable>,
    /// As it is stored, for the file of refused records.
    pub(super) line: Bytes,
    pub(super) tries: u32,
    /// Tries that the target answered with an error of its own while it accepted others.
    pub(super) alone: u32,
    /// Tries that it answered with an error of its own, one after the other.
    pub(super) broken: u32,
    /// Records that were accepted when it was last tried.
    pub(super) seen: u64,
    /// Given back when the record is settled, or set aside.
    room: Option<OwnedSemaphorePermit>,
}

impl Entry {
    /// It is not sent again, and settled once it is known how others fare: it must not keep the
    /// room that they need to be read.
    pub(super) fn set_aside(&mut self) {
        self.room = None;
        if let Ok(outgoing) = &mut self.outgoing
            && let Some(outgoing) = Arc::get_mut(outgoing)
        {
            outgoing.forget_body();
        }
    }
}

impl Lane for Entry {
    fn client(&self) -> IpAddr {
        self.client
    }

    fn tries(&self) -> u32 {
        self.tries
    }
}

/// What the thread hands over.
#[derive(Debug)]
pub(super) enum Fed {
    Record(Box<Entry>),
    Skipped(Arc<str>, Ulid),
    /// It came after the survey, and must not be sent as it is.
    Lacking(Lacking),
    WithoutTarget(String, NoTarget),
    End(SourceFigures),
    Failed(SourceError),
}

/// Starts reading. Nothing more is read once the receiver is gone.
pub(super) fn start(selection: Selection, given: Arc<Given>) -> std::io::Result<Receiver<Fed>> {
    let (sender, receiver) = channel(AHEAD);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let reader = Reader {
        sender,
        given,
        room: Arc::new(Semaphore::new(ROOM)),
        names: Vec::new(),
        selection,
    };
    std::thread::Builder::new()
        .name("replay-reader".to_owned())
        .spawn(move || runtime.block_on(reader.run()))?;
    Ok(receiver)
}

struct Reader {
    sender: Sender<Fed>,
    given: Arc<Given>,
    room: Arc<Semaphore>,
    /// Routes and instances, each once in memory.
    names: Vec<Arc<str>>,
    selection: Selection,
}

/// The receiver is gone.
struct Gone;

impl Reader {
    async fn run(mut self) {
        let last = match self.read().await {
            Ok(Ok(figures)) => Fed::End(figures),
            Ok(Err(error)) => Fed::Failed(error),
            Err(Gone) => return,
        };
        let _ = self.sender.send(last).await;
    }

    async fn read(&mut self) -> Result<Result<SourceFigures, SourceError>, Gone> {
        let mut selected = match Selected::open(self.selection.clone()).await {
            Ok(selected) => selected,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            let fed = match selected.next().await {
                Ok(Some(Picked::Record(sourced))) => self.prepare(*sourced).await?,
                Ok(Some(Picked::Skipped(sourced))) => {
                    Fed::Skipped(self.name(&sourced.record.instance), sourced.id)
                }
                Ok(Some(Picked::Covered(_))) => continue,
                Ok(None) => return Ok(Ok(selected.figures())),
                Err(error) => return Ok(Err(error)),
            };
            self.sender.send(fed).await.map_err(|_| Gone)?;
        }
    }

    async fn prepare(&mut self, sourced: Sourced) -> Result<Fed, Gone> {
        let record = &sourced.record;
        if let Some(lacking) = lacking(record, &self.given).into_iter().next() {
            return Ok(Fed::Lacking(lacking));
        }
        let to = match self.selection.destinations.of(&record.route) {
            Ok(to) => Arc::clone(to),
            Err(why) => return Ok(Fed::WithoutTarget(record.route.clone(), why)),
        };
        // The line, and the request made of it.
        let wanted = (sourced.line.len() / 512 + 2).min(ROOM);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted as u32);
        let room = tokio::select! {
            room = room => room.map_err(|_| Gone)?,
            () = self.sender.closed() => return Err(Gone),
        };
        let outgoing = Outgoing::of(record, &to.recipe, &self.given);
        Ok(Fed::Record(Box::new(Entry {
            id: sourced.id,
            instance: self.name(&sourced.record.instance),
            route: self.name(&sourced.record.route),
            client: sourced.record.client,
            to,
            outgoing: outgoing.map(Arc::new),
            line: sourced.line.into(),
            tries: 0,
            alone: 0,
            broken: 0,
            seen: 0,
            room: Some(room),
        })))
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.iter().find(|known| &***known == name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        name
    }
}
