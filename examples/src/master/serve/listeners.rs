//! The three sockets and what is served on each.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use enroll_core::issue::x509::Authority;
use enroll_core::master::Enroller;
use enroll_core::model::{Clock, SharedSecret};
use enroll_http::metrics::{Metrics, metrics_router, timed};
use enroll_http::server::{
    AddressLimiter, Drained, EnrollOptions, InstallOptions, Listener, OperatorOptions, Proxies,
    SteadyOptions, enroll_router, operator_router, steady_router,
};
use enroll_http::tls::{ClientAuth, MasterIdentity, ServerTls, TlsError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::failure::Failure;
use super::addresses::Bound;
use super::args::ServeArgs;
use super::stop::Stop;

/// The sockets, bound before anything else is made: what they are bound to is told to others.
pub(super) struct Sockets {
    enroll: Option<TcpListener>,
    steady: TcpListener,
    operator: TcpListener,
}

/// What the listeners serve, and with what.
pub(super) struct Served<'a> {
    pub(super) enroller: &'a Arc<Enroller>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) authority: &'a Authority,
    pub(super) identity: &'a MasterIdentity,
    pub(super) cluster_secret: Option<SharedSecret>,
    /// That of the store: certificates are judged by it as they were issued.
    pub(super) clock: Arc<dyn Clock>,
}

impl Sockets {
    pub(super) async fn bind(args: &ServeArgs) -> Result<Self, Failure> {
        Ok(Self {
            enroll: match args.enroll_listen.as_str() {
                NONE => None,
                address => Some(bind("--enroll-listen", address).await?),
            },
            steady: bind("--steady-listen", &args.steady_listen).await?,
            operator: bind("--operator-listen", &args.operator_listen).await?,
        })
    }

    pub(super) fn bound(&self) -> Result<Bound, Failure> {
        Ok(Bound {
            enroll: self.enroll.as_ref().map(local).transpose()?,
            steady: local(&self.steady)?,
            operator: local(&self.operator)?,
        })
    }

    /// Serves on all three until `stop`.
    pub(super) fn serve(
        self,
        args: &ServeArgs,
        served: Served<'_>,
        stop: &Stop,
    ) -> Result<JoinSet<Drained>, Failure> {
        let listeners = listeners(self, args, served).map_err(|cause| {
            Failure::new("the listeners cannot be configured for TLS").because(cause)
        })?;
        let mut serving = JoinSet::new();
        for listener in listeners {
            serving.spawn(listener.serve(stop.stopped().wait()));
        }
        Ok(serving)
    }
}

fn listeners(
    sockets: Sockets,
    args: &ServeArgs,
    served: Served<'_>,
) -> Result<Vec<Listener>, TlsError> {
    let Served { enroller, metrics, authority, identity, cluster_secret, clock } = served;
    let limiter = Arc::new(AddressLimiter::new(args.attempts_per_minute));
    let mut proxies = Proxies::none();
    proxies.extend(args.trusted_proxy.iter().cloned());
    let proxies = Arc::new(proxies);

    let tls = || ServerTls::new(identity.slot()).with_clock(Arc::clone(&clock));
    let options =
        EnrollOptions::new().with_limiter(Arc::clone(&limiter)).with_proxies(Arc::clone(&proxies));
    let mut all = Vec::new();
    if let Some(tcp) = sockets.enroll {
        let router = timed(enroll_router(Arc::clone(enroller), options), &metrics, "enroll");
        let enroll = listener(tcp, router, &proxies);
        all.push(if args.allow_plaintext { enroll } else { enroll.with_tls(tls().config()?) });
    }

    let members = ClientAuth::Optional { roots: vec![authority.root().clone()] };
    let options = SteadyOptions::new().with_limiter(limiter).with_proxies(Arc::clone(&proxies));
    let router = timed(steady_router(Arc::clone(enroller), options), &metrics, "steady");
    let steady = listener(sockets.steady, router, &proxies)
        .with_tls(tls().with_client_auth(members).with_http2().config()?)
        .with_http2();

    let install = InstallOptions::new();
    let install = match cluster_secret {
        // One that could not be pasted is left to the operator.
        Some(secret) => install.with_cluster_secret(secret).unwrap_or_default(),
        None => install,
    };
    let options = OperatorOptions::new().with_install(install);
    let router = timed(operator_router(Arc::clone(enroller), options), &metrics, "operator");
    let operator = router.merge(metrics_router(Arc::clone(enroller), metrics));
    let operator = Listener::new(sockets.operator, operator)
        .with_tls(tls().with_http2().config()?)
        .with_http2();
    all.extend([steady, operator]);
    Ok(all)
}

/// In the place of an address: nobody is let in any more.
const NONE: &str = "none";

/// A listener where a proxy in front may speak for many.
fn listener(tcp: TcpListener, router: Router, proxies: &Arc<Proxies>) -> Listener {
    let proxies = Arc::clone(proxies);
    Listener::new(tcp, router).with_exempt(move |ip| proxies.contains(ip))
}

async fn bind(flag: &str, address: &str) -> Result<TcpListener, Failure> {
    enroll_http::server::bind(address).await.map_err(|cause| {
        Failure::new(format!("cannot listen on {address}"))
            .because(cause)
            .next(format!("Stop what uses the address, or choose another with {flag}."))
    })
}

fn local(socket: &TcpListener) -> Result<SocketAddr, Failure> {
    socket.local_addr().map_err(|cause| {
        Failure::new("the operating system does not say where it listens").because(cause)
    })
}
