//! What the laws do to a store, in their own words.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::decision::{Approval, Decision, Redelivery};
use crate::model::{
    CredentialRecord, Event, Facts, IdentityRecord, NodeName, NodeRecord, Reason, RedemptionId,
    Snapshot, Timestamp, TokenId, TokenRecord, What,
};
use crate::store::{
    Beat, DeleteOutcome, IdentityKey, Lookup, Member, MintOutcome, NodeFilter, Page, Redeem,
    RedeemOutcome, Redeliver, RedeliverOutcome, Store, StoreError, StoreErrorKind,
};
use crate::testing::{Claimant, Fixtures, TestToken};

/// A store under law, and the makers of what is done to it.
pub(super) struct Fleet {
    pub(super) store: Arc<dyn Store>,
    pub(super) make: Fixtures,
    names: Mutex<BTreeSet<NodeName>>,
    keys: Mutex<Vec<IdentityKey>>,
}

/// A machine that became a member.
#[derive(Debug, Clone)]
pub(super) struct Enrolled {
    pub(super) node: NodeRecord,
    pub(super) redemption: RedemptionId,
    /// Its certificate, as it was handed to the store.
    pub(super) x509: IdentityRecord,
    /// Its API key, as it was handed to the store.
    pub(super) api_key: IdentityRecord,
}

/// `secs` seconds after everything began.
pub(super) fn at(secs: u64) -> Timestamp {
    Fixtures::at(secs)
}

/// Facts that say no more than the architecture.
pub(super) fn of_arch(arch: &str) -> Facts {
    Facts { arch: Some(arch.into()), ..Facts::default() }
}

/// By what an identity is found.
pub(super) fn key_of(identity: &IdentityRecord) -> IdentityKey {
    match &identity.credential {
        CredentialRecord::X509 { serial, .. } => IdentityKey::Serial(*serial),
        CredentialRecord::ApiKey { digest } => IdentityKey::ApiKey(*digest),
        CredentialRecord::External { .. } => panic!("a request presents no external credential"),
    }
}

/// An event that says no more than which it is.
pub(super) fn event(key: &str, at: Timestamp) -> Event {
    Event::by(at, "laws", What::SettingChanged { key: key.to_owned() })
}

/// Says that an operation wrote nothing because a value was there before.
pub(super) fn is_collision<T>(outcome: Result<T, StoreError>) -> bool {
    outcome.is_err_and(|error| error.kind() == StoreErrorKind::Collision)
}

