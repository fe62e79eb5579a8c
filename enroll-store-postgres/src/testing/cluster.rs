//! One server: made, started, stopped, copied, promoted, and gone at the end.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::binaries::Binaries;

/// How a server is made.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    settings: Vec<(String, String)>,
}

impl Setup {
    /// Sets `name` to `value` in the server's configuration.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// Connections are ended, and what is in memory is written.
    Fast,
    /// As if the machine had lost its power, but for the operating system's memory.
    Immediate,
}

/// A PostgreSQL server in a temporary directory, on a Unix socket there and on a port of the
/// loopback interface. It syncs to the disk as one in service does.
///
/// A second process waits for this one to end, however it does, then stops the server and removes
/// the directory.
pub struct Cluster {
    binaries: Binaries,
    home: PathBuf,
    port: u16,
    guardian: Child,
}

impl Cluster {
    /// The user that stores connect as: it owns the database and may do nothing else.
    pub const USER: &str = "enroll";
    /// The database.
    pub const DATABASE: &str = "fleet";

    /// Makes and starts a server; `None` where none is installed.
    ///
    /// # Errors
    /// What went wrong, with what the program said.
    pub fn start(setup: Setup) -> io::Result<Option<Self>> {
        let Some(binaries) = Binaries::find()? else { return Ok(None) };
        let cluster = Self::new(binaries)?;
        cluster.run(
            "initdb",
            &[
                "-D",
                "data",
                "-U",
                SUPERUSER,
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ],
        )?;
        cluster.configure(&setup.settings)?;
        cluster.resume()?;
        let (user, database) = (Self::USER, Self::DATABASE);
        cluster.sql_in("postgres", &format!("CREATE ROLE {user} LOGIN"))?;
        cluster.sql_in("postgres", &format!("CREATE DATABASE {database} OWNER {user}"))?;
        Ok(Some(cluster))
    }

    /// Makes and starts a standby that follows this server asynchronously.
    ///
    /// # Errors
    /// What went wrong, with what the program said.
    pub fn standby(&self) -> io::Result<Self> {
        let standby = Self::new(self.binaries.clone())?;
        let from = format!("host={} port={} user={SUPERUSER}", self.home.display(), self.port);
        standby.run(
            "pg_basebackup",
            &["-d", &from, "-D", "data", "-R", "-c", "fast", "-X", "stream"],
        )?;
        standby.configure(&[])?;
        standby.resume()?;
        Ok(standby)
    }

    /// How a store reaches it, over its socket: in the `key=value` form, to which more may be added.
    #[must_use]
    pub fn address(&self) -> String {
        self.address_at(&self.home.display().to_string())
    }

    /// How a store reaches it over its socket: as a URL, to which `?options=…` may be added.
    #[must_use]
    pub fn url(&self) -> String {
        let host = self.home.display().to_string().replace('/', "%2F");
        let (port, user, database) = (self.port, Self::USER, Self::DATABASE);
        format!("postgres://{user}@{host}:{port}/{database}")
    }

    /// How a store reaches it over TCP, on the loopback interface.
    #[must_use]
    pub fn tcp_address(&self) -> String {
        self.address_at("127.0.0.1")
    }

    fn address_at(&self, host: &str) -> String {
        let (port, user, database) = (self.port, Self::USER, Self::DATABASE);
        format!("host={host} port={port} user={user} dbname={database}")
    }

    /// The port it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Stops it.
    ///
    /// # Errors
    /// What went wrong, with what the program said.
    pub fn stop(&self, how: Stop) -> io::Result<()> {
        let mode = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        self.run("pg_ctl", &["stop", "-D", "data", "-m", mode, "-w", "-t", "60", "-s"]).map(drop)
    }

    /// Starts it again, and waits until it answers.
    ///
    /// # Errors
    /// What went wrong, with what the program said.
    pub fn resume(&self) -> io::Result<()> {
        let started =
            self.run("pg_ctl", &["start", "-D", "data", "-w", "-t", "60", "-s", "-l", "log"]);
        started.map(drop).map_err(|error| io::Error::other(format!("{error}\n{}", self.log())))
    }

