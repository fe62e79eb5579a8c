//! What a machine says of itself.

use std::borrow::Cow;

use enroll_core::model::{Facts, Reason, Rejection};
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, Object, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// [`Facts`] as they go over the wire.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "nothing but another name for its value")]
pub struct FactsBody(pub Facts);

impl FactsBody {
    /// The facts, if they keep to their bounds.
    ///
    /// # Errors
    /// `bad_request`.
    pub fn checked(self) -> Result<Facts, Rejection> {
        match self.0.check() {
            Ok(()) => Ok(self.0),
            Err(which) => Err(Rejection::new(Reason::BadRequest)
                .with_detail(format!("`{which}` in `facts` is too large."))),
        }
    }
}

impl PartialSchema for FactsBody {
    fn schema() -> RefOr<Schema> {
        let text = |says: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some(says))
                .max_length(Some(Facts::MAX_TEXT))
                .build()
        };
        let labels = ObjectBuilder::new()
            .description(Some("Free labels; the operator's win over these."))
            .additional_properties(Some(Schema::from(Object::with_type(Type::String))))
            .max_properties(Some(Facts::MAX_ENTRIES))
            .build();
        let says = format!(
            "What a machine says of itself: shown, never believed. What a product adds is at most {} \
             facts, of {} KiB and {} values in all, {} deep.",
            Facts::MAX_ENTRIES,
            Facts::MAX_OTHER / 1024,
            Facts::MAX_VALUES,
            Facts::MAX_DEPTH,
        );
        ObjectBuilder::new()
            .description(Some(says))
            .property("arch", text("CPU architecture."))
            .property("os", text("Operating system."))
            .property("hostname", text("The machine's own host name."))
            .property("version", text("The worker's version."))
            .property("advertised_endpoint", text("Where the master may call: an `https` URL."))
            .property("labels", labels)
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
            .into()
    }
}

impl ToSchema for FactsBody {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Facts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_schema_has_the_members_that_facts_have() {
        let some = Some(String::from("x"));
        let facts = Facts {
            arch: some.clone(),
            os: some.clone(),
            hostname: some.clone(),
            version: some.clone(),
            advertised_endpoint: some,
            labels: [("k".into(), "v".into())].into(),
            other: [].into(),
        };
        let names = |value: Value| -> Vec<String> {
            let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
            names.sort();
            names
        };
        let schema = serde_json::to_value(FactsBody::schema()).unwrap();
        let sent = serde_json::to_value(FactsBody(facts)).unwrap();
        assert_eq!(names(schema["properties"].clone()), names(sent));
        assert_eq!(schema["additionalProperties"], json!(true));
    }

    #[test]
    fn facts_keep_to_their_bounds() {
        let read = |value| serde_json::from_value::<FactsBody>(value).unwrap().checked();
        assert!(read(json!({"arch": "x86_64", "more": {"gpus": 2}})).is_ok());
        let long = "x".repeat(Facts::MAX_TEXT + 1);
        let refused = read(json!({ "os": long })).unwrap_err();
        assert_eq!(refused.reason(), Reason::BadRequest);
        assert_eq!(refused.detail(), "`os` in `facts` is too large.");
        let many = vec![1; Facts::MAX_VALUES];
        let refused = read(json!({ "more": many })).unwrap_err();
        assert_eq!(refused.reason(), Reason::BadRequest);
    }
}
