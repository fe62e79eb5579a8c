//! What a certificate must be, and the check that it is nothing else.
//!
//! A certificate is written by one library and read back by another, field by field, before it
//! leaves: whatever the first adds, drops or takes over unasked is caught here and not by
//! somebody's incident report.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{
    AuthorityKeyIdentifier, ExtendedKeyUsage, GeneralName, ParsedExtension, X509Extension,
};
use x509_parser::oid_registry::{
    OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519,
};

use crate::model::{Serial, Sha256, Timestamp};

use super::key::{KeyKind, PublicKey};
use super::root::{RootCertificate, parse_certificate, sole_common_name};

/// Everything a certificate of this authority says: of a node, or of a master.
///
/// What is not here is the same in all of them: version 3; critical CA:FALSE; critical key usage
/// digitalSignature; extended key usage server and client authentication; subject and authority
/// key identifiers; no other extension.
#[derive(Debug, Clone)]
pub(super) struct Profile<'a> {
    pub(super) root: &'a RootCertificate,
    pub(super) key: &'a PublicKey,
    /// `None`: an empty subject, and subject alternative names that are critical.
    pub(super) common_name: Option<&'a str>,
    /// In this order, the one URI first.
    pub(super) alt_names: Vec<AltName>,
    pub(super) serial: Serial,
    /// Whole seconds.
    pub(super) not_before: Timestamp,
    /// Whole seconds.
    pub(super) not_after: Timestamp,
}

/// A subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AltName {
    Uri(String),
    Dns(String),
    Ip(IpAddr),
}

/// A certificate that was made and is not what it had to be. It does not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate that was made is off its profile: {part}")]
pub struct OffProfile {
    part: &'static str,
}

impl OffProfile {
    /// What is amiss.
    #[must_use]
    pub const fn part(&self) -> &'static str {
        self.part
    }
}

/// Holds the certificate `der` against `profile`.
///
/// # Errors
/// [`OffProfile`] names the first part that differs.
pub(super) fn check(der: &[u8], profile: &Profile<'_>) -> Result<(), OffProfile> {
    let cert = parse_certificate(der).ok_or(OffProfile { part: "version or encoding" })?;
    check_body(&cert, profile)?;
    let mut seen = Seen::default();
    for extension in cert.iter_extensions() {
        check_extension(extension, profile, &mut seen)?;
    }
    hold(seen == Seen::ALL, "a missing extension")
}

fn check_body(cert: &X509Certificate<'_>, profile: &Profile<'_>) -> Result<(), OffProfile> {
    let body = &cert.tbs_certificate;
    hold(body.signature == cert.signature_algorithm, "signature algorithm")?;
    let algorithm = match profile.root.public_key().kind() {
        KeyKind::P256 => &OID_SIG_ECDSA_WITH_SHA256,
        KeyKind::P384 => &OID_SIG_ECDSA_WITH_SHA384,
        KeyKind::Ed25519 => &OID_SIG_ED25519,
    };
    hold(&body.signature.algorithm == algorithm, "signature algorithm")?;
    hold(body.raw_serial() == profile.serial.as_bytes(), "serial")?;
    // In DER a number with its top bit set is negative.
    let positive = body.raw_serial().first().is_some_and(|&first| first < 0x80);
    hold(positive && (16..=Serial::MAX_LEN).contains(&body.raw_serial().len()), "serial")?;
    hold(body.issuer.as_raw() == profile.root.subject(), "issuer")?;
    let validity = (body.validity.not_before.timestamp(), body.validity.not_after.timestamp());
    let wanted = (profile.not_before.unix_secs(), profile.not_after.unix_secs());
    hold(validity == wanted, "validity")?;
    hold(profile.not_after <= profile.root.not_after(), "validity")?;
    let subject = match profile.common_name {
        Some(name) => sole_common_name(&body.subject) == Some(name),
        None => body.subject.iter().next().is_none(),
    };
    hold(subject, "subject")?;
    hold(body.subject_pki.raw == profile.key.as_spki(), "public key")?;
    hold(body.issuer_uid.is_none() && body.subject_uid.is_none(), "unique identifiers")
}

