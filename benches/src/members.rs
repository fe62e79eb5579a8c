//! Machines that are members already, to beat for.

use std::path::Path;
use std::sync::Arc;

use enroll_core::issue::ApiKeyIssuer;
use enroll_core::issue::x509::{Authority, X509Issuer};
use enroll_core::master::{Enroller, Verdict};
use enroll_core::model::{
    Clock as _, Credential, EnrollRequest, NodeName, Origin, Presented, SystemClock, TokenPrefix,
};
use enroll_core::testing::Fixtures;
use enroll_http::tls::TlsIdentity;
use enroll_store_sqlite::SqliteStore;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::plan::Failure;
use crate::tokens;

/// One of them.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) identity: TlsIdentity,
    pub(crate) api_key: String,
}

/// Enrolls `count` machines into the database at `path`, each with a certificate and an API key.
pub(crate) async fn enroll(
    authority: &Path,
    path: &Path,
    count: u32,
) -> Result<Vec<Machine>, Failure> {
    eprintln!("enrolling {count} machines");
    let clock = SystemClock::new();
    let authority = Arc::new(Authority::open(authority, clock.now())?);
    let fixtures = Fixtures::new();
    let token = fixtures.token(clock.now());
    let store = SqliteStore::open(path).await?;
    tokens::keep(&fixtures, std::slice::from_ref(&token), &store).await?;
    let enroller = Enroller::new(Arc::new(store), Arc::clone(&authority)).issuing(vec![
        Arc::new(X509Issuer::new(authority)),
        Arc::new(ApiKeyIssuer::new(TokenPrefix::default())),
    ]);
    let mut machines = Vec::with_capacity(count as usize);
    for place in 0..count {
        let name = format!("m-{place}");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let presented = Presented::from_parts(Some(token.token.expose().to_owned()), None);
        let mut request = EnrollRequest::new(presented.ok_or("nothing to present")?)
            .with_node_name(NodeName::new(&name)?);
        request.csr = Some(CertificateParams::default().serialize_request(&key)?.pem()?);
        let Verdict::Admitted(admission) = enroller.enroll(request, Origin::default()).await?
        else {
            return Err("a machine was refused".into());
        };
        machines.push(machine(name, &key, &admission.credentials)?);
    }
    Ok(machines)
}

fn machine(name: String, key: &KeyPair, given: &[Credential]) -> Result<Machine, Failure> {
    let (mut identity, mut api_key) = (None, None);
    for credential in given {
        match credential {
            Credential::X509(x509) => {
                let key = key.serialize_pem();
                identity =
                    Some(TlsIdentity::from_pem(x509.certificate.as_bytes(), key.as_bytes())?);
            }
            Credential::ApiKey(key) => api_key = Some(key.expose().to_owned()),
            _ => {}
        }
    }
    let (identity, api_key) = identity.zip(api_key).ok_or("a credential is missing")?;
    Ok(Machine { name, identity, api_key })
}
