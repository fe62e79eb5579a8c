//! What the laws of every store do not reach: files, processes, crashes, overload.
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[cfg(unix)]
mod corrupt;
#[cfg(unix)]
mod crash;
mod files;
mod overload;
mod processes;
mod support;
