//! A machine's way into a mesh: the `tailscale` command line.
//!
//! It speaks to the daemon that runs on the machine, or to one of its own that needs no privileges:
//! with [`Tailscale::with_own_daemon`] the mesh lives in this process's reach alone, in userspace, and
//! the master is called through the daemon's proxy
//! ([`HttpMaster::with_steady_proxy`](crate::client::HttpMaster::with_steady_proxy)).
//!
//! - **A key goes by file**, readable by this user alone and removed when the command has ended:
//!   arguments and environments are read by others.
//! - **Programs that are run see a clean environment**: what they are given by
//!   [`Tailscale::with_env`], and nothing of this process's own.
//! - **Who is in the mesh does not join again**: a machine that is connected and was not brought in
//!   from here is left as it is; one that was joins again only with a key it has not joined with.

mod command;
mod daemon;
mod driver;
mod files;

pub use driver::Tailscale;
