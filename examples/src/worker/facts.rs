//! What the worker says of itself.

use enroll_core::model::Facts;
use enroll_http::host::inventory;

use super::config::Config;

pub(super) fn of_this_machine(config: &Config) -> Facts {
    let told = config.facts.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
    let measured = [("inventory".to_owned(), inventory())];
    Facts {
        arch: Some(std::env::consts::ARCH.to_owned()),
        os: Some(std::env::consts::OS.to_owned()),
        hostname: hostname(),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        advertised_endpoint: config.advertised_endpoint.clone(),
        labels: config.labels.clone(),
        // What the operator says of the machine comes after what it says of itself.
        other: measured.into_iter().chain(told).collect(),
    }
}

fn hostname() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    (!name.is_empty()).then_some(name)
}
