//! Whatever comes in, the answer is one of the contract's and shows nothing of what came in.

use axum::http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::fleet::{Fleet, Machine};
use crate::common::{dial, soon};

const CANARY: &str = "s3cret-canary";

#[tokio::test]
async fn a_body_that_is_no_request_is_bad_and_never_an_error_of_the_server() {
    let fleet = Fleet::start().await;
    let client = fleet.stranger();
    let nested =
        |depth: usize| format!("{{\"facts\":{}1{}}}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let deep = nested(60_000 / 6);
    let bodies: Vec<Vec<u8>> = vec![
        b"".into(),
        b" ".into(),
        b"null".into(),
        b"[]".into(),
        b"42".into(),
        format!("\"{CANARY}\"").into(),
        format!("token={CANARY}&node_name=a").into(),
        format!("{{\"token\":\"{CANARY}\"").into(),
        format!("{{\"token\":\"{CANARY}\",}}").into(),
        format!("{{\"token\":\"{CANARY}\"}}}}").into(),
        format!("{{\"token\":\"{CANARY}\",\"token\":\"{CANARY}\"}}").into(),
        format!("{{\"token\":\"{CANARY}\",\"t\\u006fken\":\"{CANARY}\"}}").into(),
        format!("{{\"token\":[\"{CANARY}\"]}}").into(),
        format!("{{\"token\":{{\"{CANARY}\":1}}}}").into(),
        format!("{{\"token\":7,\"shared_secret\":\"{CANARY}\"}}").into(),
        format!("{{\"shared_secret\":\"{CANARY}\"}}").into(),
        format!("{{\"token\":\"{CANARY}\",\"node_name\":\"{CANARY}\\u0007\"}}").into(),
        format!("{{\"token\":\"{CANARY}\",\"node_name\":[\"{CANARY}\"]}}").into(),
        format!("{{\"token\":\"{CANARY}\",\"node_name\":\"a\",\"csr\":{{}}}}").into(),
        format!("{{\"token\":\"{CANARY}\",\"node_name\":\"a\",\"attempt_key\":\"{CANARY}\"}}")
            .into(),
        format!("{{\"token\":\"{CANARY}\",\"facts\":\"{CANARY}\"}}").into(),
        format!("{{\"token\":\"{CANARY}\",\"facts\":{{\"arch\":{{}}}}}}").into(),
        format!("{{\"token\":\"{CANARY}\",\"facts\":{{\"labels\":{{\"{CANARY}\":7}}}}}}").into(),
        format!("{{\"token\":\"{CANARY}\",\"facts\":{{\"x\":1,\"x\":2}}}}").into(),
        format!("{{\"token\":\"{CANARY}\",\"facts\":{{\"x\":\"\\u0000\"}}}}").into(),
        [b"{\"token\":\"", &[0xff, 0xfe][..], b"\"}"].concat(),
        [b"{\"token\":\"", &[0xed, 0xa0, 0x80][..], b"\"}"].concat(),
        b"\x00\x01\x02\x03".into(),
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00".into(),
        nested(40).into(),
        deep.clone().into(),
        "[".repeat(60_000).into(),
        format!("{{\"token\":{}}}", "9".repeat(60_000)).into(),
        b"{\"token\":1e999999}".into(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let answer = client.raw(body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{shown}: {}", answer.text);
        answer.assert_problem(400);
        assert_eq!(answer.reason(), "bad_request", "{shown}");
        assert!(!answer.text.contains(CANARY), "{shown}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_request_of_sixty_four_kib_is_read_and_a_byte_more_is_not() {
    let fleet = Fleet::start().await;
    let mut request = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
    request["padding"] = json!("");
    let size = request.to_string().len();
    request["padding"] = json!("x".repeat(64 * 1024 - size + 1));
    let answer = fleet.stranger().enroll(&request).await;
    answer.assert_problem(400);
    assert_eq!(answer.reason(), "bad_request");
    assert_eq!(
        answer.body["detail"],
        "The request was not read: the body is larger than 65536 bytes."
    );
    request["padding"] = json!("x".repeat(64 * 1024 - size));
    assert_eq!(request.to_string().len(), 64 * 1024);
    let answer = fleet.stranger().enroll(&request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn a_body_without_a_declared_length_is_bounded_too() {
    let fleet = Fleet::start().await;
    let mut stream = dial(fleet.enroll.addr, fleet.tls(None).config().unwrap()).await.unwrap();
    let head = "POST /v1/enroll HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    for _ in 0..17 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 12];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 400");
}

#[tokio::test]
async fn every_cut_and_every_flipped_byte_of_a_request_is_answered() {
    let fleet = Fleet::start().await;
    let client = fleet.stranger();
    let whole = Machine::new().request(&fleet.mint_one_shot().await, "worker-1").to_string();
    for len in (0..whole.len()).step_by(37) {
        let answer = client.raw(whole[..len].to_owned()).await;
        assert_eq!(answer.reason(), "bad_request", "cut to {len}");
    }
    for at in (0..whole.len()).step_by(41) {
        let mut damaged = whole.clone().into_bytes();
        damaged[at] ^= 0x80;
        let answer = client.raw(damaged).await;
        assert_eq!(answer.reason(), "bad_request", "byte {at}: {}", answer.text);
    }
    assert_eq!(client.raw(whole).await.status, StatusCode::OK, "none of it spent the token");
}
