//! Whether an answer is what the OpenAPI document says it is.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::LazyLock;

use serde_json::Value;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(enroll_http::server::OPENAPI).unwrap());

/// That `value` fits the schema `name` of the document, with no member that is not in it.
#[track_caller]
pub fn assert_fits(name: &str, value: &Value) {
    let schemas = &DOCUMENT["components"]["schemas"];
    if let Err(why) = fits(schemas, &schemas[name], value) {
        panic!("{why}, in {value}, which should be a {name}");
    }
}

/// That the document has the call `method` `path`, with an answer of this status, and that `value`
/// fits it. What is no call of the document is answered 404 or 405.
#[track_caller]
pub fn assert_documented(method: &str, path: &str, status: u16, value: &Value) {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    // A path without parameters goes before one with.
    let item = paths
        .get(path)
        .or_else(|| paths.iter().find(|(pattern, _)| is_of(pattern, path)).map(|(_, item)| item));
    let operation = item.map_or(&Value::Null, |item| &item[method.to_lowercase()]);
    if operation.is_null() {
        assert!([404, 405].contains(&status), "{method} {path} is not in the document: {status}");
        return;
    }
    let answer = &operation["responses"][status.to_string()];
    assert!(answer.is_object(), "{method} {path}: {status} is not in the document");
    let Some(content) = answer["content"].as_object() else {
        assert!(value.is_null(), "{method} {path}: {status} has no body in the document");
        return;
    };
    let schemas = &DOCUMENT["components"]["schemas"];
    for (kind, content) in content.iter().filter(|(kind, _)| kind.ends_with("json")) {
        if let Err(why) = fits(schemas, &content["schema"], value) {
            panic!("{why}, in {value}, the {kind} of {method} {path}");
        }
    }
}

/// Whether `path` is one of `pattern`'s, `{name}` standing for any one segment.
fn is_of(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given => {}
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {}
            _ => return false,
        }
    }
}

fn fits(schemas: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return fits(schemas, &schemas[name], value);
    }
    if let Some(each) = schema["oneOf"].as_array() {
        let matching = each.iter().filter(|one| fits(schemas, one, value).is_ok()).count();
        return if matching == 1 { Ok(()) } else { Err(format!("{value} is none of {each:?}")) };
    }
    if let Some(each) = schema["anyOf"].as_array() {
        let any = each.iter().any(|one| fits(schemas, one, value).is_ok());
        return if any { Ok(()) } else { Err(format!("{value} is none of {each:?}")) };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        _ => return Ok(()),
    };
    if !kinds.contains(&kind(value)) {
        return Err(format!("{value} is no {kinds:?}"));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Err(format!("{value} is none of {}", schema["enum"]));
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|i| fits(schemas, &schema["items"], i)),
        Value::Object(_) => members_fit(schemas, schema, value),
        _ => Ok(()),
    }
}

fn members_fit(schemas: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.map(|name| name.as_str().unwrap()) {
        value.get(name).ok_or_else(|| format!("`{name}` is missing"))?;
    }
    for (name, member) in value.as_object().unwrap() {
        let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        let known = known.ok_or_else(|| format!("`{name}` is not in the document"))?;
        fits(schemas, known, member)?;
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
