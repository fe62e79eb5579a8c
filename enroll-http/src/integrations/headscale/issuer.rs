//! The issuer of pre-auth keys.

use async_trait::async_trait;
use enroll_core::issue::{Grant, IssueError, Issued, Issuer};
use enroll_core::model::{Credential, CredentialKind, CredentialRecord, MeshCredential, Reason};
use http::Method;
use zeroize::Zeroizing;

use super::body::{Expire, Made, NewKey};
use super::error::HeadscaleError;
use super::key::KeyName;
use super::options::Headscale;

/// The kind of the keys, on the wire and on record.
pub(super) const KIND: CredentialKind = CredentialKind::from_static("headscale");

#[async_trait]
impl Issuer for Headscale {
    fn kind(&self) -> CredentialKind {
        KIND
    }

    fn needs_key(&self) -> bool {
        false
    }

    async fn issue(&self, grant: &Grant<'_>) -> Result<Issued, IssueError> {
        let expires_at = grant.at.after(self.options.key_lifetime);
        let made = match self.in_time(self.make(expires_at.to_rfc3339())).await {
            Ok(made) => made,
            Err(cause) => {
                self.forget_owner();
                return Err(failed(cause));
            }
        };
        let external_id = made.pre_auth_key.name().to_string();
        let missing = HeadscaleError::Malformed("a key without its text");
        let key = made.pre_auth_key.key.ok_or_else(|| failed(missing))?;
        Ok(Issued {
            credential: Credential::Mesh(MeshCredential {
                kind: KIND,
                authkey: Zeroizing::new(key.into_string()),
                control_url: self.control_url().to_owned(),
                expires_at,
            }),
            record: CredentialRecord::External { kind: KIND, external_id },
            expires_at: Some(expires_at),
        })
    }

    fn again(&self, _record: &CredentialRecord) -> Option<Credential> {
        None
    }

    async fn undo(&self, record: &CredentialRecord) -> Result<(), IssueError> {
        let CredentialRecord::External { external_id, .. } = record else {
            return Err(failed(HeadscaleError::ForeignKey));
        };
        self.expire(external_id).await.map_err(failed)
    }
}

impl Headscale {
    async fn make(&self, expiration: String) -> Result<Made, HeadscaleError> {
        let owner = self.owner().await?;
        let wish = NewKey {
            user: owner.as_deref(),
            reusable: false,
            ephemeral: false,
            expiration,
            acl_tags: &self.options.tags,
        };
        self.json(self.request(Method::POST, &["preauthkey"], &[]).json(&wish)).await
    }

    /// Expires a key. Headscale before 0.28 knows keys by their text alone, which nobody kept; but it
    /// shows the text in its list.
    pub(super) async fn expire(&self, external_id: &str) -> Result<(), HeadscaleError> {
        let name: KeyName = external_id.parse()?;
        match self.expire_as(&Expire::ById { id: &name.id }).await {
            // Gone, or of a Headscale that no longer is.
            Err(HeadscaleError::Refused { status: 404, .. }) => Ok(()),
            Err(refused @ HeadscaleError::Refused { .. }) => {
                let Some(key) = self.keys().await?.into_iter().find(|key| key.name() == name)
                else {
                    return Ok(());
                };
                match (key.user_id(), &key.key) {
                    // Later versions show no text that one could be known by.
                    (Some(user), Some(text)) if !text.expose().contains('*') => {
                        self.expire_as(&Expire::ByText { user, key: text }).await
                    }
                    _ => Err(refused),
                }
            }
            outcome => outcome,
        }
    }

    async fn expire_as(&self, expire: &Expire<'_>) -> Result<(), HeadscaleError> {
        let request = self.request(Method::POST, &["preauthkey", "expire"], &[]).json(expire);
        self.success(request).await.map(drop)
    }
}

fn failed(cause: HeadscaleError) -> IssueError {
    IssueError::new(KIND, cause).with_reason(Reason::MeshMintFailed)
}
