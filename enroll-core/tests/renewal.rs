//! Renewal and recovery: how the line of one machine goes on, and that it is one.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod bench;

use std::sync::Arc;
use std::time::Duration;

use bench::{admitted, bench, bench_with, certificate, csr, key};
use enroll_core::issue::x509::{PeerLeaf, X509Issuer};
use enroll_core::master::{RecoverRequest, RenewVerdict, Unauthorized};
use enroll_core::model::{Credential, Sha256};
use rcgen::{KeyPair, SigningKey};

/// A request to recover by `pem`, signed by `signer`, for the key in `fresh`.
fn recovery(pem: &str, signer: &KeyPair, fresh: &str) -> RecoverRequest {
    let leaf = PeerLeaf::from_pem(pem).unwrap();
    let csr = enroll_core::issue::x509::Csr::parse(fresh).unwrap();
    let message =
        [b"enroll-recover-v1\0", &Sha256::of(leaf.der()).as_bytes()[..], csr.der()].concat();
    let signature = signer.sign(&message).unwrap();
    RecoverRequest { certificate: pem.into(), csr: fresh.into(), signature }
}

fn renewed(verdict: RenewVerdict) -> String {
    let RenewVerdict::Renewed(made) = verdict else { panic!("{verdict:?}") };
    let Some(Credential::X509(x509)) = made.into_iter().next() else { panic!("no certificate") };
    x509.certificate
}

#[tokio::test]
async fn renewal_overlaps_until_the_successor_is_used() {
    let bench = bench();
    let token = bench.mint(1).await;
    let (old, ..) = admitted(bench.ask(&token, "worker-1", &key()).await);
    let caller = bench.enroller.authenticate(&certificate(&old)).await.unwrap().unwrap();
    let (unused, used) = (csr(&key()), csr(&key()));
    let renew = |csr: String| {
        let (enroller, caller) = (&bench.enroller, &caller);
        async move {
            let verdict = enroller.renew(caller, Some(&csr)).await.unwrap();
            let RenewVerdict::Renewed(made) = verdict else { panic!("{verdict:?}") };
            let Some(Credential::X509(x509)) = made.into_iter().next() else { panic!() };
            x509.certificate
        }
    };
    let first = renew(unused.clone()).await;
    assert_eq!(first, renew(unused).await, "the same request gets the same leaf");
    let second = renew(used).await;
    assert_eq!(bench.caller(&first).await, Err(Unauthorized::Revoked), "an unused successor");
    bench.caller(&old).await.unwrap();
    bench.caller(&second).await.unwrap();
    assert_eq!(bench.caller(&old).await, Err(Unauthorized::Revoked));
}

#[tokio::test]
async fn an_expired_identity_recovers_with_its_key_for_thirty_days() {
    let bench = bench();
    let (token, ours) = (bench.mint(1).await, key());
    let (pem, ..) = admitted(bench.ask(&token, "worker-1", &ours).await);
    bench.pass(Duration::from_secs(45 * 24 * 60 * 60));
    assert_eq!(bench.caller(&pem).await, Err(Unauthorized::Expired));
    let fresh = csr(&key());
    let request = |signer: &KeyPair| recovery(&pem, signer, &fresh);
    let forged = bench.enroller.recover(&request(&key())).await.unwrap();
    assert!(matches!(forged, RenewVerdict::Unauthorized(_)), "{forged:?}");
    let renewed = bench.enroller.recover(&request(&ours)).await.unwrap();
    let RenewVerdict::Renewed(made) = renewed else { panic!("{renewed:?}") };
    let Some(Credential::X509(x509)) = made.first() else { panic!() };
    bench.caller(&x509.certificate).await.unwrap();
    let late = bench.enroller.recover(&request(&ours)).await.unwrap();
    assert!(matches!(late, RenewVerdict::Unauthorized(Unauthorized::Revoked)), "{late:?}");
}

#[tokio::test]
async fn who_recovers_by_a_successor_has_used_it() {
    let bench = bench();
    let (token, next) = (bench.mint(1).await, key());
    let (first, ..) = admitted(bench.ask(&token, "worker-1", &key()).await);
    let caller = bench.enroller.authenticate(&certificate(&first)).await.unwrap().unwrap();
    let second = renewed(bench.enroller.renew(&caller, Some(&csr(&next))).await.unwrap());
    let wish = recovery(&second, &next, &csr(&key()));
    let third = renewed(bench.enroller.recover(&wish).await.unwrap());
    assert_eq!(bench.caller(&first).await, Err(Unauthorized::Revoked), "one machine, one line");
    bench.caller(&third).await.unwrap();
    assert_eq!(bench.caller(&second).await, Err(Unauthorized::Revoked));
}

#[tokio::test]
async fn what_ran_out_before_it_was_fetched_is_made_anew() {
    let day = Duration::from_secs(24 * 60 * 60);
    let bench = bench();
    let (token, ours, fresh) = (bench.mint(1).await, key(), csr(&key()));
    let (first, ..) = admitted(bench.ask(&token, "worker-1", &ours).await);
    bench.pass(20 * day);
    let caller = bench.enroller.authenticate(&certificate(&first)).await.unwrap().unwrap();
    let lost = renewed(bench.enroller.renew(&caller, Some(&fresh)).await.unwrap());
    bench.pass(35 * day);
    let wish = recovery(&first, &ours, &fresh);
    let found = renewed(bench.enroller.recover(&wish).await.unwrap());
    assert_ne!(found, lost);
    bench.caller(&found).await.unwrap();
    assert_eq!(bench.caller(&lost).await, Err(Unauthorized::Revoked));
}

#[tokio::test]
async fn a_certificate_that_ran_out_is_not_given_again() {
    let hour = Duration::from_secs(60 * 60);
    let bench =
        bench_with(|authority| vec![Arc::new(X509Issuer::new(authority).with_lifetime(hour))]);
    let (token, ours) = (bench.mint(1).await, key());
    let (first, _, node) = admitted(bench.ask(&token, "worker-1", &ours).await);
    bench.pass(2 * hour);
    let (second, again, same) = admitted(bench.ask(&token, "worker-1", &ours).await);
    assert!(again && same.id == node.id && second != first);
    bench.caller(&second).await.unwrap();
}
