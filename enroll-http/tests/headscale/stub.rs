//! A Headscale of any version, which fails as it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use enroll_core::model::{Clock as _, SystemClock, Timestamp};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

pub(crate) const API_KEY: &str = "hskey-api-0123456789ab-s3cret";

const USERS: [&str; 2] = ["ops", "fleet"];

/// Whose JSON it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V026,
    V028,
    V029,
    V030,
}

impl Version {
    pub(crate) const ALL: [Self; 4] = [Self::V026, Self::V028, Self::V029, Self::V030];
}

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Fails,
    Forgot,
    Slow,
    Babbles,
}

pub(crate) struct StubKey {
    pub(crate) id: u64,
    pub(crate) text: String,
    pub(crate) used: bool,
    pub(crate) expiration: Timestamp,
    pub(crate) created: Timestamp,
    pub(crate) wish: Value,
}

pub(crate) struct StubNode {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) key: Option<u64>,
}

pub(crate) struct Inside {
    pub(crate) mood: Mood,
    pub(crate) keys: Vec<StubKey>,
    pub(crate) nodes: Vec<StubNode>,
    pub(crate) users: usize,
    pub(crate) calls: Vec<String>,
    last: u64,
}

#[derive(Clone)]
pub(crate) struct Stub {
    pub(crate) version: Version,
    pub(crate) addr: SocketAddr,
    inside: Arc<Mutex<Inside>>,
}

impl Stub {
    pub(crate) async fn start(version: Version) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inside = Inside {
            mood: Mood::Well,
            keys: Vec::new(),
            nodes: Vec::new(),
            users: USERS.len(),
            calls: Vec::new(),
            last: 0,
        };
        let addr = listener.local_addr().unwrap();
        let stub = Self { version, addr, inside: Arc::new(Mutex::new(inside)) };
        let router = Router::new()
            .route("/api/v1/preauthkey", post(make).get(list))
            .route("/api/v1/preauthkey/expire", post(expire))
            .route("/api/v1/user", get(users))
            .route("/api/v1/node", get(nodes))
            .route("/api/v1/node/{id}", delete(remove))
            .layer(from_fn_with_state(stub.clone(), as_it_feels))
            .with_state(stub.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        stub
    }

    /// The same, believed to be elsewhere.
    pub(crate) fn moved_to(self, addr: SocketAddr) -> Self {
        Self { addr, ..self }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub(crate) fn feel(&self, mood: Mood) {
        self.inside().mood = mood;
    }

    /// A machine joins with the key `text`.
    pub(crate) fn join(&self, name: &str, text: &str) -> u64 {
        let mut inside = self.inside();
        inside.last += 1;
        let id = inside.last;
        let key = inside.keys.iter_mut().find(|key| key.text == text).expect("a key made here");
        assert!(!key.used && key.expiration > SystemClock::new().now(), "the key is open");
        key.used = true;
        let key = Some(key.id);
        inside.nodes.push(StubNode { id, name: name.to_owned(), key });
        id
    }

    /// The texts of the keys a machine could still join with.
    pub(crate) fn open(&self) -> Vec<String> {
        let now = SystemClock::new().now();
        let inside = self.inside();
        let open = inside.keys.iter().filter(|key| !key.used && key.expiration > now);
        open.map(|key| key.text.clone()).collect()
    }

    pub(crate) fn node_names(&self) -> Vec<String> {
        self.inside().nodes.iter().map(|node| node.name.clone()).collect()
    }

    fn user(&self, index: usize) -> Value {
        json!({
            "id": (index + 1).to_string(), "name": USERS[index], "createdAt": "2026-01-01T00:00:00Z",
            "displayName": "", "email": "", "providerId": "", "provider": "", "profilePicUrl": "",
        })
    }

    /// A key as it is shown; whole to who made it.
    fn key(&self, key: &StubKey, whole: bool) -> Value {
        let tagged = key.wish["aclTags"].as_array().is_some_and(|tags| !tags.is_empty());
        let masked = !whole && self.version >= Version::V028;
        let user = if tagged && self.version >= Version::V028 { Value::Null } else { self.user(1) };
        json!({
            "user": user,
            "id": key.id.to_string(),
            "key": if masked { format!("hskey-auth-{:012}-***", key.id) } else { key.text.clone() },
            "reusable": false, "ephemeral": false, "used": key.used,
            "expiration": key.expiration.to_rfc3339(), "createdAt": key.created.to_rfc3339(),
            "aclTags": key.wish["aclTags"],
        })
    }

    fn refuses(&self, status: u16, message: &str) -> Response {
        let status = StatusCode::from_u16(status).unwrap();
        if self.version >= Version::V030 {
            let body = json!({ "title": status.canonical_reason(), "detail": message });
            let kind = [("content-type", "application/problem+json")];
            return (status, kind, body.to_string()).into_response();
        }
        (status, json!({ "code": 2, "message": message, "details": [] }).to_string())
            .into_response()
    }
}

async fn as_it_feels(
    State(stub): State<Stub>,
    headers: HeaderMap,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let call = format!("{} {}", request.method(), request.uri());
    let mood = {
        let mut inside = stub.inside();
        inside.calls.push(call);
        inside.mood
    };
    let knows = headers
        .get("authorization")
        .is_some_and(|it| it.to_str().is_ok_and(|text| text == format!("Bearer {API_KEY}")));
    match mood {
        Mood::Well if knows => next.run(request).await,
        Mood::Well | Mood::Forgot if stub.version >= Version::V030 => {
            stub.refuses(401, "unauthorized")
        }
        Mood::Well | Mood::Forgot => (StatusCode::UNAUTHORIZED, "Unauthorized").into_response(),
        Mood::Fails => stub.refuses(500, "database is locked \u{1b}[31m"),
        Mood::Babbles => "<html>a proxy</html>".into_response(),
        Mood::Slow => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            next.run(request).await
        }
    }
}

