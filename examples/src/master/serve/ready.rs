//! The file that says that the master answers, and where.

use std::path::PathBuf;

use enroll_core::model::Fingerprint;
use serde::{Deserialize, Serialize};

use super::super::failure::Failure;
use super::addresses::Addresses;
use super::data_dir::DataDir;
use super::files;

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::master) struct Ready {
    pub(in crate::master) pid: u32,
    pub(in crate::master) enroll_url: Option<String>,
    pub(in crate::master) steady_addr: String,
    pub(in crate::master) operator_url: String,
    pub(in crate::master) ca_fingerprint: String,
}

/// The file, which is removed when this value is dropped.
pub(super) struct ReadyFile(PathBuf);

impl Ready {
    pub(super) fn new(addresses: &Addresses, ca: Fingerprint) -> Self {
        Self {
            pid: std::process::id(),
            enroll_url: addresses.enroll_url.clone(),
            steady_addr: addresses.steady_addr.clone(),
            operator_url: addresses.operator_url.clone(),
            ca_fingerprint: ca.to_string(),
        }
    }
}

impl ReadyFile {
    /// Takes away what a master that was killed has left.
    pub(super) fn absent(data: &DataDir) -> Result<Self, Failure> {
        let file = Self(data.ready());
        match std::fs::remove_file(&file.0) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                let what = format!("cannot remove {}", file.0.display());
                Err(Failure::new(what).because(cause).next("Remove it by hand."))
            }
            _ => Ok(file),
        }
    }

    /// Says that the master answers.
    pub(super) fn write(&self, ready: &Ready) -> Result<(), Failure> {
        let failed = |cause: std::io::Error| {
            Failure::new(format!("cannot write {}", self.0.display())).because(cause)
        };
        let text = serde_json::to_string(ready).map_err(|cause| failed(cause.into()))?;
        files::write(&self.0, 0o644, &format!("{text}\n")).map_err(failed)
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Where it cannot be removed, the next start replaces it.
        let _left = std::fs::remove_file(&self.0);
    }
}
