//! A disk in memory that fails and crashes when told to. Tests only.

use std::{
    any::Any,
    collections::BTreeMap,
    io::{self, Cursor, Read},
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Segment, Storage};

/// What happens at one operation that changes the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It fails and changes nothing.
    Fail,
    /// It fails half-way: half of the bytes are there, the file exists, the sync reached the disk.
    Half,
    /// The power goes: this operation and all after it fail.
    Crash,
    /// Whoever does it comes to grief.
    Panic,
    /// It fails, and the process is killed. A sync leaves its bytes where they are read, and not on the disk; no later sync
    /// writes them, since they pass for written.
    Lost,
}

/// What is left of unsynced bytes after a crash.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Left {
    Nothing,
    Half,
    /// The second half: a disk may write later bytes first.
    Hole,
    All,
}

/// Zeros after what was appended.
const ROOM: usize = 100;

#[derive(Clone, Debug)]
pub(crate) struct Memory {
    disk: Arc<Mutex<Disk>>,
    locked: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<String, Arc<Mutex<Inode>>>,
    operations: usize,
    /// From this operation on, so many times.
    plan: Option<(usize, usize, Trouble)>,
    crashed: bool,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// With the room at their end.
    bytes: Vec<u8>,
    /// Without it.
    len: usize,
    synced: usize,
    /// What is read and is not on the disk, although it counts as synced.
    lost: Option<Range<usize>>,
    /// From where on it was written once more since: the next sync reaches it.
    again: Option<usize>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            disk: Arc::default(),
            locked: Arc::default(),
        }
    }

    /// Plans trouble for `times` operations, after `operation` more have gone well.
    pub(crate) fn plan(&self, operation: usize, times: usize, trouble: Trouble) {
        let mut disk = self.disk();
        let first = disk.operations + operation;
        disk.plan = Some((first, times, trouble));
    }

    pub(crate) fn heal(&self) {
        self.disk().plan = None;
    }

    pub(crate) fn crashed(&self) -> bool {
        self.disk().crashed
    }

    pub(crate) fn operations(&self) -> usize {
        self.disk().operations
    }

    /// Returns the disk as it is found after a crash.
    pub(crate) fn reboot(&self, left: Left) -> Self {
        let disk = self.disk();
        let files = disk.files.iter().map(|(name, inode)| {
            let Inode {
                mut bytes,
                len,
                synced,
                lost,
                again,
            } = inode.lock().unwrap().clone();
            let middle = synced.midpoint(len);
            match left {
                // As the room that these bytes were written into was not synced either.
                Left::Nothing => bytes.truncate(synced),
                Left::Half => bytes[middle..].fill(0),
                Left::Hole => bytes[synced..middle].fill(0),
                Left::All => {}
            }
            // What was written once more, may be there.
            let found = again.filter(|_| matches!(left, Left::All));
            if let Some(lost) = still(lost, found) {
                let end = lost.end.min(bytes.len());
                bytes[lost.start.min(end)..end].fill(0);
            }
            (name.clone(), Arc::new(Mutex::new(Inode::new(&bytes))))
        });
        Self::with(files.collect())
    }

    /// Returns the disk as it is found after the process was killed.
    pub(crate) fn killed(&self) -> Self {
        let disk = self.disk();
        let files = disk.files.iter().map(|(name, inode)| {
            let inode = inode.lock().unwrap().clone();
            (name.clone(), Arc::new(Mutex::new(inode)))
        });
        Self::with(files.collect())
    }

    fn with(files: BTreeMap<String, Arc<Mutex<Inode>>>) -> Self {
        Self {
            disk: Arc::new(Mutex::new(Disk {
                files,
                ..Disk::default()
            })),
            locked: Arc::default(),
        }
    }

    /// The content of a file, without room.
    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        let inode = self.disk().files[name].lock().unwrap().clone();
        inode.bytes[..inode.len].to_vec()
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        self.disk()
            .files
            .insert(name.to_owned(), Arc::new(Mutex::new(Inode::new(bytes))));
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.disk().files.keys().cloned().collect()
    }

    pub(crate) fn segments(&self) -> Vec<String> {
        let mut names = self.names();
        names.retain(|name| name.starts_with("audit-"));
        names
    }

    /// Holds up every operation until the returned value is dropped.
    pub(crate) fn hold(&self) -> impl Drop + '_ {
        self.disk()
    }

    pub(crate) fn delete(&self, name: &str) {
        let folder = format!("{name}/");
        self.disk()
            .files
            .retain(|file, _| file != name && !file.starts_with(&folder));
    }

    /// Returns a disk of its own with the same files.
    pub(crate) fn copy(&self) -> Self {
        self.reboot(Left::All)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        locked(&self.disk)
    }
}

impl Inode {
    /// With everything on the disk.
    fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            len: bytes.len(),
            synced: bytes.len(),
            lost: None,
            again: None,
        }
    }
}

/// What of a lost range stays lost when all from some byte on is written.
fn still(lost: Option<Range<usize>>, from: Option<usize>) -> Option<Range<usize>> {
    let lost = lost?;
    let end = from.map_or(lost.end, |from| lost.end.min(from));
    (lost.start < end).then_some(lost.start..end)
}

