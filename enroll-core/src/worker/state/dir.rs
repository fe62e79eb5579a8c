//! The directory itself: made private, checked, and reached only through its own descriptor.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::files::StateFile;
use super::{StateError, StateErrorKind};

/// A directory that was checked and is held open, so that a rename or a link put in its place
/// between two operations changes nothing.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
}

impl Handle {
    /// Makes the directory if it is not there, then opens it as [`Handle::open`] does.
    pub(super) fn create(path: &Path) -> Result<Self, StateError> {
        make(path).map_err(|why| StateError::io(path, "create the state directory", why))?;
        Self::open(path)
    }

    /// Opens the directory without following a link, and checks owner and mode.
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|why| match why {
            Errno::LOOP | Errno::NOTDIR => not_safe(path, "it is a link or no directory"),
            why => StateError::io(path, "open the state directory", why),
        })?;
        let handle = Self { fd, path: path.to_owned() };
        let stat = handle.stat()?;
        check_owner(path, &stat)?;
        if open_to_others(&stat).is_some() {
            handle.tighten(&stat)?;
        }
        Ok(handle)
    }

    /// Reads one file; `None` when there is none.
    pub(super) fn read(&self, file: StateFile) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        let path = self.path.join(file.name);
        // Without NONBLOCK a FIFO put in the file's place would stop the process here.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, file.name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(not_safe(&path, "it is a link")),
            Err(why) => return Err(StateError::io(&path, "open the file", why)),
        };
        let stat =
            rustix::fs::fstat(&fd).map_err(|why| StateError::io(&path, "look at it", why))?;
        check_file(&path, &stat, file)?;
        read_bounded(&path, File::from(fd), &stat).map(Some)
    }

    /// Whether something of this name is there, whatever it is.
    pub(super) fn holds(&self, file: StateFile) -> Result<bool, StateError> {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(&self.fd, file.name, flags) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(why) => Err(StateError::io(&self.path.join(file.name), "look at it", why)),
        }
    }

    fn stat(&self) -> Result<Stat, StateError> {
        rustix::fs::fstat(&self.fd)
            .map_err(|why| StateError::io(&self.path, "look at the state directory", why))
    }

    /// An empty directory of ours, such as a fresh volume, is made private. One that holds anything
    /// is refused: whoever could enter it may already have read it, and it may serve others too.
    fn tighten(&self, stat: &Stat) -> Result<(), StateError> {
        let io = |why| StateError::io(&self.path, "make the state directory private", why);
        if !self.is_empty().map_err(io)? {
            let mode = Mode::from_raw_mode(stat.st_mode).bits();
            let what = format!(
                "others can enter it (mode {mode:04o}); make it private with `chmod 700` if nobody \
                 unwanted did"
            );
            return Err(not_safe(&self.path, what));
        }
        rustix::fs::fchmod(&self.fd, Mode::RWXU).map_err(io)
    }

    fn is_empty(&self) -> Result<bool, Errno> {
        for entry in Dir::read_from(&self.fd)? {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Far more than any of the files needs.
const MAX_FILE: u64 = 1 << 20;

fn read_bounded(path: &Path, file: File, stat: &Stat) -> Result<Zeroizing<Vec<u8>>, StateError> {
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > MAX_FILE {
        return Err(StateError::new(StateErrorKind::Damaged, path, "it is far too large"));
    }
    // Reserved in full, so that growing leaves no copy of a key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size as usize + 1));
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(|why| StateError::io(path, "read the file", why))?;
    Ok(bytes)
}

fn check_owner(path: &Path, stat: &Stat) -> Result<(), StateError> {
    let (owner, we) = (stat.st_uid, rustix::process::geteuid().as_raw());
    if owner == we {
        return Ok(());
    }
    Err(not_safe(path, format!("it belongs to user {owner}, and this process runs as user {we}")))
}

fn check_file(path: &Path, stat: &Stat, file: StateFile) -> Result<(), StateError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(not_safe(path, "it is no regular file"));
    }
    check_owner(path, stat)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let others = mode & (Mode::RWXG | Mode::RWXO);
    if !file.mode().contains(others) {
        let (is, should) = (mode.bits(), file.mode().bits());
        let what = format!(
            "its mode is {is:04o}, which lets others at it; `chmod {should:o}` it if nobody did"
        );
        return Err(not_safe(path, what));
    }
    Ok(())
}

fn open_to_others(stat: &Stat) -> Option<Mode> {
    let others = Mode::from_raw_mode(stat.st_mode) & (Mode::RWXG | Mode::RWXO);
    (!others.is_empty()).then_some(others)
}

fn not_safe(path: &Path, what: impl Into<String>) -> StateError {
    StateError::new(StateErrorKind::Unsafe, path, what)
}

/// Makes the directory 0700 and puts its name on disk. One that is there already is left alone.
fn make(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    let private = || DirBuilder::new().mode(0o700).create(path);
    let made = match private() {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(parent).and_then(|()| private())
        }
        made => made,
    };
    match made {
        Ok(()) => File::open(parent)?.sync_all(),
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(why) => Err(why),
    }
}
