//! The way into the mesh, between the enrollment and the first heartbeat.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use enroll_core::worker::{Joined, Joining, MeshJoin, MeshJoinError, Noop};
use tokio::time::Instant;

use super::fake::Nature;
use super::run::{Scene, member, secs};

/// A mesh that cannot be joined before its `failures` are over.
struct Mesh {
    failures: Mutex<u32>,
    joins: Mutex<Vec<(Instant, String, Vec<String>)>>,
}

impl Mesh {
    fn new(failures: u32) -> Arc<Self> {
        Arc::new(Self { failures: Mutex::new(failures), joins: Mutex::default() })
    }

    /// Each attempt: how many keys it had.
    fn keys(&self) -> Vec<usize> {
        self.joins.lock().unwrap().iter().map(|(.., keys)| keys.len()).collect()
    }
}

#[async_trait]
impl MeshJoin for Mesh {
    async fn join(&self, joining: &Joining<'_>) -> Result<Joined, MeshJoinError> {
        let keys = joining.keys.iter().map(|key| key.authkey.to_string()).collect();
        let name = joining.node_name.to_string();
        self.joins.lock().unwrap().push((Instant::now(), name, keys));
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(MeshJoinError::new("the control plane is away"));
        }
        Ok(Joined { addresses: vec!["100.64.0.7".parse().unwrap()] })
    }
}

const MESHED: fn() -> Nature = || Nature { mesh: true, ..Nature::default() };

#[tokio::test(start_paused = true)]
async fn a_machine_is_in_the_mesh_before_its_first_heartbeat_and_forgets_the_key() {
    let Scene { place, master, log, worker } = member(MESHED()).await;
    let mesh = Mesh::new(5);
    let worker = worker.with_mesh(Arc::clone(&mesh) as _);
    worker.run(tokio::time::sleep(secs(300))).await.unwrap();
    let last = {
        let joins = mesh.joins.lock().unwrap();
        let (at, name, keys) = joins.last().unwrap().clone();
        assert_eq!((joins.len(), name.as_str(), keys.len()), (6, "worker-1", 1));
        at
    };
    assert!(master.beats.lock().unwrap()[0] >= last, "no heartbeat before it is in");
    assert_eq!((log.count("MeshFailed"), log.count("MeshJoined")), (5, 1));
    assert!(!place.file("mesh.json").exists());
    assert!(log.lines().iter().all(|line| !line.contains("s3cret")), "{:?}", log.lines());

    worker.run(tokio::time::sleep(secs(5))).await.unwrap();
    assert_eq!(mesh.keys(), [1, 1, 1, 1, 1, 1, 0], "a restart has no key to join with");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_stopped_while_it_cannot_join_keeps_its_key() {
    let Scene { place, master, worker, .. } = member(MESHED()).await;
    let mesh = Mesh::new(u32::MAX);
    let worker = worker.with_mesh(Arc::clone(&mesh) as _);
    worker.run(tokio::time::sleep(secs(300))).await.unwrap();
    assert!(mesh.keys().len() > 4 && place.file("mesh.json").exists());
    assert!(master.beats.lock().unwrap().is_empty());
    *mesh.failures.lock().unwrap() = 0;
    worker.run(tokio::time::sleep(secs(5))).await.unwrap();
    assert_eq!(mesh.keys().last(), Some(&1));
    assert!(!place.file("mesh.json").exists());
}

#[tokio::test(start_paused = true)]
async fn a_lan_needs_no_mesh_and_an_embedder_of_its_own_finds_the_key() {
    let Scene { place, worker, master, .. } = member(MESHED()).await;
    worker.run(tokio::time::sleep(secs(5))).await.unwrap();
    assert!(place.file("mesh.json").exists(), "nobody said what to do with it");
    let worker = worker.with_mesh(Arc::new(Noop::new()));
    worker.run(tokio::time::sleep(secs(5))).await.unwrap();
    assert!(!place.file("mesh.json").exists());
    assert_eq!(master.beats.lock().unwrap().len(), 2);
}
