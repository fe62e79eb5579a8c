//! What `serve` says on standard output: what runs, and what to do next.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::ready::Ready;

/// Says it. Nobody has to listen.
pub(super) fn print(ready: &Ready, data_dir: &Path, secret_wanted: bool) {
    let text = text(ready, data_dir, secret_wanted);
    let mut out = std::io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn text(ready: &Ready, data_dir: &Path, secret_wanted: bool) -> String {
    let dir = quoted(data_dir);
    let secret = if secret_wanted { " ENROLL_SHARED_SECRET_FILE=<its file>" } else { "" };
    let enroll = ready.enroll_url.as_deref().unwrap_or("nowhere (--enroll-listen none)");
    let plain = if enroll.starts_with("http://") { " --allow-plaintext" } else { "" };
    // A master that takes nobody in has nobody to be told how.
    let next = if ready.enroll_url.is_none() {
        String::new()
    } else {
        format!(
            "
Next, mint a token for a new machine:

  enroll-master token mint --max-uses 1 --data-dir {dir}

and on that machine, with the invitation it prints:

  ENROLL_JOIN='enroll:…'{secret} enroll-worker serve --node-name worker-1{plain}
"
        )
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _written = write!(
        text,
        "enroll-master is running.

  new machines enroll at  {enroll}
  members report to       {steady}
  operators call          {operator}
  the authority           {ca}
  everything is kept in   {shown}  (back up ca.key; whoever reads it can make members)
{next}
The machines are in:  enroll-master node list --data-dir {dir}
",
        steady = ready.steady_addr,
        operator = ready.operator_url,
        ca = ready.ca_fingerprint,
        shown = data_dir.display(),
    );
    text
}

/// One word of a POSIX shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&b);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_commands_can_be_pasted() {
        let mut ready = Ready {
            pid: 1,
            enroll_url: Some("http://10.0.0.1:1".into()),
            steady_addr: "10.0.0.1:2".into(),
            operator_url: "https://127.0.0.1:3".into(),
            ca_fingerprint: "sha256:00".into(),
        };
        let greeting = text(&ready, Path::new("/a dir"), true);
        assert!(greeting.contains("token mint --max-uses 1 --data-dir '/a dir'\n"), "{greeting}");
        assert!(greeting.contains("ENROLL_SHARED_SECRET_FILE"), "{greeting}");
        assert!(greeting.contains("--allow-plaintext"), "{greeting}");
        ready.enroll_url = None;
        let closed = text(&ready, Path::new("/a dir"), true);
        assert!(!closed.contains("enroll-worker") && closed.contains("node list"), "{closed}");
    }
}
