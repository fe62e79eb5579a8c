//! Calls after enrollment: one kept client per identity.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use enroll_core::issue::x509::RootCertificate;
use enroll_core::model::Sha256;
use enroll_core::worker::{CallError, Credentials};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use reqwest::{Client, RequestBuilder, Url};

use super::master::{HttpMaster, join, setup, unset};
use crate::tls::{CertSlot, ClientTls, HttpOptions, RootVerifier, TlsIdentity, http_client};

/// Where the steady listener is, and the client that was last used for it.
pub(super) struct Steady {
    addr: Option<String>,
    proxy: Option<SocketAddr>,
    kept: Mutex<Option<(Sha256, Client)>>,
}

impl Steady {
    pub(super) const fn new() -> Self {
        Self { addr: None, proxy: None, kept: Mutex::new(None) }
    }

    pub(super) fn at(self, addr: String) -> Self {
        Self { addr: Some(addr), ..self }
    }

    pub(super) fn through(self, proxy: SocketAddr) -> Self {
        Self { proxy: Some(proxy), ..self }
    }

    #[cfg(feature = "grpc")]
    pub(super) const fn proxy(&self) -> Option<SocketAddr> {
        self.proxy
    }

    fn options(&self, master: &HttpMaster) -> HttpOptions {
        let options = master.options().clone();
        match self.proxy {
            Some(proxy) => options.with_proxy(proxy),
            None => options,
        }
    }

    /// A call that carries the identity: by certificate where there is one, else by API key.
    pub(super) fn post(
        &self,
        master: &HttpMaster,
        me: &Credentials,
        path: &str,
    ) -> Result<RequestBuilder, CallError> {
        identified(self.client(master, me)?.post(self.url(me, path)?), me)
    }

    /// As [`post`](Self::post), for what changes nothing.
    pub(super) fn get(
        &self,
        master: &HttpMaster,
        me: &Credentials,
        path: &str,
    ) -> Result<RequestBuilder, CallError> {
        identified(self.client(master, me)?.get(self.url(me, path)?), me)
    }

    /// A call that carries no identity.
    pub(super) fn anonymous_post(
        &self,
        master: &HttpMaster,
        me: &Credentials,
        path: &str,
    ) -> Result<RequestBuilder, CallError> {
        let client = built(tls(master, &root(me)?)?, &self.options(master))?;
        Ok(client.post(self.url(me, path)?))
    }

    /// Where the steady listener is, `host:port`.
    pub(super) fn addr<'a>(&'a self, me: &'a Credentials) -> Result<&'a str, CallError> {
        let addr = self.addr.as_deref().or_else(|| me.identity().master_addr());
        addr.ok_or_else(|| unset("the master's steady-state address is not known"))
    }

    fn url(&self, me: &Credentials, path: &str) -> Result<Url, CallError> {
        let addr = self.addr(me)?;
        let url = Url::parse(&format!("https://{addr}/"));
        let url = url.map_err(|why| unset(&format!("the address {addr} is none: {why}")))?;
        join(&url, path)
    }

    /// The client for this identity, made anew when the identity changed.
    fn client(&self, master: &HttpMaster, me: &Credentials) -> Result<Client, CallError> {
        let name = mark(me);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = &*kept
            && *of == name
        {
            return Ok(client.clone());
        }
        let options = match me.certificate() {
            Some(_) => self.options(master).with_idle(HttpOptions::MEMBER_IDLE),
            None => self.options(master),
        };
        let client = built(tls_of(master, me)?, &options)?;
        *kept = Some((name, client.clone()));
        Ok(client)
    }
}

fn built(tls: ClientTls, options: &HttpOptions) -> Result<Client, CallError> {
    tls.config().and_then(|config| http_client(config, options)).map_err(setup)
}

/// Adds the API key where no certificate identifies the connection.
fn identified(request: RequestBuilder, me: &Credentials) -> Result<RequestBuilder, CallError> {
    match (me.certificate(), me.api_key()) {
        (None, Some(key)) => {
            let text = format!("Bearer {}", key.expose());
            let mut value = HeaderValue::try_from(text)
                .map_err(|_| unset("the API key holds a character that cannot be sent"))?;
            value.set_sensitive(true);
            Ok(request.header(AUTHORIZATION, value))
        }
        _ => Ok(request),
    }
}

/// What tells the connections of one identity from those of another: a digest, for a key is in it.
pub(super) fn mark(me: &Credentials) -> Sha256 {
    let own = match (me.certificate(), me.api_key()) {
        (Some(certificate), _) => certificate.chain_pem(),
        (None, Some(key)) => key.expose(),
        (None, None) => "",
    };
    Sha256::of([me.ca_pem().unwrap_or_default(), own].concat().as_bytes())
}

/// TLS as this identity speaks it to its master, and to nobody else.
pub(super) fn tls_of(master: &HttpMaster, me: &Credentials) -> Result<ClientTls, CallError> {
    let tls = tls(master, &root(me)?)?;
    let Some(own) = me.certificate() else { return Ok(tls) };
    let key = own.expose_key_pem().as_bytes();
    let identity = TlsIdentity::from_pem(own.chain_pem().as_bytes(), key).map_err(setup)?;
    Ok(tls.with_identity(Arc::new(CertSlot::new(identity))))
}

fn root(me: &Credentials) -> Result<RootCertificate, CallError> {
    let pem = me.ca_pem().ok_or_else(|| unset("no root certificate was kept"))?;
    RootCertificate::from_pem(pem).map_err(|why| CallError::Tls(Box::new(why)))
}

/// TLS that accepts the master under `root`, and nobody else.
fn tls(master: &HttpMaster, root: &RootCertificate) -> Result<ClientTls, CallError> {
    let verifier = Arc::new(RootVerifier::master(root).map_err(setup)?);
    Ok(ClientTls::new(verifier).with_clock(master.clock()))
}
