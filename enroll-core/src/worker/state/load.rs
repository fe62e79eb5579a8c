//! What a state directory holds, read and checked as a whole.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::dir::Handle;
use super::files::{self, StateFile};
use super::{StateError, StateErrorKind};
use crate::model::{ApiKey, CredentialKind, Fingerprint};
use crate::pem;
use crate::worker::attempt::Attempt;
use crate::worker::identity::{ClientCertificate, Credentials, Identity};
use crate::worker::mesh::MeshKeys;

/// What the identity files are, taken together.
#[derive(Debug)]
pub(crate) enum Held {
    Nothing,
    Partial { present: Vec<&'static str>, missing: Vec<&'static str> },
    Damaged(StateError),
    Complete(Box<Credentials>),
}

/// Everything of one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) attempt: Option<Attempt>,
    pub(crate) held: Held,
}

/// Files that hold an identity begin with their version.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u32,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// The JSON text of `body`, its version first.
pub(super) fn to_json<T: Serialize>(body: &T) -> Zeroizing<Vec<u8>> {
    // Reserved in full, so that growing leaves no copy of a key behind.
    let mut text = Zeroizing::new(Vec::with_capacity(1 << 16));
    // Structs of strings and numbers always serialise.
    let _always = serde_json::to_writer_pretty(&mut *text, &Versioned { v: VERSION, body }).is_ok();
    text
}

impl Handle {
    pub(super) fn snapshot(&self) -> Result<Snapshot, StateError> {
        // The journal first: whoever finishes it meanwhile leaves a whole identity behind.
        let attempt = self.json(files::ATTEMPT)?;
        Ok(Snapshot { attempt, held: self.held()? })
    }

    pub(super) fn mesh(&self) -> Result<MeshKeys, StateError> {
        Ok(self.json(files::MESH)?.unwrap_or_default())
    }

    pub(super) fn credentials(&self) -> Result<Credentials, StateError> {
        match self.held()? {
            Held::Complete(credentials) => Ok(*credentials),
            Held::Damaged(why) => Err(why),
            Held::Nothing => Err(damaged(&self.path, "there is no identity")),
            Held::Partial { missing, .. } => {
                Err(damaged(&self.path, &format!("{} is missing", missing.join(", "))))
            }
        }
    }

    fn held(&self) -> Result<Held, StateError> {
        let found = Found::read(self)?;
        if found.is_empty() {
            return Ok(Held::Nothing);
        }
        let identity: Option<Identity> = match found.identity(self) {
            Ok(identity) => identity,
            Err(why) => return Ok(Held::Damaged(why)),
        };
        let missing = found.missing(identity.as_ref());
        if let (Some(identity), true) = (identity, missing.is_empty()) {
            let credentials = found.credentials(self, identity);
            return Ok(credentials.map_or_else(Held::Damaged, |it| Held::Complete(Box::new(it))));
        }
        Ok(Held::Partial { present: found.present(), missing })
    }

    /// Reads a versioned file.
    fn json<T: DeserializeOwned>(&self, file: StateFile) -> Result<Option<T>, StateError> {
        self.read(file)?.map(|bytes| parse(&self.path.join(file.name), &bytes)).transpose()
    }
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, StateError> {
    // The error of the parser is left out: it may quote what stands in the file.
    let version: Version = serde_json::from_slice(bytes).map_err(|_| damaged(path, "no JSON"))?;
    if version.v != VERSION {
        let what = format!(
            "it has version {}, and this release reads version {VERSION}: use the release that \
             wrote it",
            version.v
        );
        return Err(StateError::new(StateErrorKind::Version, path, what));
    }
    serde_json::from_slice(bytes).map_err(|_| damaged(path, "not what this library writes"))
}

fn damaged(path: &Path, what: &str) -> StateError {
    StateError::new(StateErrorKind::Damaged, path, format!("it is damaged: {what}"))
}

type Bytes = Zeroizing<Vec<u8>>;

/// The identity files as they were found.
struct Found {
    identity: Option<Bytes>,
    key: Option<Bytes>,
    certificate: Option<Bytes>,
    ca: Option<Bytes>,
    api_key: Option<Bytes>,
}

impl Found {
    fn read(handle: &Handle) -> Result<Self, StateError> {
        Ok(Self {
            identity: handle.read(files::IDENTITY)?,
            key: handle.read(files::AGENT_KEY)?,
            certificate: handle.read(files::AGENT_CRT)?,
            ca: handle.read(files::CA_CRT)?,
            api_key: handle.read(files::API_KEY)?,
        })
    }

    fn files(&self) -> [(StateFile, bool); 5] {
        [
            (files::AGENT_KEY, self.key.is_some()),
            (files::AGENT_CRT, self.certificate.is_some()),
            (files::CA_CRT, self.ca.is_some()),
            (files::API_KEY, self.api_key.is_some()),
            (files::IDENTITY, self.identity.is_some()),
        ]
    }

    fn is_empty(&self) -> bool {
        self.files().iter().all(|(_, there)| !there)
    }

    fn present(&self) -> Vec<&'static str> {
        self.files().iter().filter(|(_, there)| *there).map(|(file, _)| file.name).collect()
    }

