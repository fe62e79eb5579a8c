//! That what is checked in is what the contract makes.

use std::path::Path;

/// Set to anything, it makes the test below write the code instead of comparing it.
const ACCEPT: &str = "ENROLL_ACCEPT_FLEET";

#[test]
fn the_code_that_is_checked_in_is_the_one_the_contract_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let contract = protox::compile(["enroll/v1/fleet.proto"], [root.join("proto")]).unwrap();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .codec_path("crate::fleet::codec::SmallCodec")
        // One holds a secret, the other may: what they show is written by hand.
        .skip_debug(["enroll.v1.Credential", "enroll.v1.Command"])
        .out_dir(out.path())
        .compile_fds(contract)
        .unwrap();
    let made = std::fs::read_to_string(out.path().join("enroll.v1.rs")).unwrap();
    let place = root.join("src/fleet/enroll.v1.rs");
    if std::env::var_os(ACCEPT).is_some() {
        std::fs::write(place, made).unwrap();
        return;
    }
    assert!(
        made == std::fs::read_to_string(place).unwrap(),
        "fleet.proto and the code made from it differ. If the change is meant, accept it with \
         `{ACCEPT}=1 cargo test -p enroll-http --all-features --test grpc generated` and commit the file."
    );
}
