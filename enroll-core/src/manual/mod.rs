//! For people who embed, extend or audit: no code, only pages.

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("threat_model.md")]
pub mod threat_model {}

#[doc = include_str!("writing_a_store.md")]
pub mod writing_a_store {}

#[doc = include_str!("writing_an_issuer.md")]
pub mod writing_an_issuer {}

#[doc = include_str!("features.md")]
pub mod features {}
