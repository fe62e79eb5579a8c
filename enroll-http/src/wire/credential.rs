//! Credentials as they are handed over.

use enroll_core::model::{ApiKey, Credential, CredentialKind, MeshCredential, X509Credential};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{Rfc3339, SecretText};

/// One credential. Which members it has depends on its kind.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct CredentialBody {
    /// `x509`, `api_key`, or the kind of a mesh, such as `headscale`.
    #[schema(example = "x509")]
    pub kind: String,
    /// With `x509`: the chain, PEM, leaf first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub certificate: Option<String>,
    /// With `x509`: the roots to trust, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub ca_bundle: Option<String>,
    /// With `x509`: when the leaf ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub not_after: Option<Rfc3339>,
    /// With `x509`: from when on it is to be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub renew_after: Option<Rfc3339>,
    /// With `api_key`: the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub key: Option<SecretText>,
    /// With a mesh: the key to join it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub authkey: Option<SecretText>,
    /// With a mesh: where its control plane is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub control_url: Option<String>,
    /// With a mesh: when the key ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub expires_at: Option<Rfc3339>,
}

/// A credential that lacks a member its kind has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a credential of the kind {kind:?} came without `{member}`")]
#[non_exhaustive]
pub struct Incomplete {
    kind: String,
    member: &'static str,
}

impl CredentialBody {
    /// Writes a credential; `None` for a kind that has no form on the wire.
    #[must_use]
    pub fn of(credential: &Credential) -> Option<Self> {
        let kind = credential.kind().as_str().to_owned();
        match credential {
            Credential::X509(x509) => Some(Self {
                kind,
                certificate: Some(x509.certificate.clone()),
                ca_bundle: Some(x509.ca_bundle.clone()),
                not_after: Some(x509.not_after.into()),
                renew_after: Some(x509.renew_after.into()),
                ..Self::default()
            }),
            Credential::ApiKey(key) => {
                Some(Self { kind, key: Some(SecretText::new(key.expose())), ..Self::default() })
            }
            Credential::Mesh(mesh) => Some(Self {
                kind,
                authkey: Some(SecretText::new(mesh.authkey.as_str())),
                control_url: Some(mesh.control_url.clone()),
                expires_at: Some(mesh.expires_at.into()),
                ..Self::default()
            }),
            _ => None,
        }
    }

    /// Reads a credential; `None` for a kind this version does not know.
    ///
    /// # Errors
    /// [`Incomplete`].
    pub fn into_credential(self) -> Result<Option<Credential>, Incomplete> {
        match self.kind.as_str() {
            "x509" => self.into_x509().map(|x509| Some(Credential::X509(x509))),
            "api_key" => {
                let key = present(self.key, &self.kind, "key")?;
                Ok(Some(Credential::ApiKey(ApiKey::presented(key.into_string()))))
            }
            _ if self.authkey.is_some() => {
                self.into_mesh().map(|mesh| Some(Credential::Mesh(mesh)))
            }
            _ => Ok(None),
        }
    }

    fn into_x509(self) -> Result<X509Credential, Incomplete> {
        Ok(X509Credential {
            certificate: present(self.certificate, &self.kind, "certificate")?,
            ca_bundle: present(self.ca_bundle, &self.kind, "ca_bundle")?,
            not_after: present(self.not_after, &self.kind, "not_after")?.0,
            renew_after: present(self.renew_after, &self.kind, "renew_after")?.0,
        })
    }

    fn into_mesh(self) -> Result<MeshCredential, Incomplete> {
        let authkey = present(self.authkey, &self.kind, "authkey")?;
        Ok(MeshCredential {
            authkey: Zeroizing::new(authkey.into_string()),
            control_url: present(self.control_url, &self.kind, "control_url")?,
            expires_at: present(self.expires_at, &self.kind, "expires_at")?.0,
            kind: CredentialKind::from_stored(self.kind),
        })
    }
}

fn present<T>(value: Option<T>, kind: &str, member: &'static str) -> Result<T, Incomplete> {
    value.ok_or_else(|| Incomplete { kind: kind.to_owned(), member })
}

/// Writes all of them that have a form on the wire.
pub(super) fn bodies(credentials: &[Credential]) -> Vec<CredentialBody> {
    credentials.iter().filter_map(CredentialBody::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll_core::model::Timestamp;
    use serde_json::{Value, json};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(1_800_000_000 + secs)
    }

    fn each() -> [(Credential, Value); 3] {
        let x509 = Credential::X509(X509Credential {
            certificate: "leaf".into(),
            ca_bundle: "root".into(),
            not_after: at(60),
            renew_after: at(40),
        });
        let mesh = Credential::Mesh(MeshCredential {
            kind: CredentialKind::from_static("headscale"),
            authkey: Zeroizing::new("hskey-s3cret".into()),
            control_url: "https://mesh.example".into(),
            expires_at: at(0),
        });
        let key = Credential::ApiKey(ApiKey::presented("enroll_key_s3cret".into()));
        [
            (
                x509,
                json!({"kind": "x509", "certificate": "leaf", "ca_bundle": "root",
                    "not_after": "2027-01-15T08:01:00Z", "renew_after": "2027-01-15T08:00:40Z"}),
            ),
            (key, json!({"kind": "api_key", "key": "enroll_key_s3cret"})),
            (
                mesh,
                json!({"kind": "headscale", "authkey": "hskey-s3cret",
                    "control_url": "https://mesh.example", "expires_at": "2027-01-15T08:00:00Z"}),
            ),
        ]
    }

    #[test]
    fn each_kind_has_the_members_of_the_contract_and_reads_back() {
        for (credential, wire) in each() {
            let body = CredentialBody::of(&credential).unwrap();
            assert_eq!(serde_json::to_value(&body).unwrap(), wire);
            assert!(!format!("{body:?}").contains("s3cret"));
            let read: CredentialBody = serde_json::from_value(wire.clone()).unwrap();
            let again = CredentialBody::of(&read.into_credential().unwrap().unwrap()).unwrap();
            assert_eq!(serde_json::to_value(&again).unwrap(), wire);
        }
    }

    #[test]
    fn a_member_that_is_missing_is_named_and_an_unknown_kind_is_passed_over() {
        for (_, wire) in each() {
            for member in wire.as_object().unwrap().keys().filter(|key| *key != "kind") {
                let mut less = wire.clone();
                less.as_object_mut().unwrap().remove(member);
                let read: CredentialBody = serde_json::from_value(less).unwrap();
                let kind = read.kind.clone();
                match read.into_credential() {
                    Err(error) => assert_eq!(
                        error.to_string(),
                        format!("a credential of the kind {kind:?} came without `{member}`")
                    ),
                    Ok(other) => assert!(other.is_none() && member == "authkey", "{kind} {member}"),
                }
            }
        }
        let newer = json!({"kind": "quantum", "state": [1]});
        let read: CredentialBody = serde_json::from_value(newer).unwrap();
        assert!(read.into_credential().unwrap().is_none());
    }
}
