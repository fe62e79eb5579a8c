//! Whether all is well with a master: as it finds itself, and as this machine finds it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use enroll_core::issue::x509::RootCertificate;
use enroll_core::model::{Clock as _, SystemClock, Timestamp};
use enroll_http::tls::{ClientTls, HttpOptions, RootVerifier, http_client};
use enroll_http::wire::{Check, Diagnosis};

use super::super::failure::{Failure, chain};
use super::super::serve::{ADMIN_TOKEN, CA, READY, Ready};
use super::output::plain;
use super::{Connection, Master};

/// Which master is looked at.
#[derive(Debug, Args)]
#[command(after_help = "\
Looks at the store and whether it would survive a crash, the clock, a failover nobody acknowledged,\n\
the certificates and the listeners. Ends with status 1 where something is wrong.\n\n\
Example:\n  enroll-master doctor --output json")]
pub(in crate::master) struct DoctorArgs {
    #[command(flatten)]
    to: Connection,
}

pub(super) async fn run(args: &DoctorArgs, data_dir: &Path) -> Result<(), Failure> {
    let mut checks = files(data_dir);
    let master = args.to.open(data_dir);
    match &master {
        Ok(master) => checks.extend(itself(master).await),
        Err(failure) => checks.push(Check::bad("master", failure.to_string(), START)),
    }
    checks.extend(listeners(data_dir).await);
    let diagnosis = Diagnosis::from(checks);
    args.to.output().print(&diagnosis, text)?;
    if diagnosis.ok {
        return Ok(());
    }
    let wrong = diagnosis.checks.iter().filter(|check| !check.ok).count();
    Err(Failure::new(format!("{wrong} of {} checks found something wrong", diagnosis.checks.len())))
}

/// What the master says of its store.
async fn itself(master: &Master) -> Vec<Check> {
    match master.client.diagnosis().await {
        Ok(found) => {
            let mut checks = vec![Check::good("master", "It answers operators.")];
            checks.extend(found.checks);
            checks
        }
        Err(error) => {
            let failure = Failure::from(error);
            vec![Check::bad("master", failure.to_string(), START)]
        }
    }
}

/// What stands in the data directory, where this machine has it.
fn files(data_dir: &Path) -> Vec<Check> {
    if !data_dir.join(CA).exists() {
        return Vec::new();
    }
    let private = [KEY, ADMIN_TOKEN].into_iter().filter_map(|name| is_private(data_dir, name));
    let root = certificate(&data_dir.join(CA), SystemClock::new().now());
    std::iter::once(root).chain(private).collect()
}

fn certificate(path: &Path, now: Timestamp) -> Check {
    let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let root = read.and_then(|pem| RootCertificate::from_pem(&pem).map_err(|error| chain(&error)));
    let hint = "Restore it from a backup; a new authority is another fleet.";
    match root {
        Err(why) => Check::bad("certificates", format!("{}: {why}", path.display()), hint),
        Ok(root) if root.not_after() <= now => {
            let says = format!("The root ran out {}.", root.not_after().to_rfc3339());
            Check::bad("certificates", says, "Machines have to enroll anew under a new authority.")
        }
        Ok(root) if root.not_before() > now => {
            let says = format!("The root is valid from {} on.", root.not_before().to_rfc3339());
            Check::bad("certificates", says, "Look at the clock of this machine.")
        }
        Ok(root) => {
            let (name, end) = (root.fingerprint(), root.not_after().to_rfc3339());
            Check::good("certificates", format!("The root {name} is valid until {end}."))
        }
    }
}

/// Whether a file that holds a secret is its owner's alone; none that is not there.
fn is_private(data_dir: &Path, name: &str) -> Option<Check> {
    let path = data_dir.join(name);
    let about = std::fs::symlink_metadata(&path).ok()?;
    let mode = about.mode() & 0o7777;
    let says = format!("{} has the mode {mode:04o}.", path.display());
    Some(if about.is_file() && mode & 0o077 == 0 {
        Check::good("files", says)
    } else {
        Check::bad("files", says, "Make it a file of the master's user, with mode 0600.")
    })
}

