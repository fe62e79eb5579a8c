//! Whether an answer is what the OpenAPI document says it is.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;

/// That `value` fits the schema `name` of the document, with no member that is not in it.
#[track_caller]
pub fn assert_fits(name: &str, value: &Value) {
    let document: Value = serde_json::from_str(enroll_http::server::OPENAPI).unwrap();
    let schemas = &document["components"]["schemas"];
    if let Err(why) = fits(schemas, &schemas[name], value) {
        panic!("{why}, in {value}, which should be a {name}");
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
