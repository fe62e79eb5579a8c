//! Files that nobody else reads.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

pub(super) use crate::files::write;

/// The text of a file that is this user's alone; `None` where there is none.
pub(super) fn read_private(path: &Path) -> io::Result<Option<Zeroizing<String>>> {
    // Not blocking, so that a pipe in the file's place cannot hold the process up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err(io::Error::other("it is a symbolic link")),
        Err(error) => return Err(error.into()),
    };
    let about = file.metadata()?;
    if !about.is_file() || about.len() > MAX_LEN {
        return Err(io::Error::other("it is no file of the expected size"));
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if about.mode() & 0o077 != 0 {
        return Err(io::Error::other("it can be used by group or others"));
    }
    read_text(file).map(Some)
}

/// The text of a file that holds a secret and may be whosever it is: one that was mounted.
pub(super) fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    read_text(File::open(path)?)
}

fn read_text(file: File) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN as usize + 1));
    file.take(MAX_LEN).read_to_string(&mut text)?;
    Ok(text)
}

const MAX_LEN: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_read_back_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert!(read_private(&path).unwrap().is_none());
        write(&path, 0o600, "s3cret").unwrap();
        assert_eq!(*read_private(&path).unwrap().unwrap(), "s3cret");
        write(&path, 0o644, "s3cret").unwrap();
        assert!(read_private(&path).is_err(), "others could read it");
        let link = dir.path().join("link");
        write(&path, 0o600, "s3cret").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read_private(&link).is_err());
        assert!(read_private(dir.path()).is_err());
    }
}
