//! What to paste on a machine so that it becomes a node.
//!
//! Every value is quoted for where it stands, whatever it is made of. A secret never stands in the
//! arguments of a process, which every local user can read: it is handed on in the environment, or
//! in a file that only root reads.

use enroll_core::master::Enroller;
use enroll_core::model::{JoinToken, NodeName, SharedSecret};
use zeroize::Zeroizing;

use crate::wire::{Install, SecretText};

/// What the snippets for new machines say beside what the master knows.
///
/// # Defaults
/// | what | default | because |
/// |---|---|---|
/// | image | [`Self::IMAGE`] | the name a local build of the reference worker is tagged with |
/// | program | [`Self::PROGRAM`] | where administrators put programs of their own |
/// | prefix of variables | [`Self::ENV_PREFIX`] | what the reference worker reads |
/// | state directory | [`Self::STATE_DIR`] | what the reference worker writes |
/// | cluster secret | none | a master knows only its digest |
#[derive(Debug)]
pub struct InstallOptions {
    image: String,
    program: String,
    env_prefix: String,
    state_dir: String,
    cluster_secret: Option<SharedSecret>,
}

/// Why a value cannot stand in a snippet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInstall {
    /// A reference to an image is 1 to 255 of `[A-Za-z0-9._:/@-]`, a letter or digit first.
    #[error("an image is 1 to 255 letters, digits and . _ : / @ -, a letter or digit first")]
    Image,
    /// A path is absolute, 2 to 255 of `[A-Za-z0-9._/-]`, and ends in a name.
    #[error("a path is absolute, has 2 to 255 letters, digits and . _ / -, and ends in a name")]
    Path,
    /// A prefix is 1 to 32 of `[A-Z0-9_]`, a letter first.
    #[error("a prefix of variables is 1 to 32 capital letters, digits and _, a letter first")]
    EnvPrefix,
    /// A cluster secret that is pasted has no control character.
    #[error("the cluster secret holds a control character, which cannot be pasted")]
    ClusterSecret,
}

impl InstallOptions {
    /// `enroll-worker:latest`.
    pub const IMAGE: &'static str = "enroll-worker:latest";
    /// `/usr/local/bin/enroll-worker`.
    pub const PROGRAM: &'static str = "/usr/local/bin/enroll-worker";
    /// `ENROLL_`.
    pub const ENV_PREFIX: &'static str = "ENROLL_";
    /// `/var/lib/enroll`.
    pub const STATE_DIR: &'static str = "/var/lib/enroll";

    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            image: Self::IMAGE.to_owned(),
            program: Self::PROGRAM.to_owned(),
            env_prefix: Self::ENV_PREFIX.to_owned(),
            state_dir: Self::STATE_DIR.to_owned(),
            cluster_secret: None,
        }
    }

    /// The worker's container image.
    ///
    /// # Errors
    /// [`InvalidInstall::Image`].
    pub fn with_image(mut self, image: &str) -> Result<Self, InvalidInstall> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"._:/@-".contains(&b);
        let begins = image.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !begins || image.len() > MAX_TEXT || !image.bytes().all(good) {
            return Err(InvalidInstall::Image);
        }
        image.clone_into(&mut self.image);
        Ok(self)
    }

    /// The worker's program on the machine; its file name is the name of the service too.
    ///
    /// # Errors
    /// [`InvalidInstall::Path`].
    pub fn with_program(mut self, path: &str) -> Result<Self, InvalidInstall> {
        self.program = checked_path(path)?;
        Ok(self)
    }

    /// What the worker's environment variables begin with, the `_` included.
    ///
    /// # Errors
    /// [`InvalidInstall::EnvPrefix`].
    pub fn with_env_prefix(mut self, prefix: &str) -> Result<Self, InvalidInstall> {
        let good = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        let begins = prefix.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
        if !begins || prefix.len() > 32 || !prefix.bytes().all(good) {
            return Err(InvalidInstall::EnvPrefix);
        }
        prefix.clone_into(&mut self.env_prefix);
        Ok(self)
    }

    /// The worker's state directory.
    ///
    /// # Errors
    /// [`InvalidInstall::Path`].
    pub fn with_state_dir(mut self, path: &str) -> Result<Self, InvalidInstall> {
        self.state_dir = checked_path(path)?;
        Ok(self)
    }

    /// The cluster secret in clear, to be part of each snippet. The master itself keeps its digest
    /// only, so that without this an administrator has to put the secret on each machine.
    ///
    /// # Errors
    /// [`InvalidInstall::ClusterSecret`].
    pub fn with_cluster_secret(mut self, secret: SharedSecret) -> Result<Self, InvalidInstall> {
        if secret.expose().chars().any(char::is_control) {
            return Err(InvalidInstall::ClusterSecret);
        }
        self.cluster_secret = Some(secret);
        Ok(self)
    }

    /// The snippets for `name`; `None` where the master does not know the address it is reached at.
    pub(super) fn render(
        &self,
        enroller: &Enroller,
        name: &NodeName,
        token: &JoinToken,
    ) -> Option<Install> {
        let config = enroller.config();
        let url = config.enroll_url.as_deref().filter(|url| !url.contains(char::is_control))?;
        let ca = enroller.ca().map(|(_, fingerprint)| fingerprint.to_string());
        let addr = config.steady_addr.as_deref().filter(|addr| !addr.contains(char::is_control));
        let public = [
            ("MASTER_URL", Some(url)),
            ("MASTER_ADDR", addr),
            ("CA_FINGERPRINT", ca.as_deref()),
            ("NODE_NAME", Some(name.as_str())),
            ("STATE_DIR", Some(&*self.state_dir).filter(|dir| *dir != Self::STATE_DIR)),
            ("ALLOW_PLAINTEXT", Some("1").filter(|_| url.starts_with("http://"))),
        ];
        let secret = [
            ("TOKEN", Some(token.expose())),
            ("SHARED_SECRET", self.cluster_secret.as_ref().map(SharedSecret::expose)),
        ];
        let snippet = Snippet {
            options: self,
            public: public.into_iter().filter_map(given).collect(),
            secret: secret.into_iter().filter_map(given).collect(),
        };
        Some(Install {
            docker: SecretText::new(snippet.docker().as_str()),
            systemd: SecretText::new(snippet.systemd().as_str()),
            shell: SecretText::new(snippet.shell().as_str()),
        })
    }

    /// What a shell finds the program by: its name, where every shell looks.
    fn command(&self) -> &str {
        let dirs = ["/usr/local/bin/", "/usr/bin/", "/bin/"];
        let named = dirs.iter().find_map(|dir| self.program.strip_prefix(dir));
        named.filter(|name| !name.contains('/')).unwrap_or(&self.program)
    }

    /// What the service is called.
    fn service(&self) -> &str {
        self.program.rsplit('/').next().unwrap_or(&self.program)
    }
}

