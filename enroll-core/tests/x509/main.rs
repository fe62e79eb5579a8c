//! The certificate machinery as an embedder sees it, held against the real `openssl`.
#![cfg(feature = "x509")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

mod authority;
mod authority_damage;
mod hostile;
mod leaf;
mod master_cert;
mod peer;
mod support;
