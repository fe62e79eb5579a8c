//! Schemas of what the domain defines, for the OpenAPI document.

use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// A text that is one of `words`.
pub(super) fn words(says: &str, words: impl IntoIterator<Item = &'static str>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(says))
        .enum_values(Some(words))
        .build()
}
