//! Is this certificate the identity that was asked for? Asked of every answer before it is kept, and
//! of the files at every start.

use x509_parser::extensions::{GeneralName, KeyUsage};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::model::{NodeName, SpiffeId, Subject, Timestamp, TrustDomain};
use crate::pem;

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFault {
    /// It does not parse.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// What is called the root is no certificate authority that names a trust domain.
    #[error("the CA certificate is no certificate authority with a trust domain for its name")]
    NoRoot,
    /// The trusted root did not sign it.
    #[error("the certificate is not signed by the trusted CA")]
    Issuer,
    /// It certifies another key than this worker's.
    #[error("the certificate is for another key")]
    Key,
    /// It names another node, another trust domain, or more than one identity.
    #[error("the certificate does not name exactly this node in the CA's trust domain")]
    Name,
    /// It may be used for what a node must not do, or not for what it must.
    #[error("the certificate's usages are not those of a node")]
    Usage,
}

/// The one certificate authority that is trusted.
pub(crate) struct Root<'a> {
    certificate: X509Certificate<'a>,
    trust_domain: TrustDomain,
}

impl<'a> Root<'a> {
    /// Reads a root; its only common name is the trust domain. That it is the trusted one is the
    /// caller's to know, by its fingerprint.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, CertificateFault> {
        let certificate = parse(der)?;
        let trust_domain = trust_domain(&certificate).filter(|_| certificate.is_ca());
        let trust_domain = trust_domain.ok_or(CertificateFault::NoRoot)?;
        Ok(Self { certificate, trust_domain })
    }
}

fn trust_domain(root: &X509Certificate<'_>) -> Option<TrustDomain> {
    let mut names = root.subject().iter_common_name();
    let (name, None) = (names.next()?, names.next()) else { return None };
    TrustDomain::new(name.as_str().ok()?).ok()
}

/// What a worker reads from its own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) name: NodeName,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Leaf {
    /// Reads the first certificate of `chain_pem` and holds it against the profile of a node: signed
    /// by `root`, for the key `public_key_der`, one SPIFFE id of the root's trust domain, an end
    /// entity that may authenticate as client and as server. The validity is the caller's to judge,
    /// who has a clock.
    pub(crate) fn check(
        chain_pem: &str,
        root: &Root<'_>,
        public_key_der: &[u8],
    ) -> Result<Self, CertificateFault> {
        let der = leaf_der(chain_pem)?;
        let leaf = parse(&der)?;
        if leaf.issuer().as_raw() != root.certificate.subject().as_raw()
            || leaf.verify_signature(Some(root.certificate.public_key())).is_err()
        {
            return Err(CertificateFault::Issuer);
        }
        if leaf.public_key().raw != public_key_der {
            return Err(CertificateFault::Key);
        }
        check_usage(&leaf)?;
        let name = node_name(&leaf, &root.trust_domain).ok_or(CertificateFault::Name)?;
        let at = |time: ASN1Time| Timestamp::from_unix_secs(time.timestamp());
        let validity = leaf.validity();
        Ok(Self { name, not_before: at(validity.not_before), not_after: at(validity.not_after) })
    }
}

/// The DER of the first certificate in `chain_pem`.
pub(crate) fn leaf_der(chain_pem: &str) -> Result<Vec<u8>, CertificateFault> {
    let blocks = pem::decode_all(pem::CERTIFICATE, chain_pem).unwrap_or_default();
    blocks.first().map(|der| der.to_vec()).ok_or(CertificateFault::Unreadable)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateFault> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateFault::Unreadable),
    }
}

fn check_usage(leaf: &X509Certificate<'_>) -> Result<(), CertificateFault> {
    let end_entity = leaf.basic_constraints().is_ok_and(|it| it.is_none_or(|it| !it.value.ca));
    let signs = |usage: &KeyUsage| usage.digital_signature() && !usage.key_cert_sign();
    let usage = leaf.key_usage().ok().flatten().is_some_and(|usage| signs(usage.value));
    let extended = leaf.extended_key_usage().ok().flatten();
    let both = extended.is_some_and(|usage| usage.value.client_auth && usage.value.server_auth);
    if end_entity && usage && both { Ok(()) } else { Err(CertificateFault::Usage) }
}

