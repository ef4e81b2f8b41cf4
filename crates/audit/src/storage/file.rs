//! The real disk.

use std::{
    any::Any,
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::{Segment, Storage};
use crate::hash::Running;

/// What is reserved at once: the eighth part of what is there, in whole pieces and within these bounds. A log that hardly grows takes little.
const LEAST_ROOM: u64 = PIECE as u64;
const MOST_ROOM: u64 = 1 << 20;
const PIECE: usize = 1 << 16;

/// What is reserved is written, since a block that was never written costs its first sync more. From here rather than
/// from fresh memory, each page of which the system would have to clear.
static ZEROS: [u8; PIECE] = [0; PIECE];

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
        let file = private(OpenOptions::new().create_new(true).write(true)).open(&path)?;
        sync_folder(path.parent())?;
        Ok(Box::new(FileSegment::new(file, 0)))
    }

    fn resume(&self, name: &str, durable: u64, len: u64) -> io::Result<Box<dyn Segment>> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).open(self.path(name))?;
        if file.metadata()?.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.set_len(len)?;
        write_again(&mut file, durable, len)?;
        file.seek(SeekFrom::Start(len))?;
        Ok(Box::new(FileSegment::new(file, len)))
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        put(&path, content)?;
        sync_folder(path.parent())
    }

    fn replace_all(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        let mut folders = BTreeSet::new();
        for (name, content) in files {
            let path = self.path(name);
            put(&path, content)?;
            folders.extend(path.parent().map(Path::to_owned));
        }
        folders
            .iter()
            .try_for_each(|folder| sync_folder(Some(folder)))
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

/// Gives a file this content, durably but for its name, and makes the folders on the way.
fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(".tmp");
    let mut file =
        private(OpenOptions::new().create(true).write(true).truncate(true)).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)
}

/// Writes the bytes of a file from `at` to `end` over themselves.
fn write_again(file: &mut File, mut at: u64, end: u64) -> io::Result<()> {
    let mut bytes = Vec::new();
    while at < end {
        bytes.clear();
        file.seek(SeekFrom::Start(at))?;
        file.take(MOST_ROOM.min(end - at)).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
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

/// Writes over zeros that it wrote before: a file that does not grow is synced without its length, which takes the
/// disk, and the CPU, half the time.
#[derive(Debug)]
struct FileSegment {
    file: File,
    /// Whether the file stands elsewhere than after what was appended.
    astray: bool,
    len: u64,
    /// Where the zeros end.
    room: u64,
}

impl FileSegment {
    const fn new(file: File, len: u64) -> Self {
        Self {
            file,
            astray: false,
            len,
            room: len,
        }
    }
}

impl Segment for FileSegment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.astray {
            self.file.seek(SeekFrom::Start(self.len))?;
            self.astray = false;
        }
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        self.room = self.room.max(self.len);
        Ok(())
    }

    fn reserve(&mut self) {
        let step = (self.len / 8).clamp(LEAST_ROOM, MOST_ROOM);
        // Before it is used up, since who appends next has callers that wait.
        if self.room - self.len >= step / 2 {
            return;
        }
        self.astray = true;
        // A disk without room for more may still have some for what is appended.
        let at = self.file.seek(SeekFrom::Start(self.room));
        let pieces = step / LEAST_ROOM;
        let zeroed = at.and_then(|_| (0..pieces).try_for_each(|_| self.file.write_all(&ZEROS)));
        if zeroed.is_ok() {
            self.room += pieces * LEAST_ROOM;
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn trim(&mut self) -> io::Result<()> {
        self.room = self.len;
        self.file.set_len(self.len)
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
        segment.reserve();
        segment.sync().unwrap();
        assert!(storage.create("a.jsonl").is_err());
        drop(segment);
        let content = fs::read(root.join("a.jsonl")).unwrap();
        let (line, room) = content.split_at(4);
        assert!(line == b"one\n" && room.len() == 1 << 16 && room.iter().all(|byte| *byte == 0));
        assert!(
            storage.resume("a.jsonl", 0, 1 << 20).is_err(),
            "it is not that long"
        );
        let mut segment = storage.resume("a.jsonl", 1, 4).unwrap();
        segment.append(b"two\n").unwrap();
        let long = vec![b'x'; 1 << 16];
        segment.append(&long).unwrap();
        segment.reserve();
        segment.append(b"end\n").unwrap();
        segment.trim().unwrap();
        let whole = [b"one\ntwo\n", long.as_slice(), b"end\n"].concat();
        assert_eq!(fs::read(root.join("a.jsonl")).unwrap(), whole);
        storage.replace("tile/0/x001/000", b"old").unwrap();
        storage
            .replace_all(&[
                ("tile/0/x001/000".to_owned(), b"new".to_vec()),
                ("tile/1/000".to_owned(), b"one".to_vec()),
            ])
            .unwrap();
        assert_eq!(fs::read(root.join("tile/1/000")).unwrap(), b"one");
        assert_eq!(fs::read(root.join("tile/0/x001/000")).unwrap(), b"new");
        let listed = storage.list().unwrap();
        assert!(listed.contains(&("a.jsonl".to_owned(), whole.len() as u64)));
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
