//! The line, end to end in memory: mint, enroll, ask again, beat, renew, recover, delete.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod bench;

use std::sync::Arc;
use std::time::Duration;

use bench::{Bench, admitted, bench, bench_with, certificate, csr, key, refused, request};
use enroll_core::issue::ApiKeyIssuer;
use enroll_core::issue::x509::X509Issuer;
use enroll_core::master::{
    AutoEnrollmentChange, BeatVerdict, Caller, Candidate, Denial, Enroller, InUse, MintRequest,
    Policy, RegisterRequest, RenewVerdict, RevokeVerdict, Unauthorized, Verdict,
};
use enroll_core::model::{
    Clock, Credential, EnrollRequest, NamePattern, NodeName, NodeRecord, Origin, Presented, Reason,
    SharedSecret, TokenStatus, TrustState, What,
};
use enroll_core::store::Page;
use rcgen::KeyPair;

#[tokio::test]
async fn a_lost_answer_is_given_again_until_the_identity_is_used() {
    let bench = bench();
    let (token, ours) = (bench.mint(1).await, key());
    let (first, again, node) = admitted(bench.ask(&token, "worker-1", &ours).await);
    assert!(!again);
    assert_eq!(node.state, TrustState::Monitoring);
    bench.pass(Duration::from_secs(2 * 60 * 60));
    let (second, again, same) = admitted(bench.ask(&token, "worker-1", &ours).await);
    assert!(again, "past the token's time, inside the window");
    assert_eq!((first.as_str(), node.id), (second.as_str(), same.id));
    assert_eq!(refused(bench.ask(&token, "worker-1", &key()).await), Reason::Expired);
    bench.caller(&first).await.unwrap();
    assert_eq!(refused(bench.ask(&token, "worker-1", &ours).await), Reason::Expired);
}

#[tokio::test]
async fn a_token_is_spent_once_and_only_by_a_success() {
    let bench = bench();
    let token = bench.mint(1).await;
    let mut bad = request(&token, "worker-1", &key());
    bad.csr =
        Some("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n".into());
    let verdict = bench.enroller.enroll(bad, Origin::default()).await.unwrap();
    assert_eq!(refused(verdict), Reason::BadCsr);
    let ours = key();
    let (pem, ..) = admitted(bench.ask(&token, "worker-1", &ours).await);
    assert_eq!(refused(bench.ask(&token, "worker-1", &key()).await), Reason::AlreadyConsumed);
    assert_eq!(refused(bench.ask(&token, "worker-2", &ours).await), Reason::AlreadyConsumed);
    bench.caller(&pem).await.unwrap();
    assert_eq!(refused(bench.ask(&token, "worker-1", &ours).await), Reason::AlreadyConsumed);
    let verdict = bench.enroller.revoke(token.id(), "admin").await.unwrap();
    assert_eq!(verdict, RevokeVerdict::AlreadyOver(TokenStatus::Consumed));
}

#[tokio::test]
async fn a_counted_token_gives_the_same_answer_again_and_then_a_new_use() {
    let bench = bench();
    let (token, ours) = (bench.mint(2).await, key());
    let (first, again, _) = admitted(bench.ask(&token, "worker-1", &ours).await);
    assert!(!again);
    let (second, again, _) = admitted(bench.ask(&token, "worker-1", &ours).await);
    assert!(again);
    assert_eq!(first, second);
    let (_, again, _) = admitted(bench.ask(&token, "worker-2", &ours).await);
    assert!(!again, "another name is a new use");
    assert_eq!(refused(bench.ask(&token, "worker-3", &ours).await), Reason::Exhausted);
}

#[tokio::test]
async fn a_regenerated_token_replaces_the_machine() {
    let bench = bench();
    let name = NodeName::new("worker-1").unwrap();
    let registered = bench.enroller.register(RegisterRequest::new(name.clone()), "admin").await;
    let first = registered.unwrap().minted.token;
    let (pem, _, node) = admitted(bench.ask(&first, "worker-1", &key()).await);
    assert!(bench.enroller.register(RegisterRequest::new(name.clone()), "admin").await.is_err());
    let second = bench.enroller.regenerate(name.clone(), "admin").await.unwrap().minted.token;
    let third = bench.enroller.regenerate(name, "admin").await.unwrap().minted.token;
    assert_eq!(refused(bench.ask(&second, "worker-1", &key()).await), Reason::InvalidToken);
    bench.caller(&pem).await.unwrap();
    let (_, _, same) = admitted(bench.ask(&third, "worker-1", &key()).await);
    assert_eq!(same.id, node.id);
    assert_eq!(bench.caller(&pem).await, Err(Unauthorized::Revoked));
}

