//! The authority on disk: two files that are whole or not there, and nobody else's.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::authority_error::AuthorityError;

/// A directory that holds, or is to hold, an authority.
#[derive(Debug, Clone)]
pub(super) struct Place {
    dir: PathBuf,
}

/// Both files, as read.
pub(super) struct Texts {
    pub(super) key: Zeroizing<String>,
    pub(super) certificate: String,
}

/// Which of the two files are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Neither,
    KeyOnly,
    CertificateOnly,
    Both,
}

impl Place {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    pub(super) fn key(&self) -> PathBuf {
        self.dir.join(KEY)
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.dir.join(CERTIFICATE)
    }

    pub(super) fn presence(&self) -> Presence {
        match (is_there(&self.key()), is_there(&self.certificate())) {
            (false, false) => Presence::Neither,
            (true, false) => Presence::KeyOnly,
            (false, true) => Presence::CertificateOnly,
            (true, true) => Presence::Both,
        }
    }

    /// Reads both files, each checked through the handle it is read from.
    pub(super) fn read(&self) -> Result<Texts, AuthorityError> {
        match self.presence() {
            Presence::Neither => Err(AuthorityError::Missing { dir: self.dir() }),
            Presence::KeyOnly => Err(AuthorityError::CertificateMissing { key: self.key() }),
            Presence::CertificateOnly => {
                Err(AuthorityError::KeyMissing { certificate: self.certificate() })
            }
            Presence::Both => self.read_as(&self.certificate()),
        }
    }

    /// The key, and the certificate that was about to be put beside it when a process creating
    /// them died; `None` when that is not what happened.
    pub(super) fn read_interrupted(&self) -> Option<Texts> {
        (self.presence() == Presence::KeyOnly)
            .then(|| self.read_as(&self.staged(CERTIFICATE)).ok())
            .flatten()
    }

    fn read_as(&self, certificate: &Path) -> Result<Texts, AuthorityError> {
        let (key, mode) = read_own(&self.key())?;
        if mode & 0o077 != 0 {
            return Err(AuthorityError::KeyExposed { path: self.key(), mode });
        }
        let (certificate, _) = read_own(certificate)?;
        Ok(Texts { key, certificate: certificate.to_string() })
    }

    /// Creates the directory for its owner alone; one that exists is left as it is.
    pub(super) fn prepare(&self) -> Result<(), AuthorityError> {
        let absent = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
        let missing: Vec<&Path> = self.dir.ancestors().take_while(absent).collect();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(io_error("create", &self.dir))?;
        missing.into_iter().try_for_each(|new| sync_dir(parent(new)))
    }

    /// Keeps every other process from creating here until the returned handle is dropped.
    pub(super) fn lock(&self) -> Result<File, AuthorityError> {
        let path = self.dir.join(LOCK);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(&path);
        let file = file.map_err(io_error("open", &path))?;
        file.lock().map_err(io_error("lock", &path))?;
        Ok(file)
    }

    /// Writes both files so that a crash leaves them both, neither, or what
    /// [`Place::read_interrupted`] reads. The caller holds the lock.
    pub(super) fn write(&self, texts: &Texts) -> Result<(), AuthorityError> {
        self.stage(CERTIFICATE, 0o644, &texts.certificate)?;
        self.stage(KEY, 0o600, &texts.key)?;
        sync_dir(&self.dir)?;
        self.commit(KEY)?;
        self.finish()
    }

    /// Puts the staged certificate into its place.
    pub(super) fn finish(&self) -> Result<(), AuthorityError> {
        self.commit(CERTIFICATE)?;
        sync_dir(&self.dir)
    }

    fn stage(&self, name: &str, mode: u32, text: &str) -> Result<(), AuthorityError> {
        let path = self.staged(name);
        let write = || {
            // What a process that died has left is taken away, never written into.
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            // The mode asked for at creation is narrowed by the umask.
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(io_error("write", &path))
    }

    fn commit(&self, name: &str) -> Result<(), AuthorityError> {
        let path = self.dir.join(name);
        std::fs::rename(self.staged(name), &path).map_err(io_error("write", &path))
    }

    fn staged(&self, name: &str) -> PathBuf {
        self.dir.join(format!(".{name}.new"))
    }
}

/// Without following a link: a link that leads nowhere is there too.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The text of a regular file that belongs to this process's user, and its permission bits.
fn read_own(path: &Path) -> Result<(Zeroizing<String>, u32), AuthorityError> {
    // Not blocking, so that a pipe in the file's place cannot hold the process up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return Err(AuthorityError::Link { path: path.into() }),
        Err(error) => return Err(io_error("open", path)(error.into())),
    };
    let about = file.metadata().map_err(io_error("look at", path))?;
    if !about.is_file() || about.len() > MAX_LEN {
        return Err(AuthorityError::NotAFile { path: path.into() });
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(AuthorityError::ForeignOwner { path: path.into(), owner: about.uid() });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN as usize + 1));
    file.take(MAX_LEN).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    // What is not text is no PEM either; said by whoever parses it.
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    Ok((Zeroizing::new(text.to_owned()), about.mode() & 0o7777))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_dir(dir: &Path) -> Result<(), AuthorityError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("synchronise", dir))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuthorityError {
    let path = path.to_owned();
    move |source| AuthorityError::Io { doing, path, source }
}

const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.crt";
const LOCK: &str = ".ca.lock";
/// More than any key or certificate this crate reads, in bytes.
const MAX_LEN: u64 = 64 * 1024;
