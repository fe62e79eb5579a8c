//! The authority on disk: whole, its owner's alone, or refused with what to do about it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use enroll_core::issue::x509::{Authority, AuthorityError, AuthorityOptions};
use enroll_core::model::{SystemEntropy, TrustDomain};
use tempfile::TempDir;

use crate::support::{AT, OpenSsl, leaf, p384};

/// A directory with a whole authority.
pub(crate) fn made() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("ca");
    create(&dir).unwrap();
    (temp, dir)
}

pub(crate) fn create(dir: &Path) -> Result<Authority, AuthorityError> {
    Authority::create(dir, &TrustDomain::default(), AT, &SystemEntropy::new())
}

pub(crate) fn open_or_create(dir: &Path) -> Result<Authority, AuthorityError> {
    AuthorityOptions::new().open_or_create(dir, AT, &SystemEntropy::new())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_was_created_opens_again_and_is_the_owners_alone() {
    let (_temp, dir) = made();
    let again = Authority::open(&dir, AT).unwrap();
    let once_more = open_or_create(&dir).unwrap();
    assert_eq!(again.fingerprint(), once_more.fingerprint());
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("ca.key")), 0o600);
    assert_eq!(mode(&dir.join("ca.crt")), 0o644);
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "two files and the lock: {names:?}");
    assert_eq!(fs::read_to_string(dir.join("ca.crt")).unwrap(), again.root_pem());
}

#[test]
fn openssl_reads_the_root_as_it_has_to_be() {
    let (_temp, dir) = made();
    let ssl = OpenSsl::new();
    ssl.write("ca.crt", fs::read(dir.join("ca.crt")).unwrap());
    ssl.write("ca.key", fs::read(dir.join("ca.key")).unwrap());
    let at = AT.unix_secs();
    ssl.run(&format!("verify -x509_strict -check_ss_sig -attime {at} -CAfile ca.crt ca.crt"));
    let text = ssl.run("x509 -in ca.crt -noout -text");
    for line in [
        "Issuer: CN = enroll.internal",
        "Subject: CN = enroll.internal",
        "Not Before: Nov 19 12:00:00 2026 GMT",
        "Not After : Nov 17 12:00:00 2036 GMT",
        "ASN1 OID: prime256v1",
        "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0\n",
        "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n",
        "X509v3 Subject Key Identifier: \n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    ssl.run("pkey -in ca.key -noout -check");
    assert!(ssl.read("ca.key").starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[test]
fn an_authority_is_open_only_while_it_is_valid() {
    let (_temp, dir) = made();
    let (start, end) = (AT.before(Duration::from_secs(86_400)), AT.after(Authority::LIFETIME));
    let second = Duration::from_secs(1);
    for (at, fits) in [
        (start.before(second), false),
        (start, true),
        (end.before(second), true),
        (end.after(second), false),
    ] {
        assert_eq!(Authority::open(&dir, at).is_ok(), fits, "{at:?}");
    }
    let early = Authority::open(&dir, start.before(second)).unwrap_err();
    assert!(early.to_string().contains("clock"), "{early}");
    let late = Authority::open(&dir, end.after(second)).unwrap_err();
    assert!(late.to_string().contains("expired"), "{late}");
}

#[test]
fn nothing_is_created_over_what_is_there() {
    for left in [&["ca.key", "ca.crt"][..], &["ca.key"], &["ca.crt"]] {
        let (_temp, dir) = made();
        for name in ["ca.key", "ca.crt"].iter().filter(|name| !left.contains(name)) {
            fs::remove_file(dir.join(name)).unwrap();
        }
        let before = contents(&dir);
        assert!(matches!(create(&dir), Err(AuthorityError::Exists { .. })));
        assert_eq!(open_or_create(&dir).is_ok(), left.len() == 2);
        assert_eq!(contents(&dir), before);
    }
}

#[test]
fn another_trust_domain_than_the_authoritys_is_refused() {
    let (_temp, dir) = made();
    let open =
        |domain: &str| {
            AuthorityOptions::new()
                .with_trust_domain(TrustDomain::new(domain).unwrap())
                .open_or_create(&dir, AT, &SystemEntropy::new())
        };
    assert!(open("enroll.internal").is_ok());
    let error = open("acme.example").unwrap_err();
    assert!(matches!(error, AuthorityError::OtherTrustDomain { .. }), "{error}");
    let fresh = dir.join("fresh/deeper");
    let made = AuthorityOptions::new()
        .with_trust_domain(TrustDomain::new("acme.example").unwrap())
        .open_or_create(&fresh, AT, &SystemEntropy::new())
        .unwrap();
    assert_eq!(made.trust_domain().as_str(), "acme.example");
    assert_eq!(open_or_create(&fresh).unwrap().fingerprint(), made.fingerprint());
}

/// A process that dies while creating leaves one of these; the next start makes it whole.
#[test]
fn a_creation_cut_short_is_finished() {
    let (_temp, dir) = made();
    let made = Authority::open(&dir, AT).unwrap().fingerprint();
    // The key was in place, the certificate about to be.
    fs::rename(dir.join("ca.crt"), dir.join(".ca.crt.new")).unwrap();
    assert!(matches!(Authority::open(&dir, AT), Err(AuthorityError::CertificateMissing { .. })));
    assert_eq!(open_or_create(&dir).unwrap().fingerprint(), made);
    // Neither was in place yet: nobody has seen them, so they are made anew.
    fs::rename(dir.join("ca.crt"), dir.join(".ca.crt.new")).unwrap();
    fs::rename(dir.join("ca.key"), dir.join(".ca.key.new")).unwrap();
    assert_ne!(open_or_create(&dir).unwrap().fingerprint(), made);
    let names = contents(&dir).into_keys().collect::<Vec<_>>();
    assert_eq!(names, [".ca.lock", "ca.crt", "ca.key"]);
}

#[test]
fn a_half_is_not_completed_with_what_does_not_belong_to_it() {
    let ((_temp, dir), (_other_temp, other)) = (made(), made());
    fs::remove_file(dir.join("ca.crt")).unwrap();
    fs::copy(other.join("ca.crt"), dir.join(".ca.crt.new")).unwrap();
    let before = contents(&dir);
    let error = open_or_create(&dir).unwrap_err();
    assert!(matches!(error, AuthorityError::CertificateMissing { .. }), "{error}");
    assert_eq!(contents(&dir), before);
}

#[test]
fn of_many_threads_one_creates_and_the_others_open() {
    for _ in 0..10 {
        let temp = tempfile::tempdir().unwrap();
        let (dir, start) = (temp.path().join("ca"), Barrier::new(8));
        let prints: Vec<_> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        open_or_create(&dir).unwrap().fingerprint()
                    })
                })
                .collect();
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        assert!(prints.iter().all(|print| *print == prints[0]), "{prints:?}");
    }
}

