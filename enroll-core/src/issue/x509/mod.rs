//! The built-in certificate authority: requests in, certificates out.
//!
//! **From a request only the public key is taken**, and only after its signature verified
//! ([`Csr::verify`] is the one way to a [`ProvenKey`]). Everything else in a certificate is the
//! master's decision, is written by one function and read back by another parser against the
//! profile before it leaves.
//!
//! | type | what for |
//! |---|---|
//! | [`Csr`], [`ProvenKey`] | a request, and the key it proved to hold |
//! | [`Authority`] | the root certificate and its key, on disk |
//! | [`LeafRequest`], [`Leaf`] | a node's certificate |
//! | [`MasterCertificate`] | what a master's listeners present |
//! | [`RootCertificate`] | the root as everybody else sees it |
//! | [`PeerLeaf`] | a certificate somebody presents |
//!
//! ```
//! use enroll_core::issue::x509::{Authority, Csr, LeafRequest, PeerLeaf};
//! use enroll_core::model::{Clock as _, NodeName, SystemClock, SystemEntropy};
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path().join("ca");
//! # let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?;
//! # let request = rcgen::CertificateParams::default().serialize_request(&key)?.pem()?;
//! let authority = Authority::open_or_create(&dir)?;
//! println!("workers pin {}", authority.fingerprint());
//!
//! let proven = Csr::parse(&request)?.verify()?;
//! let name = NodeName::new("worker-1")?;
//! let asked = LeafRequest::new(&name, &proven, SystemClock::new().now());
//! let leaf = authority.issue_leaf(&asked, &SystemEntropy::new())?;
//!
//! let peer = PeerLeaf::parse(&leaf.der)?;
//! peer.verify_issued_by(authority.root())?;
//! assert_eq!(peer.id().to_string(), "spiffe://enroll.internal/node/worker-1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authority;
mod authority_error;
mod csr;
mod files;
mod issuer;
mod key;
mod leaf;
mod master_cert;
mod peer;
mod profile;
mod root;
mod sign;
mod signed;
mod signer;

pub use authority::{Authority, AuthorityOptions};
pub use authority_error::AuthorityError;
pub use csr::{BadCsr, Csr, ProvenKey};
pub use issuer::X509Issuer;
pub use key::{PublicKey, UnsupportedKey};
pub use leaf::{Leaf, LeafRequest};
pub use master_cert::MasterCertificate;
pub use peer::{PeerError, PeerLeaf};
pub use profile::OffProfile;
pub use root::{RootCertificate, RootError};
pub use sign::IssueError;
pub use signed::BadSignature;
