//! Writing the journal, and the identity files from it.

use super::files::{self, StateFile};
use super::load::to_json;
use super::{LockedDir, StateError};
use crate::failpoint::{self, WriteSteps};
use crate::model::CredentialKind;
use crate::worker::attempt::{Accepted, Attempt};
use crate::worker::identity::Credentials;
use crate::worker::mesh::MeshKeys;

impl LockedDir {
    /// Puts the attempt on disk: before the call that it is about.
    pub(crate) fn begin(&self, attempt: &Attempt) -> Result<(), StateError> {
        self.handle.write(files::ATTEMPT, &failpoint::ATTEMPT_BEGIN, &to_json(attempt))
    }

    /// Notes that the attempt was refused for good. Its key stays.
    pub(crate) fn refuse(&self, attempt: &mut Attempt, code: &str) -> Result<(), StateError> {
        attempt.refused = Some(code.to_owned());
        self.handle.write(files::ATTEMPT, &failpoint::ATTEMPT_REFUSED, &to_json(attempt))
    }

    /// Puts the checked answer on disk: before any identity file is touched.
    pub(crate) fn answer(&self, attempt: &mut Attempt, it: Accepted) -> Result<(), StateError> {
        attempt.answer = Some(it);
        self.handle.write(files::ATTEMPT, &failpoint::ATTEMPT_ANSWER, &to_json(attempt))
    }

    /// Writes every identity file from the answer, reads them back, and only then removes the
    /// journal. Doing it again after a crash changes nothing.
    pub(crate) fn finish(&self, attempt: &Attempt) -> Result<Credentials, StateError> {
        if let Some(answer) = &attempt.answer {
            self.write_files(attempt, answer)?;
            self.remove_stale(answer)?;
            failpoint::hit(failpoint::STALE_REMOVED);
        }
        let credentials = self.handle.credentials()?;
        self.handle.remove(files::ATTEMPT)?;
        failpoint::hit(failpoint::ATTEMPT_UNLINKED);
        self.handle.sync()?;
        failpoint::hit(failpoint::ATTEMPT_REMOVED);
        Ok(credentials)
    }

    pub(super) fn write_mesh(&self, mesh: &MeshKeys) -> Result<(), StateError> {
        if !mesh.keys.is_empty() {
            return self.handle.write(files::MESH, &failpoint::MESH, &to_json(mesh));
        }
        self.handle.remove(files::MESH)?;
        self.handle.sync()
    }

    fn write_files(&self, attempt: &Attempt, answer: &Accepted) -> Result<(), StateError> {
        let write = |file: StateFile, steps: &WriteSteps, text: Option<&str>| {
            text.map_or(Ok(()), |text| self.handle.write(file, steps, text.as_bytes()))
        };
        let key = attempt.key.as_ref().filter(|_| answer.certificate.is_some());
        write(files::AGENT_KEY, &failpoint::AGENT_KEY, key.map(|key| key.expose()))?;
        write(files::AGENT_CRT, &failpoint::AGENT_CRT, answer.certificate.as_deref())?;
        write(files::CA_CRT, &failpoint::CA_CRT, answer.ca.as_deref())?;
        let api_key = answer.api_key.as_ref().map(|key| key.expose());
        write(files::API_KEY, &failpoint::API_KEY, api_key)?;
        if let Some(mesh) = &answer.mesh {
            self.write_mesh(mesh)?;
        }
        self.handle.write(files::IDENTITY, &failpoint::IDENTITY, &to_json(&answer.identity))
    }

    /// Removes the files of an earlier identity that the present one does not have.
    fn remove_stale(&self, answer: &Accepted) -> Result<(), StateError> {
        let identity = &answer.identity;
        let keep = |file: StateFile| match file {
            files::API_KEY => identity.has(&CredentialKind::API_KEY),
            files::CA_CRT => identity.ca.is_some(),
            _ => identity.has(&CredentialKind::X509),
        };
        for file in [files::AGENT_KEY, files::AGENT_CRT, files::CA_CRT, files::API_KEY] {
            if !keep(file) {
                self.handle.remove(file)?;
            }
        }
        self.handle.sync()
    }
}
