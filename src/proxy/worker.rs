//! What one worker owns: its view of the snapshot, its upstream client, its random numbers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::HeaderValue;

use crate::archive::{Desk, Journal};
use crate::snapshot::{Live, Snapshot};
use crate::telemetry::LineSink;
use crate::upstream::Client;
use crate::vocab::Clock;

/// One worker. Nothing in it is touched by another worker, so its locks never wait.
#[derive(Debug)]
pub struct Worker {
    /// Where snapshots are published.
    pub live: Arc<Live>,
    /// Its number among the workers, from 0: where it counts what routes observe.
    pub(crate) number: usize,
    /// Its upstream connections.
    pub client: Client,
    /// Where access log lines go, if anywhere.
    pub access: Option<LineSink>,
    view: Mutex<Arc<View>>,
    /// Its way to the journal, from its first archived request on.
    desk: OnceLock<Desk>,
    random: AtomicU64,
}

/// A worker's own reference to a snapshot, with what is derived from it once.
#[derive(Debug)]
pub struct View {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// What this gateway appends to Via.
    pub via: HeaderValue,
    generation: u64,
}

impl Worker {
    /// A worker on the published snapshots of `live`.
    pub fn new(live: Arc<Live>, access: Option<LineSink>) -> Worker {
        let view = Mutex::new(View::of(&live));
        // The one id made by the process-wide generator: its random bits seed this worker's own.
        let (high, low) = uuid::Uuid::now_v7().as_u64_pair();
        Worker {
            number: live.enrol(),
            live,
            client: Client::default(),
            access,
            view,
            desk: OnceLock::new(),
            random: AtomicU64::new(high.rotate_left(32) ^ low),
        }
    }

    /// The view for one request.
    pub fn view(&self) -> Arc<View> {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if view.generation != self.live.generation() {
            *view = View::of(&self.live);
        }
        Arc::clone(&view)
    }

    /// Whether another snapshot was published since this view. One atomic load.
    pub(crate) fn is_outdated(&self, view: &View) -> bool {
        view.generation != self.live.generation()
    }

    /// Lets go of an outdated snapshot also when no request comes, and of idle connections.
    pub fn tidy(&self) {
        let _ = self.view();
        self.client.pool().sweep(Clock::now());
    }

    /// This worker's way to the journal, whose answers are handed out on this worker's runtime.
    pub(crate) fn desk(&self, journal: &Journal) -> &Desk {
        self.desk.get_or_init(|| {
            let (desk, deliveries) = journal.desk();
            tokio::spawn(deliveries.run());
            desk
        })
    }

    /// A number in [0, 1), good enough for jitter.
    pub fn random(&self) -> f64 {
        (self.random_bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// 64 random bits, good enough for ids (SplitMix64, Steele et al. 2014).
    pub fn random_bits(&self) -> u64 {
        let state = self
            .random
            .load(Relaxed)
            .wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.store(state, Relaxed);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl View {
    fn of(live: &Live) -> Arc<View> {
        // Read before the snapshot: if one is published in between, the next request looks again.
        let generation = live.generation();
        let snapshot = live.load();
        let instance = &snapshot.settings().server.instance;
        let is_token = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        let name: String = instance.chars().filter(|c| is_token(*c)).collect();
        let via = format!("1.1 {}", if name.is_empty() { "seawall" } else { &name });
        Arc::new(View {
            via: HeaderValue::try_from(via)
                .unwrap_or_else(|_| HeaderValue::from_static("1.1 seawall")),
            snapshot,
            generation,
        })
    }
}