#[tokio::test]
async fn a_deleted_node_is_nobody_and_its_name_is_free_for_a_later_token() {
    let bench = bench();
    let (early, late_key) = (bench.mint(0).await, key());
    let (pem, _, node) = admitted(bench.ask(&early, "worker-1", &key()).await);
    bench.caller(&pem).await.unwrap();
    bench.enroller.delete_node(&node.name, false, "admin").await.unwrap();
    assert_eq!(bench.caller(&pem).await, Err(Unauthorized::Revoked));
    assert_eq!(refused(bench.ask(&early, "worker-1", &late_key).await), Reason::NameTaken);
    let late = bench.mint(0).await;
    let (_, _, other) = admitted(bench.ask(&late, "worker-1", &late_key).await);
    assert_ne!(other.id, node.id);
}

#[tokio::test]
async fn heartbeats_make_a_node_ready_and_a_wrong_name_is_refused() {
    let bench = bench();
    let token = bench.mint(1).await;
    let (pem, ..) = admitted(bench.ask(&token, "worker-1", &key()).await);
    let caller = bench.enroller.authenticate(&certificate(&pem)).await.unwrap().unwrap();
    let name = NodeName::new("worker-1").unwrap();
    let beat = bench.enroller.heartbeat(&caller, &name, None).await.unwrap();
    assert!(matches!(beat, BeatVerdict::Recorded(reply) if !reply.renew));
    let other = NodeName::new("worker-2").unwrap();
    let beat = bench.enroller.heartbeat(&caller, &other, None).await.unwrap();
    assert!(matches!(beat, BeatVerdict::NameMismatch));
    let node = bench.enroller.node(&name).await.unwrap();
    assert_eq!(node.last_seen_at, Some(bench.clock.now()));
}

#[tokio::test]
async fn refusals_do_not_push_what_operators_did_out_of_the_journal() {
    let bench = bench();
    let (spent, unknown) = (bench.mint(1).await, bench::bench().mint(1).await);
    let (pem, ..) = admitted(bench.ask(&spent, "worker-1", &key()).await);
    let caller = bench.enroller.authenticate(&certificate(&pem)).await.unwrap().unwrap();
    let theirs = key();
    let most = Enroller::REFUSALS_AT_ONCE as usize;
    for _ in 0..most + 50 {
        assert_eq!(refused(bench.ask(&unknown, "worker-2", &theirs).await), Reason::InvalidToken);
    }
    assert_eq!(refused(bench.ask(&spent, "worker-1", &theirs).await), Reason::AlreadyConsumed);
    for _ in 0..Enroller::EVENTS_AT_ONCE + 50 {
        assert!(!bench.enroller.is_pinned(&caller, &NodeName::new("worker-2").unwrap()));
    }
    bench.enroller.flush().await;
    let events = bench.enroller.events(Page::first(10_000)).await.unwrap();
    let count = |kind: fn(&What) -> bool| events.iter().filter(|it| kind(&it.event.what)).count();
    let refused = count(|what| matches!(what, What::Refused { .. }));
    assert_eq!(refused, most + 1, "who has a token has a share of their own");
    let mismatched = count(|what| matches!(what, What::NameMismatch { .. }));
    assert_eq!(mismatched, Enroller::EVENTS_AT_ONCE as usize);
    let name = NodeName::new("worker-2").unwrap();
    let attempts = bench.enroller.attempts(&name, Page::first(10_000)).await.unwrap();
    assert_eq!(attempts.len(), most + 50, "every attempt is among those of its name");
}

#[tokio::test]
async fn a_redelivered_api_key_is_a_new_one_and_the_earlier_is_dead() {
    let bench = bench_with(|authority| {
        vec![Arc::new(X509Issuer::new(authority)), Arc::new(ApiKeyIssuer::default())]
    });
    let (token, ours) = (bench.mint(1).await, key());
    let keys = async || {
        let verdict = bench.ask(&token, "worker-1", &ours).await;
        let Verdict::Admitted(admission) = verdict else { panic!("{verdict:?}") };
        admission.credentials.into_iter().find_map(|credential| match credential {
            Credential::ApiKey(key) => Some(Caller::ApiKey(key)),
            _ => None,
        })
    };
    let (first, second) = (keys().await.unwrap(), keys().await.unwrap());
    let first = bench.enroller.authenticate(&first).await.unwrap();
    assert_eq!(first.map(|_| ()), Err(Unauthorized::Revoked));
    let caller = bench.enroller.authenticate(&second).await.unwrap().unwrap();
    let RenewVerdict::Renewed(made) = bench.enroller.renew(&caller, None).await.unwrap() else {
        panic!("not renewed")
    };
    assert!(matches!(made.as_slice(), [Credential::ApiKey(_)]));
}

