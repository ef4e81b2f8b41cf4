//! Folders as a whole: one in the place of another, and none at all.

use std::io;

use cap_std::fs::Dir;

use super::error::FileError;
use super::path::RelativePath;
use super::write::sync_directory;
use super::{FileOperations, is_symlink, parent_of};

impl FileOperations {
    /// Puts the folder `fresh` in the place of `path`, removes what was there, and returns whether there was something.
    ///
    /// Where the system can exchange two names (Linux, macOS), others see the old folder or the new one at every moment;
    /// elsewhere there is a short while in which there is none. What has either open keeps what it has.
    ///
    /// # Errors
    ///
    /// [`FileError::SymbolicLink`] or [`FileError::NotADirectory`] if either is something else than a folder;
    /// [`FileError`] if the old one is in its new place but cannot be removed: it is then called `fresh`.
    pub fn replace_folder(&self, fresh: &str, path: &str) -> Result<bool, FileError> {
        let fresh = RelativePath::parse(fresh, self.limits().max_depth)?;
        let path = RelativePath::parse(path, self.limits().max_depth)?;
        let failed = |source| FileError::from_io(path.text(), source);
        let from = parent_of(&self.root, &fresh)
            .map_err(|source| FileError::from_io(fresh.text(), source))?;
        let to = parent_of(&self.root, &path).map_err(failed)?;
        require_folder(&from, &fresh)?;
        let replaced = match to.symlink_metadata(path.name()) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        if replaced {
            require_folder(&to, &path)?;
            exchange((&from, fresh.name()), (&to, path.name())).map_err(failed)?;
            from.remove_dir_all(fresh.name())
                .map_err(|source| FileError::from_io(fresh.text(), source))?;
        } else {
            from.rename(fresh.name(), &to, path.name())
                .map_err(failed)?;
        }
        sync_directory(&to).map_err(failed)?;
        Ok(replaced)
    }

    /// Removes a folder with everything in it, and returns whether there was one. Links in it are removed, never
    /// followed.
    ///
    /// # Errors
    ///
    /// [`FileError::SymbolicLink`] or [`FileError::NotADirectory`] if something else is there; [`FileError`] if part of
    /// it cannot be removed.
    pub fn remove_folder(&self, path: &str) -> Result<bool, FileError> {
        let path = RelativePath::parse(path, self.limits().max_depth)?;
        let failed = |source| FileError::from_io(path.text(), source);
        let parent = match parent_of(&self.root, &path) {
            Ok(parent) => parent,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        match require_folder(&parent, &path) {
            Ok(()) => {}
            Err(FileError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        parent.remove_dir_all(path.name()).map_err(failed)?;
        Ok(true)
    }
}

fn require_folder(parent: &Dir, path: &RelativePath<'_>) -> Result<(), FileError> {
    let metadata = parent
        .symlink_metadata(path.name())
        .map_err(|source| FileError::from_io(path.text(), source))?;
    if is_symlink(&metadata) {
        return Err(FileError::SymbolicLink {
            path: path.text().into(),
        });
    }
    if !metadata.is_dir() {
        return Err(FileError::NotADirectory {
            path: path.text().into(),
        });
    }
    Ok(())
}

/// Gives each of two folders the other's name.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn exchange(one: (&Dir, &str), other: (&Dir, &str)) -> io::Result<()> {
    use rustix::{fs::RenameFlags, io::Errno};

    match rustix::fs::renameat_with(one.0, one.1, other.0, other.1, RenameFlags::EXCHANGE) {
        // The file system cannot.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => in_turn(one, other),
        outcome => Ok(outcome?),
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn exchange(one: (&Dir, &str), other: (&Dir, &str)) -> io::Result<()> {
    in_turn(one, other)
}

/// The same in three steps, where the system has no one step for it.
fn in_turn(one: (&Dir, &str), other: (&Dir, &str)) -> io::Result<()> {
    let aside = format!("{}.old", one.1);
    other.0.rename(other.1, one.0, &aside)?;
    if let Err(error) = one.0.rename(one.1, other.0, other.1) {
        one.0.rename(&aside, other.0, other.1)?;
        return Err(error);
    }
    one.0.rename(&aside, one.0, one.1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Limits;
    use super::*;

    #[test]
    fn a_folder_takes_the_place_of_another_whole() {
        let folder = tempfile::tempdir().unwrap();
        let files = FileOperations::open(folder.path(), Limits::default()).unwrap();
        files.write("new/a/b", b"1", false).unwrap();
        assert!(!files.replace_folder("new", "kept").unwrap());
        assert_eq!(files.read("kept/a/b").unwrap(), b"1");
        files.write("new/c", b"2", false).unwrap();
        assert!(files.replace_folder("new", "kept").unwrap());
        assert_eq!(files.read("kept/c").unwrap(), b"2");
        assert!(!files.exists("kept/a").unwrap() && !files.exists("new").unwrap());
        for (fresh, path) in [("none", "kept"), ("../x", "kept"), ("kept", "../x")] {
            assert!(files.replace_folder(fresh, path).is_err(), "{fresh} {path}");
        }
        files.write("file", b"3", false).unwrap();
        let taken = files.replace_folder("kept", "file").unwrap_err();
        assert!(matches!(taken, FileError::NotADirectory { .. }));
        assert!(matches!(
            files.remove_folder("file"),
            Err(FileError::NotADirectory { .. })
        ));
        assert!(!files.remove_folder("none/at").unwrap());
        assert!(files.remove_folder("kept").unwrap() && !files.exists("kept").unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_neither_replaced_nor_followed() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), "s").unwrap();
        let files = FileOperations::open(folder.path(), Limits::default()).unwrap();
        files.write("new/a", b"1", false).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        let refused = files.replace_folder("new", "link").unwrap_err();
        assert!(matches!(refused, FileError::SymbolicLink { .. }));
        assert!(files.remove_folder("link").is_err());
        std::os::unix::fs::symlink(outside.path(), folder.path().join("new/link")).unwrap();
        assert!(files.remove_folder("new").unwrap());
        assert!(outside.path().join("secret").exists());
    }

    #[test]
    fn without_an_exchange_the_same_comes_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = FileOperations::open(folder.path(), Limits::default()).unwrap();
        files.write("one/a", b"1", false).unwrap();
        files.write("two/b", b"2", false).unwrap();
        in_turn((&files.root, "one"), (&files.root, "two")).unwrap();
        assert!(files.exists("one/b").unwrap() && files.exists("two/a").unwrap());
        assert!(!files.exists("one.old").unwrap());
    }
}
