//! Headscale, the control plane of a mesh, over its REST API: 0.26 and later.
//!
//! - **One key for one approval**: single-use, with an end, made before the redemption. Of it only
//!   Headscale's id and the second of its creation go on record, since a database that was set up
//!   anew counts its ids from one again.
//! - **What is not to be is undone**: the key of a redemption that was lost is expired. One
//!   whose answer did not arrive in time, or that a master left behind by dying between the two, is of
//!   use to nobody, because its text is nowhere, and ends by itself: [`Headscale::KEY_LIFETIME`].
//! - **The API key stays here**: it is in no URL, no error, no log and no `Debug`.
//!
//! ```no_run
//! # async fn example(
//! #     enroller: enroll_core::master::Enroller,
//! #     x509: std::sync::Arc<dyn enroll_core::issue::Issuer>,
//! #     api_key: zeroize::Zeroizing<String>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use enroll_http::integrations::headscale::{Headscale, HeadscaleOptions};
//!
//! let options = HeadscaleOptions::new().with_user("fleet").with_tag("tag:worker");
//! let headscale = Arc::new(Headscale::new("https://mesh.example", api_key, options)?);
//! let enroller = enroller
//!     .issuing(vec![x509, Arc::<Headscale>::clone(&headscale)])
//!     .with_mesh(headscale);
//! enroller.tend_mesh_until(std::future::pending()).await; // beside the listeners
//! # Ok(())
//! # }
//! ```

mod api;
mod body;
mod error;
mod issuer;
mod key;
mod mesh;
mod options;

pub use error::{HeadscaleError, InvalidHeadscale};
pub use options::{Headscale, HeadscaleOptions};