    /// Makes a standby a server of its own.
    ///
    /// # Errors
    /// What went wrong, with what the program said.
    pub fn promote(&self) -> io::Result<()> {
        self.run("pg_ctl", &["promote", "-D", "data", "-w", "-t", "60", "-s"]).map(drop)
    }

    /// Changes a setting that needs no restart.
    ///
    /// # Errors
    /// What went wrong, with what the program said.
    pub fn set(&self, name: &str, value: &str) -> io::Result<()> {
        self.configure(&[(name.to_owned(), value.to_owned())])?;
        self.run("pg_ctl", &["reload", "-D", "data", "-s"]).map(drop)
    }

    /// Puts a file into the data directory that the server alone may read.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.home.join("data").join(name);
        std::fs::write(&path, bytes)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        match self.binaries.user() {
            Some((uid, gid)) => std::os::unix::fs::chown(&path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// Runs one statement as the superuser; gives its rows, columns separated by `|`.
    ///
    /// # Errors
    /// What went wrong, with what the server said.
    pub fn sql(&self, statement: &str) -> io::Result<String> {
        self.sql_in(Self::DATABASE, statement)
    }

    fn sql_in(&self, database: &str, statement: &str) -> io::Result<String> {
        let (host, port) = (self.home.display().to_string(), self.port.to_string());
        let text = self.run(
            "psql",
            &[
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &host,
                "-p",
                &port,
                "-U",
                SUPERUSER,
                "-d",
                database,
                "-c",
                statement,
            ],
        )?;
        Ok(text.trim_end().to_owned())
    }

    /// One of the server's programs, e.g. `pgbench`, to be run as its user.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        self.binaries.command(name, &self.home)
    }

    /// What the server wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    fn new(binaries: Binaries) -> io::Result<Self> {
        // The path of a socket is at most 107 bytes, so a long TMPDIR is not used.
        let home = tempfile::Builder::new().prefix("enroll-pg-").tempdir_in("/tmp")?.keep();
        if let Some((uid, gid)) = binaries.user() {
            std::os::unix::fs::chown(&home, Some(uid), Some(gid))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let guardian = guard(&binaries, &home)?;
        Ok(Self { binaries, home, port, guardian })
    }

    /// Adds settings to the configuration; the last of a name stands.
    fn configure(&self, settings: &[(String, String)]) -> io::Result<()> {
        let path = self.home.join("data/postgresql.auto.conf");
        let mut text = std::fs::read_to_string(&path)?;
        let own = [
            ("port", self.port.to_string()),
            ("listen_addresses", "127.0.0.1".into()),
            ("unix_socket_directories", self.home.display().to_string()),
        ];
        let always = own.iter().map(|(name, value)| (*name, value.as_str()));
        let always = always.chain(SETTINGS.iter().copied());
        let given = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // What was given before stays given: only a new configuration gets what is always there.
        let always = always.filter(|(name, _)| {
            *name == "port" || *name == "unix_socket_directories" || !text.contains(*name)
        });
        let lines: Vec<_> = always.chain(given).map(|(n, v)| format!("{n} = '{v}'\n")).collect();
        text.extend(lines);
        std::fs::write(path, text)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> io::Result<String> {
        let output = self.program(program).args(arguments).stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let said = format!("{program}: {}{}", text(&output.stderr), text(&output.stdout));
        Err(io::Error::other(said))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        // There is nobody to hand a failure to: the directory would stay.
        let _ended = self.guardian.wait();
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("home", &self.home).field("port", &self.port).finish()
    }
}

/// Starts the process that cleans up: its standard input ends when this process does.
fn guard(binaries: &Binaries, home: &Path) -> io::Result<Child> {
    binaries
        .as_user("/bin/sh", Path::new("/"))
        .args(["-c", GUARD, "guard"])
        .arg(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// An interrupt from the keyboard reaches all processes of the terminal; this one has to outlive it.
const GUARD: &str = r#"trap '' INT TERM HUP
read -r _
test -f "$1/data/postmaster.pid" && pg_ctl stop -D "$1/data" -m immediate -w -s
rm -rf "$1""#;

const SUPERUSER: &str = "postgres";

/// As in service, but small.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("shared_buffers", "32MB"),
    ("max_connections", "200"),
    ("hot_standby", "on"),
    ("wal_level", "replica"),
    ("deadlock_timeout", "200ms"),
];
