//! The master as a worker sees it: one method per verb.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::accept::AnswerFault;
use super::fuse::FuseTask;
use super::identity::Credentials;
use super::proofs::Proofs;
use super::refusal::Refusal;
use super::secret_text::SecretText;
use crate::model::{
    Credential, Facts, HostEvent, JoinToken, NodeId, NodeName, Sample, SharedSecret, Timestamp,
};

/// How a worker's calls reach the master.
///
/// Contract of an implementation:
/// 1. **Every call ends**, by a deadline of its own; a call that is dropped leaves nothing behind.
/// 2. **No proof leaves the machine before the master is known to be the master**: by the pinned
///    fingerprint at the first call, later by [`Credentials::ca_pem`] and the master's own name.
/// 3. **No call is repeated** behind the caller's back, and no redirect is followed.
/// 4. What the answer holds beyond these types is ignored.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Master: Send + Sync {
    /// Asks to become a member.
    ///
    /// # Errors
    /// [`CallError`]; of what it is made tells whether repeating helps.
    async fn enroll(&self, call: &EnrollCall) -> Result<Answer, CallError>;

    /// Says that the worker lives.
    ///
    /// # Errors
    /// [`CallError`].
    async fn heartbeat(&self, me: &Credentials, beat: &Beat) -> Result<BeatAnswer, CallError>;

    /// Asks for a successor of the credential that authenticates the call.
    ///
    /// # Errors
    /// [`CallError`].
    async fn renew(&self, me: &Credentials, call: &RenewCall)
    -> Result<Vec<Credential>, CallError>;

    /// Asks for a successor of a certificate that has run out. The call itself carries no identity;
    /// `me` says where the master is and whom to trust.
    ///
    /// # Errors
    /// [`CallError`].
    async fn recover(
        &self,
        me: &Credentials,
        call: &RecoverCall,
    ) -> Result<Vec<Credential>, CallError>;

    /// Says what became of a command.
    ///
    /// # Errors
    /// [`CallError`].
    async fn acknowledge(&self, me: &Credentials, report: &CommandReport) -> Result<(), CallError>;

    /// Asks for what this worker needs to do its part of the attempt to fuse it.
    ///
    /// # Errors
    /// [`CallError`]; final where no attempt runs.
    async fn fuse_task(&self, me: &Credentials) -> Result<FuseTask, CallError>;

    /// Waits for what the master wants done between two heartbeats, over the connection that the last
    /// one holds open; for ever where there is none. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`CallError`] when the connection has ended, told once. The next heartbeat makes another.
    async fn listen(&self) -> Result<Vec<Command>, CallError>;

    /// Says what the machine measures now, in place of what it measured before.
    ///
    /// # Errors
    /// [`CallError`].
    async fn report_metrics(&self, me: &Credentials, samples: &[Sample]) -> Result<(), CallError>;

    /// Says what happened on the machine, oldest first.
    ///
    /// # Errors
    /// [`CallError`]; the master may have some of it all the same.
    async fn report_events(&self, me: &Credentials, events: &[HostEvent]) -> Result<(), CallError>;
}

#[async_trait]
impl<M: Master + ?Sized> Master for Arc<M> {
    async fn enroll(&self, call: &EnrollCall) -> Result<Answer, CallError> {
        (**self).enroll(call).await
    }

    async fn heartbeat(&self, me: &Credentials, beat: &Beat) -> Result<BeatAnswer, CallError> {
        (**self).heartbeat(me, beat).await
    }

    async fn renew(
        &self,
        me: &Credentials,
        call: &RenewCall,
    ) -> Result<Vec<Credential>, CallError> {
        (**self).renew(me, call).await
    }

    async fn recover(
        &self,
        me: &Credentials,
        call: &RecoverCall,
    ) -> Result<Vec<Credential>, CallError> {
        (**self).recover(me, call).await
    }

    async fn acknowledge(&self, me: &Credentials, report: &CommandReport) -> Result<(), CallError> {
        (**self).acknowledge(me, report).await
    }

    async fn fuse_task(&self, me: &Credentials) -> Result<FuseTask, CallError> {
        (**self).fuse_task(me).await
    }

    async fn listen(&self) -> Result<Vec<Command>, CallError> {
        (**self).listen().await
    }

    async fn report_metrics(&self, me: &Credentials, samples: &[Sample]) -> Result<(), CallError> {
        (**self).report_metrics(me, samples).await
    }

    async fn report_events(&self, me: &Credentials, events: &[HostEvent]) -> Result<(), CallError> {
        (**self).report_events(me, events).await
    }
}

/// A request to become a member. The same one is sent again after a failure.
#[derive(Debug)]
pub struct EnrollCall {
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) node_name: Option<NodeName>,
    pub(crate) csr: Option<String>,
    pub(crate) attempt_key: SecretText,
    pub(crate) facts: Facts,
}

impl EnrollCall {
    /// The join token.
    #[must_use]
    pub fn token(&self) -> Option<&JoinToken> {
        self.proofs.join_token()
    }

