//! The operator API, as a command line or another program calls it.

mod calls;
mod error;
mod pages;
mod transport;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use enroll_core::issue::x509::RootCertificate;
use enroll_core::model::AdminToken;
use http::HeaderValue;
use reqwest::{Client, Url};
use zeroize::Zeroizing;

pub use calls::NodeQuery;
pub use error::ApiError;
pub use pages::{PageQuery, all_pages};

use super::ClientError;
use super::master::base;
use crate::tls::{ClientTls, HttpOptions, RootVerifier, http_client};

/// A master's operator API.
///
/// The token is sent only to who proves, in the TLS handshake, to be the master under the given
/// root: a member of the fleet has a certificate under it too, and is told apart. No redirect is
/// followed and no proxy of the environment is used.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use enroll_core::issue::x509::RootCertificate;
/// use enroll_core::model::AdminToken;
/// use enroll_http::client::OperatorClient;
/// use enroll_http::wire::NewToken;
///
/// let root = RootCertificate::from_pem(&std::fs::read_to_string("enroll-data/ca.crt")?)?;
/// let token = std::fs::read_to_string("enroll-data/admin.token")?;
/// let token = AdminToken::presented(token.trim().to_owned());
/// let master = OperatorClient::new("https://127.0.0.1:7482", token, &root)?;
/// let minted = master.mint_token(&NewToken::default()).await?;
/// println!("{}", minted.token.expose());
/// # Ok(())
/// # }
/// ```
///
/// # Defaults
/// A call ends after [`HttpOptions::REQUEST`].
pub struct OperatorClient {
    base: Url,
    authorization: HeaderValue,
    http: Client,
    timeout: Duration,
}

impl OperatorClient {
    /// The master whose operator listener is at `url` and whose root is `root`.
    ///
    /// # Errors
    /// [`ClientError::Url`], [`ClientError::Plaintext`], [`ClientError::Tls`], and
    /// [`ClientError::Token`] for a text that cannot be a token.
    pub fn new(url: &str, token: AdminToken, root: &RootCertificate) -> Result<Self, ClientError> {
        let base = base(url)?;
        if base.scheme() != "https" {
            return Err(ClientError::Plaintext);
        }
        if token.expose().is_empty() || !token.expose().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ClientError::Token);
        }
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut authorization = HeaderValue::from_str(&bearer).map_err(|_| ClientError::Token)?;
        authorization.set_sensitive(true);
        let verifier = Arc::new(RootVerifier::master(root)?);
        let http = http_client(ClientTls::new(verifier).config()?, &HttpOptions::new())?;
        Ok(Self { base, authorization, http, timeout: HttpOptions::REQUEST })
    }

    /// Ends every call after `timeout`.
    #[must_use]
    pub const fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Where the master is called.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str()
    }
}

impl fmt::Debug for OperatorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorClient").field("url", &self.url()).finish_non_exhaustive()
    }
}