impl Fleet {
    pub(super) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Self::with(store, Fixtures::new())
    }

    pub(super) fn with(store: Arc<dyn Store>, make: Fixtures) -> Arc<Self> {
        Arc::new(Self { store, make, names: Mutex::default(), keys: Mutex::default() })
    }

    /// Mints `token` under the rule that lets everything through.
    pub(super) async fn mint(&self, token: &TestToken) -> Option<NodeRecord> {
        match some(self.store.mint(self.make.mint(token)).await) {
            MintOutcome::Minted(node) => node.map(|node| *node),
            other => panic!("T2: a mint under the rule `Any` is not refused: {other:?}"),
        }
    }

    /// A fresh unlimited token, minted at `at`.
    pub(super) async fn unlimited(&self, at: Timestamp) -> TestToken {
        self.minted(self.make.token(at)).await
    }

    /// A fresh token bound to `name`, minted at `at`.
    pub(super) async fn bound(&self, name: &str, at: Timestamp) -> TestToken {
        self.minted(self.make.token(at).bound_to(name)).await
    }

    /// `token`, minted.
    pub(super) async fn minted(&self, token: TestToken) -> TestToken {
        self.mint(&token).await;
        token
    }

    pub(super) async fn look_up(&self, claimant: &Claimant, token: Option<TokenId>) -> Snapshot {
        let lookup =
            Lookup { token_id: token, node_name: claimant.node_name(), claim: claimant.claim() };
        some(self.store.look_up(lookup).await)
    }

    /// A node `text` that was enrolled at `at(1)`.
    pub(super) async fn enrolled(&self, text: &str) -> NodeRecord {
        let token = self.unlimited(at(0)).await;
        self.enroll(&Claimant::new(&token, text), at(1)).await.node
    }

    /// A heartbeat of `node` is recorded.
    pub(super) async fn beat(&self, node: &NodeRecord, at: Timestamp, facts: Option<Facts>) {
        some(self.store.record_beats(vec![Beat { node_id: node.id, at, facts }]).await);
    }

    /// The right of `claimant` to a redemption as the store stands, with all that goes into it.
    pub(super) async fn approve(&self, claimant: &Claimant, at: Timestamp) -> Redeem {
        match self.decide(claimant, at).await {
            Decision::Approved(approval) => self.redemption(approval, at),
            Decision::Redeliver(_) => panic!("R1: this claimant never redeemed, or its time is up"),
        }
    }

    /// The right of `claimant` to a redemption by what was `seen`, with all that goes into it.
    pub(super) fn approve_after(
        &self,
        claimant: &Claimant,
        seen: &Snapshot,
        at: Timestamp,
    ) -> Redeem {
        match self.make.decide(claimant, seen, at) {
            Ok(Decision::Approved(approval)) => self.redemption(approval, at),
            other => panic!("this was to be approved: {other:?}"),
        }
    }

    /// The right of `claimant` to its own answer again as the store stands.
    pub(super) async fn redelivery(&self, claimant: &Claimant, at: Timestamp) -> Redeliver {
        match self.decide(claimant, at).await {
            Decision::Redeliver(redelivery) => self.redeliver(redelivery, at),
            Decision::Approved(_) => panic!("R1: the look-up lacks the claimant's redemption"),
        }
    }

    async fn decide(&self, claimant: &Claimant, at: Timestamp) -> Decision {
        let screened = self.make.screened(claimant, at).expect("the laws ask properly");
        let seen = self.look_up(claimant, screened.token().map(|token| token.id())).await;
        match self.make.decide(claimant, &seen, at) {
            Ok(decision) => decision,
            Err(rejection) => panic!("R1: the look-up is wrong: {rejection:?} after {seen:#?}"),
        }
    }

    /// What goes with giving an answer again: a new API key for the old one.
    pub(super) fn redeliver(&self, redelivery: Box<Redelivery>, at: Timestamp) -> Redeliver {
        let (node, redemption) = (redelivery.node(), redelivery.redemption());
        let replacement =
            self.make.identity(node.id, &node.name, redemption.id, self.make.api_key(), at);
        let attempt = self.make.attempt(&node.name, at);
        let what = What::Redelivered {
            node_id: node.id,
            node_name: node.name.clone(),
            redemption_id: redemption.id,
        };
        self.remember(std::slice::from_ref(&replacement));
        Redeliver {
            redelivery,
            at,
            replacements: vec![replacement],
            attempt,
            event: Event::new(at, what),
        }
    }

    fn redemption(&self, approval: Approval, at: Timestamp) -> Redeem {
        let redeem = self.make.redeem(approval, at);
        self.remember(&redeem.identities);
        redeem
    }

    pub(super) async fn redeem(&self, redeem: Redeem) -> RedeemOutcome {
        some(self.store.redeem(redeem).await)
    }

    /// Carries out a redemption that nothing stands against.
    pub(super) async fn carry_out(&self, redeem: Redeem) -> Enrolled {
        let redemption = redeem.id;
        let [x509, api_key] = &redeem.identities[..] else { panic!("a redemption makes two") };
        let (x509, api_key) = (x509.clone(), api_key.clone());
        match self.redeem(redeem).await {
            RedeemOutcome::Enrolled(node) => Enrolled { node: *node, redemption, x509, api_key },
            RedeemOutcome::Lost(seen) => panic!("R2, R3: nothing stands against it: {seen:#?}"),
        }
    }

    /// Makes `claimant` a member.
    pub(super) async fn enroll(&self, claimant: &Claimant, at: Timestamp) -> Enrolled {
        let redeem = self.approve(claimant, at).await;
        self.carry_out(redeem).await
    }

    /// Carries out a redemption that is lost, and says with what the machine is refused.
    pub(super) async fn lose(&self, claimant: &Claimant, redeem: Redeem) -> Reason {
        let at = redeem.at;
        match self.redeem(redeem).await {
            RedeemOutcome::Enrolled(node) => panic!("R2, R3, R5: this was to be lost: {node:?}"),
            RedeemOutcome::Lost(seen) => self.refusal(claimant, &seen, at),
        }
    }

    /// With what a machine that lost is refused.
    pub(super) fn refusal(&self, claimant: &Claimant, seen: &Snapshot, at: Timestamp) -> Reason {
        match self.make.lost(claimant, seen, at) {
            Ok(decision) => panic!("R5: the snapshot shows no reason: {decision:?} in {seen:#?}"),
            Err(rejection) => rejection.reason(),
        }
    }

    pub(super) async fn give_again(&self, redeliver: Redeliver) -> RedeliverOutcome {
        some(self.store.redeliver(redeliver).await)
    }

    pub(super) async fn delete(&self, name: &NodeName, at: Timestamp) -> DeleteOutcome {
        some(self.store.delete_node(name, at, event("deleted", at)).await)
    }

    pub(super) async fn token(&self, token: &TestToken) -> TokenRecord {
        some(self.store.token(token.record.id).await).expect("T1: a token that was minted is there")
    }

    pub(super) async fn node(&self, name: &NodeName) -> Option<NodeRecord> {
        some(self.store.node(name).await)
    }

    pub(super) async fn member(&self, identity: &IdentityRecord) -> Option<Member> {
        some(self.store.member(key_of(identity)).await)
    }

    /// Whether requests by this identity are those of a member.
    pub(super) async fn is_live(&self, identity: &IdentityRecord) -> bool {
        self.member(identity)
            .await
            .is_some_and(|member| member.node.is_some() && member.identity.revoked_at.is_none())
    }

    /// The events so far.
    pub(super) async fn events(&self) -> Vec<Event> {
        let rows = some(self.store.events(Page::first(10_000)).await);
        rows.into_iter().map(|row| row.event).collect()
    }

    /// Whether the answer of a redemption of `token` can still be asked for again.
    pub(super) async fn is_open(&self, token: &TestToken, redemption: RedemptionId) -> bool {
        let rows = some(self.store.redemptions(token.record.id, Page::first(500)).await);
        let row = rows.into_iter().find(|row| row.id == redemption);
        row.expect("R4: a redemption is on record").closed_at.is_none()
    }

    /// Has [`observe`](Self::observe) look at these, too.
    pub(super) fn remember(&self, identities: &[IdentityRecord]) {
        lock(&self.keys).extend(identities.iter().map(key_of));
        lock(&self.names).extend(identities.iter().map(|one| one.node_name.clone()));
    }

    /// All a store shows of what it holds, a line each, so that two looks can be compared.
    pub(super) async fn observe(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let mut names = lock(&self.names).clone();
        let nodes = some(self.store.nodes(Page::first(500), NodeFilter::default()).await);
        let tokens = some(self.store.tokens(Page::first(500), None).await);
        names.extend(nodes.iter().map(|node| node.name.clone()));
        names.extend(tokens.iter().filter_map(|token| token.bound_to.clone()));
        note(&mut seen, nodes);
        for token in tokens {
            let redemptions = self.store.redemptions(token.id, Page::first(500)).await;
            note(&mut seen, some(redemptions));
            note(&mut seen, [token]);
        }
        for name in &names {
            let lookup = Lookup { token_id: None, node_name: Some(name), claim: None };
            note(&mut seen, [(name, some(self.store.look_up(lookup).await).name)]);
            note(&mut seen, some(self.store.attempts(name, Page::first(500)).await));
        }
        let keys = lock(&self.keys).clone();
        for key in keys {
            note(&mut seen, some(self.store.member(key).await));
        }
        note(&mut seen, some(self.store.events(Page::first(10_000)).await));
        note(&mut seen, some(self.store.admins().await));
        seen
    }

    /// Holds that nothing was written since `before`; else says what by `clause`.
    pub(super) async fn unchanged(&self, before: &[String], clause: &str) {
        let after = self.observe().await;
        let gone: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
        let come: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
        assert!(after == before, "{clause}: something was written: {gone:#?} became {come:#?}");
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note<T: std::fmt::Debug>(seen: &mut Vec<String>, rows: impl IntoIterator<Item = T>) {
    seen.extend(rows.into_iter().map(|row| format!("{row:?}")));
}

/// What a store that is well returns.
pub(super) fn some<T>(outcome: Result<T, StoreError>) -> T {
    outcome.unwrap_or_else(|error| panic!("S4: a store that is well does not fail: {error:?}"))
}
