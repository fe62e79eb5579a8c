//! What is judged by the request and the master's rules alone.

use std::collections::BTreeSet;

use enroll_core::decision::{AutoEnrollment, EnrollmentSecret, Rules, Screened, screen};
use enroll_core::model::{
    ClaimKey, EnrollRequest, Facts, JoinToken, Method, Presented, Reason, Rejection, SharedSecret,
    SharedSecretDigest, TokenPrefix,
};
use enroll_core::testing::{CountingEntropy, name};

use super::{AT, Faults, cross, first};

const NEW: &str = "the newer of two shared secrets";
const OLD: &str = "the older of two shared secrets";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Secret {
    New,
    Old,
    Wrong,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cluster {
    None,
    New,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Auto {
    Off,
    NoSecret,
    New,
    Both,
    OldPastItsGrace,
    OnlyOldPastItsGrace,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Csr {
    Missing,
    There,
    NotNeeded,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Name {
    Absent,
    Good,
    Reserved,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    method: Method,
    secret: Secret,
    cluster: Cluster,
    auto: Auto,
    csr: Csr,
    name: Name,
    large_facts: bool,
    malformed_token: bool,
}

fn cases() -> Vec<Case> {
    use Auto::{Both, New, NoSecret, Off, OldPastItsGrace, OnlyOldPastItsGrace};
    let start = Case {
        method: Method::Token,
        secret: Secret::New,
        cluster: Cluster::None,
        auto: Off,
        csr: Csr::There,
        name: Name::Good,
        large_facts: false,
        malformed_token: false,
    };
    let cases = cross(vec![start], Method::ALL, |case, it| case.method = it);
    let secrets = [Secret::New, Secret::Old, Secret::Wrong];
    let cases = cross(cases, &secrets, |case, it| case.secret = it);
    let clusters = [Cluster::None, Cluster::New, Cluster::Both];
    let cases = cross(cases, &clusters, |case, it| case.cluster = it);
    let autos = [Off, NoSecret, New, Both, OldPastItsGrace, OnlyOldPastItsGrace];
    let cases = cross(cases, &autos, |case, it| case.auto = it);
    let csrs = [Csr::Missing, Csr::There, Csr::NotNeeded];
    let cases = cross(cases, &csrs, |case, it| case.csr = it);
    let names = [Name::Absent, Name::Good, Name::Reserved];
    let cases = cross(cases, &names, |case, it| case.name = it);
    let cases = cross(cases, &[false, true], |case, it| case.large_facts = it);
    cross(cases, &[false, true], |case, it| case.malformed_token = it)
}

/// The contract's order of the checks, up to the store.
fn refused_with(case: &Case) -> Option<Reason> {
    let cluster_matches = match case.secret {
        Secret::New => case.cluster != Cluster::None,
        Secret::Old => case.cluster == Cluster::Both,
        Secret::Wrong => false,
    };
    let auto_matches = match case.secret {
        Secret::New => matches!(case.auto, Auto::New | Auto::Both | Auto::OldPastItsGrace),
        Secret::Old => case.auto == Auto::Both,
        Secret::Wrong => false,
    };
    let auto_off = matches!(case.auto, Auto::Off | Auto::NoSecret | Auto::OnlyOldPastItsGrace);
    let secret_alone = case.method == Method::Secret;
    let beside_token = case.method == Method::TokenAndSecret;
    let token_alone = case.method == Method::Token;
    let faults: Faults = vec![
        (token_alone && case.cluster != Cluster::None, Reason::BadRequest),
        (secret_alone && case.name == Name::Absent, Reason::BadRequest),
        (case.csr == Csr::Missing, Reason::BadRequest),
        (case.large_facts, Reason::BadRequest),
        (case.name == Name::Reserved, Reason::BadRequest),
        (beside_token && case.cluster == Cluster::None, Reason::NotConfigured),
        (secret_alone && auto_off, Reason::EnrollmentDisabled),
        (beside_token && !cluster_matches, Reason::BadSecret),
        (secret_alone && !auto_matches, Reason::BadSecret),
        (!secret_alone && case.malformed_token, Reason::InvalidToken),
    ];
    first(faults)
}

/// What all cases have in common.
struct World {
    prefix: TokenPrefix,
    token: JoinToken,
    claim: ClaimKey,
    reserved: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let prefix = TokenPrefix::default();
        let token = JoinToken::generate(&prefix, AT, &CountingEntropy::new())
            .expect("counting entropy never runs out");
        let claim = ClaimKey::of_public_key(b"a key");
        Self { prefix, token, claim, reserved: BTreeSet::from(["master".into()]) }
    }

    fn screen(&self, case: &Case) -> Result<Screened, Rejection> {
        let accepted = [digest(NEW), digest(OLD)];
        let auto = auto(case.auto);
        let mut rules = Rules::new(&self.prefix, &auto, &self.reserved);
        rules.csr_required = case.csr != Csr::NotNeeded;
        rules.cluster_secrets = match case.cluster {
            Cluster::None => &[],
            Cluster::New => &accepted[..1],
            Cluster::Both => &accepted,
        };
        screen(&self.request(case), Some(self.claim), &rules, AT)
    }

    fn request(&self, case: &Case) -> EnrollRequest {
        let token = self.token.expose();
        let cut = if case.malformed_token { 1 } else { 0 };
        let token = Some(token[..token.len() - cut].to_owned());
        let secret = match case.secret {
            Secret::New => NEW,
            Secret::Old => OLD,
            Secret::Wrong => "neither of the shared secrets",
        };
        let secret = Some(secret.to_owned());
        let presented = match case.method {
            Method::Token => Presented::from_parts(token, None),
            Method::TokenAndSecret => Presented::from_parts(token, secret),
            Method::Secret => Presented::from_parts(None, secret),
        };
        let mut request = EnrollRequest::new(presented.expect("something is presented"));
        request.csr = (case.csr == Csr::There).then(|| "a certificate request".into());
        request.node_name = match case.name {
            Name::Absent => None,
            Name::Good => Some(name("worker")),
            Name::Reserved => Some(name("master")),
        };
        let size = Facts::MAX_TEXT + usize::from(case.large_facts);
        request.with_facts(Facts { os: Some("x".repeat(size)), ..Facts::default() })
    }
}

fn digest(text: &str) -> SharedSecretDigest {
    SharedSecret::presented(text.into()).digest()
}

fn auto(kind: Auto) -> AutoEnrollment {
    let new = EnrollmentSecret { digest: digest(NEW), set_at: AT, valid_until: None };
    // The instant its grace ends is past it.
    let end = if kind == Auto::Both { AT.after(std::time::Duration::from_millis(1)) } else { AT };
    let old = EnrollmentSecret { digest: digest(OLD), set_at: AT, valid_until: Some(end) };
    let mut auto = AutoEnrollment::default();
    auto.enabled = kind != Auto::Off;
    auto.secrets = match kind {
        Auto::NoSecret => Vec::new(),
        Auto::New => vec![new],
        Auto::OnlyOldPastItsGrace => vec![old],
        Auto::Off | Auto::Both | Auto::OldPastItsGrace => vec![new, old],
    };
    auto
}

#[test]
fn of_several_faults_the_first_is_the_answer() {
    let world = World::new();
    let mut reached = BTreeSet::new();
    for case in cases() {
        let expected = refused_with(&case);
        match (world.screen(&case), expected) {
            (Err(rejection), Some(reason)) => {
                assert_eq!(rejection.reason(), reason, "{case:?}");
                reached.insert(reason);
            }
            (Ok(screened), None) => passed(&world, &case, &screened),
            (outcome, expected) => panic!("{case:?}: {outcome:?} is not {expected:?}"),
        }
    }
    let possible = [
        Reason::BadRequest,
        Reason::NotConfigured,
        Reason::EnrollmentDisabled,
        Reason::BadSecret,
        Reason::InvalidToken,
    ];
    assert_eq!(reached, BTreeSet::from(possible), "the reasons a screening can give");
}

/// Holds that what passed is what was asked.
fn passed(world: &World, case: &Case, screened: &Screened) {
    let which = match (case.method, case.secret) {
        (Method::Token, _) => None,
        (_, Secret::Old) => Some(1),
        _ => Some(0),
    };
    assert_eq!(screened.accepted_secret(), which, "{case:?}");
    assert_eq!(screened.method(), case.method, "{case:?}");
    assert_eq!(screened.claim(), Some(world.claim), "{case:?}");
    let token = screened.token().map(JoinToken::id);
    assert_eq!(token, (case.method != Method::Secret).then(|| world.token.id()), "{case:?}");
    let asked = (case.name == Name::Good).then(|| name("worker"));
    assert_eq!(screened.node_name(), asked.as_ref(), "{case:?}");
}

#[test]
fn no_answer_and_no_debug_shows_a_secret() {
    let world = World::new();
    for case in cases() {
        let shown = format!("{:?}", world.screen(&case));
        for secret in [NEW, OLD, &world.token.expose()["enroll_000000000000_".len()..]] {
            assert!(!shown.contains(secret), "{case:?} shows a secret");
        }
    }
}
