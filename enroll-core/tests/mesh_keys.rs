//! The mesh, where its control plane does not answer.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod bench;

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bench::{Bench, bench_with, key, refused};
use enroll_core::issue::{Grant, IssueError, Issued, Issuer};
use enroll_core::master::{Mesh, MeshError, MeshNode};
use enroll_core::model::{
    Credential, CredentialKind, CredentialRecord, MeshCredential, Reason, Timestamp,
};
use tokio::time::timeout;
use zeroize::Zeroizing;

const KIND: CredentialKind = CredentialKind::from_static("outside");

/// A mesh whose keys are made, and closed while it answers.
#[derive(Default)]
struct Outside {
    open: Mutex<BTreeSet<String>>,
    made: AtomicU32,
    hangs: AtomicBool,
}

#[async_trait]
impl Issuer for Outside {
    fn kind(&self) -> CredentialKind {
        KIND
    }

    fn needs_key(&self) -> bool {
        false
    }

    async fn issue(&self, _: &Grant<'_>) -> Result<Issued, IssueError> {
        let external_id = self.made.fetch_add(1, Ordering::SeqCst).to_string();
        self.open.lock().unwrap().insert(external_id.clone());
        let credential = MeshCredential {
            kind: KIND,
            authkey: Zeroizing::new(format!("key {external_id}")),
            control_url: "https://mesh.example".into(),
            expires_at: Timestamp::from_unix_millis(bench::START),
        };
        Ok(Issued {
            credential: Credential::Mesh(credential),
            record: CredentialRecord::External { kind: KIND, external_id },
            expires_at: None,
        })
    }

    fn again(&self, _: &CredentialRecord) -> Option<Credential> {
        None
    }

    async fn undo(&self, _: &CredentialRecord) -> Result<(), IssueError> {
        Err(IssueError::new(KIND, "out of order"))
    }
}

/// An issuer that has every other one undone.
struct Broken;

#[async_trait]
impl Issuer for Broken {
    fn kind(&self) -> CredentialKind {
        CredentialKind::from_static("broken")
    }

    fn needs_key(&self) -> bool {
        false
    }

    async fn issue(&self, _: &Grant<'_>) -> Result<Issued, IssueError> {
        Err(IssueError::new(Issuer::kind(self), "out of order"))
    }

    fn again(&self, _: &CredentialRecord) -> Option<Credential> {
        None
    }

    async fn undo(&self, _: &CredentialRecord) -> Result<(), IssueError> {
        Ok(())
    }
}

#[async_trait]
impl Mesh for Outside {
    fn kind(&self) -> CredentialKind {
        KIND
    }

    async fn nodes(&self) -> Result<Vec<MeshNode>, MeshError> {
        Ok(Vec::new())
    }

    async fn remove_node(&self, _: &str) -> Result<(), MeshError> {
        Ok(())
    }

    async fn open_keys(&self) -> Result<Vec<String>, MeshError> {
        Ok(self.open.lock().unwrap().iter().cloned().collect())
    }

    async fn close_key(&self, key: &str) -> Result<(), MeshError> {
        if self.hangs.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        self.open.lock().unwrap().remove(key);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_to_be_closed_is_remembered_until_it_is() {
    let outside = Arc::new(Outside::default());
    let issuers = vec![Arc::clone(&outside) as Arc<dyn Issuer>, Arc::new(Broken)];
    let Bench { clock, store, enroller } = bench_with(|_| issuers);
    let enroller = enroller.with_mesh(Arc::clone(&outside) as Arc<dyn Mesh>);
    let bench = Bench { clock, store, enroller };
    let token = bench.mint(1).await;
    for _ in 0..2 {
        let verdict = bench.ask(&token, "worker-1", &key()).await;
        assert_eq!(refused(verdict), Reason::IssueFailed);
    }
    assert_eq!(outside.open.lock().unwrap().len(), 2, "neither could be taken back");
    outside.hangs.store(true, Ordering::SeqCst);
    let cut_off = timeout(Duration::from_secs(1), bench.enroller.tidy_mesh()).await;
    assert!(cut_off.is_err(), "it does not answer");
    outside.hangs.store(false, Ordering::SeqCst);
    bench.enroller.tidy_mesh().await.unwrap();
    assert!(outside.open.lock().unwrap().is_empty());
}