/// Whether those addresses answer, from here, that machines are told; with a certificate of the
/// master that is valid now.
async fn listeners(data_dir: &Path) -> Vec<Check> {
    let Ok(text) = std::fs::read(data_dir.join(READY)) else { return Vec::new() };
    let Ok(ready) = serde_json::from_slice::<Ready>(&text) else { return Vec::new() };
    let Ok(pem) = std::fs::read_to_string(data_dir.join(CA)) else { return Vec::new() };
    let options = HttpOptions::new()
        .with_connect_timeout(PATIENCE)
        .with_request_timeout(PATIENCE)
        .danger_allow_plaintext();
    let client = tls(&pem).and_then(|tls| http_client(tls, &options).ok());
    // A root that cannot be read was said already.
    let Some(client) = client else { return Vec::new() };
    let mut checks = Vec::new();
    let enroll = ready.enroll_url.map(|url| ("enroll", format!("{url}/healthz")));
    for (name, url) in enroll.into_iter().chain([
        ("steady", format!("https://{}/v1/self", ready.steady_addr)),
        ("operator", format!("{}/healthz", ready.operator_url)),
    ]) {
        let check = format!("{name} listener");
        let secure = url.starts_with("https:");
        checks.push(match client.get(&url).send().await {
            // Whatever the status, it was the master that answered.
            Ok(_) if secure => {
                Check::good(check, format!("{url} answers, with a certificate of the master."))
            }
            Ok(answer) if answer.status().is_success() => {
                Check::good(check, format!("{url} answers, without TLS."))
            }
            Ok(answer) => Check::bad(
                check,
                format!("{url} answers {}, without TLS: perhaps not the master.", answer.status()),
                "Look at what listens there, and at what stands between.",
            ),
            Err(error) => {
                let says = format!("{url}: {}", chain(&error));
                Check::bad(
                    check,
                    says,
                    "Look at --advertise, --steady-addr, and what filters between.",
                )
            }
        });
    }
    checks
}

/// Trusts who proves to be the master under this root.
fn tls(pem: &str) -> Option<rustls::ClientConfig> {
    let root = RootCertificate::from_pem(pem).ok()?;
    ClientTls::new(Arc::new(RootVerifier::master(&root).ok()?)).config().ok()
}

fn text(diagnosis: &Diagnosis) -> String {
    let line = |check: &Check| {
        let mark = if check.ok { "ok   " } else { "WRONG" };
        let hint = check.hint.as_ref().map(|hint| format!("\n       {}", plain(hint)));
        let detail = plain(&check.detail);
        format!("{mark}  {:<18}{detail}{}\n", check.check, hint.unwrap_or_default())
    };
    diagnosis.checks.iter().map(line).collect()
}

/// The authority's key, in the data directory.
const KEY: &str = "ca.key";
/// How long a listener may take.
const PATIENCE: Duration = Duration::from_secs(5);
const START: &str = "Start it with `enroll-master serve`, or say where it is with --operator-url.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_ran_out_is_told_from_one_that_is_good() {
        let dir = tempfile::tempdir().unwrap();
        enroll_core::issue::x509::Authority::open_or_create(dir.path()).unwrap();
        let (root, now) = (dir.path().join(CA), SystemClock::new().now());
        let day = Duration::from_secs(24 * 60 * 60);
        assert!(certificate(&root, now).ok);
        assert!(!certificate(&root, now.after(day * 3660)).ok);
        assert!(!certificate(&root, now.before(day * 2)).ok);
        std::fs::write(&root, "nothing").unwrap();
        assert!(!certificate(&root, now).ok);
        assert!(is_private(dir.path(), KEY).unwrap().ok);
        assert!(!is_private(dir.path(), CA).unwrap().ok, "anybody may read it");
        assert_eq!(is_private(dir.path(), ADMIN_TOKEN), None);
    }
}
