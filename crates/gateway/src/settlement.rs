//! Settlements that wait for the log that they belong into.
//!
//! An operator settles beside a gateway that runs, and which alone writes its log. So the settlement waits in a folder
//! beside the state: it is put there before the state is changed, and whoever has the log records it once the state says
//! that it happened. What was begun to be recorded says from where on the log has it, if it has it: killed at any point,
//! the next look finishes it, and there is one record of each.
//!
//! Whoever puts a settlement there holds a lock on it while it may still happen. So one that never will is told from one
//! that takes long: no age says that.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use fastmcp_audit::{Draft, Filter, Object, Status as Outcome, VerifyError};
use fastmcp_guard::clock::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    audit::{Audit, rfc3339},
    state::{
        StateError,
        ledger::Ledger,
        machine::Status,
        operation::{OperationId, Report},
    },
};

/// The folder, in the data folder.
const FOLDER: &str = "settlements";
/// The action of the record.
const ACTION: &str = "operations.settled";
/// How often a gateway looks into the folder.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// For how long the state may still take what was sent to it after whoever sent it has ended: a database may be at its commit.
const SETTLES_LATE: Duration = Duration::from_secs(120);
/// The largest file that is read.
const MAX_BYTES: u64 = 64 * 1024;
/// How many settlements are looked at together.
const MOST: usize = 500;

/// What an operator said of an operation of unknown outcome.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    operation_id: String,
    tenant: String,
    tool_id: String,
    subject: String,
    settled_as: String,
    by: String,
    note: String,
    at: String,
    /// The first record of the log that may be of this settlement.
    from_seq: Option<u64>,
}

impl Settled {
    /// What `by` found out at `at` about the operation of `report`: that it ended as `status`; `note` says how.
    #[must_use]
    pub fn new(report: &Report, status: Status, by: &str, note: &str, at: Timestamp) -> Self {
        Self {
            operation_id: report.operation_id.as_str().to_owned(),
            tenant: report.binding.tenant.clone(),
            tool_id: report.binding.tool_id.as_str().to_owned(),
            subject: report.binding.subject.clone(),
            settled_as: status.as_str().to_owned(),
            by: by.to_owned(),
            note: note.to_owned(),
            at: rfc3339(at),
            from_seq: None,
        }
    }

    /// The same, about to be recorded in a log that has `size` records.
    #[must_use]
    pub fn beginning_at(mut self, size: u64) -> Self {
        self.from_seq = Some(size);
        self
    }

    /// What the state keeps of it. Tells it from any other settlement of the operation.
    #[must_use]
    pub fn said(&self) -> String {
        let Self {
            settled_as,
            by,
            at,
            note,
            ..
        } = self;
        format!("settled as {settled_as} by {by} at {at}: {note}")
    }

    /// What the log keeps of it. The reason of the doubt is not in it: the state seals what providers say.
    #[must_use]
    pub fn draft(&self) -> Draft {
        let id = self.operation_id.clone();
        let mut draft = Draft::event(ACTION, Outcome::Success);
        draft.reason = Some(self.note.clone());
        draft.resource_type = Some("operation".to_owned());
        draft.resource_id = Some(id.clone());
        draft.operation_id = Some(id);
        draft.tool_id = Some(self.tool_id.clone());
        draft.tenant = Some(self.tenant.clone());
        // `sub` is who acted with a token; an operator has none.
        draft.details = Some(Object::from_iter([
            ("by", json!(self.by)),
            ("settled_as", json!(self.settled_as)),
            ("settled_at", json!(self.at)),
            ("operation_sub", json!(self.subject)),
        ]));
        draft
    }
}

/// The folder in which settlements wait.
#[derive(Clone, Debug)]
pub struct Outbox {
    folder: PathBuf,
}

