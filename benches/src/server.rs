//! What is measured over the network, in a process of its own: so that its memory and its time on the
//! processors are its own.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Json, Router};
use clap::{Args, ValueEnum};
use enroll_core::issue::ApiKeyIssuer;
use enroll_core::issue::x509::{Authority, X509Issuer};
use enroll_core::master::Enroller;
use enroll_core::model::{Clock as _, SystemClock, Timestamp, TokenPrefix};
use enroll_core::store::{MemoryStore, Store};
use enroll_core::testing::Fixtures;
use enroll_http::server::{
    AddressLimiter, EnrollOptions, Limits, Listener, SteadyOptions, bind, enroll_router,
    steady_router,
};
use enroll_http::tls::{ClientAuth, MasterIdentity, ServerTls};
use enroll_store_sqlite::SqliteStore;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::plan::Failure;
use crate::tokens;

/// What such a process is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// What it serves.
    #[arg(value_enum)]
    pub(crate) what: What,
    /// The directory of its authority.
    pub(crate) authority: PathBuf,
    /// Its database; without one it keeps everything in memory.
    #[arg(long)]
    pub(crate) store: Option<PathBuf>,
    /// Tokens that it finds in its memory.
    #[arg(long, default_value_t = 0)]
    pub(crate) tokens: u32,
    /// When the first of them was minted, in Unix milliseconds.
    #[arg(long, default_value_t = 0)]
    pub(crate) since: i64,
}

/// What can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// A fixed answer, by the same TLS and nothing else: the limit.
    Hello,
    /// The same to clients that are asked for a certificate.
    MutualHello,
    /// The enroll listener of a master.
    Enroll,
    /// The same, with so few attempts for each address that all but the first are refused.
    Limited,
    /// Its steady listener.
    Steady,
}

impl What {
    pub(crate) fn word(self) -> String {
        self.to_possible_value().map(|word| word.get_name().to_owned()).unwrap_or_default()
    }
}

/// Serves until standard input ends; says on standard output where.
pub(crate) async fn serve(args: ServeArgs) -> Result<(), Failure> {
    let authority = Arc::new(Authority::open(&args.authority, SystemClock::new().now())?);
    let identity = MasterIdentity::issue(Arc::clone(&authority), vec!["localhost".parse()?])?;
    let tcp = bind("127.0.0.1:0").await?;
    let address = tcp.local_addr()?;
    let members = || ClientAuth::Optional { roots: vec![authority.root().clone()] };
    let tls = ServerTls::new(identity.slot());
    match args.what {
        What::Hello => spawn_bare(tcp, tls.config()?),
        What::MutualHello => spawn_bare(tcp, tls.with_client_auth(members()).config()?),
        What::Enroll | What::Limited => {
            let enroller = enroller(&args, &authority).await?;
            let per_minute = u32::from(args.what == What::Limited);
            let limiter = Arc::new(AddressLimiter::new(per_minute));
            let options = EnrollOptions::new().with_limiter(limiter);
            let listener = Listener::new(tcp, enroll_router(enroller, options));
            // All clients here have one address, and are as many as a fleet's.
            let limits = Limits::new().with_connections(16_384).with_per_address(16_384);
            spawn(listener.with_tls(tls.config()?).with_limits(limits));
        }
        What::Steady => {
            let router = steady_router(enroller(&args, &authority).await?, SteadyOptions::new());
            let tls = tls.with_client_auth(members()).with_http2();
            spawn(Listener::new(tcp, router).with_http2().with_tls(tls.config()?));
        }
    }
    announce(address)?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

fn announce(address: SocketAddr) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{address}")?;
    Ok(out.flush()?)
}

async fn enroller(args: &ServeArgs, authority: &Arc<Authority>) -> Result<Arc<Enroller>, Failure> {
    let store: Arc<dyn Store> = match &args.store {
        Some(path) => Arc::new(SqliteStore::open(path).await?),
        None => Arc::new(MemoryStore::new()),
    };
    let fixtures = Fixtures::new();
    let known = tokens::make(&fixtures, Timestamp::from_unix_millis(args.since), args.tokens);
    tokens::keep(&fixtures, &known, &*store).await?;
    let enroller = Enroller::new(store, Arc::clone(authority));
    Ok(Arc::new(match args.what {
        What::Steady => enroller.issuing(vec![
            Arc::new(X509Issuer::new(Arc::clone(authority))),
            Arc::new(ApiKeyIssuer::new(TokenPrefix::default())),
        ]),
        _ => enroller,
    }))
}

fn spawn(listener: Listener) {
    tokio::spawn(listener.serve(std::future::pending()));
}

fn spawn_bare(tcp: TcpListener, tls: Arc<ServerConfig>) {
    let router = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/json", post(|Json(body): Json<serde_json::Value>| async { Json(body) }));
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(tls);
        while let Ok((stream, _)) = tcp.accept().await {
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                let _no_delay = stream.set_nodelay(true);
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _broken = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}
