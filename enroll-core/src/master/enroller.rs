//! The facade.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::batch::Batch;
use super::beats::Beats;
use super::config::MasterConfig;
use super::enroll::Refusals;
use super::error::Error;
use super::fuse::Fuser;
use super::mesh::Watched;
use super::observer::Observer;
use super::policy::{AllowAll, InUse, Policy};
use super::presence::Watches;
use super::stamps::Stamps;
use super::telemetry::Reports;
use super::undo::Owed;
use crate::decision::AutoEnrollment;
use crate::issue::Issuer;
use crate::model::{
    AttemptRecord, Clock, CommandClass, CredentialKind, Entropy, Event, Fingerprint, SharedSecret,
    SharedSecretDigest, SystemClock, SystemEntropy, TokenPrefix,
};
use crate::store::Store;

/// A master: everything an embedder does with new machines, known nodes and operators.
///
/// It is cheap to share in an [`Arc`]; any number of them may share one store.
///
/// # Defaults
/// Only join tokens are accepted; what is issued is what `new` was given; the token prefix is
/// `enroll`; clock and entropy are the operating system's; the policy lets everybody in; nobody
/// observes; the rest is [`MasterConfig`]'s.
pub struct Enroller {
    pub(super) store: Arc<dyn Store>,
    pub(super) issuers: Vec<Arc<dyn Issuer>>,
    pub(super) ca: Option<CaRoot>,
    pub(super) prefix: TokenPrefix,
    pub(super) cluster_secrets: Vec<SharedSecretDigest>,
    pub(super) auto: RwLock<Option<Arc<AutoEnrollment>>>,
    /// Held from a read of auto-enrollment in the store until it is kept here, so that what was read
    /// before a change is not kept after it.
    pub(super) auto_turn: tokio::sync::Mutex<()>,
    pub(super) config: MasterConfig,
    pub(super) reserved: BTreeSet<String>,
    pub(super) command_kinds: BTreeMap<String, CommandClass>,
    pub(super) fuser: Option<(Arc<dyn Fuser>, Duration)>,
    /// Attempts that could not be undone outside yet.
    pub(super) owed: Owed,
    pub(super) mesh: Option<Watched>,
    pub(super) policy: Arc<dyn Policy>,
    pub(super) in_use: Option<Arc<dyn InUse>>,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) stamps: Stamps,
    pub(super) refused: Batch<AttemptRecord>,
    pub(super) events: Batch<Event>,
    pub(super) refusals: Refusals,
    pub(super) beats: Beats,
    pub(super) watches: Watches,
    pub(super) reports: Reports,
}

/// The root certificate machines are given to trust.
#[derive(Debug, Clone)]
pub(super) struct CaRoot {
    pub(super) pem: Arc<str>,
    pub(super) fingerprint: Fingerprint,
}

impl Enroller {
    /// A master that issues certificates of `authority`.
    #[cfg(feature = "x509")]
    pub fn new(
        store: Arc<dyn Store>,
        authority: impl Into<Arc<crate::issue::x509::Authority>>,
    ) -> Self {
        let authority = authority.into();
        let root =
            CaRoot { pem: authority.root_pem().into(), fingerprint: authority.fingerprint() };
        let issuer = crate::issue::x509::X509Issuer::new(authority);
        Self { ca: Some(root), ..Self::with_issuers(store, vec![Arc::new(issuer)]) }
    }