    /// The cluster secret or the enrollment secret.
    #[must_use]
    pub fn shared_secret(&self) -> Option<&SharedSecret> {
        self.proofs.shared_secret()
    }

    /// The name the worker was told to take; a bound token knows it too.
    #[must_use]
    pub const fn node_name(&self) -> Option<&NodeName> {
        self.node_name.as_ref()
    }

    /// A certificate request in PEM; absent in a build without certificates.
    #[must_use]
    pub fn csr(&self) -> Option<&str> {
        self.csr.as_deref()
    }

    /// What identifies a retry where no certificate is issued: base64url.
    #[must_use]
    pub fn expose_attempt_key(&self) -> &str {
        self.attempt_key.expose()
    }

    /// What the worker says of itself.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// The answer to a request to become a member, not checked yet.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a transport builds every field")]
pub struct Answer {
    /// The id of the node.
    pub node_id: NodeId,
    /// Its name.
    pub node_name: NodeName,
    /// What was issued; kinds this release does not know are left out.
    pub credentials: Vec<Credential>,
    /// Where the master is reached from now on, `host:port`.
    pub master_addr: Option<String>,
    /// How often the master wants a heartbeat.
    pub heartbeat_interval: Duration,
    /// Whether this is the answer to an earlier call that was lost.
    pub redelivered: bool,
    /// The DER of the root that authenticated the master, whose fingerprint the transport has
    /// checked; absent where the transport has none.
    pub ca: Option<Vec<u8>>,
}

/// A sign of life. Whose it is, the credentials say.
#[derive(Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a transport reads every field")]
pub struct Beat {
    /// What the worker says of itself; absent where nothing changed.
    pub facts: Option<Facts>,
}

/// The answer to a sign of life.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a transport builds every field")]
pub struct BeatAnswer {
    /// The master's clock.
    pub server_time: Option<Timestamp>,
    /// How often the master wants a heartbeat from now on.
    pub heartbeat_interval: Duration,
    /// Whether the master wants the credential renewed now.
    pub renew: bool,
    /// What the worker is to do.
    pub commands: Vec<Command>,
}

/// A request for a successor.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a transport reads every field")]
pub struct RenewCall {
    /// The certificate request in PEM; absent where an API key is renewed.
    pub csr: Option<String>,
}

/// A request for a successor of a certificate that has run out.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a transport reads every field")]
pub struct RecoverCall {
    /// The certificate that has run out, in PEM.
    pub certificate: String,
    /// The certificate request in PEM.
    pub csr: String,
    /// The signature of the old key over what binds the two:
    /// [`recovery_message`](crate::model::recovery_message).
    pub signature: Vec<u8>,
}

/// Something the master wants done. It may come more than once.
#[expect(clippy::exhaustive_structs, reason = "a transport builds every field")]
pub struct Command {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// What the kind needs.
    pub payload: Value,
}

impl fmt::Debug for Command {
    /// Leaves the payload out: only its kind knows whether it is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What became of a command.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a transport reads every field")]
pub struct CommandReport {
    /// The command's id.
    pub id: String,
    /// Whether it was done.
    pub done: bool,
    /// What it put out.
    pub output: Option<String>,
}

type Cause = Box<dyn StdError + Send + Sync>;

/// A call that brought no answer the worker can use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The master refused.
    #[error("the master refused: {0}")]
    Refused(Refusal),
    /// No answer came: no route, no listener, no time left. Repeating may help.
    #[error("the master cannot be reached")]
    Unreachable(#[source] Cause),
    /// Something was not valid yet by this machine's clock. Repeating helps once it is set.
    #[error("a certificate is not valid by this machine's clock: look at the clock")]
    Clock(#[source] Cause),
    /// Who answered is not the master, or cannot prove it. Final at the first call.
    #[error("who answers there is not the master this worker is to trust")]
    Tls(#[source] Cause),
    /// The master ended the handshake over this worker's own certificate.
    #[error("the master did not accept this worker's certificate")]
    IdentityRefused(#[source] Cause),
    /// What answered does not speak the protocol. Repeating may help: a proxy may stand in for a
    /// master that restarts. Says what is wrong, and quotes nothing of the answer.
    #[error("the answer cannot be understood: {0}")]
    Malformed(String),
    /// The answer was understood and is not what was asked for. Final.
    #[error("the answer cannot be trusted: {0}")]
    Untrusted(#[source] AnswerFault),
}

impl CallError {
    /// Whether repeating the call cannot help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_final(),
            Self::Tls(_) | Self::Untrusted(_) => true,
            Self::Unreachable(_) | Self::Clock(_) | Self::IdentityRefused(_) => false,
            Self::Malformed(_) => false,
        }
    }

    /// Whether the master itself will never hear of what the call was about. A trouble on the way says
    /// nothing of that, and neither does one of the identity, which a successor may end.
    pub(super) fn is_last_word(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.is_final() && !refusal.rejects_identity())
    }

    /// When to come back, where the master said so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after(),
            _ => None,
        }
    }
}