impl Outbox {
    /// That of the gateway with this data folder.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        Self {
            folder: data_dir.join(FOLDER),
        }
    }

    /// Puts a settlement there, durably. Keep what is returned until the state is changed, or will not be. Blocks on the
    /// disk.
    ///
    /// # Errors
    ///
    /// When it cannot be written; [`io::ErrorKind::AlreadyExists`] when one of the same operation waits there.
    pub fn put(&self, settled: &Settled) -> io::Result<Held> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.folder)?;
        let (draft, file) = self.write_aside(settled)?;
        // Before anybody else sees it.
        let locked = file.lock();
        let path = self.path(&settled.operation_id);
        // Fails where there is one, and is seen whole or not at all.
        let linked = locked.and_then(|()| fs::hard_link(&draft, path));
        fs::remove_file(&draft)?;
        linked?;
        self.sync()?;
        Ok(Held { _file: file })
    }

    /// What waits there of an operation, if whoever put it there has ended and the state takes nothing of it any more. Nobody
    /// else gets it until what is returned is dropped. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn left(&self, operation_id: &OperationId) -> io::Result<Option<Left>> {
        let path = self.path(operation_id.as_str());
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Where files cannot be locked, nobody knows who has ended. It waits, and holds up no other.
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, path = %path.display(), "a settlement cannot be looked after");
                return Ok(None);
            }
        }
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age < SETTLES_LATE {
            return Ok(None);
        }
        // Another one may have taken it away, and put one there that is not this file.
        if !is_at(&file, &path)? {
            return Ok(None);
        }
        Ok(Some(Left { path, _file: file }))
    }

    /// Takes a settlement away: it is recorded, or did not happen. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be removed. That it is not there is no error.
    pub fn remove(&self, settled: &Settled) -> io::Result<()> {
        match fs::remove_file(self.path(&settled.operation_id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync(),
        }
    }

    /// Puts `settled` in the place of what waits there of the same operation.
    fn replace(&self, settled: &Settled) -> io::Result<()> {
        let (draft, _) = self.write_aside(settled)?;
        fs::rename(draft, self.path(&settled.operation_id))?;
        self.sync()
    }

    fn write_aside(&self, settled: &Settled) -> io::Result<(PathBuf, File)> {
        let name = format!("{}.{}.new", settled.operation_id, std::process::id());
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        file.write_all(&serde_json::to_vec(settled)?)?;
        file.sync_all()?;
        Ok((path, file))
    }

    /// What waits there, and what cannot be read.
    fn waiting(&self) -> io::Result<Waiting> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Waiting::default());
            }
            entries => entries?,
        };
        let mut found = Waiting::default();
        for entry in entries.take(MOST) {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path) {
                Ok(Some(settled)) => found.settled.push(settled),
                Ok(None) => {}
                Err(_) => found.unreadable.push(path),
            }
        }
        Ok(found)
    }

    fn path(&self, operation_id: &str) -> PathBuf {
        self.folder.join(format!("{operation_id}.json"))
    }

    fn sync(&self) -> io::Result<()> {
        match File::open(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            folder => folder?.sync_all(),
        }
    }
}

/// A settlement that may still happen: whoever settles has not ended.
#[derive(Debug)]
#[must_use = "dropped, it says that nobody settles any more"]
pub struct Held {
    /// Locked, until this process ends in whatever way.
    _file: File,
}

/// A settlement of somebody who has ended.
#[derive(Debug)]
#[must_use = "it stands in the way until it is removed or recorded"]
pub struct Left {
    path: PathBuf,
    _file: File,
}

impl Left {
    /// Takes it away. Right only where the state says, while this is held, that it did not happen.
    ///
    /// # Errors
    ///
    /// When it cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Whether `path` leads to `file`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let opened = file.metadata()?;
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => found.map(|found| (found.dev(), found.ino()) == (opened.dev(), opened.ino())),
    }
}

/// Whether `path` leads to `file`: elsewhere than on Unix, a file that is open is not replaced.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// What waits in the folder.
#[derive(Debug, Default)]
struct Waiting {
    settled: Vec<Settled>,
    /// What is no settlement.
    unreadable: Vec<PathBuf>,
}

/// Reads one settlement; nothing where it is gone by now.
fn read(path: &Path) -> io::Result<Option<Settled>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    if metadata.len() > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let settled: Settled = serde_json::from_slice(&fs::read(path)?)?;
    let named = path.file_stem().and_then(|stem| stem.to_str());
    if named != Some(&settled.operation_id) || OperationId::parse(&settled.operation_id).is_err() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some(settled))
}

