//! Settlements that wait for the log that they belong into.
//!
//! An operator settles beside a gateway that runs, and which alone writes its log. So the settlement waits in a folder
//! beside the state: it is put there before the state is changed, and whoever has the log records it once the state says
//! that it happened. What was begun to be recorded says from where on the log has it, if it has it: killed at any point,
//! the next look finishes it, and there is one record of each.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use fastmcp_audit::{Draft, Filter, Status as Outcome, VerifyError};
use fastmcp_guard::clock::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
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
/// How long a settlement may wait for its state to change: whoever put it there has long ended.
const ABANDONED: Duration = Duration::from_secs(120);
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
        draft.details = Some(Map::from_iter([
            ("by".to_owned(), json!(self.by)),
            ("settled_as".to_owned(), json!(self.settled_as)),
            ("settled_at".to_owned(), json!(self.at)),
            ("operation_sub".to_owned(), json!(self.subject)),
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

    /// Puts a settlement there, durably. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be written; [`io::ErrorKind::AlreadyExists`] when one of the same operation waits there.
    pub fn put(&self, settled: &Settled) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.folder)?;
        let draft = self.write_aside(settled)?;
        let path = self.path(&settled.operation_id);
        // One that never became true must not stand in the way for ever.
        if read(&path).is_ok_and(|found| found.is_some_and(|(_, age)| age >= ABANDONED)) {
            fs::remove_file(&path)?;
        }
        // Fails where there is one, and is seen whole or not at all.
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft)?;
        linked?;
        self.sync()
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
        let draft = self.write_aside(settled)?;
        fs::rename(draft, self.path(&settled.operation_id))?;
        self.sync()
    }

    fn write_aside(&self, settled: &Settled) -> io::Result<PathBuf> {
        let name = format!("{}.{}.new", settled.operation_id, std::process::id());
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        file.write_all(&serde_json::to_vec(settled)?)?;
        file.sync_all()?;
        Ok(path)
    }

    /// What waits there, with how long it has, and what cannot be read.
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

/// What waits in the folder.
#[derive(Debug, Default)]
struct Waiting {
    /// With how long each has been there.
    settled: Vec<(Settled, Duration)>,
    /// What is no settlement.
    unreadable: Vec<PathBuf>,
}

/// Reads one settlement; nothing where it is gone by now.
fn read(path: &Path) -> io::Result<Option<(Settled, Duration)>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    if metadata.len() > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let age = metadata.modified()?.elapsed().unwrap_or_default();
    let settled: Settled = serde_json::from_slice(&fs::read(path)?)?;
    let named = path.file_stem().and_then(|stem| stem.to_str());
    if named != Some(&settled.operation_id) || OperationId::parse(&settled.operation_id).is_err() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some((settled, age)))
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
        for (settled, age) in found.settled {
            if let Err(error) = self.record(settled, age).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn record(&self, mut settled: Settled, age: Duration) -> Result<(), NotRecorded> {
        let happened = match OperationId::parse(&settled.operation_id) {
            Ok(id) => self.ledger.report(&settled.tenant, &id).await?,
            Err(_) => None,
        };
        match happened {
            Some(report) if is_told_by(&settled, &report) => {}
            // Whoever put it there is about to settle it.
            Some(report) if report.status == Status::Unknown && age < ABANDONED => return Ok(()),
            // The state has forgotten it since it was begun to be recorded.
            None if settled.from_seq.is_some() => {}
            // It never was: another one was faster, or whoever put it there ended before.
            _ => return self.done(settled).await,
        }
        if settled.from_seq.is_some() && self.is_recorded(&settled).await? {
            return self.done(settled).await;
        }
        if settled.from_seq.is_none() {
            settled.from_seq = Some(self.audit.health().size);
            let (outbox, begun) = (self.outbox.clone(), settled.clone());
            blocking(move || outbox.replace(&begun)).await??;
        }
        self.audit.append(&settled.draft()).await?;
        tracing::info!(operation = settled.operation_id, "settlement recorded");
        self.done(settled).await
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

/// Whether what the state says of an operation is this settlement.
fn is_told_by(settled: &Settled, report: &Report) -> bool {
    let detail = report.detail.as_deref().unwrap_or_default();
    report.status.as_str() == settled.settled_as && detail.starts_with(&settled.said())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
