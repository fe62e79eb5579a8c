//! The HTTP client over a TLS configuration of ours.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::ClientConfig;

use super::TlsError;

/// How an HTTP client behaves.
///
/// # Defaults
/// | what | default | because |
/// |---|---|---|
/// | connect | [`Self::CONNECT`] | an address that swallows packets is told apart soon |
/// | whole request | [`Self::REQUEST`] | a master answers in milliseconds, a mesh behind it in seconds |
/// | idle connections | [`Self::IDLE`], one per host | less than a listener keeps them |
/// | plaintext | refused | a token goes out in the first request |
///
/// Redirects are never followed and proxies of the environment never used: either would show a
/// credential to someone the pin does not cover.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    connect: Duration,
    request: Duration,
    idle: Duration,
    plaintext: bool,
    proxy: Option<SocketAddr>,
}

impl HttpOptions {
    /// Time to connect, the handshake included.
    pub const CONNECT: Duration = Duration::from_secs(10);
    /// Time for a whole request, from connecting to the last byte of the answer.
    pub const REQUEST: Duration = Duration::from_secs(30);
    /// Time an unused connection is kept.
    pub const IDLE: Duration = Duration::from_secs(10);
    /// The same where a certificate shows the listener that a member calls: longer than from one
    /// heartbeat to the next, and less than the listener keeps it then.
    pub const MEMBER_IDLE: Duration = Duration::from_secs(60);

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            connect: Self::CONNECT,
            request: Self::REQUEST,
            idle: Self::IDLE,
            plaintext: false,
            proxy: None,
        }
    }

    /// Time to connect, the handshake included.
    #[must_use]
    pub const fn with_connect_timeout(mut self, connect: Duration) -> Self {
        self.connect = connect;
        self
    }

    /// Time for a whole request.
    #[must_use]
    pub const fn with_request_timeout(mut self, request: Duration) -> Self {
        self.request = request;
        self
    }

    /// Time an unused connection is kept.
    #[must_use]
    pub const fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Connects through the HTTP proxy at `proxy`, as into a mesh whose daemon runs in userspace. What
    /// the proxy carries is TLS between the two ends.
    #[must_use]
    pub const fn with_proxy(mut self, proxy: SocketAddr) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Time for a whole request.
    #[must_use]
    pub const fn request_timeout(&self) -> Duration {
        self.request
    }

    /// Lets `http://` URLs through, unencrypted: for a network that is protected otherwise, such as
    /// a mesh that is already joined.
    #[must_use]
    pub const fn danger_allow_plaintext(mut self) -> Self {
        self.plaintext = true;
        self
    }

    /// Whether `http://` URLs are let through.
    #[cfg(feature = "portainer")]
    pub(crate) const fn allows_plaintext(&self) -> bool {
        self.plaintext
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// An HTTP client whose TLS is `config` and nothing else.
///
/// # Errors
/// [`TlsError::Client`] if the HTTP library does not take the configuration.
pub fn http_client(
    config: ClientConfig,
    options: &HttpOptions,
) -> Result<reqwest::Client, TlsError> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .https_only(!options.plaintext)
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(options.connect)
        .timeout(options.request)
        .pool_idle_timeout(options.idle)
        .pool_max_idle_per_host(1)
        .tcp_nodelay(true);
    let builder = match options.proxy {
        Some(proxy) => {
            builder.proxy(reqwest::Proxy::all(format!("http://{proxy}")).map_err(TlsError::Client)?)
        }
        None => builder,
    };
    builder.build().map_err(TlsError::Client)
}
