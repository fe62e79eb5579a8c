//! The mesh.

use clap::Subcommand;
use enroll_http::wire::MeshNodeItem;

use super::super::failure::Failure;
use super::Master;
use super::paging::Paging;
use super::table::{at, or_dash, table};

/// What is done with the mesh.
#[derive(Debug, Subcommand)]
pub(in crate::master) enum MeshCall {
    /// Who is in the mesh, the master and the workers, as its control plane says now
    #[command(after_help = "Example:\n  enroll-master mesh list")]
    List {
        #[command(flatten)]
        paging: Paging,
    },
}

pub(super) async fn run(call: MeshCall, master: &Master) -> Result<(), Failure> {
    let MeshCall::List { paging } = call;
    master.list(&paging, |page| master.client.mesh_nodes(page), text).await
}

fn text(nodes: &[MeshNodeItem]) -> String {
    let row = |node: &MeshNodeItem| {
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        [
            node.id.clone(),
            node.name.clone(),
            addresses.join(" "),
            node.role.clone(),
            or_dash(node.node_name.as_ref()),
            if node.online { "yes".to_owned() } else { "no".to_owned() },
            at(node.last_seen_at),
        ]
    };
    let head = ["ID", "MESH-NAME", "ADDRESSES", "ROLE", "NODE", "ONLINE", "LAST-SEEN-AT"];
    table(head, nodes.iter().map(row))
}
