//! Makers of what tests need. Approvals come from the real [`screen`] and [`decide`], because
//! nothing else can make one.

use std::collections::BTreeSet;
use std::time::Duration;

use super::CountingEntropy;
use crate::decision::{
    Approval, AutoEnrollment, Decision, EnrollmentSecret, NoKey, Rules, Screened, decide, lost,
    screen,
};
use crate::model::{
    ApiKey, AttemptId, AttemptOutcome, AttemptRecord, ClaimKey, CredentialRecord, EnrollRequest,
    Facts, IdentityId, IdentityRecord, JoinToken, NodeId, NodeName, Origin, Presented,
    RedemptionId, Rejection, Serial, Sha256, SharedSecret, Snapshot, Timestamp, TokenPrefix,
    TokenRecord,
};
use crate::store::{Mint, NameRule, Redeem};

/// The node name `text`.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a test names its nodes properly")
}

/// A token as minted: its text, and the record a store keeps of it.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a test changes the record as it likes")]
pub struct TestToken {
    /// The token.
    pub token: JoinToken,
    /// What is kept.
    pub record: TokenRecord,
}

impl TestToken {
    /// Good for `uses` in all; 0 is unlimited.
    #[must_use]
    pub const fn uses(mut self, uses: u32) -> Self {
        self.record.max_uses = uses;
        self
    }

    /// Bound to the node `text`, and one-shot.
    #[must_use]
    pub fn bound_to(mut self, text: &str) -> Self {
        self.record.bound_to = Some(name(text));
        self.record.max_uses = 1;
        self
    }

    /// Good for `ttl` from its minting.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.record.expires_at = self.record.created_at.after(ttl);
        self
    }
}

/// Somebody who asks to become a member. Holds a secret, and so has no `Debug`.
#[expect(missing_debug_implementations, reason = "it holds the text of a token or secret")]
#[derive(Clone)]
pub struct Claimant {
    token: Option<String>,
    secret: Option<String>,
    node_name: Option<NodeName>,
    claim: Option<ClaimKey>,
}

impl Claimant {
    /// Presents `token` and asks for the name `text`, holding a key of its own: two claimants of
    /// different names have different keys.
    #[must_use]
    pub fn new(token: &TestToken, text: &str) -> Self {
        let token = Some(token.token.expose().to_owned());
        Self { token, secret: None, node_name: Some(name(text)), claim: None }.with_key(text)
    }

    /// Presents the enrollment secret of [`Fixtures`].
    #[must_use]
    pub fn by_secret(text: &str) -> Self {
        let secret = Some(Fixtures::ENROLLMENT_SECRET.to_owned());
        Self { token: None, secret, node_name: Some(name(text)), claim: None }.with_key(text)
    }

    /// Holds the key called `key` instead.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.claim = Some(ClaimKey::of_public_key(key.as_bytes()));
        self
    }

    /// Brings nothing that identifies a retry.
    #[must_use]
    pub fn without_key(mut self) -> Self {
        self.claim = None;
        self
    }

    /// Asks for no name: the token is bound.
    #[must_use]
    pub fn without_name(mut self) -> Self {
        self.node_name = None;
        self
    }

    /// What identifies a retry.
    #[must_use]
    pub const fn claim(&self) -> Option<ClaimKey> {
        self.claim
    }

    /// The name asked for.
    #[must_use]
    pub const fn node_name(&self) -> Option<&NodeName> {
        self.node_name.as_ref()
    }

    /// What it sends.
    ///
    /// # Panics
    /// Never: a claimant presents something.
    #[must_use]
    pub fn request(&self) -> EnrollRequest {
        let presented = Presented::from_parts(self.token.clone(), self.secret.clone());
        let request = EnrollRequest::new(presented.expect("a claimant presents something"));
        match &self.node_name {
            Some(name) => request.with_node_name(name.clone()),
            None => request,
        }
    }
}

/// Makes tokens, requests, approvals and records, deterministically and each but once.
#[derive(Debug)]
pub struct Fixtures {
    prefix: TokenPrefix,
    entropy: CountingEntropy,
    auto: AutoEnrollment,
}

impl Default for Fixtures {
    fn default() -> Self {
        Self::new()
    }
}

impl Fixtures {
    /// When everything begins: a second of November 2026.
    pub const START: Timestamp = Timestamp::from_unix_secs(1_795_000_000);
    /// How long a token is good unless told otherwise: 1 h.
    pub const TTL: Duration = Duration::from_secs(3_600);
    /// The enrollment secret; set at [`Self::START`] unless told otherwise.
    pub const ENROLLMENT_SECRET: &str = "an enrollment secret for tests, no more";

    /// Makers under which a join token or the enrollment secret is accepted.
    #[must_use]
    pub fn new() -> Self {
        let secret = EnrollmentSecret {
            digest: SharedSecret::presented(Self::ENROLLMENT_SECRET.to_owned()).digest(),
            set_at: Self::START,
            valid_until: None,
        };
        let auto =
            AutoEnrollment { enabled: true, secrets: vec![secret], ..AutoEnrollment::default() };
        Self { prefix: TokenPrefix::default(), entropy: CountingEntropy::new(), auto }
    }

    /// The enrollment secret was set at `at`.
    #[must_use]
    pub fn with_secret_set_at(mut self, at: Timestamp) -> Self {
        for secret in &mut self.auto.secrets {
            secret.set_at = at;
        }
        self
    }