/// Which extensions were met: each once, none missing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    constraints: bool,
    usage: bool,
    extended_usage: bool,
    alt_names: bool,
    subject_key: bool,
    authority_key: bool,
}

impl Seen {
    const ALL: Self = Self {
        constraints: true,
        usage: true,
        extended_usage: true,
        alt_names: true,
        subject_key: true,
        authority_key: true,
    };
}

fn check_extension(
    extension: &X509Extension<'_>,
    profile: &Profile<'_>,
    seen: &mut Seen,
) -> Result<(), OffProfile> {
    let critical = extension.critical;
    let (slot, good, part) = match extension.parsed_extension() {
        ParsedExtension::BasicConstraints(basic) => {
            let good = critical && !basic.ca && basic.path_len_constraint.is_none();
            (&mut seen.constraints, good, "basic constraints")
        }
        ParsedExtension::KeyUsage(usage) => {
            (&mut seen.usage, critical && usage.flags == DIGITAL_SIGNATURE, "key usage")
        }
        ParsedExtension::ExtendedKeyUsage(usage) => {
            let good = !critical && is_server_and_client(usage);
            (&mut seen.extended_usage, good, "extended key usage")
        }
        ParsedExtension::SubjectAlternativeName(names) => {
            let read: Option<Vec<_>> = names.general_names.iter().map(alt_name).collect();
            let good = critical == profile.common_name.is_none()
                && read.as_ref() == Some(&profile.alt_names);
            (&mut seen.alt_names, good, "subject alternative names")
        }
        ParsedExtension::SubjectKeyIdentifier(id) => {
            (&mut seen.subject_key, !critical && id.0 == key_id(profile.key), "subject key id")
        }
        ParsedExtension::AuthorityKeyIdentifier(id) => {
            let good = !critical && names_only(id, profile.root.key_id());
            (&mut seen.authority_key, good, "authority key id")
        }
        _ => return Err(OffProfile { part: "an extension it should not have" }),
    };
    hold(good, part)?;
    hold(!std::mem::replace(slot, true), "an extension twice")
}

fn is_server_and_client(usage: &ExtendedKeyUsage<'_>) -> bool {
    let others = usage.any
        || usage.code_signing
        || usage.email_protection
        || usage.time_stamping
        || usage.ocsp_signing
        || !usage.other.is_empty();
    usage.server_auth && usage.client_auth && !others
}

fn names_only(id: &AuthorityKeyIdentifier<'_>, key: &[u8]) -> bool {
    id.key_identifier.as_ref().is_some_and(|id| id.0 == key)
        && id.authority_cert_issuer.is_none()
        && id.authority_cert_serial.is_none()
}

fn alt_name(name: &GeneralName<'_>) -> Option<AltName> {
    match name {
        GeneralName::URI(uri) => Some(AltName::Uri((*uri).to_owned())),
        GeneralName::DNSName(name) => Some(AltName::Dns((*name).to_owned())),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| AltName::Ip(b.into())),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| AltName::Ip(b.into())),
        },
        _ => None,
    }
}

/// The subject key identifier of `key`: 160 bits of its SHA-256 (RFC 7093, 2, method 4).
pub(super) fn key_id(key: &PublicKey) -> Vec<u8> {
    Sha256::of(key.as_spki()).as_bytes()[..20].to_vec()
}

fn hold(good: bool, part: &'static str) -> Result<(), OffProfile> {
    if good { Ok(()) } else { Err(OffProfile { part }) }
}

/// The parser keeps the first bit of the BIT STRING in the lowest place.
const DIGITAL_SIGNATURE: u16 = 1;

#[cfg(test)]
mod tests;
