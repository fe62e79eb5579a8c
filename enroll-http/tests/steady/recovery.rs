//! Coming back after the certificate ran out while the machine was off.

use axum::http::StatusCode;
use data_encoding::BASE64;
use enroll_core::issue::x509::Csr;
use enroll_core::model::Sha256;
use enroll_http::server::AddressLimiter;
use rcgen::SigningKey as _;
use serde_json::{Value, json};

use crate::common::fleet::{DAY, Fleet, Machine, Setup, leaf, name};

/// The wish of who holds the key of `signer` to have `certificate` succeeded by one for `new`.
fn wish(signer: &Machine, certificate: &str, new: &Machine) -> Value {
    let csr = new.csr();
    let der = Csr::parse(&csr).unwrap().der().to_vec();
    let old = leaf(certificate);
    let digest = Sha256::of(old.der());
    let message = [b"enroll-recover-v1\0".as_slice(), digest.as_bytes(), &der].concat();
    let signature = signer.key.sign(&message).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let first = certificate.split_inclusive(end).next().unwrap();
    json!({"certificate": first, "csr": csr, "signature": BASE64.encode(&signature)})
}

#[tokio::test]
async fn an_expired_certificate_comes_back_with_its_key() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    fleet.clock.advance(31 * DAY);
    let (new, client) = (Machine::new(), fleet.stranger());
    let asked = wish(&machine, &certificate, &new);
    let answer = client.post_steady("/v1/recover", &asked).await;
    answer.assert_ok("RenewAnswer");
    let again = client.post_steady("/v1/recover", &asked).await;
    assert_eq!(again.certificate(), answer.certificate(), "a lost answer is given again");
    let member = fleet.member(&new, &answer.certificate());
    let beat = member.post_steady("/v1/self/heartbeat", &json!({"node_name": "worker-1"})).await;
    assert_eq!(beat.status, StatusCode::OK, "{}", beat.text);
    client.post_steady("/v1/recover", &asked).await.assert_unauthorized();
}

#[tokio::test]
async fn it_does_not_come_back_for_another_or_too_late_or_after_a_revocation() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let client = fleet.stranger();
    fleet.clock.advance(31 * DAY);
    let thief = Machine::new();
    client
        .post_steady("/v1/recover", &wish(&thief, &certificate, &thief))
        .await
        .assert_unauthorized();
    let mut swapped = wish(&machine, &certificate, &Machine::new());
    swapped["csr"] = json!(thief.csr());
    client.post_steady("/v1/recover", &swapped).await.assert_unauthorized();
    let elsewhere = Fleet::start().await;
    let (stranger, foreign, _) = elsewhere.enrolled("worker-1").await;
    client
        .post_steady("/v1/recover", &wish(&stranger, &foreign, &thief))
        .await
        .assert_unauthorized();

    let (lost, its, _) = fleet.enrolled("worker-2").await;
    fleet.enroller.delete_node(&name("worker-2"), true, "admin").await.unwrap();
    client.post_steady("/v1/recover", &wish(&lost, &its, &lost)).await.assert_unauthorized();
    fleet.clock.advance(29 * DAY);
    let late = wish(&machine, &certificate, &Machine::new());
    client.post_steady("/v1/recover", &late).await.assert_unauthorized();
}

#[tokio::test]
async fn a_recovery_that_is_none_is_bad() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let client = fleet.stranger();
    let good = wish(&machine, &certificate, &Machine::new());
    let bad = |member: &str, value: Value| {
        let mut other = good.clone();
        other[member] = value;
        other
    };
    for (wish, reason) in [
        (json!({}), "bad_request"),
        (json!([]), "bad_request"),
        (bad("certificate", json!("")), "bad_request"),
        (bad("certificate", json!(fleet.authority.root_pem())), "bad_request"),
        (bad("signature", json!("not base64")), "bad_request"),
        (bad("signature", json!(null)), "bad_request"),
        (bad("csr", json!("")), "bad_csr"),
    ] {
        let answer = client.post_steady("/v1/recover", &wish).await;
        answer.assert_problem(400);
        assert_eq!(answer.reason(), reason, "{wish}");
    }
}

#[tokio::test]
async fn recoveries_and_enrollments_of_an_address_are_counted_together() {
    let setup = Setup { limiter: AddressLimiter::new(3), ..Setup::default() };
    let fleet = Fleet::with(setup).await;
    let client = fleet.stranger();
    assert_eq!(client.raw("{}").await.reason(), "bad_request");
    assert_eq!(client.post_steady("/v1/recover", &json!({})).await.reason(), "bad_request");
    assert_eq!(client.raw("{}").await.reason(), "bad_request");
    let answer = client.post_steady("/v1/recover", &json!({})).await;
    answer.assert_problem(429);
    assert_eq!(answer.header("retry-after"), Some("20"));
    assert_eq!(client.raw("{}").await.reason(), "rate_limited");
    client.get_steady("/v1/self").await.assert_unauthorized();
}
