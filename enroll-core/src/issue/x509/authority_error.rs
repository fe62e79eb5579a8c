//! Why there is no authority to sign with, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::model::{Timestamp, TrustDomain};

use super::root::RootError;

/// Why an authority could not be opened or created. Each says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The directory holds neither key nor certificate.
    #[error("no authority in {}: create one, or give the directory that holds it", dir.display())]
    Missing {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// There is one already, and it is not overwritten.
    #[error("there is an authority in {} already: open it, or move it away first", dir.display())]
    Exists {
        /// Where it is.
        dir: PathBuf,
    },
    /// The key is there, the certificate is not.
    #[error(
        "{} has no ca.crt beside it: restore ca.crt from a backup or another master; a new one \
         would not be the authority the workers trust",
        key.display()
    )]
    CertificateMissing {
        /// The key that was found.
        key: PathBuf,
    },
    /// The certificate is there, the key is not.
    #[error(
        "{} has no ca.key beside it: restore ca.key from a backup or another master, or move \
         ca.crt away to begin a new fleet",
        certificate.display()
    )]
    KeyMissing {
        /// The certificate that was found.
        certificate: PathBuf,
    },
    /// The path is a symbolic link.
    #[error("{} is a symbolic link: put the file itself there", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// The path is a directory, a device, a pipe, or far too large.
    #[error("{} is no regular file of the expected size: put the file itself there", path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// Somebody else owns the file and could have written it.
    #[error(
        "{} belongs to user id {owner}, not to the one this runs as: check where it comes from, \
         then `chown` it",
        path.display()
    )]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
    },
    /// Others can read the private key.
    #[error(
        "{} can be used by group or others (mode {mode:04o}): if nobody can have copied it, \
         `chmod 600` it, else begin a new authority",
        path.display()
    )]
    KeyExposed {
        /// The key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file holds no usable key.
    #[error(
        "{} is damaged: not one PEM block `PRIVATE KEY` (PKCS #8) with an ECDSA P-256 or P-384 \
         key; restore it from a backup or another master",
        path.display()
    )]
    KeyDamaged {
        /// The key.
        path: PathBuf,
    },
    /// The certificate file holds no whole certificate.
    #[error("{} is damaged: restore it from a backup or another master", path.display())]
    CertificateDamaged {
        /// The certificate.
        path: PathBuf,
        /// What is amiss.
        source: RootError,
    },
    /// The certificate is whole, but cannot be a fleet's root.
    #[error("{} cannot be a fleet's root: give the certificate that was made for it", path.display())]
    NotAuthority {
        /// The certificate.
        path: PathBuf,
        /// What is amiss.
        source: RootError,
    },
    /// Key and certificate are each whole, but not each other's.
    #[error(
        "{} does not belong to {}: restore both from the same backup or the same master",
        key.display(), certificate.display()
    )]
    KeyMismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
    /// The root certificate has expired.
    #[error(
        "the authority expired at {not_after:?}: if the clock is right, begin a new one and \
         enroll every worker again"
    )]
    Expired {
        /// The last second it was valid.
        not_after: Timestamp,
    },
    /// The root certificate is not valid yet: the clock is more than a day behind.
    #[error("the authority is valid from {not_before:?}: look at the clock of this machine")]
    NotYetValid {
        /// The first second it is valid.
        not_before: Timestamp,
    },
    /// The authority was made for another trust domain than the one asked for.
    #[error(
        "the authority is that of `{found}`, not of `{wanted}`: the trust domain is fixed with \
         the authority, so leave it as it is or begin a new one"
    )]
    OtherTrustDomain {
        /// The one asked for.
        wanted: TrustDomain,
        /// The one in the certificate.
        found: TrustDomain,
    },
    /// The cryptographic library or the randomness failed while a new authority was made.
    #[error("a new authority could not be made; nothing was written, try again")]
    Generate(#[source] Option<io::Error>),
    /// The file system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