    /// The enrollment secret may replace what it made.
    #[must_use]
    pub const fn with_replace(mut self) -> Self {
        self.auto.replace = true;
        self
    }

    /// The entropy everything is made of.
    #[must_use]
    pub const fn entropy(&self) -> &CountingEntropy {
        &self.entropy
    }

    /// `secs` seconds after [`Self::START`].
    #[must_use]
    pub fn at(secs: u64) -> Timestamp {
        Self::START.after(Duration::from_secs(secs))
    }

    /// An unlimited, unbound token minted at `at`, good for [`Self::TTL`].
    #[must_use]
    pub fn token(&self, at: Timestamp) -> TestToken {
        let token = some(JoinToken::generate(&self.prefix, at, &self.entropy));
        let record = TokenRecord {
            id: token.id(),
            digest: token.digest(),
            bound_to: None,
            created_at: at,
            expires_at: at.after(Self::TTL),
            max_uses: 0,
            uses: 0,
            created_by: "tests".into(),
            description: None,
            revoked_at: None,
            replaced_at: None,
        };
        TestToken { token, record }
    }

    /// The wish to mint `token`, whatever holds its name.
    #[must_use]
    pub fn mint(&self, token: &TestToken) -> Mint {
        Mint {
            token: token.record.clone(),
            rule: NameRule::Any,
            new_node_id: self.node_id(token.record.created_at),
            labels: None,
            events: Vec::new(),
        }
    }

    /// What [`screen`] makes of a claimant.
    ///
    /// # Errors
    /// As [`screen`].
    pub fn screened(&self, claimant: &Claimant, at: Timestamp) -> Result<Screened, Rejection> {
        let reserved = BTreeSet::new();
        let rules = Rules::new(&self.prefix, &self.auto, &reserved);
        screen(&claimant.request(), claimant.claim, &rules, at)
    }

    /// What [`decide`] makes of a claimant and of what a store holds.
    ///
    /// # Errors
    /// As [`screen`] and [`decide`].
    pub fn decide(
        &self,
        claimant: &Claimant,
        seen: &Snapshot,
        at: Timestamp,
    ) -> Result<Decision, Rejection> {
        decide(&self.screened(claimant, at)?, seen, &NoKey::new(), at)
    }

    /// What [`lost`] makes of a claimant and of what a store held when it lost.
    ///
    /// # Errors
    /// As [`screen`] and [`lost`].
    pub fn lost(
        &self,
        claimant: &Claimant,
        seen: &Snapshot,
        at: Timestamp,
    ) -> Result<Decision, Rejection> {
        lost(&self.screened(claimant, at)?, seen, &NoKey::new(), at)
    }

    /// The redemption `approval` allows, with one certificate and one API key to go with it.
    #[must_use]
    pub fn redeem(&self, approval: Approval, at: Timestamp) -> Redeem {
        let id = self.redemption_id(at);
        let new_node_id = self.node_id(at);
        let node_name = approval.node_name().clone();
        Redeem {
            approval,
            id,
            at,
            new_node_id,
            identities: vec![
                self.identity(new_node_id, &node_name, id, self.x509(), at),
                self.identity(new_node_id, &node_name, id, self.api_key(), at),
            ],
            facts: Facts::default(),
            origin: Origin::default(),
        }
    }

    /// An identity straight from a redemption.
    #[must_use]
    pub fn identity(
        &self,
        node_id: NodeId,
        node_name: &NodeName,
        redemption_id: RedemptionId,
        credential: CredentialRecord,
        at: Timestamp,
    ) -> IdentityRecord {
        IdentityRecord {
            id: some(IdentityId::generate(at, &self.entropy)),
            node_id,
            node_name: node_name.clone(),
            redemption_id,
            predecessor: None,
            credential,
            issued_at: at,
            expires_at: None,
            first_used_at: None,
            revoked_at: None,
        }
    }

    /// A certificate nobody has yet.
    #[must_use]
    pub fn x509(&self) -> CredentialRecord {
        let serial = some(Serial::generate(Self::START, &self.entropy));
        CredentialRecord::X509 {
            serial,
            key_digest: Sha256::of(serial.as_bytes()),
            certificate: serial.as_bytes().to_vec(),
        }
    }

    /// An API key nobody has yet.
    #[must_use]
    pub fn api_key(&self) -> CredentialRecord {
        let key = some(ApiKey::generate(&self.prefix, &self.entropy));
        CredentialRecord::ApiKey { digest: key.digest() }
    }

    /// A proven attempt under `node_name`, given its own answer again.
    #[must_use]
    pub fn attempt(&self, node_name: &NodeName, at: Timestamp) -> AttemptRecord {
        AttemptRecord {
            id: some(AttemptId::generate(at, &self.entropy)),
            at,
            node_name: Some(node_name.clone()),
            outcome: AttemptOutcome::Redelivered,
            source_ip: None,
            token_id: None,
            proven: true,
        }
    }

    /// A node id nobody has yet.
    #[must_use]
    pub fn node_id(&self, at: Timestamp) -> NodeId {
        some(NodeId::generate(at, &self.entropy))
    }

    /// A redemption id nobody has yet.
    #[must_use]
    pub fn redemption_id(&self, at: Timestamp) -> RedemptionId {
        some(RedemptionId::generate(at, &self.entropy))
    }
}

/// What counting entropy made: it never fails.
fn some<T>(made: std::io::Result<T>) -> T {
    made.expect("counting entropy never runs out")
}
