//! Reading a body as JSON, strictly.
//!
//! Two readers that see two different things in one text are a way past a check. So what readers
//! disagree on is refused: a member given twice, depth, and U+0000, which some stores cannot keep.
//! Members that nobody knows are ignored.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::{Path, Segment};

/// How deep objects and arrays may stand in each other.
pub const MAX_DEPTH: u8 = 32;

/// Why a body was not read. The text names the place and shows nothing of what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It has no byte.
    #[error("The body is empty; a JSON object is expected.")]
    Empty,
    /// It is not JSON in UTF-8.
    #[error("The body is not JSON: line {line}, column {column}.")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
    },
    /// It ends too early.
    #[error("The body ends before its JSON does.")]
    Truncated,
    /// It is JSON, and no object.
    #[error("The body is not a JSON object.")]
    NotObject,
    /// An object has a member twice.
    #[error("A JSON object in the body has a member twice.")]
    Duplicate,
    /// It is deeper than [`MAX_DEPTH`].
    #[error("The JSON in the body is nested too deep.")]
    TooDeep,
    /// A text holds U+0000.
    #[error("A text in the body holds the character U+0000.")]
    Nul,
    /// A member has another type than it should have, or a value out of its range.
    #[error("`{0}` in the body does not have the right type.")]
    Type(String),
}

/// Reads an object.
///
/// # Errors
/// [`Unreadable`], whose text may be shown to whoever sent the body.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    if body.is_empty() {
        return Err(Unreadable::Empty);
    }
    check(body)?;
    let mut json = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut json).map_err(|e| Unreadable::Type(member(e.path())))
}

/// Walks through the whole text, keeping nothing of it.
fn check(body: &[u8]) -> Result<(), Unreadable> {
    let flaw = Cell::new(None);
    let mut json = serde_json::Deserializer::from_slice(body);
    let walked = Strict { left: MAX_DEPTH, flaw: &flaw }.deserialize(&mut json);
    walked.and_then(|()| json.end()).map_err(|error| match flaw.take() {
        Some(flaw) => flaw,
        None if error.is_eof() => Unreadable::Truncated,
        None => Unreadable::Syntax { line: error.line(), column: error.column() },
    })
}

/// The names along the way that are the contract's own: the sender's are not repeated.
fn member(path: &Path) -> String {
    let mut names = path.iter().map_while(|segment| match segment {
        Segment::Map { key } => Some(key.as_str()),
        _ => None,
    });
    match (names.next(), names.next()) {
        (Some(FACTS), Some(fact)) => format!("{FACTS}.{fact}"),
        (Some(first), _) => first.to_owned(),
        (None, _) => "a member".to_owned(),
    }
}

/// The one member that has typed members of its own.
const FACTS: &str = "facts";

#[derive(Clone, Copy)]
struct Strict<'a> {
    left: u8,
    flaw: &'a Cell<Option<Unreadable>>,
}