async fn make(State(stub): State<Stub>, body: Bytes) -> Response {
    let wish: Value = serde_json::from_slice(&body).unwrap();
    let tagged = wish["aclTags"].as_array().is_some_and(|tags| !tags.is_empty());
    if wish.get("user").is_some_and(|user| !user.is_string()) {
        return stub.refuses(422, "expected string");
    }
    if wish.get("user").is_none() && (!tagged || stub.version < Version::V028) {
        return stub.refuses(500, "record not found");
    }
    let expiration = wish["expiration"].as_str().and_then(|at| Timestamp::parse_rfc3339(at).ok());
    let mut inside = stub.inside();
    inside.last += 1;
    let id = inside.last;
    let key = StubKey {
        id,
        text: match stub.version {
            Version::V026 => format!("{id:048x}"),
            _ => format!("hskey-auth-{id:012}-{id:064}"),
        },
        used: false,
        // Left out it is the year 1: born expired.
        expiration: expiration.unwrap_or(Timestamp::from_unix_secs(-62_135_596_800)),
        created: SystemClock::new().now(),
        wish,
    };
    let shown = json!({ "preAuthKey": stub.key(&key, true) });
    inside.keys.push(key);
    shown.to_string().into_response()
}

async fn list(State(stub): State<Stub>, Query(query): Query<Vec<(String, String)>>) -> Response {
    if stub.version < Version::V028 && !query.contains(&("user".into(), "2".into())) {
        return stub.refuses(500, "record not found");
    }
    let inside = stub.inside();
    let keys: Vec<_> = inside.keys.iter().map(|key| stub.key(key, false)).collect();
    json!({ "preAuthKeys": keys }).to_string().into_response()
}

async fn expire(State(stub): State<Stub>, body: Bytes) -> Response {
    let wish: Value = serde_json::from_slice(&body).unwrap();
    let now = SystemClock::new().now();
    let mut inside = stub.inside();
    let found = match stub.version {
        // What it does not know it passes over, and finds no key of no text.
        Version::V026 => {
            inside.keys.iter_mut().find(|key| wish["user"] == "2" && wish["key"] == key.text)
        }
        _ => {
            let id: Option<u64> = wish["id"].as_str().and_then(|id| id.parse().ok());
            inside.keys.iter_mut().find(|key| id == Some(key.id))
        }
    };
    match (found, stub.version) {
        (Some(key), _) => key.expiration = key.expiration.min(now),
        (None, Version::V026) => return stub.refuses(500, "record not found"),
        (None, Version::V030) => return stub.refuses(404, "record not found"),
        (None, _) => {}
    }
    "{}".into_response()
}

async fn users(State(stub): State<Stub>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let name = query.iter().find(|(key, _)| key == "name").map(|(_, name)| name.clone());
    let count = stub.inside().users;
    let users: Vec<_> = (0..count)
        .map(|index| stub.user(index))
        .filter(|user| name.as_ref().is_none_or(|name| user["name"] == **name))
        .collect();
    json!({ "users": users }).to_string().into_response()
}

async fn nodes(State(stub): State<Stub>) -> Response {
    let inside = stub.inside();
    let node = |node: &StubNode| {
        let key = inside.keys.iter().find(|key| Some(key.id) == node.key);
        let mut shown = json!({
            "id": node.id.to_string(), "name": node.name, "givenName": node.name,
            "machineKey": "mkey:0", "nodeKey": "nodekey:0", "discoKey": "discokey:0",
            "ipAddresses": [format!("100.64.0.{}", node.id), format!("fd7a:115c:a1e0::{}", node.id)],
            "lastSeen": "2026-11-20T12:00:00.5Z", "expiry": Value::Null,
            "createdAt": "2026-11-20T12:00:00Z", "registerMethod": "REGISTER_METHOD_AUTH_KEY",
            "user": stub.user(1), "online": true, "approvedRoutes": [], "availableRoutes": [],
            "subnetRoutes": [],
            "preAuthKey": key.map_or(Value::Null, |key| stub.key(key, false)),
        });
        match stub.version {
            Version::V026 => {
                shown["forcedTags"] = json!(["tag:worker"]);
                shown["invalidTags"] = json!([]);
                shown["validTags"] = json!(["tag:worker"]);
                shown["expiry"] = json!("0001-01-01T00:00:00Z");
            }
            _ => shown["tags"] = json!(["tag:worker"]),
        }
        shown
    };
    let nodes: Vec<_> = inside.nodes.iter().map(node).collect();
    json!({ "nodes": nodes }).to_string().into_response()
}

async fn remove(State(stub): State<Stub>, Path(id): Path<String>) -> Response {
    let mut inside = stub.inside();
    let before = inside.nodes.len();
    inside.nodes.retain(|node| node.id.to_string() != id);
    match inside.nodes.len() == before {
        true => stub.refuses(404, "node not found"),
        false => "{}".into_response(),
    }
}
