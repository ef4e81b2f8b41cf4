//! The real disk.

use std::{
    any::Any,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::{Segment, Storage};
use crate::hash::Running;

/// A folder of the file system. Files are made with mode 0600, folders with 0700.
#[derive(Clone, Debug)]
pub struct FileStorage {
    folder: PathBuf,
}

impl FileStorage {
    /// Names the folder; nothing is touched yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Storage for FileStorage {
    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send>> {
        create_folder(&self.folder)?;
        let file = private(OpenOptions::new().create(true).append(true)).open(self.path("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let data = match entry.metadata() {
                Ok(data) => data,
                // Archiving took it away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if data.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                files.push((name, data.len()));
            }
        }
        Ok(files)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.path(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        let path = self.path(name);
        let file = private(OpenOptions::new().create_new(true).append(true)).open(&path)?;
        sync_folder(path.parent())?;
        Ok(Box::new(FileSegment(file)))
    }

    fn resume(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        let file = OpenOptions::new().append(true).open(self.path(name))?;
        Ok(Box::new(FileSegment(file)))
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            create_folder(parent)?;
        }
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        let mut file =
            private(OpenOptions::new().create(true).write(true).truncate(true)).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, &path)?;
        sync_folder(path.parent())
    }

    fn copy_to(&self, name: &str, folder: &Path) -> io::Result<()> {
        create_folder(folder)?;
        let (from, to) = (self.path(name), folder.join(name));
        if to.exists() {
            if is_same(&from, &to)? {
                return Ok(());
            }
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("`{}` is another file", to.display()),
            ));
        }
        let mut temporary = to.clone().into_os_string();
        temporary.push(".tmp");
        let mut copy =
            private(OpenOptions::new().create(true).write(true).truncate(true)).open(&temporary)?;
        io::copy(&mut File::open(from)?, &mut copy)?;
        copy.sync_all()?;
        drop(copy);
        fs::rename(&temporary, &to)?;
        sync_folder(Some(folder))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        if fs::symlink_metadata(&path)?.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        }
    }
}

/// Whether two files hold the same bytes.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let hash = |path| {
        let mut hash = Running::default();
        io::copy(&mut File::open(path)?, &mut hash)?;
        io::Result::Ok(hash.finish())
    };
    Ok(hash(one)? == hash(other)?)
}

#[derive(Debug)]
struct FileSegment(File);

impl Segment for FileSegment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Creates a folder and what is missing above it, durably.
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        create_folder(parent)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(folder.parent())
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes the names in a folder durable. Elsewhere than on Unix a folder cannot be synced.
fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    let Some(folder) = folder.filter(|_| cfg!(unix)) else {
        return Ok(());
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_private_and_hold_what_was_appended() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data/audit");
        let storage = FileStorage::new(&root);
        assert!(storage.list().unwrap().is_empty());
        let lock = storage.lock().unwrap();
        let second = FileStorage::new(&root).lock().map(drop);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut segment = storage.create("a.jsonl").unwrap();
        segment.append(b"one\n").unwrap();
        segment.sync().unwrap();
        assert!(storage.create("a.jsonl").is_err());
        storage.resume("a.jsonl").unwrap().append(b"two\n").unwrap();
        storage.replace("tile/0/x001/000", b"old").unwrap();
        storage.replace("tile/0/x001/000", b"new").unwrap();
        assert_eq!(fs::read(root.join("tile/0/x001/000")).unwrap(), b"new");
        assert!(storage.list().unwrap().contains(&("a.jsonl".to_owned(), 8)));
        #[cfg(unix)]
        for (path, mode) in [
            ("a.jsonl", 0o600),
            ("lock", 0o600),
            ("tile", 0o700),
            ("", 0o700),
        ] {
            use std::os::unix::fs::PermissionsExt as _;
            let found = fs::metadata(root.join(path)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{path}");
        }
        storage.remove("tile").unwrap();
        storage.remove("a.jsonl").unwrap();
        let gone = storage.remove("a.jsonl").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        drop(lock);
        assert!(FileStorage::new(&root).lock().is_ok());
    }
}
