//! What is judged against the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use enroll_core::decision::{
    Approval, AutoEnrollment, Decision, EnrollmentSecret, KeyProof, Redelivery, Rules, Screened,
    Take, decide, lost, screen,
};
use enroll_core::model::{
    ClaimKey, EnrollRequest, Facts, IdentityRecord, Method, NamePattern, NameState, NodeId,
    NodeName, NodeRecord, Presented, Prior, Reason, RedemptionId, RedemptionRecord, Rejection,
    SharedSecret, Snapshot, Timestamp, TokenPrefix, TokenRecord, TrustState,
};
use enroll_core::testing::{Fixtures, TestToken, name};

use super::AT;
use super::cases::{Case, Earlier, Expected, Known, Name, Naming, Uses, secret_cases, token_cases};

const CLUSTER_SECRET: &str = "the cluster secret of these tests";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MOMENT: Duration = Duration::from_millis(1);

/// A key whose possession is proven, or not; it counts how often it was asked.
struct Key {
    good: bool,
    asked: AtomicUsize,
}

impl KeyProof for Key {
    fn prove(&self) -> Result<(), String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.good { Ok(()) } else { Err("The signature does not verify.".into()) }
    }
}

/// By what one screened request differs from another.
type Asked = (Method, bool, bool, bool, bool);

/// What all cases have in common.
struct World {
    make: Fixtures,
    token: TestToken,
    other: TestToken,
    node: NodeId,
    redemption: RedemptionId,
    identity: IdentityRecord,
    screened: BTreeMap<Asked, Screened>,
    judged: usize,
}

fn minted_at() -> Timestamp {
    AT.before(Duration::from_secs(600))
}

fn claim() -> ClaimKey {
    ClaimKey::of_public_key(b"its own key")
}

impl World {
    fn new() -> Self {
        let make = Fixtures::new();
        let token = make.token(minted_at());
        let (node, redemption) = (make.node_id(AT), make.redemption_id(AT));
        let identity = make.identity(node, &name("worker"), redemption, make.x509(), AT);
        let other = make.token(minted_at());
        let (screened, judged) = (BTreeMap::new(), 0);
        Self { make, token, other, node, redemption, identity, screened, judged }
    }

    /// The request of a case, screened once for all cases that ask alike.
    fn asked(&mut self, case: Case) -> Asked {
        let keyless = case.earlier == Earlier::OfNoKey;
        let asked = (case.method, case.absent(), keyless, case.replace, case.fits_pattern);
        if !self.screened.contains_key(&asked) {
            let screened = self.screen(asked);
            self.screened.insert(asked, screened);
        }
        asked
    }

    fn screen(&self, (method, absent, keyless, replace, fits_pattern): Asked) -> Screened {
        let secret = |text: &str| SharedSecret::presented(text.into()).digest();
        let mut auto = AutoEnrollment::default();
        (auto.enabled, auto.replace) = (true, replace);
        auto.secrets = vec![EnrollmentSecret {
            digest: secret(Fixtures::ENROLLMENT_SECRET),
            set_at: minted_at(),
            valid_until: None,
        }];
        let pattern = if fits_pattern { "work*" } else { "play*" };
        auto.name_patterns = vec![NamePattern::new(pattern).expect("this is a pattern")];
        let (prefix, reserved) = (TokenPrefix::default(), BTreeSet::new());
        let accepted = [secret(CLUSTER_SECRET)];
        let mut rules = Rules::new(&prefix, &auto, &reserved);
        if method == Method::TokenAndSecret {
            rules.cluster_secrets = &accepted;
        }
        let token = Some(self.token.token.expose().to_owned());
        let presented = match method {
            Method::Token => Presented::from_parts(token, None),
            Method::TokenAndSecret => Presented::from_parts(token, Some(CLUSTER_SECRET.into())),
            Method::Secret => Presented::from_parts(None, Some(Fixtures::ENROLLMENT_SECRET.into())),
        };
        let mut request = EnrollRequest::new(presented.expect("something is presented"));
        request.node_name = (!absent).then(|| name("worker"));
        screen(&request, (!keyless).then(claim), &rules, AT).expect("nothing is wrong so far")
    }

