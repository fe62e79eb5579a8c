//! Portainer's API as it is documented, with the failures it is told to have.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use enroll_http::server::Listener;
use enroll_http::tls::rustls::ServerConfig;
use serde_json::{Value, json};

/// The key of its administrator.
pub(crate) const API_KEY: &str = "ptr_0aVerySecretApiKeyOfPortainer0";
/// Its version.
pub(crate) const VERSION: &str = "2.33.0";
/// In every Edge key.
pub(crate) const EDGE_SECRET: &str = "0aVerySecretEdgeKey0";

/// What becomes of a call instead of the usual.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It is answered with this status and nothing is done.
    Refused(u16),
    /// It is done, and answered with this status.
    DoneAnd(u16),
    /// It is done, and never answered.
    Lost,
    /// It finds nothing, though it is there.
    Blind,
}

/// A Portainer that runs for as long as the test.
#[derive(Clone)]
pub(crate) struct Portainer {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    endpoints: Vec<Value>,
    made: u64,
    /// By call, and for how many of them.
    faults: HashMap<&'static str, (Fault, usize)>,
    calls: Vec<String>,
    urls: Vec<String>,
}

impl Portainer {
    /// One that speaks plain HTTP.
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    /// One that speaks TLS.
    pub(crate) async fn start_tls(config: Arc<ServerConfig>) -> Self {
        Self::listen(Some(config)).await
    }

    async fn listen(tls: Option<Arc<ServerConfig>>) -> Self {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("it is bound");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let stub = Self { address, scheme, kept: Arc::default() };
        let router = Router::new().fallback(answer).with_state(stub.clone());
        let listener = match tls {
            Some(tls) => Listener::new(tcp, router).with_tls(tls),
            None => Listener::new(tcp, router),
        };
        tokio::spawn(listener.serve(std::future::pending()));
        stub
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The next `times` calls named `call` come to `fault`.
    pub(crate) fn fail(&self, call: &'static str, fault: Fault, times: usize) {
        self.kept(|kept| kept.faults.insert(call, (fault, times)));
    }

    /// The agent of every endpoint checks in.
    pub(crate) fn check_in(&self) {
        self.kept(|kept| {
            for endpoint in &mut kept.endpoints {
                endpoint["LastCheckInDate"] = json!(1_800_000_000);
            }
        });
    }

    /// Somebody makes an environment by hand.
    pub(crate) fn add(&self, name: &str, kind: u32) {
        self.kept(|kept| kept.add(name, kind, "http://elsewhere"));
    }

    /// Somebody deletes everything by hand.
    pub(crate) fn clear(&self) {
        self.kept(|kept| kept.endpoints.clear());
    }

    pub(crate) fn endpoints(&self) -> Vec<Value> {
        self.kept(|kept| kept.endpoints.clone())
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.kept(|kept| kept.calls.clone())
    }

    /// The URLs it was told for agents.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.kept(|kept| kept.urls.clone())
    }

    fn kept<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn add(&mut self, name: &str, kind: u32, url: &str) -> Value {
        self.made += 1;
        let id = self.made;
        let endpoint = json!({"Id": id, "Name": name, "Type": kind, "URL": url, "GroupId": 1,
            "EdgeKey": format!("{EDGE_SECRET}{id}"), "EdgeID": "", "UserTrusted": true,
            "Heartbeat": false, "LastCheckInDate": 0, "Snapshots": []});
        self.endpoints.push(endpoint.clone());
        endpoint
    }

    fn fault(&mut self, call: &'static str) -> Option<Fault> {
        let (fault, left) = self.faults.get_mut(call)?;
        let fault = *fault;
        *left -= 1;
        if *left == 0 {
            self.faults.remove(call);
        }
        Some(fault)
    }

    fn create(&mut self, form: &HashMap<String, String>) -> Response {
        let value = |name: &str| form.get(name).map_or("", String::as_str);
        let (name, url) = (value("Name"), value("URL"));
        let host = url.split("://").nth(1).unwrap_or("").split([':', '/']).next().unwrap_or("");
        self.urls.push(url.to_owned());
        if name.is_empty() || value("EndpointCreationType") != "4" {
            return refused(400, "Invalid request payload");
        }
        if host.is_empty() || host == "localhost" {
            return refused(400, "cannot use localhost as endpoint URL");
        }
        if self.endpoints.iter().any(|endpoint| endpoint["Name"] == name) {
            return refused(409, "Name is not unique");
        }
        Json(self.add(name, 4, url)).into_response()
    }

    fn one(&mut self, method: &Method, id: &str) -> Response {
        let id = id.parse().ok();
        let at = self.endpoints.iter().position(|endpoint| endpoint["Id"].as_u64() == id);
        match (at, method == Method::DELETE) {
            (None, _) => {
                refused(404, "Unable to find an environment with the specified identifier")
            }
            (Some(at), false) => Json(self.endpoints[at].clone()).into_response(),
            (Some(at), true) => {
                self.endpoints.remove(at);
                StatusCode::NO_CONTENT.into_response()
            }
        }
    }
}

async fn answer(State(stub): State<Portainer>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 64 * 1024).await.expect("a body");
    let path = parts.uri.path();
    let id = path.strip_prefix("/api/endpoints/");
    let call = match (&parts.method, path, id) {
        (&Method::POST, "/api/endpoints", _) => "create",
        (&Method::GET, "/api/endpoints", _) => "list",
        (&Method::GET, "/api/system/status", _) => "status",
        (&Method::GET, _, Some(_)) => "get",
        (&Method::DELETE, _, Some(_)) => "delete",
        _ => return refused(404, "Not found"),
    };
    let fault = stub.kept(|kept| {
        kept.calls.push(call.to_owned());
        kept.fault(call)
    });
    if let Some(Fault::Refused(status)) = fault {
        return refused(status, "Trouble");
    }
    let key = parts.headers.get("x-api-key").and_then(|key| key.to_str().ok());
    if call != "status" && key != Some(API_KEY) {
        return refused(401, "A valid authorization token is missing");
    }
    let wanted = parts.uri.query().and_then(|query| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix("name="))?;
        Some(pair.to_owned())
    });
    let done = stub.kept(|kept| match (call, id) {
        ("status", _) => Json(json!({"Version": VERSION, "InstanceID": "1"})).into_response(),
        ("create", _) => kept.create(&form(&body)),
        (_, Some(id)) => kept.one(&parts.method, id),
        _ => {
            let named = |endpoint: &&Value| {
                wanted.as_ref().is_none_or(|wanted| endpoint["Name"] == wanted.as_str())
            };
            let found = kept.endpoints.iter().filter(named).cloned().collect::<Vec<_>>();
            let blind = matches!(fault, Some(Fault::Blind));
            Json(if blind { vec![] } else { found }).into_response()
        }
    });
    match fault {
        Some(Fault::Lost) => std::future::pending().await,
        Some(Fault::DoneAnd(status)) => refused(status, "Trouble"),
        _ => done,
    }
}

/// The fields of a multipart form.
fn form(body: &Bytes) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let fields = text.split("name=\"").skip(1).filter_map(|part| {
        let (name, rest) = part.split_once('"')?;
        let (_, value) = rest.split_once("\r\n\r\n")?;
        Some((name.to_owned(), value.split("\r\n").next()?.to_owned()))
    });
    fields.collect()
}

fn refused(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    // As a careless proxy might: what was presented comes back.
    let body = json!({"message": message, "details": format!("{message} {API_KEY}")});
    (status, Json(body)).into_response()
}
