//! The master itself, as the settings say.

use std::sync::Arc;

use enroll_core::issue::x509::{Authority, X509Issuer};
use enroll_core::issue::{ApiKeyIssuer, Issuer, Unconfigured};
use enroll_core::master::{BuiltinFuser, Enroller, FuseCommands, Fuser, MasterConfig, Observer};
use enroll_core::model::{CommandClass, CredentialKind, SharedSecret};
use enroll_http::integrations::headscale::Headscale;
use enroll_http::integrations::portainer::{PortainerClient, PortainerFuser};
use enroll_http::metrics::Metrics;

use super::super::failure::Failure;
use super::addresses::Addresses;
use super::args::{FuserKind, Issue, ServeArgs};
use super::portainer;
use super::store::Opened;

/// What the master is made of.
pub(super) struct Parts<'a> {
    pub(super) fuser: Option<FuserPlan>,
    pub(super) opened: Opened,
    pub(super) authority: &'a Arc<Authority>,
    pub(super) headscale: Option<Arc<Headscale>>,
    pub(super) secrets: &'a [SharedSecret],
}

/// Puts the master together.
pub(super) fn build(
    args: &ServeArgs,
    parts: Parts<'_>,
    addresses: &Addresses,
    metrics: &Arc<Metrics>,
) -> Arc<Enroller> {
    let Parts { fuser, opened, authority, headscale, secrets } = parts;
    let observer: Arc<dyn Observer> = Arc::<Metrics>::clone(metrics);
    let Opened { store, clock } = opened;
    let mut enroller = Enroller::new(Arc::clone(&store), Arc::clone(authority))
        .with_clock(Arc::clone(&clock))
        .issuing(issuers(args, authority, headscale.as_ref()))
        .with_config(config(args, addresses))
        .with_observer(Arc::clone(&observer));
    if let Some(mesh) = headscale {
        enroller = enroller.with_mesh(mesh);
    }
    for secret in secrets {
        enroller = enroller.with_cluster_secret(secret);
    }
    for (kind, class) in COMMANDS {
        enroller = enroller.with_command(kind, class);
    }
    let commands = FuseCommands::new(store, clock).with_observer(observer);
    if let Some(fuser) = fuser.map(|plan| plan.over(commands)) {
        enroller = enroller.with_fuser(fuser, args.fuse_deadline_secs);
    }
    Arc::new(enroller)
}

/// Who brings members under full control, before there is a store to ask them by.
pub(super) enum FuserPlan {
    Builtin,
    Portainer(PortainerClient),
}

impl FuserPlan {
    /// Refuses settings that cannot be, before anything is made.
    pub(super) fn of(args: &ServeArgs) -> Result<Option<Self>, Failure> {
        Ok(match args.fuser {
            FuserKind::None => None,
            FuserKind::Builtin => Some(Self::Builtin),
            FuserKind::Portainer => Some(Self::Portainer(portainer::client(&args.portainer)?)),
        })
    }

    fn over(self, commands: FuseCommands) -> Arc<dyn Fuser> {
        match self {
            Self::Builtin => Arc::new(BuiltinFuser::new(commands)),
            Self::Portainer(client) => Arc::new(PortainerFuser::new(client, commands)),
        }
    }
}

/// Makes sure of the store: it belongs to this authority, and its settings are known.
pub(super) async fn claim(enroller: &Enroller) -> Result<(), Failure> {
    enroller.claim_root().await.map_err(|cause| {
        Failure::new("this master and its store do not belong together").because(cause)
    })?;
    enroller
        .reload_settings()
        .await
        .map_err(|cause| Failure::new("cannot read the settings in the store").because(cause))
}

fn issuers(
    args: &ServeArgs,
    authority: &Arc<Authority>,
    headscale: Option<&Arc<Headscale>>,
) -> Vec<Arc<dyn Issuer>> {
    let lifetime = args.leaf_lifetime_secs;
    let mut issuers: Vec<Arc<dyn Issuer>> = Vec::new();
    for kind in &args.issue {
        let issuer: Arc<dyn Issuer> = match kind {
            Issue::X509 => Arc::new(X509Issuer::new(Arc::clone(authority)).with_lifetime(lifetime)),
            Issue::ApiKey => Arc::new(ApiKeyIssuer::default()),
            Issue::Headscale => match headscale {
                Some(client) => Arc::<Headscale>::clone(client),
                None => {
                    tracing::warn!(
                        "--issue headscale without --headscale-url: nobody can enroll until it is given"
                    );
                    Arc::new(Unconfigured::new(CredentialKind::from_static("headscale")))
                }
            },
        };
        // Said twice, it is issued once.
        if issuers.iter().all(|known| known.kind() != issuer.kind()) {
            issuers.push(issuer);
        }
    }
    issuers
}

fn config(args: &ServeArgs, addresses: &Addresses) -> MasterConfig {
    let mut config = MasterConfig::default();
    config.steady_addr = Some(addresses.steady_addr.clone());
    config.enroll_url.clone_from(&addresses.enroll_url);
    config.hosts.clone_from(&addresses.hosts);
    config.heartbeat_interval = args.heartbeat_interval_secs;
    config.stale_after = args.stale_threshold_secs;
    config
}

/// The commands the reference worker knows.
const COMMANDS: [(&str, CommandClass); 5] = [
    ("ping", CommandClass::Monitor),
    ("facts", CommandClass::Monitor),
    ("logs", CommandClass::Monitor),
    ("exec", CommandClass::Control),
    ("restart", CommandClass::Control),
];
