//! What can be amiss with an authority's two files: each has its own error, which says what to do.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use enroll_core::issue::x509::{Authority, AuthorityError, LeafRequest};
use enroll_core::model::SystemEntropy;

use crate::authority::made;
use crate::support::{AT, OpenSsl, name, p384};

fn key(dir: &Path) -> PathBuf {
    dir.join("ca.key")
}

fn certificate(dir: &Path) -> PathBuf {
    dir.join("ca.crt")
}

/// Makes an authority, lets `change` damage it, and expects the error and its words.
fn refused(words: &str, is: impl Fn(&AuthorityError) -> bool, change: impl FnOnce(&Path)) {
    let (_temp, dir) = made();
    change(&dir);
    let error = Authority::open(&dir, AT).unwrap_err();
    assert!(is(&error), "{error:?}");
    assert!(error.to_string().contains(words), "{words:?} is not in {error}");
}

#[test]
fn a_missing_half_is_named() {
    use AuthorityError as E;
    refused(
        "create one",
        |e| matches!(e, E::Missing { .. }),
        |dir| {
            fs::remove_file(key(dir)).unwrap();
            fs::remove_file(certificate(dir)).unwrap();
        },
    );
    refused(
        "restore ca.crt",
        |e| matches!(e, E::CertificateMissing { .. }),
        |dir| {
            fs::remove_file(certificate(dir)).unwrap();
        },
    );
    refused(
        "restore ca.key",
        |e| matches!(e, E::KeyMissing { .. }),
        |dir| {
            fs::remove_file(key(dir)).unwrap();
        },
    );
}

#[test]
fn a_key_others_can_use_is_refused() {
    let exposed = |e: &AuthorityError| matches!(e, AuthorityError::KeyExposed { .. });
    for mode in [0o640, 0o604, 0o620, 0o601, 0o777] {
        let open = |dir: &Path| fs::set_permissions(key(dir), Permissions::from_mode(mode));
        refused("chmod 600", exposed, |dir| open(dir).unwrap());
    }
}

#[test]
fn two_halves_of_two_authorities_are_refused() {
    let (_elsewhere, other) = made();
    let mismatch = |e: &AuthorityError| matches!(e, AuthorityError::KeyMismatch { .. });
    for file in [key, certificate] {
        refused("does not belong to", mismatch, |dir| {
            fs::write(file(dir), fs::read(file(&other)).unwrap()).unwrap();
        });
    }
}

#[test]
fn what_is_no_file_of_its_own_is_refused() {
    use AuthorityError as E;
    for file in [key, certificate] {
        refused(
            "symbolic link",
            |e| matches!(e, E::Link { .. }),
            |dir| {
                fs::rename(file(dir), dir.join("elsewhere")).unwrap();
                symlink(dir.join("elsewhere"), file(dir)).unwrap();
            },
        );
        refused(
            "symbolic link",
            |e| matches!(e, E::Link { .. }),
            |dir| {
                fs::remove_file(file(dir)).unwrap();
                symlink("nowhere", file(dir)).unwrap();
            },
        );
        let not_a_file = |e: &E| matches!(e, E::NotAFile { .. });
        refused("no regular file", not_a_file, |dir| {
            fs::remove_file(file(dir)).unwrap();
            fs::create_dir(file(dir)).unwrap();
        });
        refused("no regular file", not_a_file, |dir| {
            fs::write(file(dir), vec![b' '; 64 * 1024 + 1]).unwrap();
        });
        refused("no regular file", not_a_file, |dir| {
            fs::remove_file(file(dir)).unwrap();
            assert!(Command::new("mkfifo").arg(file(dir)).status().unwrap().success());
        });
    }
}

#[test]
fn damage_to_either_file_is_named() {
    use AuthorityError as E;
    let damages: [fn(&mut Vec<u8>); 6] = [
        Vec::clear,
        |text| text.truncate(text.len() / 2),
        |text| text[40] = b'!',
        |text| text.extend_from_within(..),
        |text| text.insert(0, b'x'),
        |text| text[0] = 0xff,
    ];
    for damage in damages {
        for (name, is) in [
            ("ca.key", (|e| matches!(e, E::KeyDamaged { .. })) as fn(&E) -> bool),
            ("ca.crt", |e| matches!(e, E::CertificateDamaged { .. })),
        ] {
            refused("damaged", is, |dir| {
                let mut text = fs::read(dir.join(name)).unwrap();
                damage(&mut text);
                fs::write(dir.join(name), text).unwrap();
            });
        }
    }
}

/// Files made by hand, each whole in itself.
#[test]
fn what_openssl_makes_is_taken_only_if_it_is_a_fleets_root() {
    use AuthorityError as E;
    let ssl = OpenSsl::new();
    let make = |newkey: &str, subject: &str, extension: &str| {
        ssl.run(&format!(
            "req -x509 -newkey {newkey} -nodes -keyout ca.key -out ca.crt -days 3650 \
             -subj {subject} -addext basicConstraints=critical,{extension}"
        ));
    };
    let p256 = "ec -pkeyopt ec_paramgen_curve:P-256";
    let install = |dir: &Path| {
        for name in ["ca.key", "ca.crt"] {
            fs::write(dir.join(name), ssl.read(name)).unwrap();
        }
    };
    let not_a_root = |e: &E| matches!(e, E::NotAuthority { .. });
    make(p256, "/CN=acme.example", "CA:FALSE");
    refused("cannot be a fleet's root", not_a_root, install);
    make(p256, "/CN=acme.example", "CA:TRUE");
    refused("cannot be a fleet's root", not_a_root, install);
    for (newkey, subject) in
        [(p256, "/CN=Acme"), (p256, "/O=Acme/CN=acme.example"), ("rsa:2048", "/CN=acme.example")]
    {
        make(newkey, subject, "CA:TRUE -addext keyUsage=critical,keyCertSign");
        refused("cannot be a fleet's root", not_a_root, install);
    }
    for newkey in [p256, "ec -pkeyopt ec_paramgen_curve:P-384"] {
        make(newkey, "/CN=acme.example", "CA:TRUE -addext keyUsage=critical,keyCertSign");
        let (_temp, dir) = made();
        install(&dir);
        // Made by the machine's own clock, not by the tests'.
        let authority = Authority::open_or_create(&dir).unwrap();
        assert_eq!(authority.trust_domain().as_str(), "acme.example");
        let at = authority.root().not_before().after(Duration::from_secs(60));
        let (name, key) = (name(), p384());
        let request = LeafRequest::new(&name, &key, at);
        let leaf = authority.issue_leaf(&request, &SystemEntropy::new()).unwrap();
        ssl.write("leaf.crt", &leaf.chain_pem);
        ssl.run(&format!("verify -x509_strict -attime {} -CAfile ca.crt leaf.crt", at.unix_secs()));
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    let (_temp, dir) = made();
    let key = dir.join("ca.key");
    if chown(&key, Some(12_345), None).is_err() {
        // Only root may give files away.
        return;
    }
    let error = Authority::open(&dir, AT).unwrap_err();
    assert!(matches!(error, AuthorityError::ForeignOwner { owner: 12_345, .. }), "{error}");
    assert!(error.to_string().contains("chown"), "{error}");
}
