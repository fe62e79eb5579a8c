//! What the listeners present, judged by other programs.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::harness::{Master, run};

fn openssl(master: &Master, address: &str, alpn: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", address, "-alpn", alpn, "-showcerts", "-CAfile"])
        .arg(master.data().join("ca.crt"))
        .args(["-verify_return_error", "-verify_ip", "127.0.0.1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().expect("piped").write_all(b"Q\n").expect("it listens");
    let Output { stdout, .. } = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&stdout).into_owned()
}

#[test]
fn openssl_accepts_each_listener_and_sees_the_root_in_the_chain() {
    let master = Master::start(&[]);
    let bare = |url: &str| url.trim_start_matches("https://").to_owned();
    let addresses = [
        bare(master.ready("enroll_url")),
        bare(master.ready("steady_addr")),
        bare(master.ready("operator_url")),
    ];
    for (address, h2) in addresses.iter().zip([false, true, true]) {
        let said = openssl(&master, address, "h2,http/1.1");
        assert!(said.contains("Verify return code: 0 (ok)"), "{address}: {said}");
        assert_eq!(said.matches("BEGIN CERTIFICATE").count(), 2, "leaf and root: {said}");
        let alpn = if h2 { "ALPN protocol: h2" } else { "ALPN protocol: http/1.1" };
        assert!(said.contains(alpn), "{address}: {said}");
    }
    let steady = openssl(&master, &addresses[1], "h2");
    assert!(
        steady.contains("Acceptable client certificate CA names"),
        "members are asked: {steady}"
    );
    let operator = openssl(&master, &addresses[2], "h2");
    assert!(operator.contains("No client certificate CA names sent"), "{operator}");
}

#[test]
fn curl_accepts_the_names_by_which_the_machine_reaches_itself() {
    let master = Master::start(&["--advertise", "fleet.example", "--advertise", "10.1.2.3"]);
    let port = |url: &str| url.rsplit_once(':').expect("a port").1.to_owned();
    let (enroll, operator) = (port(master.ready("enroll_url")), port(master.ready("operator_url")));
    for (host, port) in [
        ("localhost", &enroll),
        ("127.0.0.1", &enroll),
        ("fleet.example", &enroll),
        ("10.1.2.3", &enroll),
        ("localhost", &operator),
        ("127.0.0.1", &operator),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert"])
            .arg(master.data().join("ca.crt"))
            .args(["--connect-to", &format!("{host}:{port}:127.0.0.1:{port}")])
            .arg(format!("https://{host}:{port}/healthz"));
        let said = run(&mut curl);
        assert_eq!(said.code, 0, "{host}: {said:?}");
        assert!(said.out.contains("ok"), "{said:?}");
    }
}