    fn snapshot(&self, case: Case) -> Snapshot {
        Snapshot { token: self.token(case), name: self.name(case), prior: self.prior(case) }
    }

    fn token(&self, case: Case) -> Option<TokenRecord> {
        if case.method == Method::Secret || case.known == Known::Unknown {
            return None;
        }
        let (max_uses, uses) = match case.uses {
            Uses::Unlimited => (0, 7),
            Uses::OneShot => (1, 0),
            Uses::OneShotSpent => (1, 1),
            Uses::Counted => (3, 2),
            Uses::CountedSpent => (3, 3),
        };
        let digest = match case.known {
            Known::OtherDigest => self.other.record.digest.clone(),
            _ => self.token.record.digest.clone(),
        };
        Some(TokenRecord {
            digest,
            max_uses,
            uses,
            bound_to: match case.naming {
                Naming::Unbound | Naming::UnboundAndAbsent => None,
                Naming::Bound | Naming::BoundAndAbsent => Some(name("worker")),
                Naming::BoundToAnother => Some(name("another")),
            },
            expires_at: if case.expired { AT } else { AT.after(MOMENT) },
            revoked_at: case.revoked.then(minted_at),
            replaced_at: case.replaced.then(minted_at),
            ..self.token.record.clone()
        })
    }

    fn name(&self, case: Case) -> NameState {
        let holder = match case.earlier {
            Earlier::OfAnotherName => name("another"),
            _ => name("worker"),
        };
        match case.name {
            Name::Unknown => NameState::Unknown,
            Name::Pending => NameState::Pending(self.node(holder, None)),
            Name::HeldByToken => NameState::Held(self.node(holder, Some(Method::Token))),
            Name::HeldBySecret => NameState::Held(self.node(holder, Some(Method::Secret))),
            Name::DeletedBeforeMinting => NameState::Deleted { at: minted_at().before(MOMENT) },
            Name::DeletedAtMinting => NameState::Deleted { at: minted_at() },
            Name::DeletedAfterMinting => NameState::Deleted { at: minted_at().after(MOMENT) },
        }
    }

    fn node(&self, name: NodeName, method: Option<Method>) -> NodeRecord {
        let state = method.map_or(TrustState::Pending, |_| TrustState::Monitoring);
        NodeRecord {
            id: self.node,
            name,
            state,
            cordoned: false,
            labels: BTreeMap::new(),
            facts: Facts::default(),
            method,
            created_at: minted_at(),
            enrolled_at: method.map(|_| minted_at()),
            last_seen_at: None,
            fuse: None,
        }
    }

    fn prior(&self, case: Case) -> Option<Prior> {
        let of_token = case.method != Method::Secret;
        let at = match case.earlier {
            Earlier::None => return None,
            Earlier::ADayAgo => AT.before(DAY),
            Earlier::OpenForOneMoment => AT.before(DAY).after(MOMENT),
            _ => AT.before(MOMENT),
        };
        let redemption = RedemptionRecord {
            id: self.redemption,
            token_id: match case.earlier {
                Earlier::OfAnotherToken => Some(self.other.record.id),
                _ => of_token.then_some(self.token.record.id),
            },
            method: case.method,
            node_id: match case.earlier {
                Earlier::OfAnotherNode => self.make.node_id(AT),
                _ => self.node,
            },
            node_name: name("worker"),
            at,
            source_ip: None,
            claim: match case.earlier {
                Earlier::OfAnotherKey => Some(ClaimKey::of_public_key(b"another key")),
                Earlier::OfNoKey => None,
                _ => Some(claim()),
            },
            closed_at: (case.earlier == Earlier::Closed).then_some(AT),
        };
        Some(Prior { redemption, identities: vec![self.identity.clone()] })
    }