/// Runs itself again, several times at once: locks are the process's, not the thread's.
#[test]
fn of_many_processes_one_creates_and_the_others_open() {
    if let Some(dir) = std::env::var_os(DIR) {
        println!("made {}", open_or_create(Path::new(&dir)).unwrap().fingerprint());
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("ca");
    let started: Vec<_> = (0..6).map(|_| another_process(&dir, "0022")).collect();
    let mut prints: Vec<_> = started
        .into_iter()
        .map(|child| {
            let out = child.wait_with_output().unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            let line = text.lines().find_map(|line| line.split_once("made sha256:"));
            line.unwrap_or_else(|| panic!("{text}")).1.to_owned()
        })
        .collect();
    prints.dedup();
    assert_eq!(prints.len(), 1, "{prints:?}");
}

#[test]
fn the_modes_of_the_files_do_not_hang_on_the_umask() {
    for umask in ["0000", "0077", "0277"] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("ca");
        another_process(&dir, umask).wait_with_output().unwrap();
        assert_eq!(mode(&dir.join("ca.key")), 0o600, "{umask}");
        assert_eq!(mode(&dir.join("ca.crt")), 0o644, "{umask}");
    }
}

/// This very program, opening or creating the authority in `dir`.
fn another_process(dir: &Path, umask: &str) -> Child {
    Command::new("sh")
        .args(["-c", "umask \"$1\"; exec \"$0\" --exact --nocapture \"$2\""])
        .arg(std::env::current_exe().unwrap())
        .args([umask, THIS])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn an_authority_from_memory_signs_as_one_from_disk() {
    let (_temp, dir) = made();
    let key = zeroize::Zeroizing::new(fs::read_to_string(dir.join("ca.key")).unwrap());
    let crt = fs::read_to_string(dir.join("ca.crt")).unwrap();
    let authority = Authority::from_pem(&crt, &key, AT).unwrap();
    assert_eq!(authority.fingerprint(), Authority::open(&dir, AT).unwrap().fingerprint());
    leaf(&authority, &p384());
    let error = Authority::from_pem(&crt, &zeroize::Zeroizing::new(crt.clone()), AT).unwrap_err();
    assert!(matches!(error, AuthorityError::KeyDamaged { .. }), "{error}");
}

#[test]
fn no_debug_and_no_error_shows_a_key() {
    let (_temp, dir) = made();
    let key = fs::read_to_string(dir.join("ca.key")).unwrap();
    let line = key.lines().nth(1).unwrap();
    let shown = format!("{:?}", Authority::open(&dir, AT).unwrap());
    assert!(shown.contains("[redacted]") && !shown.contains(line), "{shown}");
    fs::write(dir.join("ca.key"), key.replace("PRIVATE KEY", "EC PRIVATE KEY")).unwrap();
    let error = Authority::open(&dir, AT).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(line), "{error:?}");
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    fs::read_dir(dir).unwrap().map(|entry| read(entry.unwrap())).collect()
}

const DIR: &str = "X509_TEST_AUTHORITY_DIR";
const THIS: &str = "authority::of_many_processes_one_creates_and_the_others_open";
