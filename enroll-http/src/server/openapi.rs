//! The OpenAPI document: one for the three listeners, generated from the code that answers.
//!
//! Each operation has the tag of its listener, and that listener's address as its server.

use std::collections::BTreeMap;

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::server::{ServerBuilder, ServerVariableBuilder};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, Server};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi as _};

use super::{ca, enroll, health, operator, steady};
use crate::wire::{List, Problem};

/// The OpenAPI document of all calls, as `/openapi.json` serves it: JSON, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("../../openapi.json");

/// The document, made anew from the code.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = Whole::openapi();
    document.merge(operator::document());
    for item in document.paths.paths.values_mut() {
        operations(item).for_each(locate);
    }
    document
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "enroll",
        description = "How a new machine becomes a trusted member of a fleet. A master has three listeners; the tag of a call says which of them answers it. Members of an answer that a reader does not know are to be ignored.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "enroll", description = "For machines that are no members yet: no credential but the proofs in the request."),
        (name = "steady", description = "For members: a client certificate of the fleet, or an API key."),
        (name = "operator", description = "For operators: the bearer token of a role."),
    ),
    paths(
        ca::ca,
        health::healthz,
        health::readyz,
        enroll::enroll,
        steady::heartbeat,
        steady::renew,
        steady::acknowledge,
        steady::report_metrics,
        steady::report_events,
        steady::self_view,
        steady::fuse_task,
        steady::recover,
    ),
    components(schemas(Problem)),
    modifiers(&Credentials),
)]
struct Whole;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut OpenApi) {
        let admin = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An operator's token, `<prefix>_admin_…`. The word beside it is the least role of the call: `admin` may do all that `operator` may, that one all that `developer` may, that one all that `viewer` may.",
            ))
            .build();
        let key = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A node's API key, `<prefix>_key_…`."))
            .build();
        let certificate = Some("A node's certificate, in the TLS handshake.".to_owned());
        let certificate = SecurityScheme::MutualTls {
            description: certificate,
            extensions: None,
            deprecated: None,
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("admin_token", SecurityScheme::Http(admin));
        components.add_security_scheme("node_api_key", SecurityScheme::Http(key));
        components.add_security_scheme("node_certificate", certificate);
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
    methods.into_iter().filter_map(Option::as_mut)
}

/// Says on which listeners an operation is answered: that of its tag, or all that anyone may ask.
fn locate(operation: &mut Operation) {
    let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
    let tags: &[&str] = match &*tag {
        "ca" => &[ENROLL, OPERATOR],
        "health" => &[ENROLL, STEADY, OPERATOR],
        own => &[own],
    };
    operation.servers = Some(tags.iter().filter_map(|tag| listener(tag)).collect());
    operation.tags = Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
}

fn listener(tag: &str) -> Option<Server> {
    let port = match tag {
        ENROLL => "7480",
        STEADY => "7481",
        OPERATOR => "7482",
        _ => return None,
    };
    let variable = |value: &str| ServerVariableBuilder::new().default_value(value);
    let server = ServerBuilder::new()
        .url("https://{host}:{port}")
        .description(Some(format!("The {tag} listener.")))
        .parameter("host", variable("localhost"))
        .parameter("port", variable(port));
    Some(server.build())
}

const ENROLL: &str = "enroll";
const STEADY: &str = "steady";
const OPERATOR: &str = "operator";

/// What every call with a credential may be answered.
pub(super) struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ("400", "`validation_failed`: the detail names what is wrong."),
            ("401", "`unauthorized`: no valid credential was presented."),
            ("403", "`forbidden`: the credential does not allow this."),
            ("503", "`unavailable`: nothing was changed; try again."),
        ])
    }
}

/// The answer where what the path names is not there.
pub(super) struct NotFound;

impl IntoResponses for NotFound {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[("404", "`not_found`: there is none of this name or id.")])
    }
}

/// The answer where things stand otherwise than the call supposes.
pub(super) struct Conflict;

impl IntoResponses for Conflict {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[("409", "`conflict`: the detail says how things stand.")])
    }
}

/// The answer where the mesh's control plane does not do its part.
pub(super) struct MeshTrouble;

impl IntoResponses for MeshTrouble {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[("502", "`mesh_unavailable`: the control plane of the mesh did not answer.")])
    }
}

fn problems(answers: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let problem = |says: &str| {
        let schema = Ref::from_schema_name("Problem");
        let content = ContentBuilder::new().schema(Some(schema)).build();
        ResponseBuilder::new().description(says).content(Problem::MEDIA_TYPE, content).build()
    };
    answers.iter().map(|(status, says)| ((*status).to_owned(), problem(says).into())).collect()
}

/// The parameters of every list.
pub(super) struct Paged;

impl IntoParams for Paged {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let parameter = |name: &str, says: &str, schema: ObjectBuilder| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some(says))
                .schema(Some(schema))
                .build()
        };
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(List::<()>::MIN_LIMIT))
            .maximum(Some(List::<()>::MAX_LIMIT))
            .default(Some(List::<()>::DEFAULT_LIMIT.into()));
        let cursor = ObjectBuilder::new().schema_type(Type::String);
        vec![
            parameter("limit", "The most rows of a page.", limit),
            parameter("cursor", "The `next_cursor` of the page before.", cursor),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Set to anything, it makes the test below write the document instead of comparing it.
    const ACCEPT: &str = "ENROLL_ACCEPT_OPENAPI";

    #[test]
    fn the_document_that_is_served_is_the_one_the_code_makes() {
        let made = openapi().to_pretty_json().unwrap() + "\n";
        if std::env::var_os(ACCEPT).is_some() {
            let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
            std::fs::write(place, made).unwrap();
            return;
        }
        assert!(
            made == OPENAPI,
            "The calls changed and openapi.json did not. If the change is meant, accept it with \
             `{ACCEPT}=1 cargo test -p enroll-http --lib openapi` and commit the file."
        );
    }

    #[test]
    fn every_operation_says_where_it_is_answered_and_refers_to_nothing_missing() {
        let document = serde_json::to_value(openapi()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
                let tags = operation["tags"].as_array().unwrap();
                let servers = operation["servers"].as_array().unwrap();
                assert!(!tags.is_empty() && tags.len() == servers.len(), "{method} {path}");
            }
        }
    }
}
