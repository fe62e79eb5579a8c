//! Files that are whole or not there.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// Puts `text` at `path`, readable as `mode` says, in one step that survives a crash.
pub(crate) fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    staged(path, mode, text)?.persist(path)?;
    File::open(dir_of(path))?.sync_all()
}

/// The same, unless something of that name is there already.
pub(crate) fn create(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    // Looked at first, because the directory of one that is there need not be writable.
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    match staged(path, mode, text)?.persist_noclobber(path) {
        Ok(_file) => File::open(dir_of(path))?.sync_all(),
        Err(why) if why.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(why) => Err(why.error),
    }
}

/// The directory that `path` is in.
pub(crate) fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn staged(path: &Path, mode: u32, text: &str) -> io::Result<NamedTempFile> {
    let mut staged = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(dir_of(path))?;
    // The mode asked for at creation is narrowed by the umask.
    staged.as_file().set_permissions(Permissions::from_mode(mode))?;
    staged.write_all(text.as_bytes())?;
    staged.as_file().sync_all()?;
    Ok(staged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_created_is_whole_and_what_is_there_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        for (text, held) in [("first", "first"), ("second", "first")] {
            create(&path, 0o644, text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), held);
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        write(&path, 0o600, "third").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(create(&dir.path().join("none/agent.toml"), 0o644, "").is_err());
    }
}
