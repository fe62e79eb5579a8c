//! A master that issues keys of the stub.

use std::sync::Arc;
use std::time::Duration;

use enroll_core::issue::{Grant, IssueError, Issuer};
use enroll_core::master::{Enroller, MasterConfig, MintRequest, RegisterRequest, Verdict};
use enroll_core::model::{
    AttemptKey, Clock as _, Credential, CredentialRecord, EnrollRequest, Facts, JoinToken,
    MeshCredential, NodeName, Origin, Presented, Reason, SystemClock, SystemEntropy, TokenId,
};
use enroll_core::store::{MemoryStore, Store, Tokens as _};
use enroll_http::integrations::headscale::{Headscale, HeadscaleOptions};
use zeroize::Zeroizing;

use crate::stub::{API_KEY, Stub};

pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn options() -> HeadscaleOptions {
    HeadscaleOptions::new().with_user("fleet").with_deadline(PATIENCE)
}

pub(crate) fn client(stub: &Stub, options: HeadscaleOptions) -> Headscale {
    let api_key = Zeroizing::new(API_KEY.to_owned());
    Headscale::new(&stub.url(), api_key, options).unwrap()
}

/// Makes one key for the node `worker-1`, as an approval would.
pub(crate) async fn make(
    client: &Headscale,
) -> Result<(MeshCredential, CredentialRecord), IssueError> {
    let (name, facts, entropy) = (name("worker-1"), Facts::default(), SystemEntropy::new());
    let grant = Grant::new(&name, &facts, SystemClock::new().now(), &entropy);
    let issued = client.issue(&grant).await?;
    let Credential::Mesh(mesh) = issued.credential else { panic!("a key of a mesh") };
    Ok((mesh, issued.record))
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

pub(crate) struct Fleet {
    pub(crate) enroller: Enroller,
    store: Arc<MemoryStore>,
}

impl Fleet {
    pub(crate) fn new(client: Headscale) -> Self {
        let (store, client) = (Arc::new(MemoryStore::new()), Arc::new(client));
        let mut config = MasterConfig::default();
        config.steady_addr = Some("100.64.0.1:7481".into());
        let enroller = Enroller::with_issuers(
            Arc::clone(&store) as Arc<dyn Store>,
            vec![Arc::clone(&client) as _],
        )
        .with_config(config)
        .with_mesh(client);
        Self { enroller, store }
    }

    pub(crate) async fn mint(&self) -> JoinToken {
        let wish = MintRequest::new().with_max_uses(1);
        self.enroller.mint(wish, "ann").await.unwrap().token
    }

    pub(crate) async fn register(&self, node: &str) -> JoinToken {
        let wish = RegisterRequest::new(name(node));
        self.enroller.register(wish, "ann").await.unwrap().minted.token
    }

    pub(crate) async fn uses(&self, token: TokenId) -> u64 {
        self.store.token(token).await.unwrap().unwrap().uses
    }

    /// Asks to become `node`, as the machine that keeps `own`.
    pub(crate) async fn ask(&self, token: &JoinToken, node: &str, own: u8) -> Verdict {
        let attempt_key = data_encoding::BASE64URL_NOPAD.encode(&[own; 16]);
        let presented = Presented::from_parts(Some(token.expose().to_owned()), None).unwrap();
        let mut request = EnrollRequest::new(presented);
        request.node_name = Some(name(node));
        request.attempt_key = AttemptKey::parse(&attempt_key);
        self.enroller.enroll(request, Origin::default()).await.unwrap()
    }

    /// The key that the machine is given.
    pub(crate) async fn enroll(&self, token: &JoinToken, node: &str, own: u8) -> String {
        let Verdict::Admitted(admission) = self.ask(token, node, own).await else {
            panic!("{node} is admitted")
        };
        let mut credentials = admission.credentials.into_iter();
        let Some(Credential::Mesh(mesh)) = credentials.next() else { panic!("a key of a mesh") };
        mesh.authkey.to_string()
    }

    pub(crate) async fn refused(&self, token: &JoinToken, node: &str) -> Reason {
        match self.ask(token, node, 1).await {
            Verdict::Refused(rejection) => rejection.reason(),
            other => panic!("refused: {other:?}"),
        }
    }
}
