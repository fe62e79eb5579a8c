//! Every reason, told over HTTP as the contract has it.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use enroll_core::issue::{Grant, IssueError, Issued, Issuer};
use enroll_core::master::{AutoEnrollmentChange, Candidate, Denial, Enroller, MintRequest, Policy};
use enroll_core::model::{
    Credential, CredentialKind, CredentialRecord, EnrollRequest, Entropy, Origin, Presented,
    Reason, SharedSecret,
};
use serde_json::{Value, json};

use crate::common::fleet::{Answer, DAY, Fleet, Machine, Setup, name};

const CLUSTER_SECRET: &str = "f4b1c6d2e80a97351c6d2e80a9735f4b";
const WRONG_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// That an answer is the refusal `reason`, with every member of it, and repeats no secret.
#[track_caller]
fn assert_refused(answer: &Answer, reason: Reason, sent: &Value) {
    answer.assert_problem(reason.status());
    assert_eq!(answer.reason(), reason.code(), "{}", answer.text);
    assert_eq!(answer.body["type"], format!("urn:enroll:reason:{reason}"));
    assert_eq!(answer.body["title"], reason.title());
    assert_eq!(answer.body["hint"], reason.hint());
    assert_eq!(answer.body.get("code"), None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for secret in ["token", "shared_secret", "attempt_key"] {
        let secret = sent[secret].as_str().unwrap_or_default();
        assert!(secret.is_empty() || !answer.text.contains(secret), "{}", answer.text);
    }
}

async fn assert_refuses(fleet: &Fleet, sent: &Value, reason: Reason) -> Answer {
    let answer = fleet.stranger().enroll(sent).await;
    assert_refused(&answer, reason, sent);
    answer
}

fn with_cluster_secret() -> Setup {
    let secret = SharedSecret::configured(CLUSTER_SECRET.into()).unwrap();
    let master = move |enroller: Enroller| enroller.with_cluster_secret(&secret);
    Setup { master: Box::new(master), ..Setup::default() }
}

#[tokio::test]
async fn a_request_without_what_it_needs_is_bad() {
    let fleet = Fleet::start().await;
    let token = fleet.mint(MintRequest::new()).await;
    let good = Machine::new().request(&token, "worker-1");
    for (member, detail) in [
        ("token", "`token` is missing, and so is `shared_secret`."),
        ("node_name", "`node_name` is missing, and the token is not bound to a node."),
        ("csr", "`csr` is missing: this master issues certificates."),
    ] {
        let mut less = good.clone();
        less.as_object_mut().unwrap().remove(member);
        let answer = assert_refuses(&fleet, &less, Reason::BadRequest).await;
        assert_eq!(answer.body["detail"], detail);
    }
    for bad in ["", "Worker-1", "xn--a", "a_b", "10.0.0.1", "01890a5d-ac96-774b-bcce-b302099a8057"]
    {
        let mut other = good.clone();
        other["node_name"] = json!(bad);
        let answer = assert_refuses(&fleet, &other, Reason::BadRequest).await;
        assert!(answer.body["detail"].as_str().unwrap().starts_with("`node_name` is refused: "));
    }
    let fleet = Fleet::with(with_cluster_secret()).await;
    let alone = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
    assert_refuses(&fleet, &alone, Reason::BadRequest).await;
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_refused_and_the_token_is_not_spent() {
    let fleet = Fleet::start().await;
    let token = fleet.mint_one_shot().await;
    let machine = Machine::new();
    let good = machine.request(&token, "worker-1");
    let rsa = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    let csr = machine.csr();
    for bad in ["", "x", rsa, &csr.replace("BEGIN", "END"), &format!("{csr}{csr}")] {
        let mut other = good.clone();
        other["csr"] = json!(bad);
        assert_refuses(&fleet, &other, Reason::BadCsr).await;
    }
    assert_eq!(fleet.stranger().enroll(&good).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_cluster_secret_is_told_before_anything_of_the_token() {
    let fleet = Fleet::with(with_cluster_secret()).await;
    let mut request = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
    for wrong in [WRONG_SECRET, ""] {
        request["shared_secret"] = json!(wrong);
        assert_refuses(&fleet, &request, Reason::BadSecret).await;
    }
    request["token"] = json!("no token at all");
    assert_refuses(&fleet, &request, Reason::BadSecret).await;
    request["shared_secret"] = json!(CLUSTER_SECRET);
    assert_refuses(&fleet, &request, Reason::InvalidToken).await;
}

#[tokio::test]
async fn a_token_nobody_minted_or_that_was_replaced_is_not_known() {
    let fleet = Fleet::start().await;
    let elsewhere = Fleet::start().await;
    let foreign = elsewhere.mint_one_shot().await;
    assert_refuses(&fleet, &Machine::new().request(&foreign, "worker-1"), Reason::InvalidToken)
        .await;
    let own = fleet.mint_one_shot().await;
    let (cut, _) = own.expose().split_at(own.expose().len() - 1);
    for bad in ["", cut, &own.expose().to_uppercase(), "\u{1b}[2J"] {
        let mut request = Machine::new().request(&own, "worker-1");
        request["token"] = json!(bad);
        assert_refuses(&fleet, &request, Reason::InvalidToken).await;
    }
    let wish = || MintRequest::new().with_node_name(name("worker-1"));
    let earlier = fleet.mint(wish()).await;
    let _later = fleet.mint(wish()).await;
    assert_refuses(&fleet, &Machine::new().request(&earlier, "worker-1"), Reason::InvalidToken)
        .await;
}

#[tokio::test]
async fn names_belong_to_who_has_them() {
    let fleet = Fleet::start().await;
    let bound = fleet.mint(MintRequest::new().with_node_name(name("worker-1"))).await;
    let request = Machine::new().request(&bound, "worker-2");
    assert_refuses(&fleet, &request, Reason::NameMismatch).await;
    let (_, _, _) = fleet.enrolled("worker-3").await;
    let late = fleet.mint_one_shot().await;
    for held in ["worker-1", "worker-3"] {
        let request = Machine::new().request(&late, held);
        assert_refuses(&fleet, &request, Reason::NameTaken).await;
    }
    let answer = fleet.stranger().enroll(&Machine::new().request(&late, "worker-4")).await;
    assert_eq!(answer.status, StatusCode::OK, "what was refused spent nothing");
}

#[tokio::test]
async fn auto_enrollment_is_off_until_it_is_switched_on() {
    let fleet = Fleet::start().await;
    let with = |secret: &str, node: &str| json!({"shared_secret": secret, "node_name": node, "csr": Machine::new().csr()});
    assert_refuses(&fleet, &with(CLUSTER_SECRET, "a"), Reason::EnrollmentDisabled).await;

    let change = AutoEnrollmentChange {
        enabled: Some(true),
        secret: Some(SharedSecret::configured(CLUSTER_SECRET.into()).unwrap()),
        ..AutoEnrollmentChange::default()
    };
    fleet.enroller.change_auto_enrollment(change, "admin").await.unwrap();
    assert_refuses(&fleet, &with(WRONG_SECRET, "a"), Reason::BadSecret).await;
    let mut nameless = with(CLUSTER_SECRET, "a");
    nameless.as_object_mut().unwrap().remove("node_name");
    assert_refuses(&fleet, &nameless, Reason::BadRequest).await;
    let request = with(CLUSTER_SECRET, "a");
    let first = fleet.stranger().enroll(&request).await;
    first.assert_ok("EnrollAnswer");
    let again = fleet.stranger().enroll(&request).await;
    assert_eq!((again.status, &again.body["redelivered"]), (StatusCode::OK, &json!(true)));
    assert_refuses(&fleet, &with(CLUSTER_SECRET, "a"), Reason::NameTaken).await;

    let off = AutoEnrollmentChange { enabled: Some(false), ..AutoEnrollmentChange::default() };
    fleet.enroller.change_auto_enrollment(off, "admin").await.unwrap();
    assert_refuses(&fleet, &with(CLUSTER_SECRET, "b"), Reason::EnrollmentDisabled).await;
}

#[tokio::test]
async fn a_secret_beside_a_token_where_none_is_configured_is_told() {
    let fleet = Fleet::start().await;
    let mut request = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
    request["shared_secret"] = json!(WRONG_SECRET);
    let answer = assert_refuses(&fleet, &request, Reason::NotConfigured).await;
    assert_eq!(answer.header("retry-after"), Some("5"));
}

#[tokio::test]
async fn a_token_that_is_over_says_in_which_way() {
    let fleet = Fleet::start().await;
    let (spent, counted) =
        (fleet.mint_one_shot().await, fleet.mint(MintRequest::new().with_max_uses(2)).await);
    let (withdrawn, late) = (fleet.mint_one_shot().await, fleet.mint_one_shot().await);
    let client = fleet.stranger();
    for (token, node) in [(&spent, "a"), (&counted, "b"), (&counted, "c")] {
        let answer = client.enroll(&Machine::new().request(token, node)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    let _verdict = fleet.enroller.revoke(withdrawn.id(), "admin").await.unwrap();
    let ask = |token| Machine::new().request(token, "worker-1");
    assert_refuses(&fleet, &ask(&spent), Reason::AlreadyConsumed).await;
    assert_refuses(&fleet, &ask(&counted), Reason::Exhausted).await;
    assert_refuses(&fleet, &ask(&withdrawn), Reason::Revoked).await;
    fleet.clock.advance(DAY);
    let answer = assert_refuses(&fleet, &ask(&late), Reason::Expired).await;
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.starts_with("The join token expired at 2027-01-15T09:00:00"), "{detail}");
    assert_eq!(answer.header("retry-after"), None);
}

#[tokio::test]
async fn of_many_that_call_at_once_with_a_one_shot_token_one_gets_in() {
    let fleet = Fleet::start().await;
    let token = fleet.mint_one_shot().await;
    let calls = (0..16).map(|n| {
        let (client, request) =
            (fleet.stranger(), Machine::new().request(&token, &format!("worker-{n}")));
        tokio::spawn(async move { client.enroll(&request).await })
    });
    let mut won = 0;
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.unwrap();
        match answer.status {
            StatusCode::OK => won += 1,
            _ => assert!(["already_consumed", "race_consumed"].contains(&answer.reason())),
        }
    }
    assert_eq!(won, 1);
}

/// Lets another machine in by the same token before it lets the candidate in.
#[derive(Clone, Default)]
struct Overtaking {
    rival: Arc<Mutex<Option<EnrollRequest>>>,
    master: Arc<OnceLock<Weak<Enroller>>>,
}

#[async_trait]
impl Policy for Overtaking {
    async fn admit(&self, _: &Candidate<'_>) -> Result<(), Denial> {
        let rival = self.rival.lock().unwrap().take();
        if let Some(rival) = rival {
            let master = self.master.get().and_then(Weak::upgrade).unwrap();
            let _won = Box::pin(master.enroll(rival, Origin::default())).await.unwrap();
        }
        Ok(())
    }
}

#[tokio::test]
async fn who_loses_the_race_for_the_last_use_is_told_so() {
    let overtaking = Overtaking::default();
    let policy = Arc::new(overtaking.clone());
    let master = move |enroller: Enroller| enroller.with_policy(policy);
    let fleet = Fleet::with(Setup { master: Box::new(master), ..Setup::default() }).await;
    overtaking.master.set(Arc::downgrade(&fleet.enroller)).unwrap();
    let token = fleet.mint_one_shot().await;
    let presented = Presented::from_parts(Some(token.expose().into()), None).unwrap();
    let request =
        EnrollRequest::new(presented).with_node_name(name("rival")).with_csr(Machine::new().csr());
    *overtaking.rival.lock().unwrap() = Some(request);
    let slow = Machine::new().request(&token, "worker-1");
    assert_refuses(&fleet, &slow, Reason::RaceConsumed).await;
}

struct NoSeats(Option<Duration>);

#[async_trait]
impl Policy for NoSeats {
    async fn admit(&self, _: &Candidate<'_>) -> Result<(), Denial> {
        let denial = Denial::new("All 5 seats are taken.");
        Err(match self.0 {
            Some(wait) => denial.retry_after(wait),
            None => denial,
        })
    }
}

#[tokio::test]
async fn a_policy_refuses_in_its_own_words_for_good_or_for_a_while() {
    for (wait, header) in [(None, None), (Some(Duration::from_millis(89_001)), Some("90"))] {
        let master = move |enroller: Enroller| enroller.with_policy(Arc::new(NoSeats(wait)));
        let fleet = Fleet::with(Setup { master: Box::new(master), ..Setup::default() }).await;
        let request = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
        let answer = assert_refuses(&fleet, &request, Reason::Denied).await;
        assert_eq!(answer.body["detail"], "All 5 seats are taken.");
        assert_eq!(answer.header("retry-after"), header);
    }
}

/// An issuer whose other side is away.
struct Away(Reason);

#[async_trait]
impl Issuer for Away {
    fn kind(&self) -> CredentialKind {
        CredentialKind::from_static("mesh")
    }

    fn needs_key(&self) -> bool {
        false
    }

    async fn issue(&self, _: &Grant<'_>) -> Result<Issued, IssueError> {
        Err(IssueError::new(self.kind(), "hskey-s3cret was refused").with_reason(self.0))
    }

    fn again(&self, _: &CredentialRecord) -> Option<Credential> {
        None
    }

    async fn undo(&self, _: &CredentialRecord) -> Result<(), IssueError> {
        Ok(())
    }
}

#[tokio::test]
async fn an_issuer_that_fails_is_told_without_its_own_words() {
    for reason in [Reason::MeshMintFailed, Reason::IssueFailed, Reason::NotConfigured] {
        let extra_issuers: Vec<Arc<dyn Issuer>> = vec![Arc::new(Away(reason))];
        let fleet = Fleet::with(Setup { extra_issuers, ..Setup::default() }).await;
        let request = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
        let answer = assert_refuses(&fleet, &request, reason).await;
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert!(!answer.text.contains("s3cret"));
    }
}

/// A generator that has run dry.
struct Dry;

impl Entropy for Dry {
    fn fill(&self, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("no s3cret bytes left"))
    }
}

#[tokio::test]
async fn trouble_of_the_masters_own_is_unavailable_and_its_cause_stays_inside() {
    let fleet = Fleet::start().await;
    let request = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
    let master = |enroller: Enroller| enroller.with_entropy(Arc::new(Dry));
    let dry = Fleet::with(Setup { master: Box::new(master), ..Setup::default() }).await;
    let answer = assert_refuses(&dry, &request, Reason::Unavailable).await;
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert!(!answer.text.contains("s3cret"));
}

#[tokio::test]
async fn a_master_with_more_to_judge_than_it_can_says_so_at_once() {
    let options = |options: enroll_http::server::EnrollOptions| options.with_concurrency(0);
    let fleet = Fleet::with(Setup { options: Box::new(options), ..Setup::default() }).await;
    let request = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
    let answer = assert_refuses(&fleet, &request, Reason::Unavailable).await;
    assert_eq!(answer.body["detail"], "The master is overloaded.");
}