/// Why settlements were not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRecorded {
    /// The folder cannot be used.
    #[error("folder of settlements cannot be used")]
    Folder(#[from] io::Error),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log cannot be searched.
    #[error("audit log cannot be read")]
    Log(#[from] VerifyError),
    /// The log takes no record.
    #[error(transparent)]
    Audit(#[from] fastmcp_audit::AuditError),
}

/// Records what operators settle beside a gateway: the one who has the log.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    outbox: Outbox,
    audit: Audit,
    /// Where the log lies.
    folder: PathBuf,
    ledger: Ledger,
}

impl Recorder {
    pub(crate) const fn new(outbox: Outbox, audit: Audit, folder: PathBuf, ledger: Ledger) -> Self {
        Self {
            outbox,
            audit,
            folder,
            ledger,
        }
    }

    /// Records what waits, now and whenever something comes, until `shutdown` fires.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut trouble = None;
        loop {
            let failed = self.look().await.err().map(|error| error.to_string());
            if let Some(error) = failed.as_ref().filter(|_| failed != trouble) {
                tracing::warn!(error, "settlements are not recorded yet; tried again");
            }
            trouble = failed;
            let pause = tokio::time::sleep(LOOK_EVERY);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Records what waits.
    async fn look(&self) -> Result<(), NotRecorded> {
        let outbox = self.outbox.clone();
        let found = blocking(move || outbox.waiting()).await??;
        for path in found.unreadable {
            let kept = path.with_extension("unreadable");
            tracing::error!(path = %kept.display(), "a settlement cannot be read; it is kept and not recorded");
            blocking(move || fs::rename(path, kept)).await??;
        }
        // One that cannot be recorded now holds up none behind it.
        let mut outcome = Ok(());
        for settled in found.settled {
            if let Err(error) = self.record(settled).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn record(&self, mut settled: Settled) -> Result<(), NotRecorded> {
        let unconfirmed = match self.state_of(&settled).await? {
            Said::This => None,
            Said::Unconfirmed(why) => Some(why),
            Said::Other => return self.done(settled).await,
            Said::NotYet => return self.drop_if_left(settled).await,
        };
        if settled.from_seq.is_some() && self.is_recorded(&settled).await? {
            return self.done(settled).await;
        }
        if settled.from_seq.is_none() {
            settled.from_seq = Some(self.audit.health().size);
            let (outbox, begun) = (self.outbox.clone(), settled.clone());
            blocking(move || outbox.replace(&begun)).await??;
        }
        let mut draft = settled.draft();
        if let Some(why) = unconfirmed {
            let details = draft.details.get_or_insert_default();
            details.text("unconfirmed", why);
        }
        self.audit.append(&draft).await?;
        tracing::info!(
            operation = settled.operation_id,
            unconfirmed,
            "settlement recorded"
        );
        self.done(settled).await
    }

    /// What the state says of a settlement.
    async fn state_of(&self, settled: &Settled) -> Result<Said, NotRecorded> {
        let report = match OperationId::parse(&settled.operation_id) {
            Ok(id) => self.ledger.report(&settled.tenant, &id).await?,
            Err(_) => return Ok(Said::Other),
        };
        Ok(match report {
            Some(report) => said_of(settled, &report),
            // It was begun to be recorded, so the state had said it.
            None if settled.from_seq.is_some() => Said::This,
            // Nothing but a settlement makes the state forget what is unknown.
            None => Said::Unconfirmed("the state has forgotten the operation"),
        })
    }

    /// Takes a settlement away that did not happen, once it cannot happen any more. However long it takes: whoever settles
    /// may have been stopped, and go on.
    async fn drop_if_left(&self, settled: Settled) -> Result<(), NotRecorded> {
        let Ok(id) = OperationId::parse(&settled.operation_id) else {
            return self.done(settled).await;
        };
        let outbox = self.outbox.clone();
        let Some(left) = blocking(move || outbox.left(&id)).await?? else {
            return Ok(());
        };
        // It may have happened just before whoever put it there ended. The next look records it.
        if matches!(self.state_of(&settled).await?, Said::NotYet) {
            blocking(move || left.remove()).await??;
        }
        Ok(())
    }

    async fn done(&self, settled: Settled) -> Result<(), NotRecorded> {
        let outbox = self.outbox.clone();
        blocking(move || outbox.remove(&settled)).await??;
        Ok(())
    }

    /// Whether the log has it already. An operation is settled once.
    async fn is_recorded(&self, settled: &Settled) -> Result<bool, NotRecorded> {
        let filter = Filter {
            from_seq: settled.from_seq.map(|seq| seq.saturating_sub(1)),
            action: Some(ACTION.to_owned()),
            operation_id: Some(settled.operation_id.clone()),
            ..Filter::default()
        };
        let folder = self.folder.clone();
        let found = blocking(move || {
            let mut records = fastmcp_audit::read(&folder, filter)?;
            records.next().transpose()
        });
        Ok(found.await??.is_some())
    }
}

/// What the state says of a settlement that waits.
enum Said {
    /// It happened.
    This,
    /// One like it happened, and whether it is this one cannot be told: why not.
    Unconfirmed(&'static str),
    /// Another one happened: it was faster.
    Other,
    /// None happened so far.
    NotYet,
}

fn said_of(settled: &Settled, report: &Report) -> Said {
    if report.status == Status::Unknown {
        return Said::NotYet;
    }
    if report.status.as_str() != settled.settled_as {
        return Said::Other;
    }
    let detail = report.detail.as_deref().unwrap_or_default();
    if detail.starts_with(&settled.said()) {
        Said::This
    } else if detail == Report::DETAIL_GONE {
        // At most one waits of an operation, so that it is another one is unlikely; but it is not proved.
        Said::Unconfirmed("what the state keeps of it is sealed with a key that is gone")
    } else {
        Said::Other
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
