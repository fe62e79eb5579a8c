//! Full control by Portainer: its documented API and the failures it has, spoken by a stub, since a
//! real one does not fail on demand; and the whole way through the real binaries.

#[path = "../harness/mod.rs"]
mod harness;

mod contract;
mod fuse;
mod stub;
