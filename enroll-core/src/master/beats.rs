//! Heartbeats that wait to be written, one of each node.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batch::Batch;
use crate::model::{NodeId, Timestamp};
use crate::store::{Beat, StoreError};

/// Gathers heartbeats and writes them together.
///
/// Those that one node sends before the next write are one, so that what waits is bounded by how many
/// nodes there are and by what one heartbeat may hold, however often a node calls.
pub(super) struct Beats {
    latest: Arc<Mutex<Latest>>,
    batch: Batch<Enrollment>,
}

/// A node and when it was enrolled: what another machine said under the name before is not what this
/// one says.
type Enrollment = (NodeId, Option<Timestamp>);

/// What waits, under what waits in the batch.
type Latest = HashMap<Enrollment, Beat>;

impl Beats {
    /// Writes with `write`, holding the heartbeats of at most `bound` nodes.
    pub(super) fn new<F>(
        bound: usize,
        write: impl Fn(Vec<Beat>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let latest = Arc::<Mutex<Latest>>::default();
        let waiting = Arc::clone(&latest);
        let batch = Batch::new(bound, move |enrollments: Vec<Enrollment>| {
            let mut latest = lock(&waiting);
            let beats = enrollments.iter().filter_map(|enrollment| latest.remove(enrollment));
            write(beats.collect())
        });
        Self { latest, batch }
    }

    /// Takes the heartbeat of a node that was enrolled at `enrolled_at`. Called within a tokio runtime.
    pub(super) fn push(&self, enrolled_at: Option<Timestamp>, beat: Beat) {
        let enrollment = (beat.node_id, enrolled_at);
        match lock(&self.latest).entry(enrollment) {
            Entry::Occupied(mut waiting) => waiting.get_mut().merge(beat),
            Entry::Vacant(place) => {
                if self.batch.push(enrollment) {
                    place.insert(beat);
                }
            }
        }
    }

    /// Writes what is waiting now, and waits for what is being written: before a master ends.
    pub(super) async fn flush(&self) {
        self.batch.flush().await;
    }

    /// How many heartbeats were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.batch.dropped()
    }
}

fn lock(latest: &Mutex<Latest>) -> MutexGuard<'_, Latest> {
    // No code panics while it holds the lock with the value half changed.
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::batch::DELAY;
    use crate::model::Facts;
    use tokio::sync::Semaphore;

    /// Heartbeats that are written as fast as somebody allows.
    struct Gated {
        beats: Beats,
        gate: Arc<Semaphore>,
        written: Arc<Mutex<Vec<Beat>>>,
    }

    fn gated(bound: usize) -> Gated {
        let (gate, written) = (Arc::new(Semaphore::new(0)), Arc::<Mutex<Vec<Beat>>>::default());
        let (theirs, kept) = (Arc::clone(&gate), Arc::clone(&written));
        let beats = Beats::new(bound, move |beats| {
            let (gate, kept) = (Arc::clone(&theirs), Arc::clone(&kept));
            async move {
                gate.acquire().await.expect("it is never closed").forget();
                kept.lock().unwrap().extend(beats);
                Ok(())
            }
        });
        Gated { beats, gate, written }
    }

    fn beat(node: u8, secs: i64, os: Option<&str>) -> Beat {
        let facts = os.map(|os| Facts { os: Some(os.into()), ..Facts::default() });
        let (node_id, at) = (NodeId::from_bytes([node; 16]), Timestamp::from_unix_secs(secs));
        Beat { node_id, at, facts }
    }

    impl Gated {
        /// What was written so far: of whom, when, and the system it says it runs.
        fn written(&self) -> Vec<(u8, i64, Option<String>)> {
            let of = |beat: &Beat| {
                let os = beat.facts.as_ref().and_then(|facts| facts.os.clone());
                (beat.node_id.as_bytes()[0], beat.at.unix_secs(), os)
            };
            self.written.lock().unwrap().iter().map(of).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn i11_of_ten_thousand_heartbeats_of_one_node_one_waits() {
        let scene = gated(8);
        scene.beats.push(None, beat(1, 0, None));
        tokio::time::sleep(2 * DELAY).await;
        for secs in 1..=10_000 {
            scene.beats.push(None, beat(1, secs, (secs == 7).then_some("linux")));
            assert_eq!(lock(&scene.beats.latest).len(), 1);
        }
        scene.gate.add_permits(2);
        scene.beats.flush().await;
        assert_eq!(scene.written(), [(1, 0, None), (1, 10_000, Some("linux".into()))]);
        assert_eq!((lock(&scene.beats.latest).len(), scene.beats.dropped()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn i11_what_finds_no_room_is_dropped_and_counted_and_holds_nothing() {
        let scene = gated(2);
        for node in [1, 2, 3, 1, 3] {
            scene.beats.push(None, beat(node, 1, None));
        }
        assert_eq!((lock(&scene.beats.latest).len(), scene.beats.dropped()), (2, 2));
        scene.gate.add_permits(2);
        scene.beats.flush().await;
        scene.beats.push(None, beat(3, 2, None));
        scene.beats.flush().await;
        assert_eq!(scene.written(), [(1, 1, None), (2, 1, None), (3, 2, None)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_machine_before_said_is_not_what_its_successor_says() {
        let scene = gated(8);
        let enrolled = |secs| Some(Timestamp::from_unix_secs(secs));
        scene.beats.push(enrolled(1), beat(1, 2, Some("of the one before")));
        scene.beats.push(enrolled(3), beat(1, 4, None));
        scene.gate.add_permits(1);
        scene.beats.flush().await;
        let (before, after) = ((1, 2, Some("of the one before".into())), (1, 4, None));
        assert_eq!(scene.written(), [before, after]);
    }
}