impl Strict<'_> {
    fn flawed<T, E: serde::de::Error>(self, flaw: Unreadable) -> Result<T, E> {
        self.flaw.set(Some(flaw));
        Err(E::custom("refused"))
    }

    /// A value that is no object.
    fn not_object<E: serde::de::Error>(self) -> Result<(), E> {
        if self.left == MAX_DEPTH { self.flawed(Unreadable::NotObject) } else { Ok(()) }
    }

    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => self.flawed(Unreadable::TooDeep),
        }
    }

    fn text<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') { self.flawed(Unreadable::Nul) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.not_object()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.not_object()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.not_object()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.not_object()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.not_object()
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.not_object()?;
        self.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.not_object()?;
        let inner = self.inner()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            self.text::<A::Error>(&name)?;
            if !seen.insert(name) {
                return self.flawed(Unreadable::Duplicate);
            }
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::Value;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Sample {
        name: Option<String>,
        count: Option<u8>,
        facts: enroll_core::model::Facts,
    }

    fn why(body: impl AsRef<[u8]>) -> Unreadable {
        read_json::<Sample>(body.as_ref()).unwrap_err()
    }

    #[test]
    fn an_object_is_read_and_strangers_in_it_are_ignored() {
        let body = br#" {"name":"a","other":{"x":[1,-2,3.5,null,true,"s"]},"count":null} "#;
        let sample: Sample = read_json(body).unwrap();
        assert_eq!(sample, Sample { name: Some("a".into()), ..Sample::default() });
    }

    #[test]
    fn what_is_no_object_is_told_apart() {
        assert_eq!(why(""), Unreadable::Empty);
        for body in ["null", "1", "-1", "0.5", "true", r#""x""#, "[]", r#"[{"name":"a"}]"#] {
            assert_eq!(why(body), Unreadable::NotObject, "{body}");
        }
        for body in ["{", r#"{"name"#, r#"{"name":"a""#, r#"{"facts":{"a":[1,"#, " "] {
            assert_eq!(why(body), Unreadable::Truncated, "{body}");
        }
        let bad: [&[u8]; 8] = [
            b"{}{}",
            b"{} x",
            b"{'name':1}",
            b"{\"name\":\"\xff\"}",
            b"{\"name\":\"\\ud800\"}",
            b"{\"name\":1e999}",
            b"\xef\xbb\xbf{}",
            b"{\"name\":\"a\nb\"}",
        ];
        for body in bad {
            assert!(matches!(why(body), Unreadable::Syntax { line: 1 | 2, .. }), "{body:?}");
        }
    }

    #[test]
    fn no_member_stands_twice_at_any_depth_in_any_spelling() {
        for body in [
            r#"{"name":"a","name":"a"}"#,
            r#"{"name":"a","n\u0061me":"b"}"#,
            r#"{"facts":{"x":1,"x":2}}"#,
            r#"{"facts":{"labels":{"k":"1","k":"2"}}}"#,
            r#"{"other":[{"y":{"z":1,"z":1}}]}"#,
        ] {
            assert_eq!(why(body), Unreadable::Duplicate, "{body}");
        }
        let apart = r#"{"a":{"x":1},"b":{"x":1},"c":[{"x":1},{"x":1}]}"#;
        assert!(read_json::<Sample>(apart.as_bytes()).is_ok());
    }

    #[test]
    fn depth_is_bounded_however_much_there_is() {
        let nested =
            |depth: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(read_json::<Sample>(nested(usize::from(MAX_DEPTH)).as_bytes()).is_ok());
        assert_eq!(why(nested(usize::from(MAX_DEPTH) + 1)), Unreadable::TooDeep);
        assert_eq!(why(nested(30_000)), Unreadable::TooDeep);
        assert_eq!(why(r#"{"a":"#.repeat(10_000)), Unreadable::TooDeep);
    }

    #[test]
    fn the_character_nul_is_refused_in_names_and_texts() {
        assert_eq!(why(r#"{"name":"a\u0000"}"#), Unreadable::Nul);
        assert_eq!(why(r#"{"facts":{"a\u0000":1}}"#), Unreadable::Nul);
    }

    #[test]
    fn a_wrong_type_is_named_by_its_member_and_shown_never() {
        for (body, member) in [
            (r#"{"name":77}"#, "name"),
            (r#"{"name":{"s3cret":1}}"#, "name"),
            (r#"{"count":"s3cret"}"#, "count"),
            (r#"{"count":256}"#, "count"),
            (r#"{"facts":"s3cret"}"#, "facts"),
            (r#"{"facts":["s3cret"]}"#, "facts"),
            (r#"{"facts":{"arch":["s3cret"]}}"#, "facts.arch"),
            (r#"{"facts":{"labels":{"s3cret":5}}}"#, "facts.labels"),
        ] {
            let why = why(body);
            assert_eq!(why, Unreadable::Type(member.into()), "{body}");
            assert!(!format!("{why} {why:?}").contains("s3cret"));
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[^\\x00]*".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map("[^\\x00]*", inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_an_honest_writer_writes_is_read(value in values()) {
            let body = serde_json::json!({"other": value}).to_string();
            prop_assert_eq!(read_json::<Sample>(body.as_bytes()), Ok(Sample::default()));
        }

        #[test]
        fn what_is_read_is_json_to_every_reader_and_nothing_panics(
            value in values(),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut body = serde_json::json!({"name": "a", "facts": value}).to_string().into_bytes();
            for (at, byte) in damage {
                let at = at.index(body.len());
                body[at] = byte;
            }
            if read_json::<Sample>(&body).is_ok() {
                let lenient: Value = serde_json::from_slice(&body).unwrap();
                prop_assert!(lenient.is_object());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read = read_json::<Sample>(&body).is_ok();
            let object = body.trim_ascii_start().starts_with(b"{");
            prop_assert!(!read || object);
        }
    }
}