    /// Judges one case both ways and holds them against each other. Returns the reason, if any.
    fn judge(&mut self, case: Case) -> Option<Reason> {
        let (asked, seen) = (self.asked(case), self.snapshot(case));
        let asked = &self.screened[&asked];
        let key = Key { good: case.signed, asked: AtomicUsize::new(0) };
        let decision = decide(asked, &seen, &key, AT);
        let (expected, proofs) = (case.expected(), key.asked.load(Ordering::SeqCst));
        self.holds(case, expected, &decision);
        assert!(proofs <= 1, "a signature is verified {proofs} times: {case:?}");
        let cheap = matches!(expected, Err(Reason::InvalidToken | Reason::Revoked));
        assert!(!cheap || proofs == 0, "a signature is verified for nothing: {case:?}");
        let raced = expected.map_err(|reason| match reason {
            Reason::AlreadyConsumed | Reason::Exhausted => Reason::RaceConsumed,
            other => other,
        });
        self.holds(case, raced, &lost(asked, &seen, &key, AT));
        self.judged += 1;
        expected.err()
    }

    fn holds(
        &self,
        case: Case,
        expected: Result<Expected, Reason>,
        decision: &Result<Decision, Rejection>,
    ) {
        match (decision, expected) {
            (Err(rejection), Err(reason)) => assert_eq!(rejection.reason(), reason, "{case:?}"),
            (Ok(Decision::Approved(approval)), Ok(Expected::Approved)) => {
                self.approved(case, approval);
            }
            (Ok(Decision::Redeliver(redelivery)), Ok(Expected::Redelivered)) => {
                self.redelivered(case, redelivery);
            }
            _ => panic!("{case:?}: {decision:?} is not {expected:?}"),
        }
    }

    fn approved(&self, case: Case, approval: &Approval) {
        let take = match case.name {
            Name::Pending => Take::Pending(self.node),
            Name::HeldByToken | Name::HeldBySecret => Take::Held(self.node),
            _ => Take::Free,
        };
        assert_eq!(approval.take(), take, "{case:?}");
        assert_eq!(approval.method(), case.method, "{case:?}");
        let token = (case.method != Method::Secret).then_some(self.token.record.id);
        assert_eq!(approval.token_id(), token, "{case:?}");
        assert_eq!(approval.node_name(), &name("worker"), "{case:?}");
        assert_eq!(approval.claim(), (case.earlier != Earlier::OfNoKey).then(claim), "{case:?}");
        assert_eq!(approval.minted_at(), minted_at(), "{case:?}");
    }

    fn redelivered(&self, case: Case, redelivery: &Redelivery) {
        assert_eq!(redelivery.node().id, self.node, "{case:?}");
        assert_eq!(redelivery.redemption().id, self.redemption, "{case:?}");
        let ours = std::slice::from_ref(&self.identity);
        assert_eq!(redelivery.identities(), ours, "{case:?}");
    }

    fn judge_all(&mut self, cases: Vec<Case>) -> BTreeSet<Reason> {
        cases.into_iter().filter_map(|case| self.judge(case)).collect()
    }
}

fn token_reasons() -> BTreeSet<Reason> {
    BTreeSet::from([
        Reason::InvalidToken,
        Reason::Revoked,
        Reason::Expired,
        Reason::AlreadyConsumed,
        Reason::Exhausted,
        Reason::NameMismatch,
        Reason::BadRequest,
        Reason::BadCsr,
        Reason::NameTaken,
    ])
}

#[test]
fn a_token_is_refused_for_the_first_fault() {
    let mut world = World::new();
    let reached = world.judge_all(token_cases(Method::Token));
    assert_eq!(reached, token_reasons(), "the reasons a token can be refused for");
    assert_eq!(world.judged, 161_280, "every combination is judged");
}

#[test]
fn a_token_beside_a_secret_is_refused_for_the_first_fault() {
    let reached = World::new().judge_all(token_cases(Method::TokenAndSecret));
    assert_eq!(reached, token_reasons(), "the reasons a token can be refused for");
}

#[test]
fn a_secret_is_refused_for_the_first_fault() {
    let reached = World::new().judge_all(secret_cases());
    let possible = [Reason::BadCsr, Reason::NameTaken, Reason::Denied];
    assert_eq!(reached, BTreeSet::from(possible), "the reasons a secret can be refused for");
}
