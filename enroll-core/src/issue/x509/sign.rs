//! The one place where a certificate is signed.

use std::io;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use crate::model::{Host, NodeName, Timestamp};

use super::authority::Authority;
use super::profile::{self, AltName, OffProfile, Profile};

/// Why a certificate was not made. Nothing was spent and nothing left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The authority is not valid at this instant.
    #[error("the authority is valid from {not_before:?} to {not_after:?}: look at the clock")]
    AuthorityNotValid {
        /// The first second it is valid.
        not_before: Timestamp,
        /// The last second it is valid.
        not_after: Timestamp,
    },
    /// The lifetime asked for has no whole second.
    #[error("a certificate needs a lifetime of at least a second")]
    Lifetime,
    /// The node is named like one of the master's own hosts.
    #[error("the node name {name} is a host of the master's own")]
    MasterHost {
        /// The name.
        name: NodeName,
    },
    /// No random bytes for the serial number.
    #[error("no random bytes for a serial number")]
    Entropy(#[source] io::Error),
    /// The cryptographic library made no key or no signature.
    #[error("the cryptographic library did not make the certificate")]
    Crypto,
    /// What was made is not what it had to be.
    #[error(transparent)]
    OffProfile(#[from] OffProfile),
}

impl Authority {
    /// Signs what `profile` says, and lets nothing out that reads back as anything else.
    pub(super) fn sign(&self, profile: &Profile<'_>) -> Result<Vec<u8>, IssueError> {
        let params = params(profile).ok_or(IssueError::Crypto)?;
        let certificate =
            params.signed_by(profile.key, self.issuer()).map_err(|_| IssueError::Crypto)?;
        let der = certificate.der().to_vec();
        profile::check(&der, profile)?;
        Ok(der)
    }

    /// Refuses an instant at which the root itself is not valid.
    pub(super) fn check_validity(&self, at: Timestamp) -> Result<(), IssueError> {
        let (not_before, not_after) = (self.root().not_before(), self.root().not_after());
        if (not_before..not_after).contains(&at) {
            return Ok(());
        }
        Err(IssueError::AuthorityNotValid { not_before, not_after })
    }
}

impl From<&Host> for AltName {
    fn from(host: &Host) -> Self {
        match host.as_ip() {
            Some(ip) => Self::Ip(ip),
            None => Self::Dns(host.to_string()),
        }
    }
}

/// Every field is set: the library's defaults are a validity of two thousand years, a common
/// name of its own, a serial derived from the key and no authority key identifier.
pub(super) fn params(profile: &Profile<'_>) -> Option<CertificateParams> {
    let mut params = CertificateParams::default();
    params.not_before = date(profile.not_before)?;
    params.not_after = date(profile.not_after)?;
    params.serial_number = Some(profile.serial.as_bytes().to_vec().into());
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = profile.common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.subject_alt_names = profile.alt_names.iter().map(san).collect::<Option<_>>()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::PreSpecified(profile::key_id(profile.key));
    Some(params)
}

fn san(name: &AltName) -> Option<SanType> {
    Some(match name {
        AltName::Uri(uri) => SanType::URI(uri.as_str().try_into().ok()?),
        AltName::Dns(name) => SanType::DnsName(name.as_str().try_into().ok()?),
        AltName::Ip(ip) => SanType::IpAddress(*ip),
    })
}

/// The second `at` lies in, as the calendar has it; `None` past the year 9999.
pub(super) fn date(at: Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(at.unix_secs()).ok()
}