    /// The files that must be there and are not. Without `identity.json` nobody can say which they
    /// are; then a lone half of a certificate and its key tells as much as there is to tell.
    fn missing(&self, identity: Option<&Identity>) -> Vec<&'static str> {
        let halves = self.key.is_some() || self.certificate.is_some();
        let certificate = identity.map_or(halves, |it| it.has(&CredentialKind::X509));
        let needed = |file: StateFile| match file {
            files::AGENT_KEY | files::AGENT_CRT => certificate,
            files::CA_CRT => identity.map_or(certificate, |it| it.ca.is_some()),
            files::API_KEY => identity.is_some_and(|it| it.has(&CredentialKind::API_KEY)),
            _ => true,
        };
        let absent = self.files().into_iter().filter(|(_, there)| !there);
        absent.map(|(file, _)| file).filter(|file| needed(*file)).map(|file| file.name).collect()
    }

    fn identity(&self, handle: &Handle) -> Result<Option<Identity>, StateError> {
        let path = handle.path.join(files::IDENTITY.name);
        let bytes = self.identity.as_ref();
        let identity: Option<Identity> = bytes.map(|bytes| parse(&path, bytes)).transpose()?;
        match identity {
            Some(it) if !it.has(&CredentialKind::X509) && !it.has(&CredentialKind::API_KEY) => {
                Err(damaged(&path, "it names no credential to authenticate with"))
            }
            identity => Ok(identity),
        }
    }

    /// All that `identity` names, held against each other.
    fn credentials(&self, handle: &Handle, identity: Identity) -> Result<Credentials, StateError> {
        let at = |file: StateFile| handle.path.join(file.name);
        let ca_pem = match identity.ca {
            Some(pin) => Some(trusted_root(&at(files::CA_CRT), self.ca.as_ref(), pin)?),
            None => None,
        };
        let certificate = match identity.has(&CredentialKind::X509) {
            true => Some(self.certificate(handle, &identity, ca_pem.as_deref())?),
            false => None,
        };
        let api_key = match identity.has(&CredentialKind::API_KEY) {
            true => Some(read_api_key(&at(files::API_KEY), self.api_key.as_ref())?),
            false => None,
        };
        Ok(Credentials { identity, ca_pem, certificate, api_key })
    }

    #[cfg(feature = "x509")]
    fn certificate(
        &self,
        handle: &Handle,
        identity: &Identity,
        ca_pem: Option<&str>,
    ) -> Result<ClientCertificate, StateError> {
        use crate::worker::certificate::{Leaf, Root};
        use crate::worker::key::WorkerKey;
        use crate::worker::secret_text::SecretText;

        let at = |file: StateFile| handle.path.join(file.name);
        let (key_at, crt_at) = (at(files::AGENT_KEY), at(files::AGENT_CRT));
        let key_pem = text(&key_at, self.key.as_ref())?;
        let public = WorkerKey::from_pem(key_pem.clone()).and_then(|key| key.public_key_der());
        let public = public.map_err(|why| damaged(&key_at, &why.to_string()))?;
        let chain_pem = text(&crt_at, self.certificate.as_ref())?.to_string();
        let root = ca_pem.and_then(|pem| pem::decode(pem::CERTIFICATE, pem));
        let root = root.ok_or_else(|| damaged(&at(files::CA_CRT), "no CA certificate"))?;
        let leaf = Root::parse(&root).and_then(|root| Leaf::check(&chain_pem, &root, &public));
        let leaf = leaf.map_err(|why| damaged(&crt_at, &why.to_string()))?;
        if leaf.name != identity.node_name {
            return Err(damaged(&crt_at, "it names another node than identity.json"));
        }
        Ok(ClientCertificate { chain_pem, key_pem: SecretText::new(key_pem) })
    }

    #[cfg(not(feature = "x509"))]
    fn certificate(
        &self,
        handle: &Handle,
        _identity: &Identity,
        _ca_pem: Option<&str>,
    ) -> Result<ClientCertificate, StateError> {
        let what = "this build has no support for certificates";
        Err(StateError::new(StateErrorKind::Version, &handle.path.join("agent.crt"), what))
    }
}

fn text(path: &Path, bytes: Option<&Bytes>) -> Result<Zeroizing<String>, StateError> {
    let text = std::str::from_utf8(bytes.map_or(&[], |bytes| bytes.as_slice()));
    text.map(|text| Zeroizing::new(text.to_owned())).map_err(|_| damaged(path, "no text"))
}

fn trusted_root(
    path: &Path,
    bytes: Option<&Bytes>,
    pin: Fingerprint,
) -> Result<String, StateError> {
    let pem_text = text(path, bytes)?;
    let der = pem::decode(pem::CERTIFICATE, &pem_text);
    let der = der.ok_or_else(|| damaged(path, "it is not one certificate in PEM"))?;
    if Fingerprint::of_der(&der) != pin {
        return Err(damaged(path, "it is another CA than the one this worker enrolled with"));
    }
    Ok(pem_text.to_string())
}

fn read_api_key(path: &Path, bytes: Option<&Bytes>) -> Result<ApiKey, StateError> {
    let text = text(path, bytes)?;
    let key = ApiKey::presented(text.trim().to_owned());
    if key.is_intact() { Ok(key) } else { Err(damaged(path, "it is no whole API key")) }
}