    /// A master that issues what `issuers` make, in that order.
    pub fn with_issuers(store: Arc<dyn Store>, issuers: Vec<Arc<dyn Issuer>>) -> Self {
        let (refused, events, beats) = (Arc::clone(&store), Arc::clone(&store), Arc::clone(&store));
        Self {
            issuers,
            ca: None,
            prefix: TokenPrefix::default(),
            cluster_secrets: Vec::new(),
            auto: RwLock::default(),
            auto_turn: tokio::sync::Mutex::default(),
            config: MasterConfig::default(),
            reserved: BTreeSet::new(),
            command_kinds: BTreeMap::new(),
            fuser: None,
            owed: Owed::default(),
            mesh: None,
            policy: Arc::new(AllowAll::new()),
            in_use: None,
            observers: Vec::new(),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
            stamps: Stamps::default(),
            refused: Batch::new(GATHERED, move |items| {
                let store = Arc::clone(&refused);
                async move { store.record_attempts(items).await }
            }),
            events: Batch::new(GATHERED, move |items| {
                let store = Arc::clone(&events);
                async move { store.record_events(items).await }
            }),
            refusals: Refusals::new(),
            beats: Beats::new(GATHERED_BEATS, move |items| {
                let store = Arc::clone(&beats);
                async move { store.record_beats(items).await }
            }),
            watches: Watches::new(Arc::clone(&store)),
            reports: Reports::default(),
            store,
        }
    }

    /// Replaces what is issued, keeping the root that machines are given to trust.
    #[must_use]
    pub fn issuing(mut self, issuers: Vec<Arc<dyn Issuer>>) -> Self {
        self.issuers = issuers;
        self
    }

    /// Tokens begin with `prefix`.
    #[must_use]
    pub fn with_token_prefix(mut self, prefix: TokenPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Wants a cluster secret beside every token; call it twice, the newest first, while rotating.
    #[must_use]
    pub fn with_cluster_secret(mut self, secret: &SharedSecret) -> Self {
        self.cluster_secrets.push(secret.digest());
        self
    }

    /// Sets what workers are told and how their silence is judged.
    #[must_use]
    pub fn with_config(mut self, config: MasterConfig) -> Self {
        let names = config.hosts.iter().filter_map(|host| host.as_dns());
        self.reserved = names.map(str::to_owned).collect();
        self.config = config;
        self
    }

    /// Asks `policy` after every decision.
    #[must_use]
    pub fn with_policy(mut self, policy: Arc<dyn Policy>) -> Self {
        self.policy = policy;
        self
    }

    /// Asks `guard` before a node is deleted, unless the operator forces it.
    #[must_use]
    pub fn with_in_use_guard(mut self, guard: Arc<dyn InUse>) -> Self {
        self.in_use = Some(guard);
        self
    }

    /// Tells `observer` what happens.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes randomness from `entropy`.
    #[must_use]
    pub fn with_entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// What workers are told and how their silence is judged.
    #[must_use]
    pub const fn config(&self) -> &MasterConfig {
        &self.config
    }

    /// The clock every request is judged by.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The PEM of the root machines are given to trust, and its fingerprint.
    #[must_use]
    pub fn ca(&self) -> Option<(&str, Fingerprint)> {
        self.ca.as_ref().map(|root| (&*root.pem, root.fingerprint))
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// [`Error`] when it does not.
    pub async fn ready(&self) -> Result<(), Error> {
        Ok(self.store.probe().await?)
    }

    /// Writes what is still gathered in memory: heartbeats, refused attempts. Before a master ends.
    pub async fn flush(&self) {
        self.watches.flush(self.clock.now()).await;
        self.beats.flush().await;
        self.refused.flush().await;
        self.events.flush().await;
    }

    /// How many heartbeats, refused attempts and events were dropped under load so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.beats.dropped()
            + self.watches.dropped()
            + self.refused.dropped()
            + self.events.dropped()
    }

    pub(super) fn tell(&self, event: &Event) {
        for observer in &self.observers {
            observer.event(event);
        }
    }

    /// Tells who observes, and journals it off the request's path.
    pub(super) fn note(&self, event: Event) {
        self.tell(&event);
        self.events.push(event);
    }

    pub(super) fn issuer(&self, kind: &CredentialKind) -> Option<&Arc<dyn Issuer>> {
        self.issuers.iter().find(|issuer| issuer.kind() == *kind)
    }

    pub(super) fn key_needed(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.needs_key())
    }
}

impl std::fmt::Debug for Enroller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enroller")
            .field("prefix", &self.prefix)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Refused attempts and events held for one write: some 2 MiB.
const GATHERED: usize = 8_192;
/// Nodes whose heartbeat is held for one write: a second's worth of two million at one per 30 s.
const GATHERED_BEATS: usize = 65_536;