impl Default for InstallOptions {
    fn default() -> Self {
        Self::new()
    }
}

fn checked_path(path: &str) -> Result<String, InvalidInstall> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
    let name = path.rsplit('/').next().unwrap_or_default();
    let named = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !path.starts_with('/') || !named || path.len() > MAX_TEXT || !path.bytes().all(good) {
        return Err(InvalidInstall::Path);
    }
    Ok(path.to_owned())
}

fn given<'a>((name, value): (&'static str, Option<&'a str>)) -> Option<Variable<'a>> {
    value.map(|value| (name, value))
}

/// The name of a variable without its prefix, and its value.
type Variable<'a> = (&'static str, &'a str);

struct Snippet<'a> {
    options: &'a InstallOptions,
    public: Vec<Variable<'a>>,
    secret: Vec<Variable<'a>>,
}

impl Snippet<'_> {
    /// The secrets are in the environment of `docker`, which hands them on by name.
    fn docker(&self) -> Zeroizing<String> {
        let InstallOptions { image, env_prefix, state_dir, .. } = self.options;
        let service = self.options.service();
        let mut text = Zeroizing::new(String::new());
        self.assign(&self.secret, &mut text);
        text.push_str(&format!(
            "docker run -d \\\n  --name {service} \\\n  --restart unless-stopped \\\n  -v {service}-data:{state_dir} \\\n"
        ));
        for (name, value) in &self.public {
            text.push_str(&format!("  -e {env_prefix}{name}={} \\\n", *quoted(value)));
        }
        for (name, _) in &self.secret {
            text.push_str(&format!("  -e {env_prefix}{name} \\\n"));
        }
        text.push_str(&format!("  {image}\n"));
        text
    }

    /// The secrets are in a file of root's that the service manager reads; it may be removed once
    /// the machine is a member. What a restart cannot mend ends the service.
    fn systemd(&self) -> Zeroizing<String> {
        let InstallOptions { program, env_prefix, .. } = self.options;
        let service = self.options.service();
        let mut text = Zeroizing::new(format!(
            "(\nset -eu\numask 077\nmkdir -p /etc/{service}\ncat > /etc/{service}/worker.env <<'END'\n"
        ));
        for (name, value) in self.public.iter().chain(&self.secret) {
            text.push_str(&format!("{env_prefix}{name}={}\n", *env_quoted(value)));
        }
        text.push_str(&format!(
            "END
umask 022
cat > /etc/systemd/system/{service}.service <<'END'
[Unit]
Description={service}
Wants=network-online.target
After=network-online.target

[Service]
EnvironmentFile=-/etc/{service}/worker.env
ExecStart={program} serve
Restart=always
RestartSec=5
RestartPreventExitStatus={FINAL}
UMask=0077
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable {service}.service
systemctl restart {service}.service
)
"
        ));
        text
    }

    /// The secrets are in the environment of the one call that presents them; the process that
    /// lasts does not see them.
    fn shell(&self) -> Zeroizing<String> {
        let command = self.options.command();
        let mut text = Zeroizing::new(String::new());
        self.assign(&self.public, &mut text);
        self.assign(&self.secret, &mut text);
        text.push_str(&format!("{command} bootstrap &&\n"));
        let lasting = |name: &str| name == "STATE_DIR";
        let kept: Vec<_> = self.public.iter().copied().filter(|(name, _)| lasting(name)).collect();
        self.assign(&kept, &mut text);
        text.push_str(&format!("{command} serve\n"));
        text
    }

    /// Assignments before a command, which are in its environment alone.
    fn assign(&self, variables: &[Variable<'_>], text: &mut String) {
        for (name, value) in variables {
            text.push_str(&format!("{}{name}={} \\\n", self.options.env_prefix, *quoted(value)));
        }
    }
}

/// One word of a POSIX shell: as it is where nothing in it means anything, else in single quotes.
fn quoted(text: &str) -> Zeroizing<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return Zeroizing::new(text.to_owned());
    }
    Zeroizing::new(format!("'{}'", text.replace('\'', r"'\''")))
}

/// A value as a file of environment variables has it, for systemd and for a shell alike: in double
/// quotes, with a backslash before the four characters that mean something within them.
fn env_quoted(text: &str) -> Zeroizing<String> {
    let mut quoted = Zeroizing::new(String::with_capacity(2 * text.len() + 2));
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '`' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

const MAX_TEXT: usize = 255;

/// What a worker exits with where starting it again changes nothing: wrong usage, refused for good,
/// another master than the pinned one, an unusable state directory, an identity that was revoked.
const FINAL: &str = "2 3 4 6 7";
