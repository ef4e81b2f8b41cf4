//! What a kill in the middle of a write leaves behind.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use cap_std::fs::{Dir, DirEntry};

use super::path::TEMPORARY_PREFIX;

/// How old an unfinished file must be that nobody holds: one is made a moment before it is held.
const YOUNG: Duration = Duration::from_secs(60);
/// The most folders that are looked into.
const MOST_FOLDERS: usize = 10_000;

/// Removes the unfinished files of writers that have ended, in all folders beneath `root`. Links are not followed.
pub(super) fn remove(root: &Dir) -> io::Result<usize> {
    let mut folders = vec![PathBuf::from(".")];
    let (mut looked, mut removed) = (0, 0);
    while let Some(folder) = folders.pop() {
        looked += 1;
        let opened = root.open_dir(&folder)?;
        for entry in opened.entries()? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && looked + folders.len() < MOST_FOLDERS {
                folders.push(folder.join(entry.file_name()));
            }
            let name = entry.file_name();
            let unfinished = name.to_string_lossy().starts_with(TEMPORARY_PREFIX);
            if unfinished && kind.is_file() && is_left(&entry) {
                removed += usize::from(removed_from(&opened, Path::new(&name))?);
            }
        }
    }
    Ok(removed)
}

/// Whether the writer of a file has ended: whoever writes one holds it. What cannot be told is not said.
fn is_left(entry: &DirEntry) -> bool {
    let Ok(file) = entry.open() else {
        return false;
    };
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|at| at.into_std().elapsed().ok());
    age.is_some_and(|age| age >= YOUNG) && file.into_std().try_lock().is_ok()
}

/// Says whether it was this call that removed it.
fn removed_from(folder: &Dir, name: &Path) -> io::Result<bool> {
    match folder.remove_file(name) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        time::SystemTime,
    };

    use super::*;

    #[test]
    fn what_writers_left_that_have_ended_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("acme/deep")).unwrap();
        let old = SystemTime::now() - Duration::from_secs(3600);
        let write = |name: &str, at: SystemTime| {
            fs::write(root.join(name), "half").unwrap();
            let file = File::options().write(true).open(root.join(name)).unwrap();
            file.set_modified(at).unwrap();
            file
        };
        write(".fastmcp-tmp-00", old);
        write("acme/deep/.fastmcp-tmp-01", old);
        let held = write("acme/.fastmcp-tmp-02", old);
        held.lock().unwrap();
        write("acme/.fastmcp-tmp-03", SystemTime::now());
        write("acme/report.txt", old);
        fs::create_dir(root.join(".fastmcp-tmp-folder")).unwrap();
        let directory = Dir::open_ambient_dir(root, cap_std::ambient_authority()).unwrap();
        assert_eq!(remove(&directory).unwrap(), 2);
        let stay = [
            "acme/.fastmcp-tmp-02",
            "acme/.fastmcp-tmp-03",
            "acme/report.txt",
            ".fastmcp-tmp-folder",
        ];
        for name in stay {
            assert!(root.join(name).exists(), "{name}");
        }
        drop(held);
        assert_eq!(remove(&directory).unwrap(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside = elsewhere.path().join(".fastmcp-tmp-00");
        fs::write(&outside, "not ours").unwrap();
        let file = File::options().write(true).open(&outside).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(&outside, folder.path().join(".fastmcp-tmp-01")).unwrap();
        let root = Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
        assert_eq!(remove(&root).unwrap(), 0);
        assert!(outside.exists());
    }
}
