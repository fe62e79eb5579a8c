//! Where the programs of a server are, and as whom they are run.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs of one installed server.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    directory: PathBuf,
    /// As whom they run; `None` as whoever runs the tests.
    user: Option<(u32, u32)>,
}

impl Binaries {
    /// Those in `PATH`, else the newest that Debian keeps beside it; `None` where there are none.
    pub(super) fn find() -> io::Result<Option<Self>> {
        let in_path = std::env::var_os("PATH")
            .into_iter()
            .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
        let mut debian: Vec<_> = match std::fs::read_dir("/usr/lib/postgresql") {
            Ok(versions) => versions.flatten().map(|version| version.path().join("bin")).collect(),
            Err(_) => Vec::new(),
        };
        debian.sort_by_key(|directory| std::cmp::Reverse(version_of(directory)));
        // A link in the path may stand alone there; beside what it leads to are all the others.
        let real = |directory: PathBuf| {
            Some(directory.join("initdb").canonicalize().ok()?.parent()?.to_owned())
        };
        let complete = |directory: &PathBuf| {
            ["postgres", "pg_ctl", "psql", "pg_basebackup"]
                .iter()
                .all(|program| directory.join(program).is_file())
        };
        let found = in_path.chain(debian).filter_map(real).find(complete);
        let Some(directory) = found else { return Ok(None) };
        Ok(Some(Self { directory, user: unprivileged()? }))
    }

    /// As whom they run, where that is not who runs the tests.
    pub(super) const fn user(&self) -> Option<(u32, u32)> {
        self.user
    }

    /// One of the programs, to be run in a directory that its user may enter.
    pub(super) fn command(&self, program: &str, home: &Path) -> Command {
        self.as_user(self.directory.join(program), home)
    }

    /// Any program, to be run as the same user.
    pub(super) fn as_user(&self, program: impl AsRef<OsStr>, home: &Path) -> Command {
        let mut command = Command::new(program);
        // Nothing of the outside, such as PGPASSWORD or LC_ALL, has a say.
        command.env_clear().env("PATH", path_with(&self.directory)).current_dir(home);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn path_with(directory: &Path) -> String {
    format!("{}:/usr/local/bin:/usr/bin:/bin", directory.display())
}

fn version_of(bin: &Path) -> u32 {
    let version = bin.parent().and_then(Path::file_name).and_then(OsStr::to_str);
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// PostgreSQL refuses to run as root, so root runs it as somebody who may do nothing.
fn unprivileged() -> io::Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt as _;
    // What this process makes belongs to whom it runs as.
    if tempfile::tempfile()?.metadata()?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        let mut fields = users
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.skip(1)))?;
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let found = ids("postgres").or_else(|| ids("nobody"));
    found.map(Some).ok_or_else(|| io::Error::other("there is no user to run PostgreSQL as"))
}
