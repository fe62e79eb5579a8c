//! The mesh, as operators see it.

use std::net::IpAddr;

use enroll_core::master::MeshMember;
use enroll_core::model::{NodeId, NodeName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rfc3339;

/// A machine in the mesh: what its control plane says of it, and which node it is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct MeshNodeItem {
    /// The control plane's id of it.
    #[schema(example = "3")]
    pub id: String,
    /// Its name in the mesh.
    pub name: String,
    /// Its addresses in the mesh.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Whom it belongs to there; null where it belongs to its tags.
    #[schema(required = true)]
    pub user: Option<String>,
    /// What it is tagged with.
    pub tags: Vec<String>,
    /// Whether it is connected to the control plane.
    pub online: bool,
    /// When it last was.
    #[schema(required = true)]
    pub last_seen_at: Option<Rfc3339>,
    /// When it has to prove itself again; null for never.
    #[schema(required = true)]
    pub expires_at: Option<Rfc3339>,
    /// `master` for the machine that members report to, `worker` for a member, `leaving` for one that
    /// is no member any more and about to be taken out, `other` for what joined with no key of ours.
    pub role: String,
    /// The id of the node it is here.
    #[schema(value_type = Option<String>, required = true)]
    pub node_id: Option<NodeId>,
    /// The name of the node it is here.
    #[schema(value_type = Option<String>, required = true)]
    pub node_name: Option<NodeName>,
}

impl From<MeshMember> for MeshNodeItem {
    fn from(found: MeshMember) -> Self {
        let role = match (found.master, found.leaving, &found.member) {
            (true, ..) => "master",
            (_, true, _) => "leaving",
            (_, _, Some(_)) => "worker",
            _ => "other",
        };
        let (node, (node_id, node_name)) = (found.node, found.member.unzip());
        Self {
            id: node.id,
            name: node.name,
            addresses: node.addresses,
            user: node.user,
            tags: node.tags,
            online: node.online,
            last_seen_at: node.last_seen_at.map(Rfc3339),
            expires_at: node.expires_at.map(Rfc3339),
            role: role.to_owned(),
            node_id,
            node_name,
        }
    }
}