struct NoSeats;

#[async_trait::async_trait]
impl Policy for NoSeats {
    async fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Denial> {
        assert_eq!(candidate.node_name.as_str(), "worker-1");
        Err(Denial::new("All 5 seats are taken.").retry_after(Duration::from_secs(7)))
    }
}

#[tokio::test]
async fn a_policy_refuses_in_its_own_words_and_nothing_is_spent() {
    let bench = bench();
    let token = bench.mint(1).await;
    let enroller = bench.enroller.with_policy(Arc::new(NoSeats));
    let verdict = enroller.enroll(request(&token, "worker-1", &key()), Origin::default()).await;
    let Verdict::Refused(rejection) = verdict.unwrap() else { panic!("admitted") };
    assert_eq!(rejection.reason(), Reason::Denied);
    assert_eq!(rejection.detail(), "All 5 seats are taken.");
    assert_eq!(rejection.retry_after(), Some(Duration::from_secs(7)));
    let tokens = enroller.tokens(Page::first(10), false).await.unwrap();
    assert_eq!(tokens[0].uses, 0);
}

#[tokio::test]
async fn refused_attempts_are_journalled_within_a_second() {
    let bench = bench();
    let token = bench.mint(1).await;
    admitted(bench.ask(&token, "worker-1", &key()).await);
    refused(bench.ask(&token, "worker-1", &key()).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let name = NodeName::new("worker-1").unwrap();
    let attempts = bench.enroller.attempts(&name, Page::first(10)).await.unwrap();
    assert_eq!(attempts.len(), 2);
    assert!(attempts.iter().all(|attempt| attempt.proven));
}

#[tokio::test]
async fn a_lifetime_is_clamped_and_a_bound_token_is_single_use() {
    let bench = bench();
    let wish = MintRequest::new().with_ttl(Duration::from_secs(1)).with_max_uses(7);
    let minted = bench.enroller.mint(wish, "admin").await.unwrap();
    assert_eq!((minted.ttl, minted.record.max_uses), (MintRequest::MIN_TTL, 7));
    let wish = MintRequest::new()
        .with_ttl(Duration::from_secs(1_000_000))
        .with_max_uses(7)
        .with_node_name(NodeName::new("worker-1").unwrap());
    let minted = bench.enroller.mint(wish, "admin").await.unwrap();
    assert_eq!((minted.ttl, minted.record.max_uses), (MintRequest::MAX_TTL, 1));
    assert_eq!(minted.node.unwrap().state, TrustState::Pending);
    let unbound = bench.mint(0).await;
    let taken = bench.ask(&unbound, "worker-1", &key()).await;
    assert_eq!(refused(taken), Reason::NameTaken);
    let misnamed = bench.ask(&minted.token, "worker-2", &key()).await;
    assert_eq!(refused(misnamed), Reason::NameMismatch);
    let nameless = EnrollRequest::new(
        Presented::from_parts(Some(minted.token.expose().into()), None).unwrap(),
    )
    .with_csr(csr(&key()));
    let verdict = bench.enroller.enroll(nameless, Origin::default()).await.unwrap();
    assert_eq!(admitted(verdict).2.name.as_str(), "worker-1");
}

fn with_secret(secret: &str, name: &str, key: &KeyPair) -> EnrollRequest {
    EnrollRequest::new(Presented::from_parts(None, Some(secret.into())).unwrap())
        .with_node_name(NodeName::new(name).unwrap())
        .with_csr(csr(key))
}

#[tokio::test]
async fn auto_enrollment_is_switched_rotated_and_bounded_while_running() {
    let bench = bench();
    let (old, new) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let ask = |secret: &'static str, name: &'static str, key: &KeyPair| {
        let request = with_secret(secret, name, key);
        let enroller = &bench.enroller;
        async move { enroller.enroll(request, Origin::default()).await.unwrap() }
    };
    let change = |secret: Option<&str>, wish: AutoEnrollmentChange| {
        let secret = secret.map(|s| SharedSecret::configured(s.into()).unwrap());
        let enroller = &bench.enroller;
        async move {
            let wish = AutoEnrollmentChange { secret, ..wish };
            enroller.change_auto_enrollment(wish, "admin").await.unwrap()
        }
    };
    assert_eq!(refused(ask(old, "w-1", &key()).await), Reason::EnrollmentDisabled);
    let on = AutoEnrollmentChange { enabled: Some(true), ..Default::default() };
    assert!(change(Some(old), on).await.enabled);
    assert_eq!(refused(ask(new, "w-1", &key()).await), Reason::BadSecret);
    let ours = key();
    let (first, ..) = admitted(ask(old, "w-1", &ours).await);
    let (again, redelivered, _) = admitted(ask(old, "w-1", &ours).await);
    assert!(redelivered && first == again);
    assert_eq!(refused(ask(old, "w-1", &key()).await), Reason::NameTaken);
    let grace = Some(Duration::from_secs(60));
    change(Some(new), AutoEnrollmentChange { previous_valid: grace, ..Default::default() }).await;
    admitted(ask(old, "w-2", &key()).await);
    bench.pass(Duration::from_secs(61));
    assert_eq!(refused(ask(old, "w-3", &key()).await), Reason::BadSecret);
    let patterns = Some(vec![NamePattern::new("db-*").unwrap()]);
    let bounded =
        AutoEnrollmentChange { replace: Some(true), name_patterns: patterns, ..Default::default() };
    change(None, bounded).await;
    assert_eq!(refused(ask(new, "w-3", &key()).await), Reason::Denied);
    admitted(ask(new, "db-1", &key()).await);
    let (_, _, one) = admitted(ask(new, "db-1", &key()).await);
    bench.enroller.delete_node(&one.name, false, "admin").await.unwrap();
    assert_eq!(refused(ask(new, "db-1", &key()).await), Reason::NameTaken, "set before");
    change(None, AutoEnrollmentChange { enabled: Some(false), ..Default::default() }).await;
    assert_eq!(refused(ask(new, "db-2", &key()).await), Reason::EnrollmentDisabled);
    bench.enroller.flush().await;
    let events = bench.enroller.events(Page::first(500)).await.unwrap();
    let count =
        |wanted: fn(&What) -> bool| events.iter().filter(|entry| wanted(&entry.event.what)).count();
    assert_eq!(count(|what| matches!(what, What::OldSecretUsed { .. })), 1);
    assert_eq!(count(|what| matches!(what, What::UnfamiliarName { .. })), 3);
}

#[tokio::test]
async fn a_cluster_secret_beside_the_token_comes_before_the_store() {
    let Bench { enroller, .. } = bench();
    let secret = "0123456789abcdef0123456789abcdef";
    let token = enroller.mint(MintRequest::new(), "admin").await.unwrap().token;
    let ask = async |enroller: &Enroller, secret: Option<&str>| {
        let presented =
            Presented::from_parts(Some(token.expose().into()), secret.map(str::to_owned));
        let request = EnrollRequest::new(presented.unwrap())
            .with_node_name(NodeName::new("worker-1").unwrap())
            .with_csr(csr(&key()));
        enroller.enroll(request, Origin::default()).await.unwrap()
    };
    assert_eq!(refused(ask(&enroller, Some(secret)).await), Reason::NotConfigured);
    let enroller = enroller.with_cluster_secret(&SharedSecret::configured(secret.into()).unwrap());
    assert_eq!(refused(ask(&enroller, None).await), Reason::BadRequest);
    assert_eq!(refused(ask(&enroller, Some("wrong")).await), Reason::BadSecret);
    admitted(ask(&enroller, Some(secret)).await);
}

struct Busy;

#[async_trait::async_trait]
impl InUse for Busy {
    async fn reason(&self, node: &NodeRecord) -> Option<String> {
        Some(format!("{} runs 3 machines.", node.name))
    }
}

#[tokio::test]
async fn b10_a_node_in_use_is_deleted_only_by_force() {
    let bench = bench();
    let token = bench.mint(1).await;
    let (pem, _, node) = admitted(bench.ask(&token, "worker-1", &key()).await);
    let enroller = bench.enroller.with_in_use_guard(Arc::new(Busy));
    let refused = enroller.delete_node(&node.name, false, "admin").await.unwrap_err();
    assert_eq!(refused.to_string(), "The node is in use: worker-1 runs 3 machines.");
    assert!(enroller.authenticate(&certificate(&pem)).await.unwrap().is_ok());
    enroller.delete_node(&node.name, true, "admin").await.unwrap();
    assert!(enroller.authenticate(&certificate(&pem)).await.unwrap().is_err());
}