impl Disk {
    /// Whether the next operation is one that is lost.
    fn loses(&self) -> bool {
        let now = self.operations;
        let planned = |(first, times, trouble): (usize, usize, Trouble)| {
            trouble == Trouble::Lost && (first..first + times).contains(&now)
        };
        !self.crashed && self.plan.is_some_and(planned)
    }

    /// Counts an operation; says whether it goes half-way before it fails.
    fn step(&mut self) -> Result<Option<io::Error>, io::Error> {
        let now = self.operations;
        self.operations += 1;
        if self.crashed {
            return Err(io::Error::other("crashed"));
        }
        match self.plan {
            Some((first, times, trouble)) if (first..first + times).contains(&now) => match trouble
            {
                Trouble::Fail => Err(io::ErrorKind::StorageFull.into()),
                Trouble::Half => Ok(Some(io::Error::other("half"))),
                Trouble::Crash | Trouble::Lost => {
                    self.crashed = true;
                    Err(io::Error::other("crash"))
                }
                Trouble::Panic => panic!("somebody came to grief"),
            },
            _ => Ok(None),
        }
    }
}

/// Whoever panicked has changed nothing.
fn locked(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn outcome(trouble: Option<io::Error>) -> io::Result<()> {
    trouble.map_or(Ok(()), Err)
}

struct Lock(Arc<AtomicBool>);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Storage for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send>> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock(Arc::clone(&self.locked))))
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let disk = self.disk();
        let files = disk.files.iter().filter(|(name, _)| !name.contains('/'));
        Ok(files
            .map(|(name, inode)| (name.clone(), inode.lock().unwrap().bytes.len() as u64))
            .collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let disk = self.disk();
        let inode = disk.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let bytes = inode.lock().unwrap().bytes.clone();
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        let mut disk = self.disk();
        let trouble = disk.step()?;
        if disk.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::<Mutex<Inode>>::default();
        disk.files.insert(name.to_owned(), Arc::clone(&inode));
        outcome(trouble)?;
        Ok(Box::new(MemorySegment {
            disk: Arc::clone(&self.disk),
            inode,
        }))
    }

    fn resume(&self, name: &str, durable: u64, len: u64) -> io::Result<Box<dyn Segment>> {
        let mut disk = self.disk();
        outcome(disk.step()?)?;
        let inode = Arc::clone(disk.files.get(name).ok_or(io::ErrorKind::NotFound)?);
        {
            let mut inode = inode.lock().unwrap();
            inode.len = usize::try_from(len).unwrap();
            inode.synced = inode.synced.min(inode.len);
            inode.again = Some(usize::try_from(durable).unwrap());
            assert!(inode.bytes[inode.len..].iter().all(|byte| *byte == 0));
            let len = inode.len;
            inode.bytes.truncate(len);
        }
        Ok(Box::new(MemorySegment {
            disk: Arc::clone(&self.disk),
            inode,
        }))
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let trouble = self.disk().step()?;
        self.put(name, content);
        outcome(trouble)
    }

    fn replace_all(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        files
            .iter()
            .try_for_each(|(name, content)| self.replace(name, content))
    }

    fn copy_to(&self, name: &str, folder: &Path) -> io::Result<()> {
        let trouble = self.disk().step()?;
        let to = format!("{}/{name}", folder.display());
        let bytes = self.get(name);
        if self.names().contains(&to) && self.get(&to) != bytes {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.put(&to, &bytes);
        outcome(trouble)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let trouble = disk.step()?;
        let folder = format!("{name}/");
        let before = disk.files.len();
        disk.files
            .retain(|file, _| file != name && !file.starts_with(&folder));
        if disk.files.len() == before {
            return Err(io::ErrorKind::NotFound.into());
        }
        outcome(trouble)
    }
}

#[derive(Debug)]
struct MemorySegment {
    disk: Arc<Mutex<Disk>>,
    inode: Arc<Mutex<Inode>>,
}

impl Segment for MemorySegment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let trouble = locked(&self.disk).step()?;
        let written = if trouble.is_some() {
            &bytes[..bytes.len() / 2]
        } else {
            bytes
        };
        let mut inode = self.inode.lock().unwrap();
        let len = inode.len;
        inode.bytes.truncate(len);
        inode.bytes.extend_from_slice(written);
        inode.len = inode.bytes.len();
        inode.bytes.extend_from_slice(&[0; ROOM]);
        outcome(trouble)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        let mut inode = self.inode.lock().unwrap();
        if disk.loses() {
            inode.lost = Some(inode.synced..inode.len);
            inode.synced = inode.len;
        }
        let trouble = disk.step()?;
        inode.synced = inode.len;
        inode.lost = still(inode.lost.take(), inode.again.take());
        outcome(trouble)
    }

    fn trim(&mut self) -> io::Result<()> {
        let trouble = locked(&self.disk).step()?;
        let mut inode = self.inode.lock().unwrap();
        let len = inode.len;
        inode.bytes.truncate(len);
        outcome(trouble)
    }
}
