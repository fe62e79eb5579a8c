//! The calls, as every version has them.

use std::time::Duration;

use enroll_core::issue::Issuer as _;
use enroll_core::master::Mesh as _;
use enroll_core::model::{Clock as _, CredentialRecord, SystemClock, Timestamp};
use enroll_http::integrations::headscale::Headscale;

use crate::stub::{Stub, Version};
use crate::support::{client, make, options};

fn external_id(record: &CredentialRecord) -> String {
    match record {
        CredentialRecord::External { external_id, .. } => external_id.clone(),
        other => panic!("external: {other:?}"),
    }
}

#[tokio::test]
async fn a13_a_key_is_single_use_has_an_end_and_is_taken_back() {
    for version in Version::ALL {
        let stub = Stub::start(version).await;
        let client = client(&stub, options().with_tag("tag:worker"));
        let (kept, _) = make(&client).await.unwrap();
        let (mesh, record) = make(&client).await.unwrap();
        assert_eq!(stub.open(), [kept.authkey.as_str(), mesh.authkey.as_str()], "{version:?}");
        assert_eq!(mesh.control_url, stub.url());
        let wish = stub.inside().keys[1].wish.clone();
        assert_eq!((&wish["reusable"], &wish["ephemeral"]), (&false.into(), &false.into()));
        assert_eq!((&wish["user"], &wish["aclTags"][0]), (&"2".into(), &"tag:worker".into()));
        let end = Timestamp::parse_rfc3339(wish["expiration"].as_str().unwrap()).unwrap();
        let left = end.since(SystemClock::new().now());
        assert!(left <= Headscale::KEY_LIFETIME && left > Duration::from_secs(3500), "{left:?}");
        assert_eq!(end, mesh.expires_at);

        let named = external_id(&record);
        assert!(!named.contains(mesh.authkey.as_str()), "the key itself is not on record");
        assert!(client.open_keys().await.unwrap().contains(&named), "{version:?}");
        for _twice in 0..2 {
            client.undo(&record).await.unwrap();
            assert_eq!(stub.open(), [kept.authkey.as_str()], "{version:?}: that one alone");
        }
        assert!(!client.open_keys().await.unwrap().contains(&named), "{version:?}");
        assert!(client.again(&record).is_none(), "a bearer key is shown once");
        stub.inside().keys.clear();
        client.undo(&record).await.unwrap();
    }
}

#[tokio::test]
async fn a_machine_is_known_by_the_key_it_joined_with_and_can_be_taken_out() {
    for version in Version::ALL {
        let stub = Stub::start(version).await;
        let client = client(&stub, options());
        let (mesh, record) = make(&client).await.unwrap();
        let id = stub.join("worker-1", &mesh.authkey).to_string();
        stub.inside().nodes.push(crate::stub::StubNode { id: 90, name: "nas".into(), key: None });
        let nodes = client.nodes().await.unwrap();
        let [worker, other] = &nodes[..] else { panic!("{version:?}: two: {nodes:?}") };
        assert_eq!((&worker.id, worker.name.as_str()), (&id, "worker-1"));
        assert_eq!(worker.key, Some(external_id(&record)), "{version:?}");
        assert_eq!(worker.addresses.len(), 2);
        assert_eq!((worker.online, worker.user.as_deref()), (true, Some("fleet")));
        assert_eq!((worker.tags.len(), worker.expires_at), (1, None), "{version:?}");
        assert!(worker.last_seen_at.is_some());
        assert_eq!(other.key, None);
        for _twice in 0..2 {
            client.remove_node(&id).await.unwrap();
            assert_eq!(stub.node_names(), ["nas"], "{version:?}");
        }
    }
}

#[tokio::test]
async fn a10_machines_are_told_where_they_reach_the_control_plane() {
    let stub = Stub::start(Version::V029).await;
    let client = client(&stub, options().with_public_url("https://mesh.example/"));
    let (mesh, _) = make(&client).await.unwrap();
    assert_eq!(mesh.control_url, "https://mesh.example");
}

#[tokio::test]
async fn the_user_is_asked_for_once_and_again_after_trouble() {
    let stub = Stub::start(Version::V029).await;
    let client = client(&stub, options());
    for _ in 0..3 {
        make(&client).await.unwrap();
    }
    let asked = || stub.inside().calls.iter().filter(|call| call.contains("/user")).count();
    assert_eq!(asked(), 1);
    stub.feel(crate::stub::Mood::Fails);
    make(&client).await.unwrap_err();
    stub.feel(crate::stub::Mood::Well);
    make(&client).await.unwrap();
    assert_eq!(asked(), 2);
}

#[tokio::test]
async fn tags_alone_own_a_machine_from_0_28_on() {
    let stub = Stub::start(Version::V028).await;
    let tagged = enroll_http::integrations::headscale::HeadscaleOptions::new()
        .with_tag("tag:worker")
        .with_tag("tag:eu");
    let client = client(&stub, tagged);
    make(&client).await.unwrap();
    let wish = stub.inside().keys[0].wish.clone();
    assert_eq!(wish.get("user"), None);
    assert_eq!(wish["aclTags"].as_array().unwrap().len(), 2);
    assert!(stub.inside().calls.iter().all(|call| !call.contains("/user")));
}
