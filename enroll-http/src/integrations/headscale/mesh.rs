//! Who is in the mesh.

use async_trait::async_trait;
use enroll_core::master::{Mesh, MeshError, MeshNode};
use enroll_core::model::{Clock as _, CredentialKind, SystemClock};
use http::Method;

use super::body::Nodes;
use super::error::HeadscaleError;
use super::issuer::KIND;
use super::options::Headscale;

#[async_trait]
impl Mesh for Headscale {
    fn kind(&self) -> CredentialKind {
        KIND
    }

    async fn nodes(&self) -> Result<Vec<MeshNode>, MeshError> {
        let nodes: Nodes =
            self.json(self.request(Method::GET, &["node"], &[])).await.map_err(MeshError::new)?;
        Ok(nodes.nodes.into_iter().map(MeshNode::from).collect())
    }

    async fn remove_node(&self, id: &str) -> Result<(), MeshError> {
        match self.success(self.request(Method::DELETE, &["node", id], &[])).await {
            Ok(_) | Err(HeadscaleError::Refused { status: 404, .. }) => Ok(()),
            Err(cause) => Err(MeshError::new(cause)),
        }
    }

    async fn open_keys(&self) -> Result<Vec<String>, MeshError> {
        let keys = self.keys().await.map_err(MeshError::new)?;
        let at = SystemClock::new().now();
        let open = keys.iter().filter(|key| key.is_open(at));
        Ok(open.map(|key| key.name().to_string()).collect())
    }

    async fn close_key(&self, key: &str) -> Result<(), MeshError> {
        self.expire(key).await.map_err(MeshError::new)
    }
}
