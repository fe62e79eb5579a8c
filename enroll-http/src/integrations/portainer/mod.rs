//! Full control by Portainer: an Edge agent on the worker, an endpoint for it in Portainer (feature
//! `portainer`).
//!
//! [`PortainerFuser`] is the master's part. The worker's part is to run the agent with what
//! `GET /v1/self/fuse` hands it: [`Values`](self#what-a-worker-is-handed).
//!
//! # What a worker is handed
//! | value | what it is | for the agent |
//! |---|---|---|
//! | `edge_key` | a secret: where to call, and as which endpoint | `EDGE_KEY` |
//! | `edge_id` | what the agent names itself by | `EDGE_ID` |
//! | `insecure_poll` | `1` where it is not to verify Portainer's certificate, else `0` | `EDGE_INSECURE_POLL` |
//! | `agent_version` | Portainer's own version, which the agent has to have | the image's tag |
//!
//! # What holds
//! - **The Edge key is kept nowhere on the master**: it is read from Portainer when the worker asks.
//! - **An attempt has one endpoint**, whose name holds the attempt's id. A call whose answer was lost is
//!   followed by a look for that name, so that nothing is made twice and nothing is left behind.
//! - **Only Portainer's word counts**: the node is fused when its agent has checked in there, whatever
//!   its worker says.

mod api;
mod client;
mod fuser;
mod trouble;

pub use client::{PortainerClient, PortainerOptions, PortainerSetupError};
pub use fuser::PortainerFuser;
