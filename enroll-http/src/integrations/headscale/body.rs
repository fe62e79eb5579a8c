//! Headscale's JSON, as 0.26 to 0.30 write it: ids are texts there and may be numbers, members that
//! hold nothing may be null, empty or absent, and others may come.

use std::net::IpAddr;

use enroll_core::master::MeshNode;
use enroll_core::model::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::key::KeyName;
use crate::wire::SecretText;

/// A wish for a key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewKey<'a> {
    /// The user's id. A text: not every version takes a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
    pub(super) reusable: bool,
    pub(super) ephemeral: bool,
    /// Never left out: a key without one is born expired.
    pub(super) expiration: String,
    pub(super) acl_tags: &'a [String],
}

/// Expiring a key: by its id from 0.28 on, before that by its owner and its text.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Expire<'a> {
    ById { id: &'a str },
    ByText { user: &'a str, key: &'a SecretText },
}

/// The answer to a wish for a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Made {
    pub(super) pre_auth_key: Key,
}

/// All keys.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Keys {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) pre_auth_keys: Vec<Key>,
}

/// A key. Its text is whole in the answer that made it, and before 0.28 in every list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    #[serde(deserialize_with = "id")]
    pub(super) id: String,
    pub(super) key: Option<SecretText>,
    #[serde(default)]
    pub(super) reusable: bool,
    #[serde(default)]
    pub(super) used: bool,
    expiration: Option<String>,
    created_at: Option<String>,
    user: Option<User>,
}

impl Key {
    pub(super) fn name(&self) -> KeyName {
        let made = instant(self.created_at.as_ref()).map_or(0, Timestamp::unix_secs);
        KeyName { id: self.id.clone(), made }
    }

    /// Whether a machine could still join with it at `at`.
    pub(super) fn is_open(&self, at: Timestamp) -> bool {
        let lasts = instant(self.expiration.as_ref()).is_none_or(|end| at < end);
        lasts && (self.reusable || !self.used)
    }

    pub(super) fn user_id(&self) -> Option<&str> {
        self.user.as_ref().map(|user| &*user.id)
    }
}

/// Users of a name.
#[derive(Debug, Deserialize)]
pub(super) struct Users {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) users: Vec<User>,
}

/// A user.
#[derive(Debug, Deserialize)]
pub(super) struct User {
    #[serde(deserialize_with = "id")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
}

/// All machines.
#[derive(Debug, Deserialize)]
pub(super) struct Nodes {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) nodes: Vec<Node>,
}

/// A machine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    #[serde(deserialize_with = "id")]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    given_name: String,
    #[serde(default, deserialize_with = "nullable")]
    ip_addresses: Vec<String>,
    user: Option<User>,
    last_seen: Option<String>,
    expiry: Option<String>,
    pre_auth_key: Option<Key>,
    #[serde(default)]
    online: bool,
    #[serde(default, deserialize_with = "nullable")]
    tags: Vec<String>,
    /// What it was tagged with before 0.28: by an operator, or by its key.
    #[serde(default, deserialize_with = "nullable")]
    forced_tags: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    valid_tags: Vec<String>,
}

impl From<Node> for MeshNode {
    fn from(node: Node) -> Self {
        let mut tags = [node.tags, node.forced_tags, node.valid_tags].concat();
        tags.sort_unstable();
        tags.dedup();
        let address = |text: String| text.parse::<IpAddr>().ok();
        Self {
            id: node.id,
            name: if node.given_name.is_empty() { node.name } else { node.given_name },
            addresses: node.ip_addresses.into_iter().filter_map(address).collect(),
            user: node.user.map(|user| user.name).filter(|name| !name.is_empty()),
            tags,
            online: node.online,
            last_seen_at: instant(node.last_seen.as_ref()),
            expires_at: instant(node.expiry.as_ref()),
            key: node.pre_auth_key.map(|key| key.name().to_string()),
        }
    }
}

/// What Headscale says when it refuses: 0.30 in a problem document, before that in gRPC's words.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Trouble {
    pub(super) message: Option<String>,
    pub(super) detail: Option<String>,
}

/// An instant; the year 1 is how Go writes none.
fn instant(text: Option<&String>) -> Option<Timestamp> {
    let at = Timestamp::parse_rfc3339(text?).ok()?;
    (at > Timestamp::from_unix_secs(0)).then_some(at)
}

fn id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(u64),
    }
    Ok(match Id::deserialize(from)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
    })
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
