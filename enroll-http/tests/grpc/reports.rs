//! What members report: last values, and events for the journal; over gRPC and REST alike.

use enroll_core::model::{HostEvent, Sample};
use enroll_http::fleet::v1;
use serde_json::json;

use super::support::{Member, count, counted, journal};
use crate::common::fleet::{START, name};

fn values(samples: &[Sample]) -> Vec<(&str, f64)> {
    samples.iter().map(|sample| (sample.name(), sample.value())).collect()
}

#[tokio::test]
async fn the_last_values_of_a_node_are_kept_and_no_others() {
    let (fleet, _) = counted().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let node = name("worker-1");
    assert_eq!(fleet.enroller.node_metrics(&node).await.unwrap(), None);
    let report = |samples: &[Sample]| v1::ReportMetricsRequest {
        node_name: "worker-1".into(),
        samples: samples.iter().map(v1::Sample::from).collect(),
    };
    let reports = [
        report(&[Sample::gauge("a", 1.0), Sample::gauge("b", 2.0)]),
        report(&[Sample::gauge("c", 3.0), Sample::gauge("not a name", 0.0)]),
    ];
    let request = member.request(futures_util::stream::iter(reports));
    let reply = member.stub.clone().report_metrics(request).await.unwrap().into_inner();
    assert_eq!((reply.kept, reply.left_out), (3, 1));
    let kept = fleet.enroller.node_metrics(&node).await.unwrap().unwrap();
    assert_eq!((kept.at, values(&kept.samples)), (START, vec![("c", 3.0)]));
    fleet.enroller.delete_node(&node, true, "admin").await.unwrap();
    fleet.enrolled("worker-1").await;
    assert_eq!(fleet.enroller.node_metrics(&node).await.unwrap(), None, "another machine");
}

#[tokio::test]
async fn what_happened_on_a_machine_is_journalled_within_its_bounds() {
    let (fleet, metrics) = counted().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let event =
        |kind: &str| HostEvent::new(START, kind, "It died.").with_attribute("image", "alpine");
    let events = [event("container.died"), event("Not a kind")];
    let report = v1::ReportEventsRequest {
        node_name: "worker-1".into(),
        events: events.iter().map(v1::HostEvent::from).collect(),
    };
    let request = member.request(futures_util::stream::iter([report]));
    let reply = member.stub.clone().report_events(request).await.unwrap().into_inner();
    assert_eq!((reply.kept, reply.left_out), (1, 1));
    let reported = journal(&fleet).await.pop().unwrap();
    let told = json!({
        "at": START, "type": "reported", "node_id": reported["node_id"], "node_name": "worker-1",
        "happened_at": "2027-01-15T08:00:00Z", "kind": "container.died", "message": "It died.",
        "attributes": {"image": "alpine"},
    });
    assert_eq!(reported, told);
    let many = (0..500).map(|n| v1::HostEvent::from(&event(&format!("a{n}")))).collect();
    let report = v1::ReportEventsRequest { node_name: "worker-1".into(), events: many };
    let request = member.request(futures_util::stream::iter([report]));
    let reply = member.stub.clone().report_events(request).await.unwrap().into_inner();
    assert_eq!((reply.kept, reply.left_out), (119, 381), "one machine cannot fill the journal");
    assert_eq!(count(&metrics, "enroll_reported_events_total"), 120);
}

#[tokio::test]
async fn rest_takes_the_same_reports() {
    let (fleet, metrics) = counted().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let member = fleet.member(&machine, &certificate);
    let samples: Vec<_> = (0..512)
        .map(|n| json!({"name": "a", "labels": {"n": n.to_string(), "x": "x".repeat(200)}, "value": n}))
        .collect();
    let body = json!({"node_name": "worker-1", "samples": samples});
    assert!(body.to_string().len() > 64 * 1024);
    let answer = member.post_steady("/v1/self/metrics", &body).await;
    answer.assert_ok("ReportAnswer");
    assert!(answer.body["kept"].as_u64().unwrap() > 200, "{}", answer.text);
    let event = json!({"at": "2027-01-15T08:00:00Z", "kind": "disk.full"});
    let body = json!({"node_name": "worker-1", "events": [event]});
    let answer = member.post_steady("/v1/self/events", &body).await;
    answer.assert_ok("ReportAnswer");
    assert_eq!(answer.body, json!({"kept": 1, "left_out": 0}));
    for path in ["/v1/self/metrics", "/v1/self/events"] {
        let answer = member.post_steady(path, &json!({"node_name": "worker-2"})).await;
        answer.assert_problem(403);
        assert_eq!(answer.reason(), "name_mismatch");
        member.post_steady(path, &json!({})).await.assert_problem(400);
        fleet.stranger().post_steady(path, &json!({})).await.assert_unauthorized();
    }
    assert_eq!(count(&metrics, "enroll_name_mismatches_total"), 2);
}