/// The node of the one URI `spiffe://<trust domain>/node/<name>`.
fn node_name(leaf: &X509Certificate<'_>, trust_domain: &TrustDomain) -> Option<NodeName> {
    let names = leaf.subject_alternative_name().ok().flatten()?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (uri, None) = (uris.next()?, uris.next()) else { return None };
    let id: SpiffeId = uri.parse().ok()?;
    match id.subject() {
        Subject::Node(name) if id.trust_domain() == trust_domain => Some(name.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::key::WorkerKey;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose,
        IsCa, KeyPair, KeyUsagePurpose, SanType,
    };

    type Issuer = CertifiedIssuer<'static, KeyPair>;
    type Change = fn(&mut CertificateParams);

    fn root(trust_domain: &str) -> Issuer {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, trust_domain);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn leaf(root: &Issuer, key: &WorkerKey, change: Change) -> String {
        let mut params = CertificateParams::new(["worker-1".to_owned()]).unwrap();
        params.subject_alt_names.push(uri("spiffe://acme.example/node/worker-1"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        change(&mut params);
        let key = KeyPair::from_pem(key.expose_pem()).unwrap();
        params.signed_by(&key, root).unwrap().pem()
    }

    fn check(root: &Issuer, key: &WorkerKey, chain: &str) -> Result<Leaf, CertificateFault> {
        Leaf::check(chain, &Root::parse(root.der())?, &key.public_key_der().unwrap())
    }

    #[test]
    fn a_nodes_certificate_is_one_with_and_without_its_root_behind_it() {
        let (root, key) = (root("acme.example"), WorkerKey::generate().unwrap());
        let chain = leaf(&root, &key, |_| {});
        let read = check(&root, &key, &chain).unwrap();
        assert_eq!(read.name.as_str(), "worker-1");
        assert!(read.not_before < read.not_after);
        assert_eq!(check(&root, &key, &format!("{chain}{}", root.pem())), Ok(read));
    }

    #[test]
    fn every_departure_from_the_profile_is_found() {
        use CertificateFault::{Name, Usage};
        let (root, key) = (root("acme.example"), WorkerKey::generate().unwrap());
        let departures: [(Change, CertificateFault); 11] = [
            (|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), Usage),
            (|it| it.key_usages.clear(), Usage),
            (|it| it.key_usages.push(KeyUsagePurpose::KeyCertSign), Usage),
            (|it| it.extended_key_usages.clear(), Usage),
            (|it| it.extended_key_usages.truncate(1), Usage),
            (|it| it.subject_alt_names.clear(), Name),
            (|it| it.subject_alt_names.truncate(1), Name),
            (|it| it.subject_alt_names.push(uri("spiffe://acme.example/node/worker-2")), Name),
            (|it| it.subject_alt_names[1] = uri("spiffe://acme.example/master"), Name),
            (|it| it.subject_alt_names[1] = uri("spiffe://other.example/node/worker-1"), Name),
            (|it| it.subject_alt_names[1] = uri("https://acme.example/node/worker-1"), Name),
        ];
        for (at, (change, fault)) in departures.into_iter().enumerate() {
            let chain = leaf(&root, &key, change);
            assert_eq!(check(&root, &key, &chain), Err(fault), "departure {at}");
        }
    }

    #[test]
    fn a_root_of_the_same_name_is_not_the_root() {
        let (ours, theirs) = (root("acme.example"), root("acme.example"));
        let key = WorkerKey::generate().unwrap();
        let chain = leaf(&theirs, &key, |_| {});
        assert_eq!(check(&ours, &key, &chain), Err(CertificateFault::Issuer));
        let other = root("other.example");
        assert_eq!(check(&other, &key, &chain), Err(CertificateFault::Issuer));
    }

    #[test]
    fn a_certificate_for_another_key_is_not_ours() {
        let root = root("acme.example");
        let (ours, theirs) = (WorkerKey::generate().unwrap(), WorkerKey::generate().unwrap());
        let chain = leaf(&root, &theirs, |_| {});
        assert_eq!(check(&root, &ours, &chain), Err(CertificateFault::Key));
    }

    #[test]
    fn what_is_no_authority_with_a_trust_domain_is_no_root() {
        let (good, key) = (root("acme.example"), WorkerKey::generate().unwrap());
        let leaf = leaf_der(&leaf(&good, &key, |_| {})).unwrap();
        assert_eq!(Root::parse(&leaf).err(), Some(CertificateFault::NoRoot));
        assert_eq!(Root::parse(root("No Domain").der()).err(), Some(CertificateFault::NoRoot));
        assert_eq!(Root::parse(b"").err(), Some(CertificateFault::Unreadable));
        let longer = [good.der().as_ref(), b"x"].concat();
        assert_eq!(Root::parse(&longer).err(), Some(CertificateFault::Unreadable));
    }
}
