//! Which Headscale, as whom, and how patiently.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use http::HeaderValue;
use reqwest::{Client, Url};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::error::InvalidHeadscale;
use crate::tls::{HttpOptions, WebRoots, http_client};

/// One Headscale: makes pre-auth keys as an issuer, and knows who is in the mesh.
pub struct Headscale {
    pub(super) http: Client,
    pub(super) base: Url,
    pub(super) authorization: HeaderValue,
    pub(super) options: HeadscaleOptions,
    /// The id of the user, once it was asked for.
    pub(super) user_id: Mutex<Option<String>>,
    pub(super) slots: Semaphore,
}

/// What is chosen about a Headscale.
///
/// # Defaults
/// | what | default | because |
/// |---|---|---|
/// | user | none | keys then belong to their tags alone, from Headscale 0.28 on |
/// | tags | none | machines then belong to the user |
/// | key's lifetime | [`Headscale::KEY_LIFETIME`] | a machine joins within seconds; an hour bears a control plane that is away for a while |
/// | control URL | the URL itself | another one where machines reach it under another name |
/// | deadline of a call | [`Headscale::DEADLINE`] | the machine waits for the answer, and tries again by itself |
/// | calls at once | [`Headscale::CALLS`] | each key costs Headscale a tenth of a second of computing |
/// | roots | the system's | |
#[derive(Debug, Clone)]
pub struct HeadscaleOptions {
    pub(super) user: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) key_lifetime: Duration,
    pub(super) public_url: Option<String>,
    pub(super) deadline: Duration,
    calls: usize,
    roots: WebRoots,
}

impl HeadscaleOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            user: None,
            tags: Vec::new(),
            key_lifetime: Headscale::KEY_LIFETIME,
            public_url: None,
            deadline: Headscale::DEADLINE,
            calls: Headscale::CALLS,
            roots: WebRoots::System,
        }
    }

    /// Keys belong to the user of this name, which has to be there.
    #[must_use]
    pub fn with_user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// Machines that join have this tag, e.g. `tag:worker`; call it once for each.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// How long a key that nobody used is good.
    #[must_use]
    pub const fn with_key_lifetime(mut self, lifetime: Duration) -> Self {
        self.key_lifetime = lifetime;
        self
    }

    /// Where machines reach the control plane, if not where the master does.
    #[must_use]
    pub fn with_public_url(mut self, url: impl Into<String>) -> Self {
        self.public_url = Some(url.into());
        self
    }

    /// When a call is given up, the wait for its turn included.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many calls are under way at once, at least one.
    #[must_use]
    pub fn with_calls(mut self, calls: usize) -> Self {
        self.calls = calls.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Whose certificate Headscale may present.
    #[must_use]
    pub fn with_roots(mut self, roots: WebRoots) -> Self {
        self.roots = roots;
        self
    }
}

impl Default for HeadscaleOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Headscale {
    /// An hour.
    pub const KEY_LIFETIME: Duration = Duration::from_secs(60 * 60);
    /// 10 s.
    pub const DEADLINE: Duration = Duration::from_secs(10);
    /// Eight.
    pub const CALLS: usize = 8;

    /// The Headscale at `url`, called with `api_key`. Nothing is sent yet.
    ///
    /// `http` is allowed: beside a master on one machine, or in one private network, Headscale is
    /// often reached so. Anyone on the way then reads the API key.
    ///
    /// # Errors
    /// [`InvalidHeadscale`]: what to correct.
    pub fn new(
        url: &str,
        api_key: Zeroizing<String>,
        options: HeadscaleOptions,
    ) -> Result<Self, InvalidHeadscale> {
        let base = web_url(url).ok_or(InvalidHeadscale::Url)?;
        if options.public_url.as_deref().is_some_and(|url| web_url(url).is_none()) {
            return Err(InvalidHeadscale::PublicUrl);
        }
        if options.user.is_none() && options.tags.is_empty() {
            return Err(InvalidHeadscale::NoOwner);
        }
        if let Some(tag) = options.tags.iter().find(|tag| !is_tag(tag)) {
            return Err(InvalidHeadscale::Tag(tag.clone()));
        }
        let text = Zeroizing::new(format!("Bearer {}", api_key.trim()));
        let mut authorization =
            HeaderValue::from_str(&text).map_err(|_| InvalidHeadscale::ApiKey)?;
        authorization.set_sensitive(true);
        if api_key.trim().is_empty() {
            return Err(InvalidHeadscale::ApiKey);
        }
        let http = HttpOptions::new().with_request_timeout(options.deadline);
        let http = options
            .roots
            .client()
            .and_then(|tls| http_client(tls, &http.danger_allow_plaintext()))?;
        let slots = Semaphore::new(options.calls);
        Ok(Self { http, base, authorization, options, user_id: Mutex::default(), slots })
    }

    /// Where machines reach the control plane.
    pub(super) fn control_url(&self) -> &str {
        let url = self.options.public_url.as_deref().unwrap_or(self.base.as_str());
        url.trim_end_matches('/')
    }
}

impl fmt::Debug for Headscale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Headscale")
            .field("base", &self.base.as_str())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// An address of the web that holds nothing but one.
fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(&format!("{}/", text.trim_end_matches('/'))).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let known = matches!(url.scheme(), "http" | "https") && url.fragment().is_none();
    (plain && known && url.has_host()).then_some(url)
}

/// What Headscale takes as a tag.
fn is_tag(text: &str) -> bool {
    text.strip_prefix("tag:").is_some_and(|name| {
        !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_uppercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Zeroizing<String> {
        Zeroizing::new("hskey-api-s3cret\n".into())
    }

    #[test]
    fn what_cannot_work_is_told_before_anything_is_sent() {
        let owned = || HeadscaleOptions::new().with_user("fleet");
        let why = |url: &str, options| Headscale::new(url, key(), options).map(|_| ()).unwrap_err();
        for url in ["", "mesh.example", "ftp://mesh", "https://u:p@mesh", "https://mesh/?key=1"] {
            assert!(matches!(why(url, owned()), InvalidHeadscale::Url), "{url}");
        }
        let public = owned().with_public_url("mesh");
        assert!(matches!(why("http://mesh:8080", public), InvalidHeadscale::PublicUrl));
        let nobody = HeadscaleOptions::new();
        assert!(matches!(why("http://mesh:8080", nobody), InvalidHeadscale::NoOwner));
        for tag in ["worker", "tag:", "tag:A", "tag:a b"] {
            let tagged = owned().with_tag(tag);
            assert!(matches!(why("http://mesh:8080", tagged), InvalidHeadscale::Tag(_)), "{tag}");
        }
        for text in [" \n", "a\u{0}b"] {
            let made = Headscale::new("https://mesh", Zeroizing::new(text.into()), owned());
            assert!(matches!(made, Err(InvalidHeadscale::ApiKey)));
        }
    }

    #[test]
    fn the_api_key_is_shown_nowhere() {
        let options = HeadscaleOptions::new().with_tag("tag:worker");
        let headscale = Headscale::new("https://mesh.example/", key(), options).unwrap();
        assert!(!format!("{headscale:?}").contains("s3cret"));
        assert!(!format!("{:?}", headscale.authorization).contains("s3cret"));
        assert_eq!(headscale.control_url(), "https://mesh.example");
    }
}
